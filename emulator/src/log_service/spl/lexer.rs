//! Text of a script to tokens.

use super::ScriptError;

/// A token with its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    /// Offset in characters.
    pub(super) position: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum TokenKind {
    /// A bare name: keyword, function or field.
    Name(String),
    /// A name in double quotes: always a field.
    Quoted(String),
    /// Text in single quotes.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction or exponent.
    Decimal(f64),
    /// An operator or a mark.
    Mark(&'static str),
}

impl TokenKind {
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Name(name) => name.clone(),
            Self::Quoted(name) => format!("\"{name}\""),
            Self::Text(text) => format!("'{text}'"),
            Self::Integer(number) => number.to_string(),
            Self::Decimal(number) => number.to_string(),
            Self::Mark(mark) => (*mark).to_owned(),
        }
    }
}

/// Longer marks stand first.
const MARKS: &[&str] = &[
    "||", "<>", "!=", "<=", ">=", "==", "=", "<", ">", "(", ")", ",", "|", "-", "+", "*", "/", "%",
];

/// The tokens of `text`; positions count from `offset`.
pub(super) fn tokens(text: &str, offset: usize) -> Result<Vec<Token>, ScriptError> {
    let letters: Vec<char> = text.chars().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < letters.len() {
        let position = offset + at;
        let letter = letters[at];
        let kind = if letter.is_whitespace() {
            at += 1;
            continue;
        } else if letters[at..].starts_with(&['-', '-']) {
            while letters.get(at).is_some_and(|&letter| letter != '\n') {
                at += 1;
            }
            continue;
        } else if letter == '\'' || letter == '"' {
            let text = quoted(&letters, &mut at, position)?;
            if letter == '"' {
                TokenKind::Quoted(text)
            } else {
                TokenKind::Text(text)
            }
        } else if letter.is_ascii_digit() {
            number(&letters, &mut at, position)?
        } else if letter.is_alphabetic() || letter == '_' {
            TokenKind::Name(name(&letters, &mut at))
        } else {
            let mark = MARKS
                .iter()
                .find(|mark| letters[at..].iter().take(mark.len()).copied().eq(mark.chars()));
            let Some(mark) = mark else {
                return Err(ScriptError {
                    message: format!("unexpected '{letter}'"),
                    position,
                });
            };
            at += mark.len();
            TokenKind::Mark(mark)
        };
        found.push(Token { kind, position });
    }
    Ok(found)
}

/// Reads to the closing mark; a doubled mark stands for itself.
fn quoted(letters: &[char], at: &mut usize, position: usize) -> Result<String, ScriptError> {
    let mark = letters[*at];
    let mut text = String::new();
    *at += 1;
    while let Some(&letter) = letters.get(*at) {
        *at += 1;
        if letter != mark {
            text.push(letter);
        } else if letters.get(*at) == Some(&mark) {
            text.push(mark);
            *at += 1;
        } else {
            return Ok(text);
        }
    }
    Err(ScriptError {
        message: "quotation mark is not closed".to_owned(),
        position,
    })
}

fn number(letters: &[char], at: &mut usize, position: usize) -> Result<TokenKind, ScriptError> {
    let start = *at;
    while letters
        .get(*at)
        .is_some_and(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_'))
    {
        let exponent = matches!(letters[*at], 'e' | 'E') && matches!(letters.get(*at + 1), Some('-' | '+'));
        *at += if exponent { 2 } else { 1 };
    }
    let text: String = letters[start..*at].iter().collect();
    let whole = text.chars().all(|letter| letter.is_ascii_digit());
    let parsed = if whole {
        text.parse().ok().map(TokenKind::Integer)
    } else {
        text.parse::<f64>()
            .ok()
            .filter(|number| number.is_finite())
            .map(TokenKind::Decimal)
    };
    parsed.ok_or(ScriptError {
        message: format!("{text} is not a number"),
        position,
    })
}

/// Commands such as `project-away` have a hyphen in their name.
fn name(letters: &[char], at: &mut usize) -> String {
    let start = *at;
    while letters
        .get(*at)
        .is_some_and(|letter| letter.is_alphanumeric() || *letter == '_')
    {
        *at += 1;
    }
    let plain: String = letters[start..*at].iter().collect();
    if !plain.eq_ignore_ascii_case("project") || letters.get(*at) != Some(&'-') {
        return plain;
    }
    let mut end = *at + 1;
    while letters.get(end).is_some_and(char::is_ascii_alphabetic) {
        end += 1;
    }
    let long: String = letters[start..end].iter().collect();
    *at = end;
    long
}
