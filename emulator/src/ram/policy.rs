//! Policy documents: reading, checking and evaluating them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use serde_json::Value;

/// Facts of a call that conditions may ask for, by key (`acs:SourceIp`, `ram:ServiceName`, …).
pub type ConditionFacts = BTreeMap<String, String>;

/// What a set of documents says about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// An Allow applies and no Deny.
    Allowed,
    /// A Deny applies.
    Denied,
    /// Nothing applies.
    Silent,
}

/// A parsed document.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    statements: Vec<Statement>,
}

#[derive(Debug, Clone, PartialEq)]
struct Statement {
    allow: bool,
    actions: Vec<String>,
    not_actions: Vec<String>,
    resources: Vec<String>,
    not_resources: Vec<String>,
    conditions: Vec<Condition>,
    principals: Vec<(String, Vec<String>)>,
}

#[derive(Debug, Clone, PartialEq)]
struct Condition {
    operator: String,
    key: String,
    values: Vec<String>,
}

const OPERATORS: &[&str] = &[
    "StringEquals",
    "StringNotEquals",
    "StringEqualsIgnoreCase",
    "StringNotEqualsIgnoreCase",
    "StringLike",
    "StringNotLike",
    "NumericEquals",
    "NumericNotEquals",
    "NumericLessThan",
    "NumericLessThanEquals",
    "NumericGreaterThan",
    "NumericGreaterThanEquals",
    "DateEquals",
    "DateNotEquals",
    "DateLessThan",
    "DateLessThanEquals",
    "DateGreaterThan",
    "DateGreaterThanEquals",
    "Bool",
    "IpAddress",
    "NotIpAddress",
];

/// Which kind of document is read: one that grants, or one that says who may assume a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DocumentKind {
    /// Needs Action and Resource.
    Permission,
    /// Needs Action and Principal.
    Trust,
}

impl Document {
    /// Reads a document; the error is text for a person.
    pub fn parse(text: &str, kind: DocumentKind) -> Result<Self, String> {
        let value: Value = serde_json::from_str(text).map_err(|_| "the document is not JSON".to_owned())?;
        let object = value.as_object().ok_or("the document is not an object")?;
        if object.get("Version").and_then(Value::as_str) != Some("1") {
            return Err("Version must be \"1\"".to_owned());
        }
        let statements = match object.get("Statement") {
            Some(Value::Array(items)) => items.iter().map(|item| statement(item, kind)).collect(),
            Some(item @ Value::Object(_)) => statement(item, kind).map(|one| vec![one]),
            _ => Err("Statement is missing".to_owned()),
        }?;
        Ok(Self { statements })
    }

    /// Evaluates the document for one action on one resource.
    pub fn verdict(&self, action: &str, resource: &str, facts: &ConditionFacts) -> Verdict {
        let mut verdict = Verdict::Silent;
        for statement in &self.statements {
            if !(statement.covers_action(action)
                && statement.covers_resource(resource)
                && statement
                    .conditions
                    .iter()
                    .all(|condition| condition.holds(facts)))
            {
                continue;
            }
            if !statement.allow {
                return Verdict::Denied;
            }
            verdict = Verdict::Allowed;
        }
        verdict
    }

    /// Whether a trust document lets a principal (kind `RAM`, `Service` or `Federated`) do `action`. A RAM
    /// principal `acs:ram::<uid>:root` stands for everybody in that account.
    pub fn trusts(&self, action: &str, kind: &str, names: &[String], facts: &ConditionFacts) -> bool {
        let mut trusted = false;
        for statement in &self.statements {
            let is_principal = statement.principals.iter().any(|(named_kind, patterns)| {
                named_kind == kind
                    && patterns.iter().any(|pattern| {
                        names
                            .iter()
                            .any(|name| wildcard(&pattern.to_lowercase(), &name.to_lowercase()))
                    })
            });
            if is_principal
                && statement.covers_action(action)
                && statement
                    .conditions
                    .iter()
                    .all(|condition| condition.holds(facts))
            {
                if !statement.allow {
                    return false;
                }
                trusted = true;
            }
        }
        trusted
    }
}

fn statement(value: &Value, kind: DocumentKind) -> Result<Statement, String> {
    let object = value.as_object().ok_or("a statement is not an object")?;
    let allow = match object.get("Effect").and_then(Value::as_str) {
        Some("Allow") => true,
        Some("Deny") => false,
        _ => return Err("Effect must be Allow or Deny".to_owned()),
    };
    let list = |name: &str| -> Result<Vec<String>, String> {
        object
            .get(name)
            .map_or(Ok(Vec::new()), |value| texts(value, name))
    };
    let statement = Statement {
        allow,
        actions: list("Action")?,
        not_actions: list("NotAction")?,
        resources: list("Resource")?,
        not_resources: list("NotResource")?,
        conditions: conditions(object.get("Condition"))?,
        principals: principals(object.get("Principal"))?,
    };
    if statement.actions.is_empty() == statement.not_actions.is_empty() {
        return Err("a statement needs Action or NotAction".to_owned());
    }
    match kind {
        DocumentKind::Permission if statement.resources.is_empty() == statement.not_resources.is_empty() => {
            Err("a statement needs Resource or NotResource".to_owned())
        }
        DocumentKind::Trust if statement.principals.is_empty() => {
            Err("a statement needs a Principal".to_owned())
        }
        _ => Ok(statement),
    }
}

fn texts(value: &Value, name: &str) -> Result<Vec<String>, String> {
    match value {
        Value::String(text) => Ok(vec![text.clone()]),
        Value::Array(items) => items
            .iter()
            .map(|item| {
                item.as_str()
                    .map(str::to_owned)
                    .ok_or_else(|| format!("{name} must hold texts"))
            })
            .collect(),
        _ => Err(format!("{name} must be a text or a list")),
    }
}

fn conditions(value: Option<&Value>) -> Result<Vec<Condition>, String> {
    let Some(value) = value else { return Ok(Vec::new()) };
    let operators = value.as_object().ok_or("Condition must be an object")?;
    let mut found = Vec::new();
    for (operator, keys) in operators {
        if !OPERATORS.contains(&operator.as_str()) {
            return Err(format!("condition operator {operator} is not known"));
        }
        for (key, values) in keys.as_object().ok_or("a condition must be an object")? {
            let values = match values {
                Value::Bool(flag) => vec![flag.to_string()],
                Value::Number(number) => vec![number.to_string()],
                other => texts(other, key)?,
            };
            found.push(Condition {
                operator: operator.clone(),
                key: key.clone(),
                values,
            });
        }
    }
    Ok(found)
}

fn principals(value: Option<&Value>) -> Result<Vec<(String, Vec<String>)>, String> {
    let Some(value) = value else { return Ok(Vec::new()) };
    value
        .as_object()
        .ok_or("Principal must be an object")?
        .iter()
        .map(|(kind, names)| Ok((kind.clone(), texts(names, "Principal")?)))
        .collect()
}

impl Statement {
    fn covers_action(&self, action: &str) -> bool {
        let action = action.to_lowercase();
        let any = |patterns: &[String]| {
            patterns
                .iter()
                .any(|pattern| wildcard(&pattern.to_lowercase(), &action))
        };
        if self.not_actions.is_empty() {
            any(&self.actions)
        } else {
            !any(&self.not_actions)
        }
    }

    fn covers_resource(&self, resource: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| wildcard(pattern, resource));
        if self.not_resources.is_empty() {
            any(&self.resources)
        } else {
            !any(&self.not_resources)
        }
    }
}

impl Condition {
    fn holds(&self, facts: &ConditionFacts) -> bool {
        let fact = facts
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(&self.key))
            .map(|(_, value)| value);
        let negative = self.operator.contains("Not");
        // A condition on something that the call does not have holds only if it is a negation.
        let Some(fact) = fact else { return negative };
        let any = self.values.iter().any(|value| self.matches(value, fact));
        if negative { !any } else { any }
    }

    /// The positive comparison; negation is applied to all values together.
    fn matches(&self, value: &str, fact: &str) -> bool {
        let numbers = || Some((fact.parse::<f64>().ok()?, value.parse::<f64>().ok()?));
        let times = || Some((fact.parse::<Timestamp>().ok()?, value.parse::<Timestamp>().ok()?));
        match self.operator.as_str() {
            "StringEquals" | "StringNotEquals" => value == fact,
            "StringEqualsIgnoreCase" | "StringNotEqualsIgnoreCase" | "Bool" => {
                value.eq_ignore_ascii_case(fact)
            }
            "StringLike" | "StringNotLike" => wildcard(value, fact),
            "IpAddress" | "NotIpAddress" => in_network(fact, value),
            "NumericEquals" | "NumericNotEquals" => {
                numbers().is_some_and(|(fact, value)| (fact - value).abs() < f64::EPSILON)
            }
            "NumericLessThan" => numbers().is_some_and(|(fact, value)| fact < value),
            "NumericLessThanEquals" => numbers().is_some_and(|(fact, value)| fact <= value),
            "NumericGreaterThan" => numbers().is_some_and(|(fact, value)| fact > value),
            "NumericGreaterThanEquals" => numbers().is_some_and(|(fact, value)| fact >= value),
            "DateEquals" | "DateNotEquals" => times().is_some_and(|(fact, value)| fact == value),
            "DateLessThan" => times().is_some_and(|(fact, value)| fact < value),
            "DateLessThanEquals" => times().is_some_and(|(fact, value)| fact <= value),
            "DateGreaterThan" => times().is_some_and(|(fact, value)| fact > value),
            "DateGreaterThanEquals" => times().is_some_and(|(fact, value)| fact >= value),
            _ => false,
        }
    }
}

/// Whether `address` lies in `network` (an address, or an address with a prefix length).
fn in_network(address: &str, network: &str) -> bool {
    let (base, length) = match network.split_once('/') {
        Some((base, length)) => (base, length.parse::<u32>().ok()),
        None => (network, Some(128)),
    };
    let (Ok(address), Ok(base), Some(length)) = (address.parse::<IpAddr>(), base.parse::<IpAddr>(), length)
    else {
        return false;
    };
    match (address, base) {
        (IpAddr::V4(address), IpAddr::V4(base)) => {
            let mask = u32::MAX.checked_shl(32 - length.min(32)).unwrap_or(0);
            address.to_bits() & mask == base.to_bits() & mask
        }
        (IpAddr::V6(address), IpAddr::V6(base)) => {
            let mask = u128::MAX.checked_shl(128 - length.min(128)).unwrap_or(0);
            address.to_bits() & mask == base.to_bits() & mask
        }
        _ => false,
    }
}

/// Matches `*` (any run) and `?` (one character).
pub fn wildcard(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        if p < pattern.len() && pattern[p] == '*' {
            retry = Some((p, t));
            p += 1;
        } else if p < pattern.len() && (pattern[p] == '?' || pattern[p] == text[t]) {
            p += 1;
            t += 1;
        } else if let Some((star, from)) = retry {
            retry = Some((star, from + 1));
            p = star + 1;
            t = from + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&rest| rest == '*')
}

/// The vendor's own policies that the emulator knows: name and document.
pub const SYSTEM_POLICIES: &[(&str, &str)] = &[
    (
        "AdministratorAccess",
        r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#,
    ),
    (
        "ReadOnlyAccess",
        r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":["*:Describe*","*:List*","*:Get*","*:Lookup*","*:Query*"],"Resource":"*"}]}"#,
    ),
    (
        "AliyunLogFullAccess",
        r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":"log:*","Resource":"*"}]}"#,
    ),
    (
        "AliyunLogReadOnlyAccess",
        r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":["log:Get*","log:List*"],"Resource":"*"}]}"#,
    ),
    (
        "AliyunActionTrailFullAccess",
        r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":"actiontrail:*","Resource":"*"},{"Effect":"Allow","Action":"ram:CreateServiceLinkedRole","Resource":"*","Condition":{"StringEquals":{"ram:ServiceName":"actiontrail.aliyuncs.com"}}}]}"#,
    ),
    (
        "AliyunActionTrailReadOnlyAccess",
        r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":["actiontrail:Describe*","actiontrail:Get*","actiontrail:List*","actiontrail:Lookup*"],"Resource":"*"}]}"#,
    ),
    (
        "AliyunRAMFullAccess",
        r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":"ram:*","Resource":"*"}]}"#,
    ),
    (
        "AliyunRAMReadOnlyAccess",
        r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":["ram:Get*","ram:List*"],"Resource":"*"}]}"#,
    ),
    (
        "AliyunSTSAssumeRoleAccess",
        r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}]}"#,
    ),
    (
        "AliyunServiceRolePolicyForActionTrail",
        r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":["log:PostLogStoreLogs","log:CreateLogStore","log:GetLogStore","log:UpdateLogStore","log:CreateIndex","log:GetIndex","log:UpdateIndex","log:GetLogStoreLogs"],"Resource":["acs:log:*:*:project/*/logstore/actiontrail_*","acs:log:*:*:project/*/logstore/innertrail_*","acs:log:*:*:project/*/logstore/insights_*"]},{"Effect":"Allow","Action":["log:CreateDashboard","log:UpdateDashboard","log:GetDashboard","log:CreateSavedSearch","log:UpdateSavedSearch","log:GetSavedSearch","log:GetProject","log:ListJobs"],"Resource":"*"}]}"#,
    ),
    (
        "AliyunActionTrailDeliveryPolicy",
        r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":["log:PostLogStoreLogs","log:CreateLogStore","log:GetLogStore","log:CreateIndex","log:GetIndex","log:UpdateIndex","log:GetProject"],"Resource":"*"}]}"#,
    ),
];

/// Text of a system policy.
pub fn system_policy(name: &str) -> Option<&'static str> {
    SYSTEM_POLICIES
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, document)| *document)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn verdict(document: &str, action: &str, resource: &str, facts: &[(&str, &str)]) -> Verdict {
        let facts = facts
            .iter()
            .map(|&(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        Document::parse(document, DocumentKind::Permission)
            .unwrap()
            .verdict(action, resource, &facts)
    }

    fn one(effect: &str, action: &str, resource: &str, condition: &str) -> String {
        format!(
            r#"{{"Version":"1","Statement":[{{"Effect":"{effect}","Action":"{action}","Resource":"{resource}","Condition":{condition}}}]}}"#
        )
    }

    #[test]
    fn wildcards_match_runs_and_single_characters() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*c", "abbbc", true),
            ("a*c", "abbbd", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*b*", "abc", true),
            ("", "a", false),
            (
                "acs:log:*:*:project/p*",
                "acs:log:cn-hangzhou:1:project/prod/logstore/x",
                true,
            ),
        ] {
            assert_eq!(wildcard(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn actions_ignore_case_and_a_deny_wins() {
        let allow = one("Allow", "log:Get*", "acs:log:*:*:project/a*", "{}");
        assert_eq!(
            verdict(&allow, "LOG:getproject", "acs:log:r:1:project/a1", &[]),
            Verdict::Allowed
        );
        assert_eq!(
            verdict(&allow, "log:PutLogs", "acs:log:r:1:project/a1", &[]),
            Verdict::Silent
        );
        assert_eq!(
            verdict(&allow, "log:GetProject", "acs:log:r:1:project/b", &[]),
            Verdict::Silent
        );
        let both = r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":["log:Delete*"],"Resource":["*"]}]}"#;
        assert_eq!(verdict(both, "log:DeleteProject", "x", &[]), Verdict::Denied);
        assert_eq!(verdict(both, "log:GetProject", "x", &[]), Verdict::Allowed);
    }

    #[test]
    fn conditions_compare_each_in_its_way() {
        let table = [
            (
                r#"{"StringEquals":{"ram:ServiceName":"a"}}"#,
                vec![("ram:ServiceName", "a")],
                true,
            ),
            (
                r#"{"StringEquals":{"ram:ServiceName":["b","a"]}}"#,
                vec![("ram:servicename", "a")],
                true,
            ),
            (r#"{"StringEquals":{"ram:ServiceName":"a"}}"#, vec![], false),
            (r#"{"StringNotEquals":{"k":["a","b"]}}"#, vec![("k", "b")], false),
            (r#"{"StringNotEquals":{"k":"a"}}"#, vec![], true),
            (r#"{"StringLike":{"k":"a*"}}"#, vec![("k", "abc")], true),
            (r#"{"StringNotLike":{"k":"a*"}}"#, vec![("k", "abc")], false),
            (
                r#"{"IpAddress":{"acs:SourceIp":["10.0.0.0/8"]}}"#,
                vec![("acs:SourceIp", "10.9.9.9")],
                true,
            ),
            (
                r#"{"IpAddress":{"acs:SourceIp":"10.0.0.1"}}"#,
                vec![("acs:SourceIp", "10.0.0.2")],
                false,
            ),
            (
                r#"{"NotIpAddress":{"acs:SourceIp":"0.0.0.0/0"}}"#,
                vec![("acs:SourceIp", "10.0.0.2")],
                false,
            ),
            (
                r#"{"Bool":{"acs:SecureTransport":"true"}}"#,
                vec![("acs:SecureTransport", "false")],
                false,
            ),
            (
                r#"{"Bool":{"acs:SecureTransport":false}}"#,
                vec![("acs:SecureTransport", "false")],
                true,
            ),
            (r#"{"NumericLessThan":{"k":10}}"#, vec![("k", "9")], true),
            (
                r#"{"DateLessThan":{"acs:CurrentTime":"2026-01-01T00:00:00Z"}}"#,
                vec![("acs:CurrentTime", "2026-01-02T00:00:00Z")],
                false,
            ),
        ];
        for (condition, facts, expected) in table {
            let found = verdict(&one("Allow", "a", "*", condition), "a", "r", &facts);
            assert_eq!(found == Verdict::Allowed, expected, "{condition} {facts:?}");
        }
    }

    #[test]
    fn broken_documents_are_refused() {
        for text in [
            "",
            "[]",
            r#"{"Version":"2","Statement":[]}"#,
            r#"{"Version":"1"}"#,
            r#"{"Version":"1","Statement":[{"Effect":"Maybe","Action":"*","Resource":"*"}]}"#,
            r#"{"Version":"1","Statement":[{"Effect":"Allow","Resource":"*"}]}"#,
            r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":"*"}]}"#,
            r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Maybe":{"a":"b"}}}]}"#,
        ] {
            assert!(Document::parse(text, DocumentKind::Permission).is_err(), "{text}");
        }
    }

    #[test]
    fn trust_names_principals_and_root_stands_for_the_account() {
        let trust = r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"RAM":["acs:ram::1:root"],"Service":"actiontrail.aliyuncs.com"}}]}"#;
        let trust = Document::parse(trust, DocumentKind::Trust).unwrap();
        let facts = ConditionFacts::new();
        let names = |name: &str| vec![name.to_owned()];
        assert!(trust.trusts("sts:AssumeRole", "RAM", &names("acs:ram::1:root"), &facts));
        assert!(!trust.trusts("sts:AssumeRole", "RAM", &names("acs:ram::2:root"), &facts));
        assert!(trust.trusts(
            "sts:AssumeRole",
            "Service",
            &names("actiontrail.aliyuncs.com"),
            &facts
        ));
        assert!(!trust.trusts("sts:Other", "RAM", &names("acs:ram::1:root"), &facts));
    }

    #[test]
    fn system_policies_are_valid_documents() {
        for (name, document) in SYSTEM_POLICIES {
            assert!(
                Document::parse(document, DocumentKind::Permission).is_ok(),
                "{name}"
            );
        }
        assert!(system_policy("aliyunlogfullaccess").is_some());
        assert!(system_policy("None").is_none());
    }
}
