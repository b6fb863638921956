//! The emulator's own endpoints below `/_emulator/`, guarded by a token and absent from API host names.

use bytes::Bytes;
use http::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::actiontrail::event::Event;
use crate::assumptions::register;
use crate::clock::{http_date, iso_seconds};
use crate::config::AccessKey;
use crate::engine::{Answer, Engine, Pace};
use crate::faults::Spec;
use crate::quota;
use crate::ram::policy::{Document, DocumentKind, system_policy};
use crate::ram::{PolicyKind, PolicyRef};
use crate::wire::Inbound;

/// Header with the token.
pub const TOKEN_HEADER: &str = "x-emulator-token";

struct Refusal(u16, String);

type Handled = Result<Value, Refusal>;

/// Answers one admin request.
pub fn handle(engine: &Engine, inbound: &Inbound) -> Answer {
    let result = if inbound.header(TOKEN_HEADER) == Some(engine.config.admin_token.as_str()) {
        route(engine, inbound)
    } else {
        Err(Refusal(
            403,
            format!("the header {TOKEN_HEADER} is missing or wrong"),
        ))
    };
    let (status, body) = match result {
        Ok(value) => (200, value),
        Err(Refusal(status, message)) => (status, json!({"error": message})),
    };
    Answer {
        status,
        headers: vec![
            ("content-type".to_owned(), "application/json".to_owned()),
            ("date".to_owned(), http_date(engine.clock.now())),
        ],
        body: Bytes::from(body.to_string()),
        pace: Pace::Whole,
    }
}

fn route(engine: &Engine, inbound: &Inbound) -> Handled {
    let path = inbound
        .path
        .trim_start_matches("/_emulator/")
        .trim_end_matches('/');
    match (&inbound.method, path) {
        (&Method::GET, "journal") => journal(engine, inbound),
        (&Method::GET, "faults") => Ok(json!({"faults": engine.world().faults.list()})),
        (&Method::POST, "faults") => {
            let spec: Spec = body(inbound)?;
            Ok(json!({"id": engine.world().faults.add(spec)}))
        }
        (&Method::DELETE, "faults") => {
            let id = id_param(inbound)?;
            Ok(json!({"removed": engine.world().faults.remove(id)}))
        }
        (&Method::POST, "faults/release") => {
            let request: Release = body_or_default(inbound)?;
            Ok(json!({"released": engine.world().faults.release(request.id)}))
        }
        (&Method::GET, "clock") => Ok(clock(engine)),
        (&Method::POST, "clock") => {
            let request: Jump = body(inbound)?;
            engine.jump(request.jump_seconds);
            Ok(clock(engine))
        }
        (&Method::POST, "identities") => identities(engine, &body(inbound)?),
        (&Method::POST, "events") => events(engine, inbound),
        (&Method::POST, "reset") => {
            engine.clock.reset();
            let now = engine.clock.now();
            let mut world = engine.world();
            world.reset(&engine.config, now);
            Ok(json!({"lastSeq": world.journal.last_seq()}))
        }
        (&Method::GET, "state") => {
            let account = param(inbound, "account")
                .ok_or_else(|| Refusal(400, "the parameter account is missing".to_owned()))?;
            engine.tick();
            Ok(engine.world().summary(&account))
        }
        (&Method::GET, "assumptions") => Ok(assumptions(engine)),
        (&Method::POST, "assumptions") => {
            let request: Choice = body(inbound)?;
            engine
                .world()
                .assumptions
                .choose(&request.id, &request.behaviour)
                .map_err(|error| Refusal(400, error.to_string()))?;
            Ok(json!({}))
        }
        (&Method::GET, "quotas") => Ok(quotas(engine)),
        (&Method::POST, "quotas") => {
            let request: QuotaValue = body(inbound)?;
            if engine.world().quotas.set(&request.name, request.value) {
                Ok(json!({}))
            } else {
                Err(Refusal(400, format!("there is no quota {}", request.name)))
            }
        }
        _ => Err(Refusal(
            404,
            format!(
                "{} {} is no endpoint of the emulator",
                inbound.method, inbound.path
            ),
        )),
    }
}

fn body<T: DeserializeOwned>(inbound: &Inbound) -> Result<T, Refusal> {
    serde_json::from_slice(&inbound.body)
        .map_err(|error| Refusal(400, format!("the body cannot be read: {error}")))
}

fn body_or_default<T: DeserializeOwned + Default>(inbound: &Inbound) -> Result<T, Refusal> {
    if inbound.body.is_empty() {
        Ok(T::default())
    } else {
        body(inbound)
    }
}

fn param(inbound: &Inbound, name: &str) -> Option<String> {
    inbound
        .query_pairs()
        .into_iter()
        .find(|(known, _)| known == name)
        .map(|(_, value)| value)
}

fn id_param(inbound: &Inbound) -> Result<Option<u64>, Refusal> {
    param(inbound, "id")
        .map(|text| {
            text.parse()
                .map_err(|_| Refusal(400, "id must be a number".to_owned()))
        })
        .transpose()
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Release {
    id: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Jump {
    jump_seconds: i64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Choice {
    id: String,
    behaviour: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct QuotaValue {
    name: String,
    value: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Identity {
    access_key_id: String,
    access_key_secret: String,
    account: String,
    user: Option<String>,
    /// Names of system policies; replaces what the user has.
    policies: Option<Vec<String>>,
    /// Documents of custom policies made for this user.
    #[serde(default)]
    policy_documents: Vec<Value>,
}

fn journal(engine: &Engine, inbound: &Inbound) -> Handled {
    let since = match param(inbound, "since") {
        None => 0,
        Some(text) => text
            .parse()
            .map_err(|_| Refusal(400, "since must be a number".to_owned()))?,
    };
    let world = engine.world();
    Ok(json!({"lastSeq": world.journal.last_seq(), "rows": world.journal.since(since)}))
}

fn clock(engine: &Engine) -> Value {
    let now = engine.clock.now();
    json!({
        "now": iso_seconds(now),
        "epochMillis": now.as_millisecond(),
        "offsetSeconds": engine.clock.offset().as_secs(),
    })
}

fn identities(engine: &Engine, request: &Identity) -> Handled {
    let now = engine.clock.now();
    if request.access_key_id.is_empty()
        || request.access_key_secret.is_empty()
        || request.account.is_empty()
        || !request.account.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Err(Refusal(
            400,
            "accessKeyId, accessKeySecret and a numeric account are needed".to_owned(),
        ));
    }
    let policies = request.policies.clone().unwrap_or_default();
    if let Some(unknown) = policies.iter().find(|name| system_policy(name).is_none()) {
        return Err(Refusal(
            400,
            format!("{unknown} is no system policy of the emulator"),
        ));
    }
    let documents: Vec<String> = request.policy_documents.iter().map(Value::to_string).collect();
    for document in &documents {
        Document::parse(document, DocumentKind::Permission)
            .map_err(|reason| Refusal(400, format!("a policy document is not valid: {reason}")))?;
    }
    let mut world = engine.world();
    if let Some(user) = request.user.as_deref() {
        world.ram.ensure_user(&request.account, user, now);
        if request.policies.is_some() || !documents.is_empty() {
            let account = world.ram.account(&request.account);
            if let Some(user) = account.users.get_mut(user) {
                user.attached.clear();
            }
        }
        for (index, document) in documents.iter().enumerate() {
            let name = format!("{user}-{index}");
            world.ram.put_policy(&request.account, &name, document, now);
            if let Some(user) = world.ram.account(&request.account).users.get_mut(user) {
                user.attached.insert(
                    PolicyRef {
                        kind: PolicyKind::Custom,
                        name,
                    },
                    now,
                );
            }
        }
    }
    let key = AccessKey {
        id: request.access_key_id.clone(),
        secret: request.access_key_secret.clone(),
        account: request.account.clone(),
        user: request.user.clone(),
    };
    world.add_key(&key, &policies, now);
    Ok(json!({}))
}

fn events(engine: &Engine, inbound: &Inbound) -> Handled {
    let account = param(inbound, "account")
        .ok_or_else(|| Refusal(400, "the parameter account is missing".to_owned()))?;
    let values: Vec<Value> = body(inbound)?;
    let events = values
        .into_iter()
        .enumerate()
        .map(|(index, value)| {
            Event::import(value).map_err(|reason| Refusal(400, format!("event {index}: {reason}")))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let count = events.len();
    let now = engine.clock.now();
    let mut world = engine.world();
    let crate::state::World {
        trails, assumptions, ..
    } = &mut *world;
    trails.import(&account, events, assumptions, now);
    Ok(json!({"imported": count}))
}

fn assumptions(engine: &Engine) -> Value {
    let world = engine.world();
    let chosen = world.assumptions.chosen();
    let entries: Vec<Value> = register()
        .into_iter()
        .map(|entry| {
            json!({
                "id": entry.id,
                "text": entry.text,
                "source": entry.source,
                "behaviours": entry.behaviours,
                "documented": entry.documented,
                "hostile": entry.hostile,
                "chosen": chosen.get(&entry.id),
            })
        })
        .collect();
    json!({"assumptions": entries})
}

fn quotas(engine: &Engine) -> Value {
    let world = engine.world();
    let entries: Vec<Value> = quota::ALL
        .iter()
        .map(|quota| json!({"name": quota.name, "value": world.quotas.get(*quota), "text": quota.text}))
        .collect();
    json!({"quotas": entries})
}
