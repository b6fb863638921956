//! The documentation as text: which pages there are, where their links lead, and the command blocks in them.
//!
//! A block of commands is a fence `sh`. It runs as it stands, unless the comment `<!-- not run: WHY -->` stands right
//! above it. What only sets the stage for the others stands in a comment, fence and all: it runs, and no reader sees it.
//! A fence `text` with the comment `<!-- shows -->` right above it, the next one after a fence `sh`, is what that block has
//! to print ([`Block::check`]). Pages of the book link only to each other: what else there is in the checkout they name as code.

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
/// `sls` is a search of Log Service, run by a test of the page.
const LANGUAGES: [&str; 8] = ["sh", "text", "yaml", "json", "promql", "rust", "lua", "sls"];
const NOT_RUN: &str = "<!-- not run: ";
const SHOWS: &str = "<!-- shows -->";
/// In what is shown: any text within a line, or as a line of its own any number of lines.
const ANYTHING: &str = "...";

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
    /// What it prints, if the page says so.
    pub shows: Option<String>,
}

impl Block {
    /// Whether it is a block of commands that are run.
    pub fn runs(&self) -> bool {
        self.language == "sh" && self.not_run.is_none()
    }

    /// Whether this printed what the page shows: every line of it, in this order, and no other. `...` stands for any text within
    /// a line, and on a line of its own for any number of lines; runs of blanks are as good as one.
    ///
    /// # Errors
    /// Fails with both texts if it did not.
    pub fn check(&self, printed: &str) -> Result<()> {
        let Some(shows) = &self.shows else { return Ok(()) };
        let lines = |text: &str| -> Vec<String> {
            let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
            text.lines().map(words).filter(|line| !line.is_empty()).collect()
        };
        if all_shown(&lines(shows), &lines(printed)) {
            return Ok(());
        }
        bail!("the page shows\n{shows}but this was printed\n{printed}")
    }
}

fn all_shown(shows: &[String], printed: &[String]) -> bool {
    let Some((first, rest)) = shows.split_first() else {
        return printed.is_empty();
    };
    if first == ANYTHING {
        return (0..=printed.len()).any(|skipped| all_shown(rest, &printed[skipped..]));
    }
    printed
        .split_first()
        .is_some_and(|(line, others)| line_shown(first, line) && all_shown(rest, others))
}

fn line_shown(shows: &str, line: &str) -> bool {
    let Some((before, after)) = shows.split_once(ANYTHING) else {
        return shows == line;
    };
    line.strip_prefix(before).is_some_and(|rest| {
        let mut ends = rest.char_indices().map(|(end, _)| end).chain([rest.len()]);
        ends.any(|end| line_shown(after, &rest[end..]))
    })
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
        let mut shown = false;
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
                        shows: None,
                    });
                    open = true;
                    shown = above == SHOWS;
                }
                Some(_) => {
                    open = false;
                    if shown
                        && let [.., command, output] = blocks.as_mut_slice()
                        && command.runs()
                    {
                        command.shows = Some(output.text.clone());
                    }
                }
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

    /// Lines of marks that say of nothing what it prints.
    fn shown_by_nothing(&self) -> Vec<usize> {
        let blocks = self.blocks();
        let shows = |line: usize| {
            let at = blocks.iter().position(|block| block.line == line + 1);
            at.and_then(|at| blocks.get(at.checked_sub(1)?).zip(blocks.get(at)))
                .is_some_and(|(command, output)| command.shows.is_some() && output.language == "text")
        };
        let marks = self
            .text
            .lines()
            .enumerate()
            .filter(|(_, line)| line.trim() == SHOWS);
        marks
            .map(|(index, _)| index + 1)
            .filter(|line| !shows(*line))
            .collect()
    }

    /// What is outside of fences, in pieces that no code span and no link goes beyond, each with the number of its first line.
    fn pieces(&self) -> Vec<(usize, String)> {
        let mut open = false;
        let mut joins = false;
        let mut pieces: Vec<(usize, String)> = Vec::new();
        for (index, line) in self.text.lines().enumerate() {
            let start = line.trim_start();
            if start.starts_with("```") {
                open = !open;
                joins = false;
                continue;
            }
            if open || start.is_empty() {
                joins = false;
                continue;
            }
            let item = start
                .split_once(". ")
                .is_some_and(|(number, _)| number.parse::<u32>().is_ok());
            let begins = item
                || ["- ", "* ", "> ", "|", "#"]
                    .iter()
                    .any(|mark| start.starts_with(mark));
            match pieces.last_mut() {
                Some((_, piece)) if joins && !begins => {
                    piece.push('\n');
                    piece.push_str(line);
                }
                _ => pieces.push((index + 1, line.to_owned())),
            }
            joins = true;
        }
        pieces
    }

    /// Targets of links, with their lines.
    fn links(&self) -> Vec<(usize, String)> {
        let mut links = Vec::new();
        for (first, piece) in self.pieces() {
            // Code with as many blanks, so that lines can still be counted.
            let prose: String = parts(&piece)
                .into_iter()
                .map(|(is_code, text)| if is_code { blank(text) } else { text.to_owned() })
                .collect();
            let mut at = 0;
            while let Some(found) = prose[at..].find("](") {
                at += found + 2;
                // A title may follow the target.
                let inside = prose[at..].split(')').next().unwrap_or_default();
                if let Some(target) = inside.split_whitespace().next() {
                    let line = first + prose[..at].matches('\n').count();
                    links.push((line, target.to_owned()));
                }
            }
            for (index, line) in prose.lines().enumerate() {
                let definition = line
                    .trim_start()
                    .strip_prefix('[')
                    .and_then(|rest| rest.split_once("]: "));
                if let Some(target) = definition.and_then(|(_, rest)| rest.split_whitespace().next()) {
                    links.push((first + index, target.to_owned()));
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

/// A piece of text cut at its code spans: whether each part is code, and the part without its backticks.
fn parts(text: &str) -> Vec<(bool, &str)> {
    let run = |from: &str| from.len() - from.trim_start_matches('`').len();
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(open) = rest.find('`') {
        let ticks = run(&rest[open..]);
        let inside = &rest[open + ticks..];
        // Only a run of as many backticks closes it.
        let mut at = 0;
        let mut close = None;
        while let Some(found) = inside[at..].find('`') {
            let length = run(&inside[at + found..]);
            if length == ticks {
                close = Some(at + found);
                break;
            }
            at += found + length;
        }
        let Some(close) = close else {
            parts.push((false, &rest[..open + ticks]));
            rest = inside;
            continue;
        };
        parts.push((false, &rest[..open]));
        parts.push((true, &inside[..close]));
        rest = &inside[close + ticks..];
    }
    parts.push((false, rest));
    parts
}

/// As many lines with nothing in them.
fn blank(text: &str) -> String {
    text.chars().filter(|c| *c == '\n').collect()
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
        for line in page.shown_by_nothing() {
            told(
                line,
                format!("{SHOWS} must stand above a fence `text` that follows a fence `sh` that is run"),
            );
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
    const FOLDERS: [&str; 13] = [
        ".cargo/",
        ".ci/",
        ".github/",
        "charts/",
        "crds/",
        "deploy/",
        "docs/",
        "emulator/",
        "examples/",
        "src/",
        "tests/",
        "tools/",
        "xtask/",
    ];
    const FILES: [&str; 9] = [
        ".dockerignore",
        "CHANGELOG.md",
        "Cargo.lock",
        "Cargo.toml",
        "Dockerfile",
        "LICENSE",
        "README.md",
        "SECURITY.md",
        "book.toml",
    ];
    let mut paths = Vec::new();
    for (first, piece) in page.pieces() {
        let mut line = first;
        for (is_code, text) in parts(&piece) {
            let path = text.trim();
            let below = FOLDERS.iter().any(|folder| path.starts_with(folder))
                && path
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
            if is_code && (below || FILES.contains(&path)) {
                paths.push((line, path.to_owned()));
            }
            line += text.matches('\n').count();
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
    fn a_block_knows_what_the_page_says_that_it_shows() {
        let shown = "```sh\na\n```\nIt prints\n<!-- shows -->\n```text\nb\n```\n";
        let shown_page = page("docs/x.md", shown);
        let blocks = shown_page.blocks();
        assert_eq!(blocks[0].shows.as_deref(), Some("b\n"));
        assert_eq!(blocks[1].shows, None);
        assert_eq!(shown_page.shown_by_nothing(), [0; 0]);
        for stray in [
            "<!-- shows -->\n```text\nb\n```\n",
            "<!-- not run: no node -->\n```sh\na\n```\n<!-- shows -->\n```text\nb\n```\n",
            "```sh\na\n```\n<!-- shows -->\n\n```text\nb\n```\n",
            "```sh\na\n```\n<!-- shows -->\n```json\n{}\n```\n",
        ] {
            assert_eq!(page("docs/x.md", stray).shown_by_nothing().len(), 1, "{stray}");
        }
    }

    #[test]
    fn what_is_printed_is_what_is_shown_with_dots_for_anything() {
        let block = |shows: &str| Block {
            line: 1,
            language: "sh".to_owned(),
            text: String::new(),
            not_run: None,
            shows: Some(shows.to_owned()),
        };
        for (shows, printed) in [
            ("a b\n", "a    b\n\n"),
            ("NAME READY\nx True ...\n", "NAME   READY\nx      True    5s\n"),
            ("...\nb\n...\n", "a\nb\n"),
            ("a ... c ... e\n", "a b c d e\n"),
            ("...\n", ""),
        ] {
            assert!(block(shows).check(printed).is_ok(), "{shows:?} {printed:?}");
        }
        for (shows, printed) in [
            ("a\n", ""),
            ("a\n", "a\nb\n"),
            ("a\nb\n", "b\na\n"),
            ("x True ...\n", "x False 5s\n"),
            ("", "a\n"),
        ] {
            let error = block(shows).check(printed).expect_err(shows).to_string();
            assert!(error.contains(shows) && error.contains(printed), "{error}");
        }
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
        let text = "`src/main.rs` `src/<kind>/x.rs` `other/x` ``.ci/run`` `book.toml`\nand `a\nb` then `examples/x`\n";
        let paths = named_paths(&page("docs/x.md", text));
        let seen: Vec<_> = paths.iter().map(|(line, path)| (*line, path.as_str())).collect();
        assert_eq!(
            seen,
            [
                (1, "src/main.rs"),
                (1, ".ci/run"),
                (1, "book.toml"),
                (3, "examples/x")
            ]
        );
    }

    #[test]
    fn links_are_seen_over_lines_and_behind_code_over_lines() {
        let text = "See [the\nlong text](a.md) and `code over\ntwo lines` [b](\nb.md \"title\").\n\n- `odd [c](c.md)\n- `d` [d](d.md)\n\n[e]: e.md\n";
        let links = page("docs/x.md", text).links();
        let seen: Vec<_> = links
            .iter()
            .map(|(line, target)| (*line, target.as_str()))
            .collect();
        assert_eq!(
            seen,
            [(2, "a.md"), (3, "b.md"), (6, "c.md"), (7, "d.md"), (9, "e.md")]
        );
    }
}
