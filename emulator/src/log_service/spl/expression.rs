//! Expressions of SPL: grammar, types, evaluation with SQL's three-valued logic.

use std::collections::{BTreeMap, BTreeSet};

use super::lexer::{Token, TokenKind};
use super::{RowError, ScriptError};

/// Expressions nested deeper are refused; parser and evaluator are recursive.
const MAX_DEPTH: usize = 64;

/// Types of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text; every log field.
    Varchar,
    /// 64-bit whole number.
    Bigint,
    /// Floating point.
    Double,
    /// Truth value.
    Boolean,
    /// JSON.
    Json,
    /// The literal null.
    Unknown,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Varchar => "varchar",
            Self::Bigint => "bigint",
            Self::Double => "double",
            Self::Boolean => "boolean",
            Self::Json => "json",
            Self::Unknown => "unknown",
        }
    }

    fn is_number(self) -> bool {
        matches!(self, Self::Bigint | Self::Double)
    }

    /// The type that holds both, if there is one.
    fn common(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Unknown, kind) | (kind, Self::Unknown) => Some(kind),
            (left, right) if left == right => Some(left),
            (left, right) if left.is_number() && right.is_number() => Some(Self::Double),
            _ => None,
        }
    }
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// Text.
    Text(String),
    /// Whole number.
    Integer(i64),
    /// Number.
    Double(f64),
    /// Truth value.
    Bool(bool),
    /// JSON.
    Json(serde_json::Value),
}

impl Value {
    /// The value as a log field; null is no field.
    pub fn into_field(self) -> Option<String> {
        match self {
            Self::Null => None,
            Self::Text(text) => Some(text),
            Self::Integer(number) => Some(number.to_string()),
            Self::Double(number) => Some(number.to_string()),
            Self::Bool(truth) => Some(truth.to_string()),
            Self::Json(json) => Some(json.to_string()),
        }
    }

    #[allow(clippy::cast_precision_loss)] // SQL's own conversion of bigint to double
    fn number(&self) -> Option<f64> {
        match self {
            Self::Integer(number) => Some(*number as f64),
            Self::Double(number) => Some(*number),
            _ => None,
        }
    }
}

/// Where columns get their values.
pub(super) trait Columns {
    fn value(&self, name: &str) -> Value;
}

impl Columns for BTreeMap<String, Value> {
    fn value(&self, name: &str) -> Value {
        self.get(name).cloned().unwrap_or(Value::Null)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    More,
    MoreOrEqual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    JsonExtractScalar,
    JsonExtract,
    Lower,
    Upper,
    Length,
    Coalesce,
    RegexpLike,
}

impl Function {
    fn named(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "json_extract_scalar" => Some(Self::JsonExtractScalar),
            "json_extract" => Some(Self::JsonExtract),
            "lower" => Some(Self::Lower),
            "upper" => Some(Self::Upper),
            "length" => Some(Self::Length),
            "coalesce" => Some(Self::Coalesce),
            "regexp_like" => Some(Self::RegexpLike),
            _ => None,
        }
    }
}

/// An expression.
#[derive(Debug, Clone)]
pub(super) enum Expression {
    Column(String),
    Literal(Value),
    Not(Box<Expression>),
    And(Box<Expression>, Box<Expression>),
    Or(Box<Expression>, Box<Expression>),
    Compare(Comparison, Box<Expression>, Box<Expression>),
    In {
        item: Box<Expression>,
        list: Vec<Expression>,
        negated: bool,
    },
    Like {
        item: Box<Expression>,
        pattern: Box<Expression>,
        escape: Option<char>,
        negated: bool,
    },
    IsNull {
        item: Box<Expression>,
        negated: bool,
    },
    Call {
        function: Function,
        arguments: Vec<Expression>,
        path: Option<Vec<Step>>,
        regex: Option<regex_lite::Regex>,
    },
    Cast {
        item: Box<Expression>,
        to: Kind,
        lenient: bool,
    },
}

/// One step of a JSON path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Member(String),
    Element(usize),
}

/// A reader of tokens, shared by expressions and commands.
pub(super) struct Reader<'t> {
    tokens: &'t [Token],
    next: usize,
    end: usize,
    depth: usize,
}

impl<'t> Reader<'t> {
    pub(super) fn new(tokens: &'t [Token], end: usize) -> Self {
        Self {
            tokens,
            next: 0,
            end,
            depth: 0,
        }
    }

    pub(super) fn peek(&self) -> Option<&'t TokenKind> {
        self.tokens.get(self.next).map(|token| &token.kind)
    }

    pub(super) fn take(&mut self) -> Option<&'t TokenKind> {
        let kind = self.peek();
        self.next += usize::from(kind.is_some());
        kind
    }

    pub(super) fn position(&self) -> usize {
        self.tokens
            .get(self.next)
            .map_or(self.end, |token| token.position)
    }

    pub(super) fn error(&self, message: impl Into<String>) -> ScriptError {
        ScriptError {
            message: message.into(),
            position: self.position(),
        }
    }

    pub(super) fn unexpected(&self, wanted: &str) -> ScriptError {
        match self.peek() {
            Some(kind) => self.error(format!("expected {wanted} instead of {}", kind.shown())),
            None => self.error(format!("expected {wanted} at the end")),
        }
    }

    pub(super) fn eat(&mut self, mark: &str) -> bool {
        let found = matches!(self.peek(), Some(TokenKind::Mark(found)) if *found == mark);
        self.next += usize::from(found);
        found
    }

    pub(super) fn expect(&mut self, mark: &'static str) -> Result<(), ScriptError> {
        if self.eat(mark) {
            Ok(())
        } else {
            Err(self.unexpected(mark))
        }
    }

    fn at_keyword(&self, ahead: usize, keyword: &str) -> bool {
        matches!(self.tokens.get(self.next + ahead), Some(Token { kind: TokenKind::Name(name), .. })
            if name.eq_ignore_ascii_case(keyword))
    }

    pub(super) fn eat_keyword(&mut self, keyword: &str) -> bool {
        let found = self.at_keyword(0, keyword);
        self.next += usize::from(found);
        found
    }

    /// A field name.
    pub(super) fn field(&mut self) -> Result<String, ScriptError> {
        match self.peek() {
            Some(TokenKind::Quoted(name)) => {
                self.next += 1;
                Ok(name.clone())
            }
            Some(TokenKind::Name(name)) if !is_keyword(name) => {
                self.next += 1;
                Ok(name.clone())
            }
            _ => Err(self.unexpected("a field name")),
        }
    }

    /// Reads an expression and checks its types against the columns' types.
    pub(super) fn typed(
        &mut self,
        schema: &BTreeMap<String, Kind>,
    ) -> Result<(Expression, Kind), ScriptError> {
        let position = self.position();
        let expression = self.alternatives()?;
        let kind = kind_of(&expression, schema).map_err(|message| ScriptError { message, position })?;
        Ok((expression, kind))
    }

    fn alternatives(&mut self) -> Result<Expression, ScriptError> {
        let mut left = self.conjunction()?;
        while self.eat_keyword("or") {
            left = Expression::Or(Box::new(left), Box::new(self.conjunction()?));
        }
        Ok(left)
    }

    fn conjunction(&mut self) -> Result<Expression, ScriptError> {
        let mut left = self.negation()?;
        while self.eat_keyword("and") {
            left = Expression::And(Box::new(left), Box::new(self.negation()?));
        }
        Ok(left)
    }

    fn negation(&mut self) -> Result<Expression, ScriptError> {
        if !self.eat_keyword("not") {
            return self.predicate();
        }
        self.deeper()?;
        let inner = self.negation()?;
        self.depth -= 1;
        Ok(Expression::Not(Box::new(inner)))
    }

    fn deeper(&mut self) -> Result<(), ScriptError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            Err(self.error("the expression is nested too deep"))
        } else {
            Ok(())
        }
    }

    fn predicate(&mut self) -> Result<Expression, ScriptError> {
        let left = self.operand()?;
        let comparison = match self.peek() {
            Some(TokenKind::Mark("=" | "==")) => Some(Comparison::Equal),
            Some(TokenKind::Mark("!=" | "<>")) => Some(Comparison::NotEqual),
            Some(TokenKind::Mark("<")) => Some(Comparison::Less),
            Some(TokenKind::Mark("<=")) => Some(Comparison::LessOrEqual),
            Some(TokenKind::Mark(">")) => Some(Comparison::More),
            Some(TokenKind::Mark(">=")) => Some(Comparison::MoreOrEqual),
            _ => None,
        };
        if let Some(comparison) = comparison {
            self.next += 1;
            return Ok(Expression::Compare(
                comparison,
                Box::new(left),
                Box::new(self.operand()?),
            ));
        }
        if self.eat_keyword("is") {
            let negated = self.eat_keyword("not");
            if !self.eat_keyword("null") {
                return Err(self.unexpected("null"));
            }
            return Ok(Expression::IsNull {
                item: Box::new(left),
                negated,
            });
        }
        if self.at_keyword(0, "between") {
            return Err(self.error("between is not supported"));
        }
        let negated = self.at_keyword(0, "not") && (self.at_keyword(1, "in") || self.at_keyword(1, "like"));
        self.next += usize::from(negated);
        if self.eat_keyword("in") {
            self.expect("(")?;
            let mut list = vec![self.operand()?];
            while self.eat(",") {
                list.push(self.operand()?);
            }
            self.expect(")")?;
            return Ok(Expression::In {
                item: Box::new(left),
                list,
                negated,
            });
        }
        if self.eat_keyword("like") {
            let pattern = Box::new(self.operand()?);
            let escape = if self.eat_keyword("escape") {
                Some(self.escape()?)
            } else {
                None
            };
            return Ok(Expression::Like {
                item: Box::new(left),
                pattern,
                escape,
                negated,
            });
        }
        Ok(left)
    }

    fn escape(&mut self) -> Result<char, ScriptError> {
        let problem = self.unexpected("one character");
        let Some(TokenKind::Text(text)) = self.take() else {
            return Err(problem);
        };
        let mut letters = text.chars();
        match (letters.next(), letters.next()) {
            (Some(letter), None) => Ok(letter),
            _ => Err(problem),
        }
    }

    fn operand(&mut self) -> Result<Expression, ScriptError> {
        let problem = self.unexpected("a value");
        match self.take() {
            Some(TokenKind::Text(text)) => Ok(Expression::Literal(Value::Text(text.clone()))),
            Some(TokenKind::Integer(number)) => Ok(Expression::Literal(Value::Integer(*number))),
            Some(TokenKind::Decimal(number)) => Ok(Expression::Literal(Value::Double(*number))),
            Some(TokenKind::Mark("-")) => match self.take() {
                Some(TokenKind::Integer(number)) => Ok(Expression::Literal(Value::Integer(-number))),
                Some(TokenKind::Decimal(number)) => Ok(Expression::Literal(Value::Double(-number))),
                _ => Err(problem),
            },
            Some(TokenKind::Mark("(")) => {
                self.deeper()?;
                let inner = self.alternatives()?;
                self.expect(")")?;
                self.depth -= 1;
                Ok(inner)
            }
            Some(TokenKind::Quoted(name)) => Ok(Expression::Column(name.clone())),
            Some(TokenKind::Name(name)) if name.eq_ignore_ascii_case("true") => {
                Ok(Expression::Literal(Value::Bool(true)))
            }
            Some(TokenKind::Name(name)) if name.eq_ignore_ascii_case("false") => {
                Ok(Expression::Literal(Value::Bool(false)))
            }
            Some(TokenKind::Name(name)) if name.eq_ignore_ascii_case("null") => {
                Ok(Expression::Literal(Value::Null))
            }
            Some(TokenKind::Name(name)) if self.peek() == Some(&TokenKind::Mark("(")) => {
                self.next += 1;
                self.deeper()?;
                let call = self.call(name, problem)?;
                self.depth -= 1;
                Ok(call)
            }
            Some(TokenKind::Name(name)) if !is_keyword(name) => Ok(Expression::Column(name.clone())),
            _ => Err(problem),
        }
    }

    fn call(&mut self, name: &str, mut problem: ScriptError) -> Result<Expression, ScriptError> {
        let lenient = name.eq_ignore_ascii_case("try_cast");
        if lenient || name.eq_ignore_ascii_case("cast") {
            let item = Box::new(self.alternatives()?);
            if !self.eat_keyword("as") {
                return Err(self.unexpected("as"));
            }
            let wanted = self.unexpected("varchar, bigint, double or boolean");
            let to = match self.take() {
                Some(TokenKind::Name(name)) => kind_named(name).ok_or(wanted)?,
                _ => return Err(wanted),
            };
            self.expect(")")?;
            return Ok(Expression::Cast { item, to, lenient });
        }
        let Some(function) = Function::named(name) else {
            problem.message = format!("function {name} is not supported");
            return Err(problem);
        };
        let mut arguments = Vec::new();
        if !self.eat(")") {
            arguments.push(self.alternatives()?);
            while self.eat(",") {
                arguments.push(self.alternatives()?);
            }
            self.expect(")")?;
        }
        let text = match arguments.get(1) {
            Some(Expression::Literal(Value::Text(text))) => Some(text.as_str()),
            _ => None,
        };
        let mut refuse = |message: String| {
            problem.message = message;
            problem.clone()
        };
        let path = if matches!(function, Function::JsonExtract | Function::JsonExtractScalar) {
            let text = text.ok_or_else(|| refuse(format!("{name} needs a path in single quotes")))?;
            Some(json_path(text).ok_or_else(|| refuse(format!("Invalid JSON path: '{text}'")))?)
        } else {
            None
        };
        let regex = if function == Function::RegexpLike {
            let text = text.ok_or_else(|| refuse(format!("{name} needs a pattern in single quotes")))?;
            let regex = regex_lite::Regex::new(text);
            Some(regex.map_err(|error| refuse(format!("invalid pattern '{text}': {error}")))?)
        } else {
            None
        };
        Ok(Expression::Call {
            function,
            arguments,
            path,
            regex,
        })
    }
}

fn is_keyword(name: &str) -> bool {
    [
        "and", "or", "not", "in", "like", "is", "null", "escape", "as", "true", "false", "between",
    ]
    .iter()
    .any(|keyword| name.eq_ignore_ascii_case(keyword))
}

fn kind_named(name: &str) -> Option<Kind> {
    match name.to_ascii_lowercase().as_str() {
        "varchar" => Some(Kind::Varchar),
        "bigint" => Some(Kind::Bigint),
        "double" => Some(Kind::Double),
        "boolean" => Some(Kind::Boolean),
        _ => None,
    }
}

/// `$.a.b`, `$['a.b']`, `$.a[0]`.
fn json_path(text: &str) -> Option<Vec<Step>> {
    let mut rest = text.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            if end == 0 {
                return None;
            }
            steps.push(Step::Member(after[..end].to_owned()));
            rest = &after[end..];
        } else {
            let inner = rest.strip_prefix('[')?;
            let quote = inner.chars().next().filter(|letter| matches!(letter, '\'' | '"'));
            if let Some(quote) = quote {
                let (name, after) = inner[1..].split_once(quote)?;
                steps.push(Step::Member(name.to_owned()));
                rest = after.strip_prefix(']')?;
            } else {
                let (number, after) = inner.split_once(']')?;
                steps.push(Step::Element(number.parse().ok()?));
                rest = after;
            }
        }
    }
    Some(steps)
}

/// The type of an expression, or why it has none.
pub(super) fn kind_of(expression: &Expression, schema: &BTreeMap<String, Kind>) -> Result<Kind, String> {
    let inner = |expression: &Expression| kind_of(expression, schema);
    let boolean = |expression: &Expression, place: &str| match inner(expression)? {
        Kind::Boolean | Kind::Unknown => Ok(()),
        other => Err(format!("{place} must be boolean, not {}", other.name())),
    };
    let comparable = |left: Kind, right: Kind, operator: &str| match left.common(right) {
        Some(Kind::Json) => Err(format!(
            "'{operator}' cannot be applied to json: use json_extract_scalar or cast"
        )),
        Some(_) => Ok(()),
        None => Err(format!(
            "'{operator}' cannot be applied to {}, {}: use cast",
            left.name(),
            right.name()
        )),
    };
    match expression {
        Expression::Column(name) => Ok(schema.get(name).copied().unwrap_or(Kind::Varchar)),
        Expression::Literal(value) => Ok(match value {
            Value::Null => Kind::Unknown,
            Value::Text(_) => Kind::Varchar,
            Value::Integer(_) => Kind::Bigint,
            Value::Double(_) => Kind::Double,
            Value::Bool(_) => Kind::Boolean,
            Value::Json(_) => Kind::Json,
        }),
        Expression::Not(item) => boolean(item, "what 'not' denies").map(|()| Kind::Boolean),
        Expression::And(left, right) | Expression::Or(left, right) => {
            boolean(left, "each side of 'and' and 'or'")?;
            boolean(right, "each side of 'and' and 'or'")?;
            Ok(Kind::Boolean)
        }
        Expression::Compare(_, left, right) => {
            comparable(inner(left)?, inner(right)?, "comparison")?;
            Ok(Kind::Boolean)
        }
        Expression::In { item, list, .. } => {
            let kind = inner(item)?;
            for entry in list {
                comparable(kind, inner(entry)?, "in")?;
            }
            Ok(Kind::Boolean)
        }
        Expression::Like { item, pattern, .. } => {
            varchar(inner(item)?, "like")?;
            varchar(inner(pattern)?, "like")?;
            Ok(Kind::Boolean)
        }
        Expression::IsNull { item, .. } => inner(item).map(|_| Kind::Boolean),
        Expression::Cast { item, to, .. } => {
            let from = inner(item)?;
            let possible = from != Kind::Json || *to != Kind::Unknown;
            if possible {
                Ok(*to)
            } else {
                Err(format!("cannot cast {} to {}", from.name(), to.name()))
            }
        }
        Expression::Call {
            function, arguments, ..
        } => {
            let kinds: Vec<Kind> = arguments.iter().map(inner).collect::<Result<_, _>>()?;
            call_kind(*function, &kinds)
        }
    }
}

fn varchar(kind: Kind, place: &str) -> Result<(), String> {
    match kind {
        Kind::Varchar | Kind::Unknown => Ok(()),
        other => Err(format!("{place} cannot be applied to {}: use cast", other.name())),
    }
}

fn call_kind(function: Function, kinds: &[Kind]) -> Result<Kind, String> {
    let count = |wanted: usize| {
        if kinds.len() == wanted {
            Ok(())
        } else {
            Err(format!("{function:?} takes {wanted} arguments"))
        }
    };
    match function {
        Function::JsonExtract | Function::JsonExtractScalar => {
            count(2)?;
            if kinds[0] != Kind::Json {
                varchar(kinds[0], "json_extract")?;
            }
            Ok(if function == Function::JsonExtract {
                Kind::Json
            } else {
                Kind::Varchar
            })
        }
        Function::Lower | Function::Upper => {
            count(1)?;
            varchar(kinds[0], "lower and upper")?;
            Ok(Kind::Varchar)
        }
        Function::Length => {
            count(1)?;
            varchar(kinds[0], "length")?;
            Ok(Kind::Bigint)
        }
        Function::RegexpLike => {
            count(2)?;
            varchar(kinds[0], "regexp_like")?;
            Ok(Kind::Boolean)
        }
        Function::Coalesce => {
            let mut common = Some(Kind::Unknown);
            for kind in kinds {
                common = common.and_then(|held| held.common(*kind));
            }
            if kinds.is_empty() {
                return Err("coalesce takes at least one argument".to_owned());
            }
            common.ok_or_else(|| "all arguments of coalesce must be of one type: use cast".to_owned())
        }
    }
}

impl Expression {
    /// The value for one row.
    pub(super) fn value(&self, row: &dyn Columns) -> Result<Value, RowError> {
        match self {
            Self::Column(name) => Ok(row.value(name)),
            Self::Literal(value) => Ok(value.clone()),
            Self::Not(item) => Ok(item.truth(row)?.map_or(Value::Null, |truth| Value::Bool(!truth))),
            Self::And(left, right) => Ok(match (left.truth(row)?, right.truth(row)?) {
                (Some(false), _) | (_, Some(false)) => Value::Bool(false),
                (Some(true), Some(true)) => Value::Bool(true),
                _ => Value::Null,
            }),
            Self::Or(left, right) => Ok(match (left.truth(row)?, right.truth(row)?) {
                (Some(true), _) | (_, Some(true)) => Value::Bool(true),
                (Some(false), Some(false)) => Value::Bool(false),
                _ => Value::Null,
            }),
            Self::Compare(comparison, left, right) => {
                Ok(truth(compare(*comparison, &left.value(row)?, &right.value(row)?)))
            }
            Self::In { item, list, negated } => {
                let item = item.value(row)?;
                let mut found = Some(false);
                for entry in list {
                    match compare(Comparison::Equal, &item, &entry.value(row)?) {
                        Some(true) => {
                            found = Some(true);
                            break;
                        }
                        Some(false) => {}
                        None => found = None,
                    }
                }
                Ok(truth(found.map(|found| found != *negated)))
            }
            Self::Like {
                item,
                pattern,
                escape,
                negated,
            } => {
                let (Value::Text(text), Value::Text(pattern)) = (item.value(row)?, pattern.value(row)?)
                else {
                    return Ok(Value::Null);
                };
                Ok(Value::Bool(like(&text, &pattern, *escape) != *negated))
            }
            Self::IsNull { item, negated } => Ok(Value::Bool((item.value(row)? == Value::Null) != *negated)),
            Self::Cast { item, to, lenient } => {
                let value = item.value(row)?;
                match cast(&value, *to) {
                    Some(value) => Ok(value),
                    None if *lenient => Ok(Value::Null),
                    None => Err(RowError(format!("cannot cast {value:?} to {}", to.name()))),
                }
            }
            Self::Call {
                function,
                arguments,
                path,
                regex,
            } => call(*function, arguments, path.as_deref(), regex.as_ref(), row),
        }
    }

    /// The truth value; none is unknown.
    pub(super) fn truth(&self, row: &dyn Columns) -> Result<Option<bool>, RowError> {
        Ok(match self.value(row)? {
            Value::Bool(truth) => Some(truth),
            _ => None,
        })
    }

    /// Texts that some condition accepts (`=`, `in`, `like`): the more there are, the wider the filter.
    pub(super) fn accepted(&self, into: &mut BTreeSet<String>) {
        let mut text = |expression: &Expression| {
            if let Self::Literal(Value::Text(text)) = expression {
                into.insert(text.clone());
            }
        };
        match self {
            Self::Compare(Comparison::Equal, left, right) => {
                text(left);
                text(right);
            }
            Self::In {
                list, negated: false, ..
            } => list.iter().for_each(text),
            Self::Like {
                pattern,
                negated: false,
                ..
            } => text(pattern),
            Self::And(left, right) | Self::Or(left, right) => {
                left.accepted(into);
                right.accepted(into);
            }
            _ => {}
        }
    }
}

fn truth(found: Option<bool>) -> Value {
    found.map_or(Value::Null, Value::Bool)
}

fn compare(comparison: Comparison, left: &Value, right: &Value) -> Option<bool> {
    let order = match (left, right) {
        (Value::Text(left), Value::Text(right)) => left.cmp(right),
        (Value::Integer(left), Value::Integer(right)) => left.cmp(right),
        (Value::Bool(left), Value::Bool(right)) => left.cmp(right),
        (left, right) => left.number()?.partial_cmp(&right.number()?)?,
    };
    Some(match comparison {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::More => order.is_gt(),
        Comparison::MoreOrEqual => order.is_ge(),
    })
}

#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)] // SQL's own conversions
fn cast(value: &Value, to: Kind) -> Option<Value> {
    let text = match value {
        Value::Null | Value::Json(serde_json::Value::Null) => return Some(Value::Null),
        Value::Json(serde_json::Value::String(text)) => text.clone(),
        other => other.clone().into_field()?,
    };
    match to {
        Kind::Varchar => Some(Value::Text(text)),
        Kind::Bigint => match value {
            Value::Double(number) => Some(Value::Integer(number.round() as i64)),
            Value::Bool(truth) => Some(Value::Integer(i64::from(*truth))),
            _ => text.trim().parse().ok().map(Value::Integer),
        },
        Kind::Double => match value {
            Value::Integer(number) => Some(Value::Double(*number as f64)),
            _ => text.trim().parse().ok().map(Value::Double),
        },
        Kind::Boolean => match text.to_ascii_lowercase().as_str() {
            "true" | "t" | "1" => Some(Value::Bool(true)),
            "false" | "f" | "0" => Some(Value::Bool(false)),
            _ => None,
        },
        Kind::Json | Kind::Unknown => None,
    }
}

fn call(
    function: Function,
    arguments: &[Expression],
    path: Option<&[Step]>,
    regex: Option<&regex_lite::Regex>,
    row: &dyn Columns,
) -> Result<Value, RowError> {
    if function == Function::Coalesce {
        for argument in arguments {
            let value = argument.value(row)?;
            if value != Value::Null {
                return Ok(value);
            }
        }
        return Ok(Value::Null);
    }
    let first = arguments
        .first()
        .map_or(Ok(Value::Null), |argument| argument.value(row))?;
    Ok(match (function, first) {
        (_, Value::Null) => Value::Null,
        (Function::Lower, Value::Text(text)) => Value::Text(text.to_lowercase()),
        (Function::Upper, Value::Text(text)) => Value::Text(text.to_uppercase()),
        (Function::Length, Value::Text(text)) => {
            Value::Integer(i64::try_from(text.chars().count()).unwrap_or(i64::MAX))
        }
        (Function::RegexpLike, Value::Text(text)) => truth(regex.map(|regex| regex.is_match(&text))),
        (Function::JsonExtract | Function::JsonExtractScalar, document) => {
            let document = match document {
                Value::Json(json) => Some(json),
                Value::Text(text) => serde_json::from_str(&text).ok(),
                _ => None,
            };
            let found = document
                .as_ref()
                .and_then(|document| walk(document, path.unwrap_or_default()));
            match (function, found) {
                (Function::JsonExtract, Some(found)) => Value::Json(found.clone()),
                (_, Some(serde_json::Value::String(text))) => Value::Text(text.clone()),
                (_, Some(found @ (serde_json::Value::Bool(_) | serde_json::Value::Number(_)))) => {
                    Value::Text(found.to_string())
                }
                // Nothing there, or no scalar.
                (_, _) => Value::Null,
            }
        }
        _ => Value::Null,
    })
}

fn walk<'v>(mut value: &'v serde_json::Value, path: &[Step]) -> Option<&'v serde_json::Value> {
    for step in path {
        value = match step {
            Step::Member(name) => value.get(name)?,
            Step::Element(number) => value.get(number)?,
        };
    }
    Some(value)
}

/// `%` is any text, `_` one character, the escape makes the next one plain.
fn like(text: &str, pattern: &str, escape: Option<char>) -> bool {
    #[derive(PartialEq)]
    enum Piece {
        Any,
        One,
        Plain(char),
    }
    let mut pieces = Vec::new();
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        pieces.push(match letter {
            _ if Some(letter) == escape => match letters.next() {
                Some(next) => Piece::Plain(next),
                None => return false,
            },
            '%' => Piece::Any,
            '_' => Piece::One,
            other => Piece::Plain(other),
        });
    }
    // reachable[i]: the first i pieces can match the text read so far.
    let mut reachable = vec![false; pieces.len() + 1];
    reachable[0] = true;
    for (at, piece) in pieces.iter().enumerate() {
        reachable[at + 1] = reachable[at] && *piece == Piece::Any;
    }
    for letter in text.chars() {
        let before = reachable.clone();
        reachable[0] = false;
        for (at, piece) in pieces.iter().enumerate() {
            reachable[at + 1] = match piece {
                Piece::Any => reachable[at] || before[at + 1],
                Piece::One => before[at],
                Piece::Plain(plain) => before[at] && *plain == letter,
            };
        }
    }
    reachable[pieces.len()]
}
