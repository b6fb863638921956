//! Owns what the process knows of the cluster: a cache of every kind, fed by one watch per kind and namespace, and the
//! rule which visits a change asks for.
//!
//! An object that cannot be read (poison) is left out of the cache and told of; it stops nobody else.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex};

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::ResourceExt;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::{self, Event};

use tokio_util::sync::CancellationToken;

use super::memory::lock;
use super::object::{KindName, Managed, ObjectId};
use crate::api::v1alpha1::{AuditLogStore, AuditProject, RamTrail};

/// The objects of one namespace, or of all.
#[derive(Clone)]
pub struct Scope {
    /// The namespace; `None` for all.
    pub namespace: Option<String>,
    /// Projects.
    pub projects: Store<AuditProject>,
    /// Log stores.
    pub log_stores: Store<AuditLogStore>,
    /// Trails.
    pub trails: Store<RamTrail>,
    triggers: Triggers,
    /// Cancelled, which many can wait for, once the kind was listed: in the order project, log store, trail. The
    /// caches' own signal wakes only one of several waiting tasks.
    listed: [CancellationToken; 3],
}

#[derive(Clone)]
struct Triggers {
    projects: UnboundedSender<ObjectRef<AuditProject>>,
    log_stores: UnboundedSender<ObjectRef<AuditLogStore>>,
    trails: UnboundedSender<ObjectRef<RamTrail>>,
}

/// The writing ends of a scope: taken once, by the watches and the queues.
pub struct ScopeInputs {
    /// Projects.
    pub projects: Inputs<AuditProject>,
    /// Log stores.
    pub log_stores: Inputs<AuditLogStore>,
    /// Trails.
    pub trails: Inputs<RamTrail>,
}

/// The writing ends of one kind in one scope.
pub struct Inputs<K: Managed> {
    /// Fills the cache.
    pub writer: reflector::store::Writer<K>,
    /// Tells that the cache holds what the API server listed.
    pub listed: CancellationToken,
    /// Objects to visit.
    pub queue: UnboundedReceiver<ObjectRef<K>>,
}

impl Scope {
    /// An empty scope and its writing ends.
    pub fn new(namespace: Option<String>) -> (Self, ScopeInputs) {
        let (projects, project_writer) = reflector::store();
        let (log_stores, log_store_writer) = reflector::store();
        let (trails, trail_writer) = reflector::store();
        let (project_sender, project_queue) = unbounded();
        let (log_store_sender, log_store_queue) = unbounded();
        let (trail_sender, trail_queue) = unbounded();
        let triggers = Triggers {
            projects: project_sender,
            log_stores: log_store_sender,
            trails: trail_sender,
        };
        let listed: [CancellationToken; 3] = std::array::from_fn(|_| CancellationToken::new());
        let inputs = ScopeInputs {
            projects: Inputs {
                writer: project_writer,
                listed: listed[0].clone(),
                queue: project_queue,
            },
            log_stores: Inputs {
                writer: log_store_writer,
                listed: listed[1].clone(),
                queue: log_store_queue,
            },
            trails: Inputs {
                writer: trail_writer,
                listed: listed[2].clone(),
                queue: trail_queue,
            },
        };
        (
            Self {
                namespace,
                projects,
                log_stores,
                trails,
                triggers,
                listed,
            },
            inputs,
        )
    }
}

/// Everything that is watched.
#[derive(Clone)]
pub struct Cluster {
    scopes: Arc<[Scope]>,
    declared: Arc<Declared>,
}

/// Which objects declare a name in the cloud, so that a visit finds its rivals without a look at every object.
#[derive(Debug, Default)]
struct Declared {
    by_name: Mutex<HashMap<(KindName, String), Declarers>>,
}

/// Namespaces and names of objects.
type Declarers = BTreeSet<(String, String)>;

impl Declared {
    fn add(&self, id: &ObjectId, name: &str) {
        lock(&self.by_name)
            .entry((id.kind, name.to_owned()))
            .or_default()
            .insert((id.namespace.clone(), id.name.clone()));
    }

    fn remove(&self, id: &ObjectId, name: &str) {
        let key = (id.kind, name.to_owned());
        let mut by_name = lock(&self.by_name);
        if let Some(objects) = by_name.get_mut(&key) {
            objects.remove(&(id.namespace.clone(), id.name.clone()));
            if objects.is_empty() {
                by_name.remove(&key);
            }
        }
    }

    /// Namespaces and names of the objects of a kind that declare a name.
    fn of(&self, kind: KindName, name: &str) -> Vec<(String, String)> {
        lock(&self.by_name)
            .get(&(kind, name.to_owned()))
            .map(|objects| objects.iter().cloned().collect())
            .unwrap_or_default()
    }
}

impl Cluster {
    /// A cluster of these scopes, whose namespaces do not overlap.
    pub fn new(scopes: Vec<Scope>) -> Self {
        Self {
            scopes: scopes.into(),
            declared: Arc::default(),
        }
    }

    /// The scopes.
    pub fn scopes(&self) -> &[Scope] {
        &self.scopes
    }

    fn scope_of(&self, namespace: &str) -> Option<&Scope> {
        self.scopes.iter().find(|scope| {
            scope
                .namespace
                .as_deref()
                .is_none_or(|watched| watched == namespace)
        })
    }

    /// Waits until every cache holds what the API server listed: before that, nothing can be said to be missing.
    pub async fn ready(&self) {
        for listed in self.scopes.iter().flat_map(|scope| &scope.listed) {
            listed.cancelled().await;
        }
    }

    /// The project with this name.
    pub fn project(&self, namespace: &str, name: &str) -> Option<Arc<AuditProject>> {
        self.scope_of(namespace)?
            .projects
            .get(&ObjectRef::new(name).within(namespace))
    }

    /// The log store with this name.
    pub fn log_store(&self, namespace: &str, name: &str) -> Option<Arc<AuditLogStore>> {
        self.scope_of(namespace)?
            .log_stores
            .get(&ObjectRef::new(name).within(namespace))
    }

    /// The trail with this name.
    pub fn trail(&self, namespace: &str, name: &str) -> Option<Arc<RamTrail>> {
        self.scope_of(namespace)?
            .trails
            .get(&ObjectRef::new(name).within(namespace))
    }

    /// All projects.
    pub fn projects(&self) -> impl Iterator<Item = Arc<AuditProject>> + '_ {
        self.scopes.iter().flat_map(|scope| scope.projects.state())
    }

    /// All trails.
    pub fn trails(&self) -> impl Iterator<Item = Arc<RamTrail>> + '_ {
        self.scopes.iter().flat_map(|scope| scope.trails.state())
    }

    /// The projects that declare this name in Log Service.
    pub fn projects_named(&self, name: &str) -> Vec<Arc<AuditProject>> {
        self.named(name, Self::project)
    }

    /// The log stores that declare this name in Log Service, in whichever project.
    pub fn log_stores_named(&self, name: &str) -> Vec<Arc<AuditLogStore>> {
        self.named(name, Self::log_store)
    }

    /// The trails that declare this name in ActionTrail.
    pub fn trails_named(&self, name: &str) -> Vec<Arc<RamTrail>> {
        self.named(name, Self::trail)
    }

    fn named<K: Managed>(
        &self,
        name: &str,
        get: impl Fn(&Self, &str, &str) -> Option<Arc<K>>,
    ) -> Vec<Arc<K>> {
        let declared = self.declared.of(K::KIND, name);
        declared
            .iter()
            .filter_map(|(namespace, object)| get(self, namespace, object))
            .filter(|object| object.external_name() == name)
            .collect()
    }

    /// The log stores that refer to a project.
    pub fn log_stores_of(&self, namespace: &str, project: &str) -> Vec<Arc<AuditLogStore>> {
        self.scope_of(namespace).map_or_else(Vec::new, |scope| {
            scope
                .log_stores
                .state_filter(|o| in_namespace(o, namespace) && o.spec.project_ref.name == project)
        })
    }

    /// The trails that refer to a project.
    pub fn trails_of(&self, namespace: &str, project: &str) -> Vec<Arc<RamTrail>> {
        self.scope_of(namespace).map_or_else(Vec::new, |scope| {
            scope
                .trails
                .state_filter(|o| in_namespace(o, namespace) && o.spec.project_ref.name == project)
        })
    }

    /// The trails that copy into a log store.
    pub fn trails_into(&self, namespace: &str, log_store: &str) -> Vec<Arc<RamTrail>> {
        self.scope_of(namespace).map_or_else(Vec::new, |scope| {
            scope.trails.state_filter(|o| {
                in_namespace(o, namespace)
                    && o.spec
                        .copy_to
                        .as_ref()
                        .is_some_and(|copy| copy.log_store_ref.name == log_store)
            })
        })
    }

    /// Asks for a visit of an object.
    pub fn trigger(&self, object: &ObjectId) {
        let Some(scope) = self.scope_of(&object.namespace) else {
            return;
        };
        // A queue is closed only when its controller has ended.
        let _ = match object.kind {
            KindName::AuditProject => scope
                .triggers
                .projects
                .unbounded_send(ObjectRef::new(&object.name).within(&object.namespace))
                .is_ok(),
            KindName::AuditLogStore => scope
                .triggers
                .log_stores
                .unbounded_send(ObjectRef::new(&object.name).within(&object.namespace))
                .is_ok(),
            KindName::RamTrail => scope
                .triggers
                .trails
                .unbounded_send(ObjectRef::new(&object.name).within(&object.namespace))
                .is_ok(),
        };
    }
}

fn in_namespace(object: &impl ResourceExt, namespace: &str) -> bool {
    object.meta().namespace.as_deref() == Some(namespace)
}

/// The objects whose visits depend on another one.
pub trait Related: Managed {
    /// Those that refer to it, those that it waits for or that wait for it, and those that declare the same name.
    fn related(&self, cluster: &Cluster) -> Vec<ObjectId>;
}

/// Ids of objects, except one.
fn ids<'a, K: Managed>(
    objects: impl IntoIterator<Item = Arc<K>> + 'a,
    except: ObjectId,
) -> impl Iterator<Item = ObjectId> + 'a {
    objects
        .into_iter()
        .map(|object| object.id())
        .filter(move |id| *id != except)
}

fn rivals<K: Managed>(declarers: Vec<Arc<K>>, me: &K) -> impl Iterator<Item = ObjectId> + '_ {
    ids(declarers, me.id())
}

impl Related for AuditProject {
    fn related(&self, cluster: &Cluster) -> Vec<ObjectId> {
        let id = self.id();
        ids(cluster.log_stores_of(&id.namespace, &id.name), id.clone())
            .chain(ids(cluster.trails_of(&id.namespace, &id.name), id.clone()))
            .chain(rivals(cluster.projects_named(self.external_name()), self))
            .collect()
    }
}

impl Related for AuditLogStore {
    fn related(&self, cluster: &Cluster) -> Vec<ObjectId> {
        let id = self.id();
        ids(cluster.trails_into(&id.namespace, &id.name), id.clone())
            .chain(rivals(cluster.log_stores_named(self.external_name()), self))
            .chain(waiting_project(cluster, self))
            .collect()
    }
}

impl Related for RamTrail {
    fn related(&self, cluster: &Cluster) -> Vec<ObjectId> {
        let id = self.id();
        let waiting_store = self
            .spec
            .copy_to
            .as_ref()
            .and_then(|copy| cluster.log_store(&id.namespace, &copy.log_store_ref.name))
            .filter(|store| store.is_deleting())
            .map(|store| store.id());
        rivals(cluster.trails_named(self.external_name()), self)
            .chain(waiting_project(cluster, self))
            .chain(waiting_store)
            .collect()
    }
}

/// The project of an object, if it is being deleted: it may wait for the object.
fn waiting_project(cluster: &Cluster, object: &impl Managed) -> Option<ObjectId> {
    let id = object.id();
    cluster
        .project(&id.namespace, object.project_object())
        .filter(|p| p.is_deleting())
        .map(|p| p.id())
}

/// An object that cannot be read.
#[derive(Clone, Debug)]
pub struct Unreadable {
    /// Which object.
    pub reference: ObjectReference,
    /// Why, without the values that stand in it.
    pub why: String,
}

/// Keeps the cache of one kind in one scope true and asks for the visits that changes call for, until the stream
/// ends. `gone` hears of objects that are no more, by UID; `unreadable` of those that cannot be read.
pub async fn watch<K: Related>(
    events: impl Stream<Item = watcher::Result<Event<DeserializeGuard<K>>>> + Send,
    mut writer: reflector::store::Writer<K>,
    listed_once: CancellationToken,
    cluster: Cluster,
    gone: impl Fn(&str, &ObjectId) + Send,
    unreadable: impl Fn(Unreadable) + Send,
) {
    let store = writer.as_reader();
    let mut seen: HashMap<ObjectRef<K>, Seen> = HashMap::new();
    let mut listed: HashSet<ObjectRef<K>> = HashSet::new();
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                tracing::warn!(kind = %K::KIND, %error, "watch failed; it is started again");
                continue;
            }
        };
        match event {
            Event::Init => {
                listed.clear();
                writer.apply_watcher_event(&Event::Init);
            }
            Event::InitApply(object) => {
                if let Some(object) = readable(object, &unreadable) {
                    listed.insert(ObjectRef::from_obj(&object));
                    writer.apply_watcher_event(&Event::InitApply(object));
                }
            }
            Event::InitDone => {
                let before: Vec<_> = store.state();
                writer.apply_watcher_event(&Event::InitDone);
                for object in before {
                    if !listed.contains(&ObjectRef::from_obj(&*object)) {
                        removed(&mut seen, &object, &cluster, &gone);
                    }
                }
                for object in store.state() {
                    changed(&mut seen, &object, &cluster, &gone);
                }
                // Visits begin with this, and must find every rival.
                listed_once.cancel();
                listed.clear();
            }
            Event::Apply(object) => {
                let reference = ObjectRef::from_obj(&object);
                if let Some(object) = readable(object, &unreadable) {
                    writer.apply_watcher_event(&Event::Apply(object.clone()));
                    changed(&mut seen, &object, &cluster, &gone);
                } else if let Some(old) = store.get(&retyped(&reference)) {
                    writer.apply_watcher_event(&Event::Delete(K::clone(&old)));
                    removed(&mut seen, &old, &cluster, &gone);
                }
            }
            Event::Delete(object) => {
                let reference = retyped(&ObjectRef::from_obj(&object));
                if let Some(old) = object
                    .0
                    .ok()
                    .or_else(|| store.get(&reference).map(|old| K::clone(&old)))
                {
                    writer.apply_watcher_event(&Event::Delete(old.clone()));
                    removed(&mut seen, &old, &cluster, &gone);
                }
            }
        }
    }
}

struct Seen {
    uid: String,
    declared: String,
    visit: u64,
    relation: u64,
}

fn changed<K: Related>(
    seen: &mut HashMap<ObjectRef<K>, Seen>,
    object: &K,
    cluster: &Cluster,
    gone: &impl Fn(&str, &ObjectId),
) {
    let now = Seen {
        uid: object.uid().unwrap_or_default(),
        declared: object.external_name().to_owned(),
        visit: object.visit_fingerprint(),
        relation: object.relation_fingerprint(),
    };
    let (visit, relation) = (now.visit, now.relation);
    let before = seen.insert(ObjectRef::from_obj(object), now);
    if let Some(before) = before
        .as_ref()
        .filter(|before| before.declared != object.external_name())
    {
        cluster.declared.remove(&object.id(), &before.declared);
    }
    cluster.declared.add(&object.id(), object.external_name());
    if let Some(before) = &before
        && Some(before.uid.as_str()) != object.meta().uid.as_deref()
    {
        gone(&before.uid, &object.id());
    }
    if before.as_ref().is_none_or(|before| before.visit != visit) {
        cluster.trigger(&object.id());
    }
    if before.as_ref().is_none_or(|before| before.relation != relation) {
        for id in object.related(cluster) {
            cluster.trigger(&id);
        }
    }
}

fn removed<K: Related>(
    seen: &mut HashMap<ObjectRef<K>, Seen>,
    object: &K,
    cluster: &Cluster,
    gone: &impl Fn(&str, &ObjectId),
) {
    let declared = seen
        .remove(&ObjectRef::from_obj(object))
        .map(|seen| seen.declared);
    let declared = declared.as_deref().unwrap_or(object.external_name());
    cluster.declared.remove(&object.id(), declared);
    gone(&object.uid().unwrap_or_default(), &object.id());
    for id in object.related(cluster) {
        cluster.trigger(&id);
    }
}

/// The object without what nobody reads, or nothing if it cannot be read, which is told.
fn readable<K: Managed>(object: DeserializeGuard<K>, unreadable: &impl Fn(Unreadable)) -> Option<K> {
    match object.0 {
        Ok(mut object) => {
            object.managed_fields_mut().clear();
            Some(object)
        }
        Err(invalid) => {
            unreadable(Unreadable {
                reference: ObjectReference {
                    api_version: Some(K::api_version(&()).into_owned()),
                    kind: Some(K::kind(&()).into_owned()),
                    name: invalid.metadata.name.clone(),
                    namespace: invalid.metadata.namespace.clone(),
                    uid: invalid.metadata.uid.clone(),
                    ..ObjectReference::default()
                },
                why: without_text(&invalid.error),
            });
            None
        }
    }
}

/// A parser's message without the text that it found: somebody may have put a secret into the wrong field.
fn without_text(message: &str) -> String {
    match (message.find('"'), message.rfind('"')) {
        (Some(first), Some(last)) if first < last => {
            format!("{}\"…\"{}", &message[..first], &message[last + 1..])
        }
        _ => message.to_owned(),
    }
}

fn retyped<K: Managed>(reference: &ObjectRef<DeserializeGuard<K>>) -> ObjectRef<K> {
    ObjectRef::new(&reference.name).within(reference.namespace.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::{Value, json};
    use std::sync::Mutex;

    fn project(name: &str, generation: i64, status: &Value) -> Value {
        json!({
            "apiVersion": "ramtrail.io/v1alpha1", "kind": "AuditProject",
            "metadata": {"name": name, "namespace": "n", "uid": format!("uid-{name}"), "generation": generation},
            "spec": {"region": "cn-hangzhou"}, "status": status,
        })
    }

    fn guard(value: Value) -> DeserializeGuard<AuditProject> {
        serde_json::from_value(value).unwrap()
    }

    async fn run(events: Vec<Event<DeserializeGuard<AuditProject>>>) -> (Cluster, Vec<String>, Vec<String>) {
        let (cluster, visits, gone, _) = run_and_hear(events).await;
        (cluster, visits, gone)
    }

    async fn run_and_hear(
        events: Vec<Event<DeserializeGuard<AuditProject>>>,
    ) -> (Cluster, Vec<String>, Vec<String>, Vec<Unreadable>) {
        let told = Mutex::new(Vec::new());
        let (scope, inputs) = Scope::new(None);
        let cluster = Cluster::new(vec![scope]);
        let gone = Mutex::new(Vec::new());
        watch(
            futures::stream::iter(events.into_iter().map(Ok)),
            inputs.projects.writer,
            inputs.projects.listed,
            cluster.clone(),
            |uid, _| gone.lock().unwrap().push(uid.to_owned()),
            |poison| told.lock().unwrap().push(poison),
        )
        .await;
        let mut queue = inputs.projects.queue;
        let mut visits = Vec::new();
        while let Ok(next) = queue.try_recv() {
            visits.push(next.name);
        }
        let told = told.into_inner().unwrap();
        (cluster, visits, gone.into_inner().unwrap(), told)
    }

    #[tokio::test]
    async fn a_status_change_of_the_object_itself_asks_for_no_visit() {
        let (_, visits, _) = run(vec![
            Event::Apply(guard(project("a", 1, &json!({})))),
            Event::Apply(guard(project("a", 1, &json!({"endpoint": "x"})))),
        ])
        .await;
        assert_eq!(visits, ["a"]);
        let (_, visits, _) = run(vec![
            Event::Apply(guard(project("a", 1, &json!({})))),
            Event::Apply(guard(project("a", 2, &json!({})))),
        ])
        .await;
        assert_eq!(visits, ["a", "a"]);
    }

    #[tokio::test]
    async fn an_object_that_cannot_be_read_stops_nobody() {
        let mut poison = project("bad", 1, &json!({}));
        poison["spec"] = json!({"region": "cn-hangzhou", "tags": "a secret"});
        let (cluster, visits, _, told) = run_and_hear(vec![
            Event::Init,
            Event::InitApply(guard(poison)),
            Event::InitApply(guard(project("good", 1, &json!({})))),
            Event::InitDone,
        ])
        .await;
        assert_eq!(visits, ["good"]);
        assert!(cluster.project("n", "good").is_some() && cluster.project("n", "bad").is_none());
        let [Unreadable { reference, why }] = told.as_slice() else {
            panic!("{told:?}");
        };
        assert_eq!(
            (
                reference.kind.as_deref(),
                reference.name.as_deref(),
                reference.uid.as_deref()
            ),
            (Some("AuditProject"), Some("bad"), Some("uid-bad"))
        );
        assert!(why.contains('…') && !why.contains("a secret"), "{why}");
    }

    #[tokio::test]
    async fn an_object_that_becomes_unreadable_is_no_longer_acted_on() {
        let mut poison = project("a", 2, &json!({}));
        poison["spec"] = json!({});
        let (cluster, _, gone) = run(vec![
            Event::Apply(guard(project("a", 1, &json!({})))),
            Event::Apply(guard(poison)),
        ])
        .await;
        assert!(cluster.project("n", "a").is_none());
        assert_eq!(gone, ["uid-a"]);
    }

    #[tokio::test]
    async fn what_vanished_while_the_watch_was_down_is_noticed() {
        let (_, _, gone) = run(vec![
            Event::Apply(guard(project("a", 1, &json!({})))),
            Event::Init,
            Event::InitApply(guard(project("b", 1, &json!({})))),
            Event::InitDone,
        ])
        .await;
        assert_eq!(gone, ["uid-a"]);
    }

    fn events<K: Managed>() -> impl Stream<Item = watcher::Result<Event<DeserializeGuard<K>>>> + Send {
        futures::stream::iter([Ok(Event::Init), Ok(Event::InitDone)])
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_waiter_hears_that_all_kinds_were_listed() {
        let (scope, inputs) = Scope::new(None);
        let cluster = Cluster::new(vec![scope]);
        let waiters: Vec<_> = (0..8)
            .map(|_| {
                let cluster = cluster.clone();
                tokio::spawn(async move { cluster.ready().await })
            })
            .collect();
        tokio::task::yield_now().await;
        let ScopeInputs {
            projects,
            log_stores,
            trails,
        } = inputs;
        watch(
            events(),
            projects.writer,
            projects.listed,
            cluster.clone(),
            |_, _| {},
            |_| {},
        )
        .await;
        watch(
            events(),
            log_stores.writer,
            log_stores.listed,
            cluster.clone(),
            |_, _| {},
            |_| {},
        )
        .await;
        assert!(!waiters[0].is_finished(), "one kind is not listed yet");
        watch(
            events(),
            trails.writer,
            trails.listed,
            cluster.clone(),
            |_, _| {},
            |_| {},
        )
        .await;
        for waiter in waiters {
            tokio::time::timeout(std::time::Duration::from_secs(60), waiter)
                .await
                .unwrap()
                .unwrap();
        }
    }

    #[tokio::test]
    async fn objects_are_found_by_the_name_that_they_declare_now() {
        let declares = |object: &str, name: &str| {
            let mut object = project(object, 1, &json!({}));
            object["spec"]["projectName"] = json!(name);
            object
        };
        let (cluster, _, _) = run(vec![
            Event::Init,
            Event::InitApply(guard(declares("gone", "p"))),
            Event::InitApply(guard(declares("a", "p"))),
            Event::InitDone,
            Event::Apply(guard(declares("b", "p"))),
            Event::Apply(guard(declares("c", "q"))),
            Event::Apply(guard(declares("moved", "q"))),
            Event::Apply(guard(declares("moved", "p"))),
            Event::Apply(guard(declares("deleted", "p"))),
            Event::Delete(guard(declares("deleted", "p"))),
            Event::Apply(guard(project("p", 1, &json!({})))),
            // The watch was down: what is not listed any more is gone.
            Event::Init,
            Event::InitApply(guard(declares("a", "p"))),
            Event::InitApply(guard(declares("b", "p"))),
            Event::InitApply(guard(declares("c", "q"))),
            Event::InitApply(guard(declares("moved", "p"))),
            Event::InitApply(guard(project("p", 1, &json!({})))),
            Event::InitDone,
        ])
        .await;
        let named = |name: &str| -> Vec<String> {
            let found = cluster.projects_named(name);
            found.iter().map(|project| project.name_any()).collect()
        };
        assert_eq!(named("p"), ["a", "b", "moved", "p"]);
        assert_eq!(named("q"), ["c"]);
        assert_eq!(named("x"), Vec::<String>::new());
        let kept: usize = lock(&cluster.declared.by_name).values().map(BTreeSet::len).sum();
        assert_eq!(kept, cluster.projects().count(), "nothing of the past is kept");
    }

    #[tokio::test]
    async fn rivals_are_visited_when_a_name_becomes_free() {
        let mut rival = project("b", 1, &json!({}));
        rival["spec"]["projectName"] = json!("a");
        let (_, visits, _) = run(vec![
            Event::Apply(guard(project("a", 1, &json!({})))),
            Event::Apply(guard(rival)),
            Event::Delete(guard(project("a", 1, &json!({})))),
        ])
        .await;
        assert_eq!(visits, ["a", "b", "a", "b"]);
    }
}
