//! The documentation as text: which pages there are, where their links lead, and the command blocks in them.
//!
//! A block of commands is a fence `sh`. It runs as it stands, unless the comment `<!-- not run: WHY -->` stands right
//! above it. What only sets the stage for the others stands in a comment, fence and all: it runs, and no reader sees it.
//! Pages of the book link only to each other: what else there is in the checkout they name as code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::workspace::root;

/// The folder of the book's pages.
const BOOK: &str = "docs";
const SUMMARY: &str = "docs/SUMMARY.md";
/// Documents outside of the book whose links are checked too.
const OTHERS: [&str; 4] = [
    "README.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "charts/ramtrail/README.md",
];
/// Languages of fences. Every fence says what it holds: `text` is output or anything else that nobody runs.
const LANGUAGES: [&str; 7] = ["sh", "text", "yaml", "json", "promql", "rust", "lua"];
const NOT_RUN: &str = "<!-- not run: ";

/// A document.
#[derive(Clone, Debug)]
pub struct Page {
    /// Its path in the checkout.
    pub path: PathBuf,
    /// Its content.
    pub text: String,
}

/// A fenced block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The line of its fence, from 1.
    pub line: usize,
    /// The language of the fence.
    pub language: String,
    /// What is in it.
    pub text: String,
    /// Why it is not run, if the page says so.
    pub not_run: Option<String>,
}

impl Page {
    fn read(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let text = fs::read_to_string(root().join(&path))
            .with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self { path, text })
    }

    /// The fenced blocks of this page.
    pub fn blocks(&self) -> Vec<Block> {
        let mut blocks: Vec<Block> = Vec::new();
        let mut open = false;
        let mut above = "";
        for (index, line) in self.text.lines().enumerate() {
            let fence = line.trim_start().strip_prefix("```");
            match fence {
                Some(language) if !open => {
                    let not_run = above
                        .strip_prefix(NOT_RUN)
                        .and_then(|rest| rest.strip_suffix(" -->"));
                    blocks.push(Block {
                        line: index + 1,
                        language: language.trim().to_owned(),
                        text: String::new(),
                        not_run: not_run.map(str::to_owned),
                    });
                    open = true;
                }
                Some(_) => open = false,
                None if open => {
                    if let Some(block) = blocks.last_mut() {
                        block.text.push_str(line);
                        block.text.push('\n');
                    }
                }
                None => {}
            }
            above = line.trim();
        }
        blocks
    }

    /// Lines outside of fences, with code spans blanked, each with its number.
    fn prose(&self) -> Vec<(usize, String)> {
        let mut open = false;
        let mut lines = Vec::new();
        for (index, line) in self.text.lines().enumerate() {
            if line.trim_start().starts_with("```") {
                open = !open;
            } else if !open {
                let spans = line.split('`').enumerate();
                let kept = spans.map(|(part, text)| if part % 2 == 0 { text } else { "" });
                lines.push((index + 1, kept.collect::<Vec<_>>().join("`")));
            }
        }
        lines
    }

    /// Targets of links, with their lines.
    fn links(&self) -> Vec<(usize, String)> {
        let mut links = Vec::new();
        for (number, line) in self.prose() {
            for rest in line.split("](").skip(1) {
                if let Some((target, _)) = rest.split_once(')') {
                    links.push((number, target.to_owned()));
                }
            }
        }
        links
    }

    /// Ids of the headings.
    fn anchors(&self) -> BTreeSet<String> {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let mut open = false;
        let mut anchors = BTreeSet::new();
        for line in self.text.lines() {
            if line.trim_start().starts_with("```") {
                open = !open;
            }
            let title = line.trim_start_matches('#');
            if open || title.len() == line.len() || !title.starts_with(' ') {
                continue;
            }
            let id = slug(title.trim());
            let count = seen.entry(id.clone()).or_default();
            anchors.insert(if *count == 0 { id } else { format!("{id}-{count}") });
            *count += 1;
        }
        anchors
    }
}

/// The id that both mdBook and code hosts give a heading.
fn slug(title: &str) -> String {
    let kept = title.chars().filter_map(|c| {
        if c.is_alphanumeric() || c == '_' || c == '-' {
            Some(c.to_lowercase().next().unwrap_or(c))
        } else {
            c.is_whitespace().then_some('-')
        }
    });
    kept.collect()
}

/// The pages of the book in its order, then the documents outside of it.
///
/// # Errors
/// Fails if the summary or a page that it names cannot be read.
pub fn pages() -> Result<Vec<Page>> {
    let summary = Page::read(SUMMARY)?;
    let mut pages = Vec::new();
    for (_, target) in summary.links() {
        pages.push(Page::read(Path::new(BOOK).join(target))?);
    }
    for path in OTHERS {
        pages.push(Page::read(path)?);
    }
    Ok(pages)
}

/// Whether a page is one of the book's.
pub fn is_in_book(path: &Path) -> bool {
    path.starts_with(BOOK)
}

/// What is wrong with the documentation, a line each: dead links and anchors, paths that are not there, pages that the summary
/// does not list, fences that do not say what they hold.
///
/// # Errors
/// Fails if a page cannot be read.
pub fn problems() -> Result<Vec<String>> {
    let pages = pages()?;
    let mut found = Vec::new();
    let anchors: BTreeMap<&Path, BTreeSet<String>> = pages
        .iter()
        .map(|page| (page.path.as_path(), page.anchors()))
        .collect();
    for path in markdown(Path::new(BOOK))? {
        if path != Path::new(SUMMARY) && !anchors.contains_key(path.as_path()) {
            found.push(format!("{}: not in {SUMMARY}", path.display()));
        }
    }
    for page in &pages {
        let mut told =
            |line: usize, what: String| found.push(format!("{}:{line}: {what}", page.path.display()));
        for (line, target) in page.links() {
            if let Some(what) = dead(page, &target, &anchors) {
                told(line, what);
            }
        }
        for (line, path) in named_paths(page) {
            if !root().join(&path).exists() {
                told(line, format!("`{path}` is not there"));
            }
        }
        for block in page.blocks() {
            if !LANGUAGES.contains(&block.language.as_str()) {
                told(
                    block.line,
                    format!(
                        "a fence `{}`, expected one of {}",
                        block.language,
                        LANGUAGES.join(", ")
                    ),
                );
            }
            if block.not_run.is_some() && block.language != "sh" {
                told(block.line, "only a fence `sh` would be run".to_owned());
            }
        }
    }
    Ok(found)
}

fn dead(page: &Page, target: &str, anchors: &BTreeMap<&Path, BTreeSet<String>>) -> Option<String> {
    if target.contains("://") {
        return None;
    }
    let (path, anchor) = target
        .split_once('#')
        .map_or((target, None), |(p, a)| (p, Some(a)));
    let path = if path.is_empty() {
        page.path.clone()
    } else {
        normal(&page.path.parent().unwrap_or(Path::new("")).join(path))
    };
    if !root().join(&path).exists() {
        return Some(format!("links to {target}, which is not there"));
    }
    if is_in_book(&page.path) && !is_in_book(&path) {
        return Some(format!(
            "links to {target}, which is not in the book: name it as code"
        ));
    }
    let anchor = anchor?;
    match anchors.get(path.as_path()) {
        Some(known) if known.contains(anchor) => None,
        _ => Some(format!("links to {target}, and there is no such heading")),
    }
}

/// Paths of the checkout that a page names as code, such as `deploy/install.yaml`.
fn named_paths(page: &Page) -> Vec<(usize, String)> {
    const TOPS: [&str; 9] = [
        "src/",
        "docs/",
        "deploy/",
        "charts/",
        "crds/",
        "tests/",
        "emulator/",
        "xtask/",
        "tools/",
    ];
    let mut open = false;
    let mut paths = Vec::new();
    for (index, line) in page.text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            open = !open;
        }
        if open {
            continue;
        }
        for span in line.split('`').skip(1).step_by(2) {
            let is_path = TOPS.iter().any(|top| span.starts_with(top))
                && span
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
            if is_path {
                paths.push((index + 1, span.to_owned()));
            }
        }
    }
    paths
}

/// Without `.` and `..`, by the text alone.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

fn markdown(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries =
        fs::read_dir(root().join(folder)).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            found.extend(markdown(&path)?);
        } else if path.extension().is_some_and(|e| e == "md") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Links of the built book that lead nowhere: to a file that is not there, or to an id that its page lacks.
///
/// # Errors
/// Fails if the book cannot be read or holds no page.
pub fn broken_links(book: &Path) -> Result<Vec<String>> {
    let mut pages = BTreeMap::new();
    for entry in fs::read_dir(book).with_context(|| format!("cannot read {}", book.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "html") {
            let text =
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            pages.insert(name, text);
        }
    }
    if pages.is_empty() {
        bail!("{} holds no page", book.display());
    }
    let mut found = Vec::new();
    for (name, text) in &pages {
        let targets = ["href=\"", "src=\""]
            .into_iter()
            .flat_map(|attribute| text.split(attribute).skip(1))
            .filter_map(|rest| rest.split('"').next());
        for target in targets.filter(|t| !t.contains("://") && !t.starts_with("data:")) {
            let (path, id) = target.split_once('#').map_or((target, ""), |(p, i)| (p, i));
            let page = if path.is_empty() { name } else { path };
            if !book.join(page).exists() {
                found.push(format!("{name}: {target}: no such file"));
            } else if !id.is_empty()
                && pages
                    .get(page)
                    .is_some_and(|t| !t.contains(&format!("id=\"{id}\"")))
            {
                found.push(format!("{name}: {target}: no such id"));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(path: &str, text: &str) -> Page {
        Page {
            path: path.into(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn blocks_know_their_language_and_why_they_are_not_run() {
        let text = "# T\n\n```sh\na\nb\n```\n\n<!-- not run: no cloud -->\n```sh\nc\n```\n```text\nd\n```\n";
        let blocks = page("docs/x.md", text).blocks();
        let seen: Vec<_> = blocks
            .iter()
            .map(|b| (b.line, b.language.as_str(), b.text.as_str(), b.not_run.as_deref()))
            .collect();
        assert_eq!(
            seen,
            [
                (3, "sh", "a\nb\n", None),
                (9, "sh", "c\n", Some("no cloud")),
                (12, "text", "d\n", None)
            ]
        );
    }

    #[test]
    fn a_block_in_a_comment_runs() {
        let text = "<!-- set-up:\n```sh\na\n```\n-->\n\n```sh\nb\n```\n";
        let blocks = page("docs/x.md", text).blocks();
        let run: Vec<_> = blocks
            .iter()
            .map(|b| (b.text.as_str(), b.not_run.is_none()))
            .collect();
        assert_eq!(run, [("a\n", true), ("b\n", true)]);
    }

    #[test]
    fn headings_become_ids_and_repeated_ones_are_numbered() {
        let text = "# What `it` is: A, B\n## Same\n## Same\n```text\n# no heading\n```\n#no heading\n";
        let anchors = page("docs/x.md", text).anchors();
        let anchors: Vec<_> = anchors.iter().map(String::as_str).collect();
        assert_eq!(anchors, ["same", "same-1", "what-it-is-a-b"]);
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        let here = page("docs/x.md", "## Here\n");
        let anchors = BTreeMap::from([(Path::new("docs/x.md"), here.anchors())]);
        let told = |target: &str| dead(&here, target, &anchors);
        assert_eq!(told("https://example.com/#x"), None);
        assert!(told("missing.md").is_some_and(|what| what.contains("not there")));
        assert!(told("../README.md").is_some_and(|what| what.contains("not in the book")));
        assert!(
            page("docs/x.md", "`[a](b)` [c](d)\n```text\n[e](f)\n```\n").links() == [(1, "d".to_owned())]
        );
    }

    #[test]
    fn paths_named_as_code_are_seen() {
        let paths = named_paths(&page("docs/x.md", "`src/main.rs` `src/<kind>/x.rs` `other/x`\n"));
        assert_eq!(paths, [(1, "src/main.rs".to_owned())]);
    }
}
