//! Events on their way into trails' log stores.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::event::Event;
use super::lookup::Stored;
use super::{Destination, SERVICE, State};
use crate::assumptions::{
    Assumptions, DeliveryDelay, DeliveryDuplicates, DeliveryOrder, EventSourceAddress, IndexRestored,
    LookupDelay, StopEvent, StoreRecreated,
};
use crate::log_service::{self, VendorError, VendorLog, VendorStore};
use crate::ram;

/// Topic of delivered events.
const TOPIC: &str = "actiontrail_audit_event";

#[derive(Debug, Clone)]
pub(super) enum Due {
    /// Make the trail's log store.
    Store,
    /// Deliver an event.
    Event(Box<Event>),
}

#[derive(Debug, Clone)]
struct Item {
    account: String,
    trail: String,
    destination: Destination,
    due: Due,
}

/// What is to be done, by time and order of entry.
#[derive(Debug, Default)]
pub(super) struct Queue {
    items: BTreeMap<(Timestamp, u64), Item>,
    entered: u64,
    events: u64,
}

impl Queue {
    pub(super) fn push(&mut self, at: Timestamp, account: &str, trail: &str, to: Destination, due: Due) {
        self.entered += 1;
        let item = Item {
            account: account.to_owned(),
            trail: trail.to_owned(),
            destination: to,
            due,
        };
        self.items.insert((at, self.entered), item);
    }
}

/// The log store that ActionTrail makes: permanent, two shards, the event as JSON with typed keys.
pub(super) fn store_spec(store: &str) -> VendorStore {
    let tokens: Vec<String> = [
        ",", " ", "'", "\"", ";", "=", "(", ")", "[", "]", "{", "}", "?", "@", "&", "<", ">", "/", ":", "\n",
        "\t", "\r",
    ]
    .iter()
    .map(|&token| token.to_owned())
    .collect();
    let text =
        json!({"type": "text", "doc_value": true, "caseSensitive": false, "chn": false, "token": tokens});
    let keys: serde_json::Map<String, Value> = [
        "acsRegion",
        "additionalEventData.isMFAChecked",
        "additionalEventData.loginAccount",
        "apiVersion",
        "errorCode",
        "errorMessage",
        "eventCategory",
        "eventId",
        "eventName",
        "eventRW",
        "eventSource",
        "eventTime",
        "eventType",
        "eventVersion",
        "recipientAccountId",
        "requestId",
        "requestParameterJson",
        "resourceName",
        "resourceType",
        "serviceName",
        "sourceIpAddress",
        "userAgent",
        "userIdentity.accessKeyId",
        "userIdentity.accountId",
        "userIdentity.principalId",
        "userIdentity.type",
        "userIdentity.userName",
    ]
    .iter()
    .map(|&key| (key.to_owned(), json!({"type": "text", "doc_value": true})))
    .collect();
    let mut event = text;
    event["type"] = json!("json");
    event["index_all"] = json!(true);
    event["max_depth"] = json!(-1);
    event["json_keys"] = Value::Object(keys);
    VendorStore {
        ttl: 3650,
        shards: 2,
        index: json!({
            "line": {"token": tokens, "caseSensitive": false, "chn": false},
            "keys": {"event": event},
        }),
        dashboard: Some(format!("{store}_audit_center_cn")),
    }
}

fn seconds(count: i64) -> SignedDuration {
    SignedDuration::from_secs(count)
}

impl State {
    /// Keeps an event and sends it to the trails that log it: those that log after the call, and those that
    /// logged before it, if a call that switches a trail off is still delivered by it.
    pub fn record(
        &mut self,
        account: &str,
        event: Event,
        before: &[String],
        assumptions: &Assumptions,
        now: Timestamp,
    ) {
        let late = match assumptions.get::<LookupDelay>() {
            LookupDelay::OneSecond => seconds(1),
            LookupDelay::TenMinutes => seconds(600),
        };
        let mut trails = self.logging(account);
        if assumptions.get::<StopEvent>() == StopEvent::Delivered {
            for name in before {
                if !trails.contains(name) {
                    trails.push(name.clone());
                }
            }
        }
        for name in trails {
            let Some(trail) = self.trails.get(account).and_then(|trails| trails.get(&name)) else {
                continue;
            };
            if let Some(to) = trail.destination().filter(|_| trail.covers(&event)) {
                self.send(account, &name, to, &event, assumptions, now);
            }
        }
        let stored = Stored {
            event,
            visible_from: now + late,
        };
        self.events.entry(account.to_owned()).or_default().push(stored);
    }

    /// Takes events that did not happen here: they are looked up at once and delivered to trails that log.
    pub fn import(&mut self, account: &str, events: Vec<Event>, assumptions: &Assumptions, now: Timestamp) {
        for event in events {
            for name in self.logging(account) {
                let Some(trail) = self.trails.get(account).and_then(|trails| trails.get(&name)) else {
                    continue;
                };
                if let Some(to) = trail.destination().filter(|_| trail.covers(&event)) {
                    self.send(account, &name, to, &event, assumptions, now);
                }
            }
            let stored = Stored {
                event,
                visible_from: now,
            };
            self.events.entry(account.to_owned()).or_default().push(stored);
        }
    }

    fn send(
        &mut self,
        account: &str,
        trail: &str,
        to: Destination,
        event: &Event,
        assumptions: &Assumptions,
        now: Timestamp,
    ) {
        self.queue.events += 1;
        let count = self.queue.events;
        let mut at = now
            + match assumptions.get::<DeliveryDelay>() {
                DeliveryDelay::OneSecond => seconds(1),
                DeliveryDelay::SixtySeconds => seconds(60),
            };
        match assumptions.get::<DeliveryOrder>() {
            DeliveryOrder::Swapped if count.is_multiple_of(2) => at += seconds(3),
            DeliveryOrder::Swapped | DeliveryOrder::InOrder => {}
        }
        self.queue.push(
            at,
            account,
            trail,
            to.clone(),
            Due::Event(Box::new(event.clone())),
        );
        match assumptions.get::<DeliveryDuplicates>() {
            DeliveryDuplicates::EveryThird if count.is_multiple_of(3) => {
                self.queue.push(
                    at + seconds(2),
                    account,
                    trail,
                    to,
                    Due::Event(Box::new(event.clone())),
                );
            }
            DeliveryDuplicates::EveryThird | DeliveryDuplicates::Never => {}
        }
    }

    /// Does what is due, in order.
    pub fn advance(
        &mut self,
        log: &mut log_service::State,
        ram: &ram::State,
        assumptions: &Assumptions,
        now: Timestamp,
    ) {
        while let Some(entry) = self
            .queue
            .items
            .first_entry()
            .filter(|entry| entry.key().0 <= now)
        {
            let ((at, _), item) = entry.remove_entry();
            match &item.due {
                Due::Store => {
                    // The trail may be gone or point elsewhere by now; then nothing is made.
                    let wanted = self
                        .trail_mut(&item.account, &item.trail)
                        .and_then(|trail| trail.destination())
                        .is_some_and(|destination| destination == item.destination);
                    if wanted && let Err(error) = create_store(log, &item.destination, at) {
                        tracing::info!(trail = item.trail, ?error, "a trail's log store was not made");
                    }
                }
                Due::Event(event) => {
                    self.deliver(&item, event, log, ram, assumptions, at);
                }
            }
        }
    }

    /// Whether the role that a trail writes with exists: its own, else the service-linked one.
    fn may_write(&self, item: &Item, ram: &ram::State) -> Result<(), String> {
        let own = self
            .trails
            .get(&item.account)
            .and_then(|trails| trails.get(&item.trail))
            .map(|trail| trail.settings.sls_write_role_arn.as_str())
            .filter(|arn| !arn.is_empty());
        match own {
            Some(arn) if !ram.role_exists(arn) => Err(format!(
                "Write to Log Service failed: the role {arn} does not exist."
            )),
            None if !ram.has_linked_role(&item.account, SERVICE) => {
                Err("Write to Log Service failed: the service-linked role does not exist.".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn deliver(
        &mut self,
        item: &Item,
        event: &Event,
        log: &mut log_service::State,
        ram: &ram::State,
        assumptions: &Assumptions,
        at: Timestamp,
    ) {
        let outcome = match self.may_write(item, ram) {
            Ok(()) => write(item, event, log, assumptions, at),
            Err(reason) => Err(reason),
        };
        let Some(trail) = self.trail_mut(&item.account, &item.trail) else {
            return;
        };
        // A trail that was pointed elsewhere reports on its present destination only.
        if trail.destination().as_ref() != Some(&item.destination) {
            return;
        }
        if outcome.is_ok() {
            trail.delivered = Some(at);
        }
        trail.delivery_error = outcome.err();
        let long_ago = trail
            .index_restored
            .is_none_or(|last| at.duration_since(last) >= seconds(60));
        if assumptions.get::<IndexRestored>() == IndexRestored::Restored
            && trail.delivery_error.is_none()
            && long_ago
        {
            trail.index_restored = Some(at);
            let Destination {
                region,
                project,
                store,
            } = &item.destination;
            let index = store_spec(store).index;
            if let Err(error) = log.vendor_restore_index(region, project, store, &index, at) {
                tracing::info!(store, ?error, "an index was not put back");
            }
        }
    }
}

pub(super) fn create_store(
    log: &mut log_service::State,
    to: &Destination,
    at: Timestamp,
) -> Result<(), VendorError> {
    log.vendor_create_store(&to.region, &to.project, &to.store, &store_spec(&to.store), at)
}

/// Writes one event; the error is the text of LatestDeliveryLogServiceError.
fn write(
    item: &Item,
    event: &Event,
    log: &mut log_service::State,
    assumptions: &Assumptions,
    at: Timestamp,
) -> Result<(), String> {
    let to = &item.destination;
    let record = || VendorLog {
        time: event.time.as_second(),
        topic: TOPIC.to_owned(),
        source: match assumptions.get::<EventSourceAddress>() {
            EventSourceAddress::ServiceName => "actiontrail_internal".to_owned(),
            EventSourceAddress::Empty => String::new(),
        },
        contents: vec![("event".to_owned(), event.value.to_string())],
    };
    let mut outcome = log.vendor_append(&to.region, &to.project, &to.store, vec![record()], at);
    if outcome == Err(VendorError::LogStoreNotExist)
        && assumptions.get::<StoreRecreated>() == StoreRecreated::OnDelivery
    {
        outcome = create_store(log, to, at)
            .and_then(|()| log.vendor_append(&to.region, &to.project, &to.store, vec![record()], at));
    }
    outcome.map_err(|error| match error {
        VendorError::ProjectNotExist => {
            format!(
                "Write to Log Service failed: ProjectNotExist, the project {} does not exist.",
                to.project
            )
        }
        VendorError::LogStoreNotExist => {
            format!(
                "Write to Log Service failed: LogStoreNotExist, logstore {} does not exist.",
                to.store
            )
        }
    })
}
