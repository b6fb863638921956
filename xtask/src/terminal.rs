//! What a person sees: colour, aligned columns, progress with elapsed time.
//!
//! Colour only on a terminal and never against `NO_COLOR`. Only real measurements are shown.

use std::env;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

/// How a piece of text stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Headings.
    Bold,
    /// Secondary matters: times, paths.
    Dim,
    /// Done, Ready, passed.
    Good,
    /// Failed, attacked.
    Bad,
    /// Wants attention, skipped.
    Warn,
    /// Names of things and commands.
    Accent,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Good => "32",
            Self::Bad => "31",
            Self::Warn => "33",
            Self::Accent => "36",
        }
    }
}

/// Whether standard output may carry colour.
pub fn colour() -> bool {
    colour_allowed(
        io::stdout().is_terminal(),
        env::var("NO_COLOR").is_ok_and(|v| !v.is_empty()),
        &env::var("TERM").unwrap_or_default(),
    )
}

fn colour_allowed(is_terminal: bool, no_color: bool, term: &str) -> bool {
    is_terminal && !no_color && term != "dumb"
}

/// The text in a style, or as it is where colour is not wanted.
pub fn paint(style: Style, text: impl Display) -> String {
    paint_if(colour(), style, text)
}

fn paint_if(colour: bool, style: Style, text: impl Display) -> String {
    if colour {
        format!("\x1b[{}m{text}\x1b[0m", style.code())
    } else {
        text.to_string()
    }
}

/// Text without escape sequences, as its reader sees it.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\x1b' {
            for c in chars.by_ref() {
                if c.is_ascii_alphabetic() {
                    break;
                }
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// The text filled up with spaces to `width` columns, counted without escape sequences.
pub fn pad(text: &str, width: usize) -> String {
    let len = plain(text).chars().count();
    format!("{text}{}", " ".repeat(width.saturating_sub(len)))
}

/// An elapsed time as a person says it: `0.4 s`, `12 s`, `3 min 05 s`.
pub fn elapsed(time: Duration) -> String {
    let seconds = time.as_secs();
    if time < Duration::from_secs(10) {
        format!("{:.1} s", time.as_secs_f64())
    } else if seconds < 120 {
        format!("{seconds} s")
    } else {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    }
}

/// A heading with an empty line before it.
pub fn heading(text: &str) {
    println!("\n{}", paint(Style::Bold, text));
}

/// One indented line.
pub fn line(text: &str) {
    println!("  {text}");
}

/// Rows in columns as wide as their widest cell, indented by two.
pub fn table(rows: &[Vec<String>]) {
    for row in align(rows) {
        println!("  {row}");
    }
}

fn align(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|r| r.get(column))
            .map(|c| plain(c).chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    rows.iter()
        .map(|row| {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, w)| pad(cell, *w)).collect();
            cells.join("   ").trim_end().to_owned()
        })
        .collect()
}

/// Runs `work` and shows on standard error that it runs, for how long, and how it ended.
///
/// On a terminal one line is kept up to date; elsewhere there is a line at the start, one each minute, so
/// that a log does not look dead, and one at the end.
pub fn progress<T>(label: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let live = io::stderr().is_terminal();
    let start = Instant::now();
    let (done, ticks) = mpsc::channel::<()>();
    let result = thread::scope(|scope| {
        scope.spawn(move || {
            let period = if live {
                Duration::from_millis(500)
            } else {
                Duration::from_secs(60)
            };
            if !live {
                note(&format!("  {label} ..."));
            }
            loop {
                if live {
                    note_live(&format!("  {label} ... {}", elapsed(start.elapsed())));
                }
                match ticks.recv_timeout(period) {
                    Err(RecvTimeoutError::Timeout) if !live => {
                        note(&format!("  {label} ... {} so far", elapsed(start.elapsed())));
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    _ => break,
                }
            }
        });
        let result = work();
        drop(done);
        result
    });
    if live {
        note_live("");
    }
    let verdict = if result.is_ok() { "done in" } else { "failed after" };
    note(&format!("  {label}: {verdict} {}", elapsed(start.elapsed())));
    result
}

/// A line on standard error. A closed standard error must not end the work it speaks about.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

fn note_live(text: &str) {
    let mut err = io::stderr();
    let _ = write!(err, "\r\x1b[2K{text}");
    let _ = err.flush();
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn colour_needs_a_terminal_and_nobody_against_it() {
        assert!(colour_allowed(true, false, "xterm"));
        assert!(!colour_allowed(false, false, "xterm"));
        assert!(!colour_allowed(true, true, "xterm"));
        assert!(!colour_allowed(true, false, "dumb"));
    }

    #[test]
    fn columns_align_whatever_the_colour() {
        let rows = vec![
            vec![paint_if(true, Style::Good, "ok"), "one".to_owned()],
            vec!["failed".to_owned(), "two".to_owned()],
        ];
        let lines = align(&rows);
        assert_eq!(plain(&lines[0]), "ok       one");
        assert_eq!(lines[1], "failed   two");
    }

    #[test]
    fn elapsed_times_read_well() {
        assert_eq!(elapsed(Duration::from_millis(420)), "0.4 s");
        assert_eq!(elapsed(Duration::from_millis(12_900)), "12 s");
        assert_eq!(elapsed(Duration::from_secs(185)), "3 min 05 s");
    }

    #[test]
    fn progress_hands_on_what_the_work_returns() {
        assert_eq!(progress("unit", || Ok(3)).unwrap(), 3);
        assert!(progress::<()>("unit", || anyhow::bail!("no")).is_err());
    }
}
