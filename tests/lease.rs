//! The election on a real API server: never two leaders, and a new one when the old one is gone, frozen or leaving.
#![allow(clippy::unwrap_used)]

mod api_server;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use ramtrail::config::LeaseSettings;
use ramtrail::lease::{Candidate, Leadership, Lost};

struct Stage {
    client: Client,
    namespace: String,
}

impl Stage {
    async fn new(purpose: &str) -> Self {
        let kubectl = api_server::bare_kubectl();
        let namespace = api_server::namespace(&kubectl, purpose);
        Self {
            client: api_server::client(kubectl.kubeconfig()).await,
            namespace,
        }
    }

    fn candidate(&self, identity: &str) -> Candidate {
        Candidate::new(self.client.clone(), &self.namespace, settings(), identity)
    }

    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn lease(&self) -> k8s_openapi::api::coordination::v1::LeaseSpec {
        self.leases().get("election").await.unwrap().spec.unwrap()
    }
}

/// Short, so that tests are quick; the proportions are those of the defaults.
fn settings() -> LeaseSettings {
    LeaseSettings {
        name: "election".to_owned(),
        duration: Duration::from_secs(6),
        renew_deadline: Duration::from_secs(5),
        retry_period: Duration::from_millis(200),
    }
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(api_server::DEADLINE, future)
        .await
        .unwrap_or_else(|_| panic!("{what}: not in time"))
}

#[tokio::test]
async fn first_candidate_makes_the_lease_and_the_second_waits() {
    let stage = Stage::new("lease-first").await;
    let (mut first, mut second) = (stage.candidate("first"), stage.candidate("second"));
    let (leads, waits) = (first.leadership(), second.leadership());
    within("acquire", first.acquire()).await;
    assert!(leads.holds());
    let lease = stage.lease().await;
    assert_eq!(lease.holder_identity.as_deref(), Some("first"));
    assert_eq!(
        (lease.lease_duration_seconds, lease.lease_transitions),
        (Some(6), Some(0))
    );
    // Far longer than the lease lasts without renewal.
    tokio::select! {
        lost = first.hold() => panic!("lost: {lost}"),
        () = second.acquire() => panic!("two leaders"),
        () = sleep(2 * settings().duration) => {}
    }
    assert!(leads.holds() && !waits.holds());
    let renewed = stage.lease().await;
    assert_eq!(renewed.acquire_time, lease.acquire_time);
    assert!(renewed.renew_time > lease.renew_time);
}

#[tokio::test]
async fn a_leader_that_is_frozen_is_replaced_and_knows_it_when_it_wakes() {
    let stage = Stage::new("lease-frozen").await;
    let (mut frozen, mut heir) = (stage.candidate("frozen"), stage.candidate("heir"));
    let old = frozen.leadership();
    within("acquire", frozen.acquire()).await;
    // Frozen: nobody polls it, so that it neither renews nor gives up.
    within("takeover", heir.acquire()).await;
    assert!(!old.holds(), "its time was over before the heir's began");
    assert!(heir.leadership().holds());
    let lease = stage.lease().await;
    assert_eq!(
        (lease.holder_identity.as_deref(), lease.lease_transitions),
        (Some("heir"), Some(1))
    );
    let lost = within("loss", frozen.hold()).await;
    assert!(
        matches!(&lost, Lost::TakenOver { holder, .. } if holder == "heir"),
        "{lost}"
    );
    assert!(!old.holds());
    assert_eq!(
        stage.lease().await.holder_identity.as_deref(),
        Some("heir"),
        "the old leader must not write"
    );
}

#[tokio::test]
async fn release_hands_over_at_once() {
    let stage = Stage::new("lease-release").await;
    let (mut leaving, mut next) = (stage.candidate("leaving"), stage.candidate("next"));
    within("acquire", leaving.acquire()).await;
    let seen = Instant::now();
    leaving.release().await.unwrap();
    assert!(!leaving.leadership().holds());
    assert_eq!(stage.lease().await.holder_identity, None);
    within("handover", next.acquire()).await;
    assert!(
        seen.elapsed() < settings().duration,
        "the next leader waited for the lease to run out"
    );
    // Whoever left long ago takes nothing from the next one.
    leaving.release().await.unwrap();
    assert_eq!(stage.lease().await.holder_identity.as_deref(), Some("next"));
}

#[tokio::test]
async fn a_lease_written_by_another_is_lost_at_the_next_renewal() {
    let stage = Stage::new("lease-conflict").await;
    let mut leader = stage.candidate("leader");
    let leadership = leader.leadership();
    within("acquire", leader.acquire()).await;
    let usurper = json!({ "spec": { "holderIdentity": "usurper" } });
    stage
        .leases()
        .patch("election", &PatchParams::default(), &Patch::Merge(&usurper))
        .await
        .unwrap();
    let started = Instant::now();
    let lost = within("loss", leader.hold()).await;
    assert!(
        matches!(&lost, Lost::TakenOver { holder, .. } if holder == "usurper"),
        "{lost}"
    );
    assert!(!leadership.holds());
    assert!(
        started.elapsed() < Duration::from_secs(30),
        "a conflict is no reason to go on trying"
    );
    assert_eq!(stage.lease().await.holder_identity.as_deref(), Some("usurper"));
}

#[tokio::test]
async fn a_write_by_others_that_leaves_the_holder_is_survived() {
    let stage = Stage::new("lease-touched").await;
    let mut leader = stage.candidate("leader");
    within("acquire", leader.acquire()).await;
    let before = stage.lease().await.renew_time;
    // The resourceVersion moves on, so that the next renewal meets a conflict.
    let note = json!({ "metadata": { "annotations": { "looked": "at" } } });
    stage
        .leases()
        .patch("election", &PatchParams::default(), &Patch::Merge(&note))
        .await
        .unwrap();
    tokio::select! {
        lost = leader.hold() => panic!("lost: {lost}"),
        () = async { while stage.lease().await.renew_time == before { sleep(Duration::from_millis(50)).await } } => {}
    }
    assert!(leader.leadership().holds());
}

#[tokio::test]
async fn a_deleted_lease_is_lost() {
    let stage = Stage::new("lease-deleted").await;
    let mut leader = stage.candidate("leader");
    within("acquire", leader.acquire()).await;
    stage
        .leases()
        .delete("election", &DeleteParams::default())
        .await
        .unwrap();
    let lost = within("loss", leader.hold()).await;
    assert!(matches!(lost, Lost::Deleted(_)), "{lost}");
}

#[tokio::test]
async fn an_acquisition_cut_off_in_the_middle_is_given_back() {
    let stage = Stage::new("lease-cut").await;
    // Cut off at many moments: before, while and after the write is under way.
    for (round, millis) in (0..40).step_by(2).enumerate() {
        let mut candidate = stage.candidate(&format!("c{round}"));
        tokio::select! {
            () = candidate.acquire() => {}
            () = sleep(Duration::from_millis(millis)) => {}
        }
        candidate.release().await.unwrap();
        assert!(!candidate.leadership().holds());
    }
    // A write that was under way may arrive after the release; then the lease runs out.
    within("acquire", stage.candidate("last").acquire()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_candidates_that_come_and_go_never_lead_together() {
    let stage = Arc::new(Stage::new("lease-many").await);
    let leaders = Arc::new(AtomicUsize::new(0));
    let terms = Arc::new(AtomicUsize::new(0));
    let until = Instant::now() + 4 * settings().duration;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..4_usize {
        let (stage, leaders, terms) = (stage.clone(), leaders.clone(), terms.clone());
        tasks.spawn(async move {
            for term in 0.. {
                if Instant::now() >= until {
                    return;
                }
                let mut candidate = stage.candidate(&format!("n{number}-t{term}"));
                let leadership = candidate.leadership();
                tokio::select! {
                    () = candidate.acquire() => {}
                    () = tokio::time::sleep_until(until) => return,
                }
                terms.fetch_add(1, Ordering::SeqCst);
                let worked = work(&leadership, &leaders, Duration::from_millis(300));
                tokio::select! {
                    // A slow machine may lose a lease; two leaders it may not make.
                    _ = candidate.hold() => {}
                    () = worked => {}
                }
                // Some leave, others vanish.
                if term % 4 != 3 {
                    candidate.release().await.unwrap();
                }
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    let terms = terms.load(Ordering::SeqCst);
    assert!(terms > 4, "only {terms} terms");
}

/// Enters a section that only a leader may be in, and looks whether another is there.
async fn work(leadership: &Leadership, leaders: &AtomicUsize, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end && leadership.holds_for(Duration::from_millis(500)) {
        assert_eq!(leaders.fetch_add(1, Ordering::SeqCst), 0, "two leaders");
        tokio::task::yield_now().await;
        leaders.fetch_sub(1, Ordering::SeqCst);
        sleep(Duration::from_millis(1)).await;
    }
}
