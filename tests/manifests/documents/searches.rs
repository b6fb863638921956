//! The searches of `docs/searching.md`, each in an emulated trail's store with the operator's index: what it has to find, and all
//! that it must not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use ramtrail::aliyun::action_trail::TrailSettings;
use ramtrail::aliyun::log_service::LogQuery;
use ramtrail::aliyun::resource_manager::ACTION_TRAIL_SERVICE;
use ramtrail::aliyun::{
    Cloud, CloudClients, CloudOptions, ClusterId, Credential, LogStoreName, NoObserver, ProjectName, Region,
    ReqwestSender, StaticCredentials, TransportOptions,
};
use ramtrail::controllers::index_preset;
use serde_json::{Value, json};
use xtask::book;
use xtask::emulator::EmulatorProcess;

use super::read;

const PAGE: &str = "docs/searching.md";
const ACCOUNT: &str = "1234567890123456";
const PROJECT: &str = "ai-workload-audit-trail";
const TRAIL: &str = "ai-workload-ram-access";

/// For each section of the page with a search, the events that it finds. All others of [`events`] are those that it must not.
const FINDS: [(&str, &[&str]); 10] = [
    (
        "Sign-ins",
        &[
            "root-signs-in",
            "alice-signs-in",
            "bob-signs-in",
            "mallory-fails-to-sign-in",
        ],
    ),
    ("Sign-ins that failed", &["mallory-fails-to-sign-in"]),
    ("Who took on a role", &["pod-takes-role", "alice-takes-role"]),
    (
        "What a workload did with its role",
        &[
            "trainer-reads-secret",
            "trainer-is-denied",
            "session-named-like-the-role",
        ],
    ),
    (
        "Everything one access key did",
        &[
            "stolen-key-looks-around",
            "stolen-key-makes-a-key",
            "stolen-key-stops-the-trail",
        ],
    ),
    (
        "Calls that were denied",
        &["trainer-is-denied", "stolen-key-makes-a-key"],
    ),
    (
        "Users, keys and permissions that were made",
        &[
            "alice-makes-a-key",
            "stolen-key-makes-a-key",
            "alice-attaches-a-policy",
        ],
    ),
    ("Use of the root account", &["root-signs-in"]),
    (
        "Changes of the trail",
        &["stolen-key-stops-the-trail", "alice-narrows-the-trail"],
    ),
    (
        "Changes of the stores",
        &["alice-shortens-retention", "alice-deletes-the-index"],
    ),
];

/// The world of the searches: a file with an event on each line, named by its id, and what all events have besides.
fn events() -> Vec<Value> {
    let common = json!({
        "eventTime": Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(), "acsRegion": "cn-hangzhou",
        "eventCategory": "Management", "eventVersion": 1, "sourceIpAddress": "203.0.113.7", "recipientAccountId": ACCOUNT,
    });
    let file = read("tests/manifests/documents/events.jsonl");
    let event = |line: &str| {
        let mut event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        event
            .as_object_mut()
            .unwrap()
            .extend(common.as_object().unwrap().clone());
        event
    };
    file.lines().map(event).collect()
}

struct World {
    _emulator: EmulatorProcess,
    clients: CloudClients,
    project: ProjectName,
    store: LogStoreName,
}

impl World {
    async fn with(events: &[Value]) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (id, secret) = ("LTAIsearches0000000001", "searches-secret-000000000001");
        let emulator = EmulatorProcess::start(&[
            "--profile",
            "documented",
            "--access-key",
            &format!("{id}:{secret}:{ACCOUNT}"),
        ])
        .unwrap();
        let options = TransportOptions {
            cloud_endpoint: Some(emulator.url().parse().unwrap()),
            ..TransportOptions::default()
        };
        let cloud = Cloud::new(
            CloudOptions::new(ClusterId::new("searches").unwrap()),
            Arc::new(ReqwestSender::new(options).unwrap()),
            Arc::new(NoObserver),
        );
        let keys = Arc::new(StaticCredentials::new("test", Credential::new(id, secret)));
        let clients = cloud
            .clients(keys, &Region::new("cn-hangzhou").unwrap())
            .with_account(ACCOUNT);
        let project = ProjectName::new(PROJECT).unwrap();
        let store = LogStoreName::new(&format!("actiontrail_{TRAIL}")).unwrap();
        let CloudClients {
            log_service,
            action_trail,
            resource_manager,
            ..
        } = &clients;
        log_service.create_project(&project, "searches").await.unwrap();
        resource_manager
            .create_service_linked_role(ACTION_TRAIL_SERVICE)
            .await
            .unwrap();
        let arn = format!("acs:log:cn-hangzhou:{ACCOUNT}:project/{PROJECT}");
        action_trail
            .create_trail(TRAIL, &TrailSettings::into_project(arn))
            .await
            .unwrap();
        action_trail.start_logging(TRAIL).await.unwrap();
        // As the operator leaves it.
        let found = log_service.get_index(&project, &store).await.unwrap().value;
        let kept = index_preset::repair(&found, &[]).index;
        log_service.update_index(&project, &store, &kept).await.unwrap();
        emulator
            .post(&format!("events?account={ACCOUNT}"), &json!(events))
            .unwrap();
        Self {
            _emulator: emulator,
            clients,
            project,
            store,
        }
    }

    /// Ids of the events that a search finds.
    async fn find(&self, query: &str) -> Vec<String> {
        let now = Timestamp::now();
        let (from, to) = (
            now - SignedDuration::from_hours(1),
            now + SignedDuration::from_mins(1),
        );
        let answer = self
            .clients
            .log_service
            .get_logs(&self.project, &self.store, &LogQuery::newest(from, to, query))
            .await
            .unwrap_or_else(|error| panic!("{query}: {error}"))
            .value;
        assert!(answer.complete, "{query}");
        let ids = answer.rows.iter().map(|row| {
            let event: Value = serde_json::from_str(&row["event"]).unwrap();
            event["eventId"].as_str().unwrap().to_owned()
        });
        ids.collect()
    }
}

/// The page's searches by the section that they stand in.
fn searches() -> BTreeMap<String, String> {
    let page = read(PAGE);
    let pages = book::pages().unwrap();
    let blocks = pages
        .iter()
        .find(|found| found.path.to_str() == Some(PAGE))
        .unwrap()
        .blocks();
    let mut searches = BTreeMap::new();
    for block in blocks.iter().filter(|block| block.language == "sls") {
        let above: Vec<&str> = page.lines().take(block.line).collect();
        let heading = above
            .iter()
            .rev()
            .find_map(|line| line.strip_prefix("### "))
            .unwrap();
        // The console takes a search over several lines as one.
        let before = searches.insert(heading.to_owned(), block.text.trim().to_owned());
        assert_eq!(before, None, "{heading}: two searches");
    }
    searches
}

#[tokio::test]
async fn each_search_of_the_page_finds_its_events_and_no_other() {
    let (searches, events) = (searches(), events());
    let told: Vec<&str> = searches.keys().map(String::as_str).collect();
    let known: BTreeMap<&str, &[&str]> = FINDS.into_iter().collect();
    assert_eq!(
        told,
        known.keys().copied().collect::<Vec<_>>(),
        "sections with a search"
    );
    let ids: Vec<&str> = events
        .iter()
        .map(|event| event["eventId"].as_str().unwrap())
        .collect();
    let world = World::with(&events).await;
    // The emulator's own calls are in the store too.
    let ours = |found: Vec<String>| -> Vec<String> {
        let mut found: Vec<String> = found
            .into_iter()
            .filter(|id| ids.contains(&id.as_str()))
            .collect();
        found.sort();
        found
    };
    let mut arrived = Vec::new();
    for _ in 0..600 {
        arrived = ours(world.find("*").await);
        if arrived.len() == ids.len() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(arrived.len(), ids.len(), "{arrived:?}");
    for (section, query) in &searches {
        let mut wanted = known[section.as_str()].to_vec();
        wanted.sort_unstable();
        assert!(
            !wanted.is_empty() && wanted.iter().all(|id| ids.contains(id)),
            "{section}"
        );
        assert_eq!(ours(world.find(query).await), wanted, "{section}: {query}");
    }
}
