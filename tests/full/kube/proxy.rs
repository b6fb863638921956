//! The tool itself: what it is told to do happens.

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, ObjectMeta, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client, ResourceExt};
use std::time::Duration;
use tokio::time::timeout;
use xtask::api_proxy::{ApiProxy, Fault, Matching};
use xtask::temp_dir::TempDir;

use crate::support::{api_server, wait};

struct Stage {
    proxy: ApiProxy,
    /// Through the proxy.
    api: Api<ConfigMap>,
    /// Around it.
    direct: Api<ConfigMap>,
    _dir: TempDir,
}

impl Stage {
    fn new() -> Self {
        let kubectl = api_server::bare_kubectl();
        // Clients need the runtime and its TLS provider.
        let direct = wait(api_server::client(kubectl.kubeconfig()));
        let dir = TempDir::new("proxy").unwrap();
        let plain = dir.path().join("plain");
        let token = kubectl
            .json(["config", "view", "--raw", "--minify", "--flatten"])
            .unwrap();
        let token = token["users"][0]["user"]["token"].as_str().unwrap().to_owned();
        let user = xtask::kubeconfig::User::Token(token);
        xtask::kubeconfig::write(&plain, &kubectl.cluster().unwrap(), &user).unwrap();
        let proxy = ApiProxy::before(&plain).unwrap();
        let through = dir.path().join("through");
        proxy.write_kubeconfig(&plain, &through).unwrap();
        let client: Client = wait(api_server::client(&through));
        let namespace = api_server::namespace(&kubectl, "proxy");
        Self {
            proxy,
            api: Api::namespaced(client, &namespace),
            direct: Api::namespaced(direct, &namespace),
            _dir: dir,
        }
    }

    fn exists(&self, name: &str) -> bool {
        wait(self.direct.get_opt(name)).unwrap().is_some()
    }

    fn create(&self, name: &str) -> Result<ConfigMap, kube::Error> {
        wait(self.api.create(&PostParams::default(), &map(name)))
    }
}

fn map(name: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    }
}

fn code(error: &kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        other => panic!("{other:?}"),
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn dropped_and_refused_requests_are_carried_out_or_not_as_told() {
    let stage = Stage::new();
    let create = || Matching::of("create", "configmaps");
    stage.proxy.add(create(), Fault::DropBefore);
    assert!(stage.create("before").is_err());
    assert!(!stage.exists("before"));
    stage.proxy.add(create(), Fault::DropAfter);
    assert!(stage.create("after").is_err());
    assert!(stage.exists("after"));
    for (status, reason) in [
        (409, "Conflict"),
        (403, "Forbidden"),
        (422, "Invalid"),
        (500, "InternalError"),
    ] {
        stage.proxy.clear();
        let name = format!("refused-{status}");
        stage.proxy.add(create(), Fault::status(status, reason));
        assert_eq!(code(&stage.create(&name).unwrap_err()), status);
        assert!(!stage.exists(&name));
        stage.create(&name).unwrap();
    }
    let rows = stage.proxy.journal(0);
    let told: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row.call.name.as_str(),
                row.fault,
                row.status,
                row.forwarded.is_some(),
            )
        })
        .collect();
    assert_eq!(told[0], ("before", Some("drop-before"), None, false));
    assert_eq!(told[1], ("after", Some("drop-after"), Some(201), true));
    assert_eq!(told[2], ("refused-409", Some("status"), Some(409), false));
    assert_eq!(told[3], ("refused-409", None, Some(201), true));
}

#[test]
fn held_requests_wait_until_released_and_go_on_when_the_client_is_gone() {
    let stage = Stage::new();
    let before = stage.proxy.add(
        Matching::of("create", "configmaps").nth(1).times(0),
        Fault::HoldBefore,
    );
    // The client goes away when it is told to, not by the clock: a busy machine may take its time to answer.
    let hold = |name: &str| {
        let (leave, told) = tokio::sync::oneshot::channel::<()>();
        let (api, object) = (stage.api.clone(), map(name));
        let call = std::thread::spawn(move || {
            let post = PostParams::default();
            wait(async {
                tokio::select! {
                    made = api.create(&post, &object) => Some(made),
                    Ok(()) = told => None,
                }
            })
        });
        (call, leave)
    };
    let (call, _stay) = hold("released");
    until("a request is held", || stage.proxy.progress(before).holding == 1);
    assert!(!stage.exists("released"));
    stage.proxy.release(before);
    call.join().unwrap().unwrap().unwrap();
    let (call, leave) = hold("left");
    until("a request is held", || stage.proxy.progress(before).holding == 1);
    assert!(!stage.exists("left"));
    leave.send(()).unwrap();
    assert!(
        call.join().unwrap().is_none(),
        "it was held until the client left"
    );
    until("it is carried out", || stage.exists("left"));
    stage.proxy.clear();
    let after = stage
        .proxy
        .add(Matching::of("create", "configmaps"), Fault::HoldAfter);
    let (call, _stay) = hold("answered");
    until("an answer is held", || stage.proxy.progress(after).holding == 1);
    assert!(stage.exists("answered"));
    stage.proxy.remove(after);
    call.join().unwrap().unwrap().unwrap();
}

#[test]
fn watches_freeze_break_and_expire() {
    let stage = Stage::new();
    let parameters = WatchParams::default().fields("metadata.name!=kube-root-ca.crt");
    wait(async {
        let mut events = stage.api.watch(&parameters, "0").await.unwrap().boxed();
        let mut added = async || loop {
            match events.next().await {
                Some(Ok(WatchEvent::Added(map))) => return Some(map.name_any()),
                Some(Ok(WatchEvent::Bookmark(_))) => {}
                _ => return None,
            }
        };
        stage
            .direct
            .create(&PostParams::default(), &map("a"))
            .await
            .unwrap();
        assert_eq!(added().await.as_deref(), Some("a"));
        let freeze = stage.proxy.add(Matching::watches(), Fault::Freeze);
        stage
            .direct
            .create(&PostParams::default(), &map("b"))
            .await
            .unwrap();
        assert!(timeout(Duration::from_secs(1), added()).await.is_err(), "frozen");
        stage.proxy.remove(freeze);
        assert_eq!(added().await.as_deref(), Some("b"));
        stage.proxy.cut(Matching::watches());
        assert_eq!(added().await, None, "broken");
        for as_event in [true, false] {
            stage
                .proxy
                .add(Matching::watches().times(1), Fault::Gone { as_event });
            let told = match stage.api.watch(&parameters, "0").await {
                Err(error) => code(&error),
                Ok(events) => match events.boxed().next().await {
                    Some(Ok(WatchEvent::Error(status))) => status.code,
                    other => panic!("{other:?}"),
                },
            };
            assert_eq!(told, 410);
        }
    });
}

#[test]
fn answers_are_slow_cut_short_or_made_up_and_the_door_shuts() {
    let stage = Stage::new();
    stage.create("a").unwrap();
    let list = || Matching::of("list", "configmaps");
    let names = || wait(stage.api.list(&ListParams::default())).map(|all| all.items.len());
    stage.proxy.add(list(), Fault::Truncated);
    assert!(names().is_err());
    let old = wait(stage.direct.list(&ListParams::default())).unwrap();
    stage.create("b").unwrap();
    stage.proxy.clear();
    stage.proxy.add(
        list(),
        Fault::Answer {
            status: 200,
            body: serde_json::to_value(&old).unwrap(),
        },
    );
    assert_eq!(
        names().unwrap() + 1,
        names().unwrap(),
        "a stale answer, and a fresh one"
    );
    stage.proxy.clear();
    stage
        .proxy
        .add(Matching::of("get", "configmaps"), Fault::SlowBody { ms: 1 });
    wait(stage.api.get("a")).unwrap();
    stage.proxy.shut().unwrap();
    assert!(names().is_err());
    stage.proxy.reopen().unwrap();
    assert!(names().is_ok());
    let patch = serde_json::json!({"data": {"k": "v"}});
    wait(
        stage
            .api
            .patch("a", &PatchParams::default(), &Patch::Merge(&patch)),
    )
    .unwrap();
    assert!(stage.proxy.journal(0).last().unwrap().is_done_write());
}
