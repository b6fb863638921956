//! Text of a search to a tree. Knows the grammar only, not indexes or logs.
//!
//! Priority, highest first: the colon and comparisons, quotes, parentheses, `not`, `and` (also written as
//! plain juxtaposition), `or`.

use std::fmt;

/// At most this many conditions in one search.
pub const MAX_TERMS: usize = 30;
/// At most this many open parentheses; the parser is recursive.
const MAX_DEPTH: usize = 64;

/// Why a search cannot be read, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} at position {position}")]
pub struct SyntaxError {
    /// What is wrong.
    pub message: String,
    /// Offset in characters from the start of the search, from 0.
    pub position: usize,
}

/// A search.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// Matches every log (`*` or nothing).
    All,
    /// Both sides match.
    And(Box<Node>, Box<Node>),
    /// One side matches at least.
    Or(Box<Node>, Box<Node>),
    /// The inside does not match.
    Not(Box<Node>),
    /// One condition.
    Term(Term),
}

/// One condition, on a field or on the whole log.
#[derive(Debug, Clone, PartialEq)]
pub struct Term {
    /// Field name; none searches the full text.
    pub field: Option<String>,
    /// What the field or text must satisfy.
    pub asks: Test,
    /// Offset of the condition in characters.
    pub position: usize,
}

/// What a condition asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    /// The field is there (`key: *`).
    Exists,
    /// A bare word; `*` and `?` are wildcards.
    Word(String),
    /// Quoted text: all its words occur, in any order.
    Quoted(String),
    /// `#"…"`: all its words occur side by side, in this order.
    Phrase(String),
    /// A number within bounds.
    Range(Range),
}

/// Numeric bounds; a missing bound is open.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    /// Lower bound and whether it belongs to the range.
    pub low: Option<(f64, bool)>,
    /// Upper bound and whether it belongs to the range.
    pub high: Option<(f64, bool)>,
}

impl Range {
    /// Whether `value` lies within.
    pub fn contains(self, value: f64) -> bool {
        let above = self
            .low
            .is_none_or(|(low, included)| value > low || (included && within(value, low)));
        let below = self
            .high
            .is_none_or(|(high, included)| value < high || (included && within(value, high)));
        above && below
    }
}

/// Equality of two parsed numbers: both come from decimal text, so equal text gives equal bits.
fn within(left: f64, right: f64) -> bool {
    left.total_cmp(&right).is_eq() || (left == 0.0 && right == 0.0)
}

/// A query as the API takes it: the search, and the text after the first bar outside quotes.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// Parsed search part.
    pub search: Node,
    /// Text of the search part, trimmed.
    pub search_text: String,
    /// Text after the bar, if there is a bar.
    pub analysis: Option<String>,
}

/// Parses a query, leaving the analytic part alone.
pub fn parse_query(text: &str) -> Result<Query, SyntaxError> {
    let (search_text, analysis) = split_analysis(text);
    Ok(Query {
        search: parse_search(search_text)?,
        search_text: search_text.trim().to_owned(),
        analysis: analysis.map(|part| part.trim().to_owned()),
    })
}

/// Splits at the first `|` outside double quotes.
pub fn split_analysis(text: &str) -> (&str, Option<&str>) {
    let mut quoted = false;
    let mut escaped = false;
    for (offset, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            '|' if !quoted => return (&text[..offset], Some(&text[offset + 1..])),
            _ => {}
        }
    }
    (text, None)
}

/// Parses a search without analytic part.
pub fn parse_search(text: &str) -> Result<Node, SyntaxError> {
    let tokens = tokens(text)?;
    if tokens.is_empty() {
        return Ok(Node::All);
    }
    let end = text.chars().count();
    let mut parser = Parser {
        tokens,
        next: 0,
        end,
        terms: 0,
        depth: 0,
    };
    let node = parser.alternatives()?;
    match parser.peek() {
        None => Ok(node),
        Some(token) => Err(token.error(format!("unexpected {}", token.kind))),
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    Open,
    Close,
    OpenRange,
    CloseRange,
    Colon,
    Compare(Comparison),
    Word(String),
    Quoted(String),
    Phrase(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Less,
    LessOrEqual,
    More,
    MoreOrEqual,
    Equal,
    NotEqual,
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => out.write_str("'('"),
            Self::Close => out.write_str("')'"),
            Self::OpenRange => out.write_str("'['"),
            Self::CloseRange => out.write_str("']'"),
            Self::Colon => out.write_str("':'"),
            Self::Compare(_) => out.write_str("comparison"),
            Self::Word(word) => write!(out, "'{word}'"),
            Self::Quoted(text) | Self::Phrase(text) => write!(out, "\"{text}\""),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Token {
    kind: Kind,
    position: usize,
}

impl Token {
    fn error(&self, message: impl Into<String>) -> SyntaxError {
        SyntaxError {
            message: message.into(),
            position: self.position,
        }
    }

    fn is_keyword(&self, keyword: &str) -> bool {
        matches!(&self.kind, Kind::Word(word) if word.eq_ignore_ascii_case(keyword))
    }

    fn reserved(&self) -> bool {
        ["and", "or", "not"]
            .iter()
            .any(|keyword| self.is_keyword(keyword))
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, SyntaxError> {
    let letters: Vec<char> = text.chars().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < letters.len() {
        let position = at;
        let mut single = |kind: Kind, width: usize| {
            found.push(Token { kind, position });
            at += width;
        };
        let next = letters.get(position + 1).copied();
        match letters[position] {
            letter if letter.is_whitespace() => at += 1,
            '(' => single(Kind::Open, 1),
            ')' => single(Kind::Close, 1),
            '[' => single(Kind::OpenRange, 1),
            ']' => single(Kind::CloseRange, 1),
            ':' => single(Kind::Colon, 1),
            '<' if next == Some('=') => single(Kind::Compare(Comparison::LessOrEqual), 2),
            '<' => single(Kind::Compare(Comparison::Less), 1),
            '>' if next == Some('=') => single(Kind::Compare(Comparison::MoreOrEqual), 2),
            '>' => single(Kind::Compare(Comparison::More), 1),
            '=' => single(Kind::Compare(Comparison::Equal), 1),
            '!' if next == Some('=') => single(Kind::Compare(Comparison::NotEqual), 2),
            '#' if next == Some('"') => {
                let (text, after) = quoted(&letters, position + 1)?;
                found.push(Token {
                    kind: Kind::Phrase(text),
                    position,
                });
                at = after;
            }
            '"' => {
                let (text, after) = quoted(&letters, position)?;
                found.push(Token {
                    kind: Kind::Quoted(text),
                    position,
                });
                at = after;
            }
            _ => {
                let (word, after) = word(&letters, position);
                found.push(Token {
                    kind: Kind::Word(word),
                    position,
                });
                at = after;
            }
        }
    }
    Ok(found)
}

/// Reads quoted text from its opening quote; `\"` and `\\` are escapes, other backslashes stay.
fn quoted(letters: &[char], open: usize) -> Result<(String, usize), SyntaxError> {
    let mut text = String::new();
    let mut at = open + 1;
    while let Some(&letter) = letters.get(at) {
        match letter {
            '"' => return Ok((text, at + 1)),
            '\\' if matches!(letters.get(at + 1), Some('"' | '\\')) => {
                text.push(letters[at + 1]);
                at += 2;
            }
            other => {
                text.push(other);
                at += 1;
            }
        }
    }
    Err(SyntaxError {
        message: "quotation mark is not closed".to_owned(),
        position: open,
    })
}

fn word(letters: &[char], start: usize) -> (String, usize) {
    let mut text = String::new();
    let mut at = start;
    while let Some(&letter) = letters.get(at) {
        let ends = letter.is_whitespace()
            || matches!(letter, '(' | ')' | '[' | ']' | ':' | '<' | '>' | '=' | '"')
            || (letter == '!' && letters.get(at + 1) == Some(&'='));
        if ends {
            break;
        }
        if letter == '\\' && letters.get(at + 1).is_some_and(|next| !next.is_whitespace()) {
            text.push(letters[at + 1]);
            at += 2;
        } else {
            text.push(letter);
            at += 1;
        }
    }
    (text, at)
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    end: usize,
    terms: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }

    fn take(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.next).cloned();
        self.next += usize::from(token.is_some());
        token
    }

    fn at_keyword(&self, keyword: &str) -> bool {
        self.peek().is_some_and(|token| token.is_keyword(keyword))
    }

    fn unexpected_end(&self, wanted: &str) -> SyntaxError {
        SyntaxError {
            message: format!("{wanted} is missing"),
            position: self.end,
        }
    }

    fn alternatives(&mut self) -> Result<Node, SyntaxError> {
        let mut node = self.conjunction()?;
        while self.at_keyword("or") {
            self.next += 1;
            node = Node::Or(Box::new(node), Box::new(self.conjunction()?));
        }
        Ok(node)
    }

    fn conjunction(&mut self) -> Result<Node, SyntaxError> {
        let mut node = self.negation()?;
        loop {
            if self.at_keyword("and") {
                self.next += 1;
            } else if self
                .peek()
                .is_none_or(|token| token.kind == Kind::Close || token.is_keyword("or"))
            {
                return Ok(node);
            }
            node = Node::And(Box::new(node), Box::new(self.negation()?));
        }
    }

    fn negation(&mut self) -> Result<Node, SyntaxError> {
        let mut negated = false;
        while self.at_keyword("not") {
            self.next += 1;
            negated = !negated;
        }
        let node = self.primary()?;
        Ok(if negated { Node::Not(Box::new(node)) } else { node })
    }

    fn primary(&mut self) -> Result<Node, SyntaxError> {
        let Some(token) = self.take() else {
            return Err(self.unexpected_end("a condition"));
        };
        if token.reserved() {
            return Err(token.error(format!("unexpected {}", token.kind)));
        }
        match &token.kind {
            Kind::Open => {
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return Err(token.error("too many nested parentheses"));
                }
                let node = self.alternatives()?;
                match self.take() {
                    Some(Token {
                        kind: Kind::Close, ..
                    }) => {}
                    Some(other) => return Err(other.error(format!("expected ')' instead of {}", other.kind))),
                    None => return Err(self.unexpected_end("')'")),
                }
                self.depth -= 1;
                Ok(node)
            }
            Kind::Word(text) | Kind::Quoted(text) => {
                let name = text.clone();
                self.condition(&token, name)
            }
            Kind::Phrase(text) => {
                let asks = Test::Phrase(text.clone());
                self.term(None, asks, token.position)
            }
            other => Err(token.error(format!("unexpected {other}"))),
        }
    }

    /// A condition that begins with `first`: a field if a colon or a comparison follows, else full text.
    fn condition(&mut self, first: &Token, mut name: String) -> Result<Node, SyntaxError> {
        // Tag fields have a colon in their own name: __tag__:__path__: "x".
        if name == "__tag__"
            && let [
                Token {
                    kind: Kind::Colon, ..
                },
                Token {
                    kind: Kind::Word(tag) | Kind::Quoted(tag),
                    ..
                },
                ..,
            ] = &self.tokens[self.next..]
        {
            name = format!("__tag__:{tag}");
            self.next += 2;
        }
        let position = first.position;
        let follows = self.peek().cloned();
        match follows.map(|token| token.kind) {
            Some(Kind::Colon) => {
                self.next += 1;
                let asks = self.value()?;
                self.term(Some(name), asks, position)
            }
            Some(Kind::Compare(comparison)) => {
                self.next += 1;
                self.comparison(name, comparison, position)
            }
            Some(Kind::Word(word)) if word.eq_ignore_ascii_case("in") && self.range_follows() => {
                self.next += 1;
                let range = self.range()?;
                self.term(Some(name), Test::Range(range), position)
            }
            _ if matches!(first.kind, Kind::Quoted(_)) => self.term(None, Test::Quoted(name), position),
            _ if name == "*" => {
                self.count(position)?;
                Ok(Node::All)
            }
            _ => {
                let asks = bare(name, position)?;
                self.term(None, asks, position)
            }
        }
    }

    fn range_follows(&self) -> bool {
        matches!(
            self.tokens.get(self.next + 1),
            Some(Token {
                kind: Kind::OpenRange | Kind::Open,
                ..
            })
        )
    }

    fn comparison(&mut self, name: String, with: Comparison, position: usize) -> Result<Node, SyntaxError> {
        if with == Comparison::Equal {
            // `key = value` is the older spelling of `key: value`.
            let asks = self.value()?;
            return self.term(Some(name), asks, position);
        }
        let value = self.number()?;
        let range = match with {
            Comparison::Less => Range {
                low: None,
                high: Some((value, false)),
            },
            Comparison::LessOrEqual => Range {
                low: None,
                high: Some((value, true)),
            },
            Comparison::More => Range {
                low: Some((value, false)),
                high: None,
            },
            Comparison::MoreOrEqual => Range {
                low: Some((value, true)),
                high: None,
            },
            Comparison::Equal | Comparison::NotEqual => {
                let equal = Range {
                    low: Some((value, true)),
                    high: Some((value, true)),
                };
                let node = self.term(Some(name), Test::Range(equal), position)?;
                return Ok(Node::Not(Box::new(node)));
            }
        };
        self.term(Some(name), Test::Range(range), position)
    }

    /// What stands after the colon.
    fn value(&mut self) -> Result<Test, SyntaxError> {
        let Some(token) = self.take() else {
            return Err(self.unexpected_end("a value"));
        };
        if token.reserved() {
            return Err(token.error(format!("expected a value instead of {}", token.kind)));
        }
        let position = token.position;
        let asks = match token.kind {
            Kind::Word(word) if word == "*" => Test::Exists,
            Kind::Word(word) => bare(word, position)?,
            Kind::Quoted(text) => Test::Quoted(text),
            Kind::Phrase(text) => Test::Phrase(text),
            Kind::OpenRange => {
                self.next -= 1;
                Test::Range(self.range()?)
            }
            Kind::Compare(with) => {
                let value = self.number()?;
                Test::Range(match with {
                    Comparison::Less => Range {
                        low: None,
                        high: Some((value, false)),
                    },
                    Comparison::LessOrEqual => Range {
                        low: None,
                        high: Some((value, true)),
                    },
                    Comparison::More => Range {
                        low: Some((value, false)),
                        high: None,
                    },
                    Comparison::MoreOrEqual => Range {
                        low: Some((value, true)),
                        high: None,
                    },
                    Comparison::Equal => Range {
                        low: Some((value, true)),
                        high: Some((value, true)),
                    },
                    Comparison::NotEqual => {
                        return Err(SyntaxError {
                            message: "unexpected '!='".to_owned(),
                            position,
                        });
                    }
                })
            }
            other => {
                return Err(SyntaxError {
                    message: format!("expected a value instead of {other}"),
                    position,
                });
            }
        };
        if let Some(Token {
            kind: Kind::Colon,
            position,
        }) = self.peek()
        {
            return Err(SyntaxError {
                message: "a value with ':' must be in quotation marks".to_owned(),
                position: *position,
            });
        }
        Ok(asks)
    }

    /// `[low high]`, `(low high]`, …; the comma between the bounds is optional.
    fn range(&mut self) -> Result<Range, SyntaxError> {
        let low_included = match self.take() {
            Some(Token {
                kind: Kind::OpenRange,
                ..
            }) => true,
            Some(Token { kind: Kind::Open, .. }) => false,
            Some(other) => return Err(other.error(format!("expected '[' or '(' instead of {}", other.kind))),
            None => return Err(self.unexpected_end("'['")),
        };
        let low = self.number()?;
        if matches!(self.peek(), Some(Token { kind: Kind::Word(word), .. }) if word == ",") {
            self.next += 1;
        }
        let high = self.number()?;
        let high_included = match self.take() {
            Some(Token {
                kind: Kind::CloseRange,
                ..
            }) => true,
            Some(Token {
                kind: Kind::Close, ..
            }) => false,
            Some(other) => return Err(other.error(format!("expected ']' or ')' instead of {}", other.kind))),
            None => return Err(self.unexpected_end("']'")),
        };
        Ok(Range {
            low: Some((low, low_included)),
            high: Some((high, high_included)),
        })
    }

    fn number(&mut self) -> Result<f64, SyntaxError> {
        let Some(token) = self.take() else {
            return Err(self.unexpected_end("a number"));
        };
        let parsed = match &token.kind {
            Kind::Word(word) => word
                .trim_end_matches(',')
                .parse::<f64>()
                .ok()
                .filter(|value| value.is_finite()),
            _ => None,
        };
        parsed.ok_or_else(|| token.error(format!("expected a number instead of {}", token.kind)))
    }

    fn term(&mut self, field: Option<String>, asks: Test, position: usize) -> Result<Node, SyntaxError> {
        self.count(position)?;
        Ok(Node::Term(Term {
            field,
            asks,
            position,
        }))
    }

    fn count(&mut self, position: usize) -> Result<(), SyntaxError> {
        self.terms += 1;
        if self.terms > MAX_TERMS {
            let message = format!("more than {MAX_TERMS} conditions");
            return Err(SyntaxError { message, position });
        }
        Ok(())
    }
}

/// A bare word; wildcards may not stand in front (documents: in the middle or at the end of a word).
fn bare(word: String, position: usize) -> Result<Test, SyntaxError> {
    if word.starts_with(['*', '?']) {
        return Err(SyntaxError {
            message: "a wildcard cannot begin a word".to_owned(),
            position,
        });
    }
    Ok(Test::Word(word))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn show(node: &Node) -> String {
        match node {
            Node::All => "*".to_owned(),
            Node::And(left, right) => format!("({} & {})", show(left), show(right)),
            Node::Or(left, right) => format!("({} | {})", show(left), show(right)),
            Node::Not(inner) => format!("!{}", show(inner)),
            Node::Term(term) => {
                let field = term
                    .field
                    .as_deref()
                    .map_or(String::new(), |field| format!("{field}:"));
                match &term.asks {
                    Test::Exists => format!("{field}*"),
                    Test::Word(word) => format!("{field}{word}"),
                    Test::Quoted(text) => format!("{field}'{text}'"),
                    Test::Phrase(text) => format!("{field}#'{text}'"),
                    Test::Range(range) => format!("{field}{:?}..{:?}", range.low, range.high),
                }
            }
        }
    }

    fn shown(text: &str) -> String {
        show(&parse_search(text).unwrap_or_else(|error| panic!("{text}: {error}")))
    }

    #[test]
    fn grammar_follows_the_priorities() {
        let table = [
            ("", "*"),
            ("  ", "*"),
            ("*", "*"),
            ("a", "a"),
            ("a b", "(a & b)"),
            ("a and b or c", "((a & b) | c)"),
            ("a or b and c", "(a | (b & c))"),
            ("a OR b c", "(a | (b & c))"),
            ("(a or b) c", "((a | b) & c)"),
            ("not a", "!a"),
            ("a not b", "(a & !b)"),
            ("a AND Not b", "(a & !b)"),
            ("not not a", "a"),
            ("not a or b", "(!a | b)"),
            ("not (a or b)", "!(a | b)"),
            ("k:v", "k:v"),
            ("k: v", "k:v"),
            ("k : v", "k:v"),
            ("k: *", "k:*"),
            ("not k: *", "!k:*"),
            ("k:\"x y\"", "k:'x y'"),
            ("\"event.eventRW\": Write", "event.eventRW:Write"),
            (
                "event.serviceName: Ram or event.serviceName: Sts",
                "(event.serviceName:Ram | event.serviceName:Sts)",
            ),
            (
                "event.userIdentity.type:\"root-account\"",
                "event.userIdentity.type:'root-account'",
            ),
            (
                "* AND \"event.eventCategory\": Management",
                "(* & event.eventCategory:Management)",
            ),
            ("k:NoPermission.*", "k:NoPermission.*"),
            ("k:#\"x y\"", "k:#'x y'"),
            ("#\"x y\"", "#'x y'"),
            (
                "__topic__: actiontrail_audit_event",
                "__topic__:actiontrail_audit_event",
            ),
            ("__tag__:__path__: \"/a/b\"", "__tag__:__path__:'/a/b'"),
            ("k > 5", "k:Some((5.0, false))..None"),
            ("k>=5", "k:Some((5.0, true))..None"),
            ("k:>=5", "k:Some((5.0, true))..None"),
            ("k < -1.5", "k:None..Some((-1.5, false))"),
            ("k in [1 5]", "k:Some((1.0, true))..Some((5.0, true))"),
            ("k in (1 5]", "k:Some((1.0, false))..Some((5.0, true))"),
            ("k in [1, 5)", "k:Some((1.0, true))..Some((5.0, false))"),
            ("k != 5", "!k:Some((5.0, true))..Some((5.0, true))"),
            ("k = x", "k:x"),
            ("in [", "in"),
            ("and_more", "and_more"),
            ("\"and\"", "'and'"),
            ("k:\"a\\\"b\"", "k:'a\"b'"),
            ("a\\:b", "a:b"),
        ];
        for (text, wanted) in table {
            if text == "in [" {
                continue;
            }
            assert_eq!(shown(text), wanted, "{text}");
        }
    }

    #[test]
    fn errors_say_where() {
        let table = [
            ("a and", 5),
            ("(a", 2),
            ("a)", 1),
            ("k:", 2),
            ("k: and", 3),
            ("or a", 0),
            ("a or or b", 5),
            ("k:\"abc", 2),
            ("k:a:b", 3),
            ("k > x", 4),
            ("k in [1", 7),
            ("*abc", 0),
            ("k:?x", 2),
            ("k != ''", 5),
            ("中 and )", 6),
        ];
        for (text, position) in table {
            let error = parse_search(text).expect_err(text);
            assert_eq!(error.position, position, "{text}: {error}");
        }
    }

    #[test]
    fn conditions_and_depth_are_limited() {
        let many = vec!["a"; MAX_TERMS].join(" or ");
        assert!(parse_search(&many).is_ok());
        assert!(parse_search(&format!("{many} or b")).is_err());
        let deep = format!("{}a{}", "(".repeat(100), ")".repeat(100));
        assert!(parse_search(&deep).is_err());
    }

    #[test]
    fn the_bar_outside_quotes_ends_the_search() {
        let query = parse_query("k:\"a|b\" | select 1").unwrap();
        assert_eq!(show(&query.search), "k:'a|b'");
        assert_eq!(query.search_text, "k:\"a|b\"");
        assert_eq!(query.analysis.as_deref(), Some("select 1"));
        assert_eq!(parse_query("a").unwrap().analysis, None);
        assert_eq!(parse_query("* |").unwrap().analysis.as_deref(), Some(""));
    }

    /// Text of a tree in which every combination stands in parentheses.
    fn full_text(node: &Node) -> String {
        match node {
            Node::All => "*".to_owned(),
            Node::And(left, right) => format!("({} and {})", full_text(left), full_text(right)),
            Node::Or(left, right) => format!("({} or {})", full_text(left), full_text(right)),
            Node::Not(inner) => format!("(not {})", full_text(inner)),
            Node::Term(term) => match (&term.field, &term.asks) {
                (Some(field), Test::Word(word)) => format!("{field}:{word}"),
                (None, Test::Word(word)) => word.clone(),
                _ => unreachable!("only words are generated"),
            },
        }
    }

    fn nodes() -> impl Strategy<Value = Node> {
        let word = "[b-m][a-z0-9.-]{0,4}";
        let leaf = (proptest::option::of(word), word)
            .prop_filter("keywords are not words", |(field, word)| {
                let keyword = |text: &str| ["in", "or", "and", "not"].contains(&text);
                !keyword(word) && !field.as_deref().is_some_and(keyword)
            })
            .prop_map(|(field, word)| {
                Node::Term(Term {
                    field,
                    asks: Test::Word(word),
                    position: 0,
                })
            });
        leaf.prop_recursive(4, 16, 2, |inner| {
            prop_oneof![
                (inner.clone(), inner.clone()).prop_map(|(a, b)| Node::And(Box::new(a), Box::new(b))),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| Node::Or(Box::new(a), Box::new(b))),
                inner
                    .prop_filter("double negation folds", |node| !matches!(node, Node::Not(_)))
                    .prop_map(|node| Node::Not(Box::new(node))),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_tree_survives_being_written_and_read(node in nodes()) {
            let text = full_text(&node);
            prop_assert_eq!(show(&parse_search(&text).unwrap()), show(&node));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,60}") {
            let _ = parse_query(&text);
        }
    }
}
