//! Log lines: one JSON object each, or text for people, on the standard error.
//!
//! What is logged holds words of others: names in specs, messages of the cloud. None of them can begin a line or move a cursor.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::LogFormat;

/// Installs the process's subscriber. `level` is a filter that the command line has checked; should it not parse, `info`
/// is taken.
///
/// # Errors
/// Fails if the process has a subscriber already.
pub fn init(format: LogFormat, level: &str) -> Result<(), TryInitError> {
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = format == LogFormat::Text && io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || OneLine {
            to: io::stderr(),
            colours,
        })
        .with_span_events(FmtSpan::NONE);
    match format {
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .finish()
            .try_init(),
        LogFormat::Text => builder.with_ansi(colours).finish().try_init(),
    }
}

/// Writes every entry as one line. An entry comes in one piece, with the line's end.
struct OneLine<W> {
    to: W,
    /// Whether entries are coloured, which takes escape characters; those of others are escaped before they come here.
    colours: bool,
}

impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, entry: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(entry);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let mut line = one_line(line, self.colours).into_owned();
        line.push('\n');
        self.to.write_all(line.as_bytes())?;
        Ok(entry.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// The text with everything escaped that ends a line, moves a cursor or reorders text; as JSON would write it, so that what was
/// JSON still is.
fn one_line(text: &str, colours: bool) -> Cow<'_, str> {
    let moves = |c: char| {
        (c.is_control() && !(colours && c == '\u{1b}'))
            || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(moves) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if moves(c) {
            // Writing into a String does not fail.
            let _ = write!(escaped, "\\u{:04x}", u32::from(c));
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn written(entry: &str, colours: bool) -> String {
        let mut to = Vec::new();
        OneLine { to: &mut to, colours }
            .write_all(entry.as_bytes())
            .unwrap();
        String::from_utf8(to).unwrap()
    }

    #[test]
    fn an_entry_is_one_line_whatever_is_in_it() {
        assert_eq!(written("plain é words\n", false), "plain é words\n");
        assert_eq!(written("no end", false), "no end\n");
        let hostile = "a\nb\rc\u{b}d\u{85}e\u{2028}f\u{1b}[2Kg\u{9b}h\u{202e}i\u{7f}\u{0}\n";
        let line = written(hostile, false);
        assert_eq!(
            line,
            "a\\u000ab\\u000dc\\u000bd\\u0085e\\u2028f\\u001b[2Kg\\u009bh\\u202ei\\u007f\\u0000\n"
        );
    }

    #[test]
    fn colours_stay_where_there_are_some() {
        assert_eq!(
            written("\u{1b}[32m INFO\u{1b}[0m a\nb\n", true),
            "\u{1b}[32m INFO\u{1b}[0m a\\u000ab\n"
        );
    }

    #[test]
    fn json_stays_json() {
        let entry = serde_json::json!({"message": "a\u{85}b\nc\u{2028}"});
        let line = written(&format!("{entry}\n"), false);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap(), entry);
    }
}
