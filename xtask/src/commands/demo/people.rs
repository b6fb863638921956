//! What people do in the demo: three identities call the cloud, then one key falls into wrong hands.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use xtask::terminal::{self, Style};
use xtask::wait::{self, Probe};

use super::conditions::{self, Watch};
use super::sdk::Answer;
use super::{DEADLINE, OPERATOR_USER, Stage, dim, step, step_remark};

/// Between two looks at something awaited.
const INTERVAL: Duration = Duration::from_millis(150);

/// An access key as CreateAccessKey returns it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Key {
    pub(super) access_key_id: String,
    pub(super) access_key_secret: String,
}

/// One of the three, with what it may do.
struct Identity {
    name: &'static str,
    policies: &'static [&'static str],
}

/// Whose key is stolen.
const STOLEN: &str = "contractor";

const IDENTITIES: [Identity; 3] = [
    Identity {
        name: "model-trainer",
        policies: &[],
    },
    Identity {
        name: "platform-admin",
        policies: &["AliyunRAMFullAccess"],
    },
    Identity {
        name: "contractor",
        policies: &["AliyunActionTrailFullAccess"],
    },
];

/// What is called, and what must come of it.
struct Planned {
    who: &'static str,
    action: &'static str,
    target: Option<&'static str>,
    /// Whether RAM lets them.
    allowed: bool,
    /// Whether it is an access to RAM or STS, which the example copies into the user's store.
    ram_access: bool,
}

/// The one that is not copied comes before others that are: once those have arrived, it has been passed over.
const PLANNED: [Planned; 4] = [
    Planned {
        who: "model-trainer",
        action: "GetCallerIdentity",
        target: None,
        allowed: true,
        ram_access: true,
    },
    Planned {
        who: "contractor",
        action: "DescribeTrails",
        target: None,
        allowed: true,
        ram_access: false,
    },
    Planned {
        who: "contractor",
        action: "ListUsers",
        target: None,
        allowed: false,
        ram_access: true,
    },
    Planned {
        who: "platform-admin",
        action: "CreateAccessKey",
        target: Some("model-trainer"),
        allowed: true,
        ram_access: true,
    },
];

/// A call that was made.
pub(super) struct Made {
    planned: &'static Planned,
    request_id: String,
    at: Instant,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Called {
    request_id: String,
}

/// Makes the identities and lets each call, with its own key.
pub(super) fn call_the_cloud(stage: &mut Stage) -> Result<Vec<Made>> {
    terminal::heading("Three identities call the cloud, each with its own access key");
    for Identity { name, policies } in &IDENTITIES {
        stage
            .sdk
            .must::<Key>(&json!({ "do": "user", "name": name, "policies": policies }))?;
    }
    let mut made = Vec::new();
    for planned in &PLANNED {
        let Planned {
            who,
            action,
            target,
            allowed,
            ..
        } = planned;
        let request = json!({ "do": "call", "who": who, "action": action, "target": target });
        let at = Instant::now();
        let (request_id, answer) = match stage.sdk.ask::<Called>(&request)? {
            Answer::Ok(called) if *allowed => (Some(called.request_id), "allowed".to_owned()),
            Answer::Refused(refusal) if !allowed => (refusal.request_id, refusal.code.unwrap_or_default()),
            Answer::Ok(_) => bail!("expected RAM to refuse {action} by {who}, but it was allowed"),
            Answer::Refused(refusal) => {
                bail!("expected {action} by {who} to be allowed, but got {refusal:?}")
            }
        };
        let request_id = request_id.with_context(|| format!("the answer to {action} holds no request id"))?;
        let answer = terminal::paint(if *allowed { Style::Good } else { Style::Warn }, answer);
        terminal::line(&format!(
            "{who:<16}{action:<20}{} {}",
            terminal::pad(&answer, 16),
            dim(&request_id)
        ));
        made.push(Made {
            planned,
            request_id,
            at,
        });
    }
    Ok(made)
}

/// What a store holds of the calls asked for.
#[derive(Deserialize)]
struct Found {
    complete: bool,
    found: BTreeMap<String, Event>,
}

#[derive(Clone, Debug, Deserialize)]
struct Event {
    who: String,
    action: String,
    service: String,
}

/// Asks a store for events; a store that cannot be asked yet is not an error.
fn find(stage: &mut Stage, store: &str, ids: &[&str]) -> Result<Result<Found, String>> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock is before 1970")?;
    let since = now.as_secs().saturating_sub(3600);
    let project = stage.seed.project_name.clone();
    let request = json!({ "do": "find", "project": project, "store": store, "ids": ids, "since": since });
    Ok(match stage.sdk.ask::<Found>(&request)? {
        Answer::Ok(found) => Ok(found),
        Answer::Refused(refusal) => Err(format!("{store} cannot be queried: {refusal:?}")),
    })
}

/// Waits until the events of the calls are where they belong, and sees that none is where it does not.
pub(super) fn follow_the_events(stage: &mut Stage, calls: &[Made]) -> Result<()> {
    terminal::heading("Where their events arrived");
    let (trail_store, user_store) = (stage.seed.trail_store(), stage.seed.user_store.clone());
    let all: Vec<&Made> = calls.iter().collect();
    let copied: Vec<&Made> = calls.iter().filter(|c| c.planned.ram_access).collect();
    let in_trail = arrivals(stage, &trail_store, &all)?;
    let in_user = arrivals(stage, &user_store, &copied)?;

    // Asked after later events were copied, so that what is missing was kept out and is not just late.
    let kept_out: Vec<&str> = calls
        .iter()
        .filter(|c| !c.planned.ram_access)
        .map(|c| c.request_id.as_str())
        .collect();
    let answer = find(stage, &user_store, &kept_out)?.map_err(anyhow::Error::msg)?;
    if !answer.complete || !answer.found.is_empty() {
        let found = answer.found;
        bail!(
            "expected only RAM access in {user_store}; seen: {found:?} (complete: {})",
            answer.complete
        );
    }

    let mut rows = vec![["who", "did", "of", &trail_store, &user_store].map(dim).to_vec()];
    for call in calls {
        let (after, event) = &in_trail[&call.request_id];
        let copied = in_user.get(&call.request_id).map_or_else(
            || terminal::paint(Style::Dim, "kept out: no RAM access"),
            |(after, _)| terminal::paint(Style::Good, format!("after {}", terminal::elapsed(*after))),
        );
        rows.push(vec![
            event.who.clone(),
            event.action.clone(),
            event.service.clone(),
            terminal::paint(Style::Good, format!("after {}", terminal::elapsed(*after))),
            copied,
        ]);
    }
    terminal::table(&rows);
    Ok(())
}

/// For each call, how long after it its event was first seen in the store, and the event.
fn arrivals(stage: &mut Stage, store: &str, calls: &[&Made]) -> Result<BTreeMap<String, (Duration, Event)>> {
    let ids: Vec<&str> = calls.iter().map(|c| c.request_id.as_str()).collect();
    let mut arrived: BTreeMap<String, (Duration, Event)> = BTreeMap::new();
    wait::until(
        &format!("the events of {} calls in {store}", calls.len()),
        DEADLINE,
        INTERVAL,
        || {
            stage.operator.must_run()?;
            let found = match find(stage, store, &ids)? {
                Ok(answer) => answer.found,
                Err(why) => return Ok(Probe::Pending(why)),
            };
            for call in calls {
                if let Some(event) = found.get(&call.request_id) {
                    if event.who != call.planned.who || event.action != call.planned.action {
                        bail!(
                            "expected {} by {} in {store}, seen: {event:?}",
                            call.planned.action,
                            call.planned.who
                        );
                    }
                    let seen = || (call.at.elapsed(), event.clone());
                    arrived.entry(call.request_id.clone()).or_insert_with(seen);
                }
            }
            Ok(if arrived.len() == calls.len() {
                Probe::Done(())
            } else {
                Probe::Pending(format!("{} of them", arrived.len()))
            })
        },
    )?;
    Ok(arrived)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Logging {
    is_logging: bool,
}

/// Switches the trail off with a stolen key and watches it come back.
pub(super) fn attack(stage: &mut Stage) -> Result<()> {
    let trail = stage.seed.trail_name.clone();
    terminal::heading("The contractor's key is stolen, and used to switch the trail off");
    let (_, before) = stage.emulator.journal(u64::MAX)?;
    let request = json!({ "do": "call", "who": STOLEN, "action": "StopLogging", "target": trail });
    let tamper_before = last_tamper(stage)?;
    let start = Instant::now();
    let stop: Called = stage.sdk.must(&request)?;
    let accepted = terminal::paint(Style::Bad, "StopLogging was accepted");
    step(start, &format!("{accepted} {}", dim(&stop.request_id)));

    let mut seen_off = false;
    wait::until("the trail switched on again", DEADLINE, INTERVAL, || {
        stage.operator.must_run()?;
        let Logging { is_logging } = stage.sdk.must(&json!({ "do": "logging", "trail": trail }))?;
        if !is_logging && !seen_off {
            seen_off = true;
            step(
                start,
                &format!(
                    "GetTrailStatus: logging is {}",
                    terminal::paint(Style::Bad, "off")
                ),
            );
        }
        Ok(if is_logging {
            Probe::Done(())
        } else {
            Probe::Pending("logging off".to_owned())
        })
    })?;
    step(
        start,
        &format!(
            "GetTrailStatus: logging is {}",
            terminal::paint(Style::Good, "on again")
        ),
    );

    repaired_by_operator(stage, before, &stop.request_id)?;
    reported(stage, &tamper_before, start)?;
    attributed(stage, &stop.request_id, start)?;
    let trail = [stage.seed.trail.clone()];
    let Stage {
        operator,
        kubectl,
        seed,
        ..
    } = stage;
    Watch { kubectl, seed, start }.until_true(&trail, "Ready", || operator.must_run())
}

/// The cloud's own journal: the stop lowered the protection, the operator's start raised it.
fn repaired_by_operator(stage: &Stage, before: u64, stop_id: &str) -> Result<()> {
    let (rows, _) = stage.emulator.journal(before)?;
    let stop = rows.iter().position(|row| row["requestId"] == *stop_id);
    let stop = stop.context("expected the attack in the cloud's journal, seen none")?;
    let operator = format!("user/{OPERATOR_USER}");
    let is_repair = |row: &&Value| {
        row["action"] == "StartLogging"
            && row["status"] == 200
            && row["caller"]
                .as_str()
                .is_some_and(|caller| caller.ends_with(&operator))
    };
    let Some(repair) = rows[stop..].iter().find(is_repair) else {
        bail!("expected a StartLogging by {operator} after the attack in the cloud's journal, seen none");
    };
    for row in [&rows[stop], repair] {
        let caller = row["caller"].as_str().unwrap_or_default();
        let caller = caller.rsplit('/').next().unwrap_or_default();
        let effects: Vec<String> = row["effects"]
            .as_array()
            .into_iter()
            .flatten()
            .map(effect)
            .collect();
        let action = row["action"].as_str().unwrap_or_default();
        step_remark(&format!(
            "the cloud's journal: {action} by {caller}, {}",
            effects.join(", ")
        ));
    }
    Ok(())
}

/// `logging down` of `{"field": "trail/NAME/logging", "change": "down"}`.
fn effect(effect: &Value) -> String {
    let field = effect["field"].as_str().unwrap_or_default();
    let field = field.rsplit('/').next().unwrap_or_default();
    format!("{field} {}", effect["change"].as_str().unwrap_or_default())
}

fn last_tamper(stage: &Stage) -> Result<Value> {
    let object = conditions::get(&stage.kubectl, &stage.seed.namespace, &stage.seed.trail)?;
    Ok(object["status"]["lastTamper"].clone())
}

/// The RamTrail's own word on it: a tampering that was not there before, repaired.
fn reported(stage: &mut Stage, before: &Value, start: Instant) -> Result<()> {
    let what = wait::until(
        "a new status.lastTamper of the RamTrail, repaired",
        DEADLINE,
        INTERVAL,
        || {
            stage.operator.must_run()?;
            let tamper = last_tamper(stage)?;
            Ok(match tamper["what"].as_str() {
                Some(what) if tamper["time"] != before["time"] && tamper["repaired"] == true => {
                    Probe::Done(what.to_owned())
                }
                _ => Probe::Pending(tamper.to_string()),
            })
        },
    )?;
    step(
        start,
        &format!(
            "RamTrail, status.lastTamper: {}, repaired",
            terminal::paint(Style::Warn, what)
        ),
    );
    Ok(())
}

/// Who it was, by the event of the attack itself.
fn attributed(stage: &mut Stage, stop_id: &str, start: Instant) -> Result<()> {
    let store = stage.seed.trail_store();
    let event = wait::until(
        "the event of the attack in the trail's store",
        DEADLINE,
        INTERVAL,
        || {
            stage.operator.must_run()?;
            Ok(match find(stage, &store, &[stop_id])? {
                Ok(mut answer) => match answer.found.remove(stop_id) {
                    Some(event) => Probe::Done(event),
                    None => Probe::Pending("no such event".to_owned()),
                },
                Err(why) => Probe::Pending(why),
            })
        },
    )?;
    if event.who != STOLEN || event.action != "StopLogging" {
        bail!("expected StopLogging by {STOLEN} in {store}, seen: {event:?}");
    }
    let who = terminal::paint(Style::Warn, &event.who);
    step(start, &format!("{store}: {} was called by {who}", event.action));
    Ok(())
}
