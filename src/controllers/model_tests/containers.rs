//! Projects and log stores in the model.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::sim::{Code, Halt, Maker, MarkText, Pass, Sim, Subject, marks};
use crate::api::v1alpha1::{
    AdoptionPolicy, AppliedLogStore, AuditLogStore, AuditProject, Claim, DeletionPolicy, Origin,
};
use crate::controllers::acquisition::{self, Decision, Found, Known, Release};
use crate::controllers::audit_log_store::plan as store_plan;
use crate::controllers::audit_project::plan as project_plan;
use crate::controllers::index_preset;
use crate::controllers::marks::own_marks;
use crate::controllers::object::Managed;
use crate::controllers::ownership::{KEY_PREFIX, Mark, OWNER_KEY, Owner, Spelling};
use crate::controllers::pass::second;
use crate::controllers::plan::Step;

/// The decision about what was seen, as both kinds ask for it.
fn decide<S: Subject>(
    pass: &Pass<S>,
    adoption: AdoptionPolicy,
    found: Option<&Found>,
) -> Result<Decision, Halt> {
    use crate::controllers::object::Status;
    let known = Known {
        owner: &Sim::<S>::owner(),
        account: super::sim::ACCOUNT,
        name: pass.object.external_name(),
        claim: pass.status.claim(),
        pending: pass.status.pending_create(),
        adoption,
    };
    Ok(acquisition::decide(&known, found)?)
}

fn found<S: Subject>(created: i64, mark: Option<&String>) -> Found {
    let time = Sim::<S>::time(created);
    Found {
        create_time: Some(second(time)),
        create_times: vec![time],
        mark: Sim::<S>::owner().judge(mark.map(String::as_str)),
        foreign_owner: String::new(),
    }
}

fn must_be_ours(mark: &Mark) -> Result<(), Halt> {
    match mark {
        Mark::Ours => Ok(()),
        Mark::Foreign(_) => Err(Halt::Stalled("OwnedByAnother")),
        Mark::Unowned | Mark::ReleasedByUs => Err(Halt::Waiting),
    }
}

fn origin(decision: &Decision) -> Option<Origin> {
    match decision {
        Decision::Create | Decision::CreateAgain => Some(Origin::Created),
        Decision::Take(origin) => Some(*origin),
        Decision::Keep | Decision::Contested => None,
    }
}

/// What others may do about ownership that leaves a thing rightly alone.
fn may_be_left(
    claim: Option<&Claim>,
    adoption: AdoptionPolicy,
    owner: &Owner,
    created: i64,
    mark: &Mark,
    reduces: bool,
) -> bool {
    let time = second(Sim::<Projects>::time(created));
    let held = claim.filter(|claim| claim.create_time.as_deref() == Some(time.as_str()));
    match (held, mark) {
        (Some(claim), Mark::Foreign(text)) => {
            claim.confirmed != Some(true)
                || Owner::cluster_of(text).is_some_and(|cluster| cluster != owner.cluster_id())
        }
        (Some(_), _) => false,
        (None, Mark::Foreign(_)) => adoption != AdoptionPolicy::Always || reduces,
        (None, Mark::Unowned | Mark::ReleasedByUs) => adoption == AdoptionPolicy::Never || reduces,
        (None, Mark::Ours) => reduces,
    }
}

fn adoptions() -> impl Strategy<Value = AdoptionPolicy> {
    prop_oneof![
        2 => Just(AdoptionPolicy::IfUnowned),
        1 => Just(AdoptionPolicy::Always),
        1 => Just(AdoptionPolicy::Never),
    ]
}

// ---- projects ----

/// Projects.
#[derive(Clone, Debug)]
pub struct Projects;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProjectCloud(Option<Project>);

#[derive(Clone, Debug, PartialEq)]
struct Project {
    maker: Maker,
    created: i64,
    description: String,
    tags: BTreeMap<String, String>,
}

#[derive(Clone, Debug)]
pub enum ProjectEdit {
    Delete,
    Make(MarkText),
    Mark(MarkText),
    Tag(&'static str, &'static str),
    Untag(&'static str),
    Describe(&'static str),
}

#[derive(Clone, Debug)]
pub enum ProjectWish {
    Tags(BTreeMap<String, String>),
    Description(Option<&'static str>),
    Adoption(AdoptionPolicy),
}

fn words() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("a"), Just("b"), Just("c")]
}

fn set_mark(tags: &mut BTreeMap<String, String>, text: Option<String>) {
    match text {
        Some(text) => drop(tags.insert(OWNER_KEY.to_owned(), text)),
        None => drop(tags.remove(OWNER_KEY)),
    }
}

impl Projects {
    fn look(sim: &mut Sim<Self>) -> Result<Option<(project_plan::Seen, Found)>, Halt> {
        let Some(project) = sim.look("the project")?.0 else {
            return Ok(None);
        };
        let tags = Self::look_at_tags(sim)?;
        let found = found::<Self>(project.created, tags.get(OWNER_KEY));
        let seen = project_plan::Seen {
            description: project.description,
            create_time: found.create_time.clone(),
            tags,
        };
        Ok(Some((seen, found)))
    }

    fn look_at_tags(sim: &mut Sim<Self>) -> Result<BTreeMap<String, String>, Halt> {
        sim.look("the tags")?
            .0
            .map(|project| project.tags)
            .ok_or(Halt::Waiting)
    }

    fn tag(
        sim: &mut Sim<Self>,
        pass: &Pass<Self>,
        what: &str,
        tags: BTreeMap<String, String>,
    ) -> Result<(), Halt> {
        Self::on_project(sim, pass, what, move |project| project.tags.extend(tags))
    }

    fn on_project(
        sim: &mut Sim<Self>,
        pass: &Pass<Self>,
        what: &str,
        change: impl FnOnce(&mut Project) + 'static,
    ) -> Result<(), Halt> {
        let result = sim.change(pass, what, move |cloud, _| {
            change(cloud.0.as_mut().ok_or(Code::Missing)?);
            Ok(())
        });
        match result {
            Err(Halt::Refused(Code::Missing)) => Err(Halt::Waiting),
            result => result,
        }
    }

    fn create(sim: &mut Sim<Self>, pass: &mut Pass<Self>) -> Result<(project_plan::Seen, Found), Halt> {
        let open = pass.status.pending_create.clone();
        let now = Sim::<Self>::time(sim.now);
        let description = pass.object.spec.description.clone().unwrap_or_default();
        let created = sim.create(pass, "CreateProject", move |cloud, now| {
            if cloud.0.is_some() {
                return Err(Code::Exists);
            }
            cloud.0 = Some(Project {
                maker: Maker::Us,
                created: now,
                description,
                tags: BTreeMap::new(),
            });
            Ok(())
        });
        match created {
            Err(Halt::Refused(Code::Exists)) => {
                if !open.is_some_and(|open| acquisition::may_be_invisible(&open, now)) {
                    return Err(Halt::Stalled("NameTaken"));
                }
                sim.process.created_at = Some(sim.now);
                return Err(Halt::Waiting);
            }
            result => result?,
        }
        let project = sim.look("the project")?.0.ok_or(Halt::Waiting)?;
        let found = found::<Self>(project.created, None);
        let seen = project_plan::Seen {
            description: project.description,
            create_time: found.create_time.clone(),
            tags: BTreeMap::new(),
        };
        Ok((seen, found))
    }
}

impl Subject for Projects {
    type Object = AuditProject;
    type Cloud = ProjectCloud;
    type Edit = ProjectEdit;
    type Wish = ProjectWish;
    type Memory = ();
    const TEST: &'static str = "a_project_comes_to_rest_as_wanted_and_stays_so";

    fn object() -> AuditProject {
        serde_json::from_value(json!({
            "apiVersion": "ramtrail.io/v1alpha1", "kind": "AuditProject", "metadata": {"name": "audit", "namespace": "n"},
            "spec": {"region": "cn-hangzhou"},
        }))
        .unwrap()
    }

    fn edits() -> BoxedStrategy<ProjectEdit> {
        prop_oneof![
            2 => Just(ProjectEdit::Delete),
            2 => marks().prop_map(ProjectEdit::Make),
            4 => marks().prop_map(ProjectEdit::Mark),
            1 => (words(), words()).prop_map(|(key, value)| ProjectEdit::Tag(key, value)),
            1 => words().prop_map(ProjectEdit::Untag),
            1 => words().prop_map(ProjectEdit::Describe),
        ]
        .boxed()
    }

    fn wishes() -> BoxedStrategy<ProjectWish> {
        prop_oneof![
            prop::collection::btree_map("[a-c]", "[x-z]", 0..3).prop_map(ProjectWish::Tags),
            prop::option::of(words()).prop_map(ProjectWish::Description),
            adoptions().prop_map(ProjectWish::Adoption),
        ]
        .boxed()
    }

    fn edit(cloud: &mut ProjectCloud, now: i64, edit: &ProjectEdit) {
        if let ProjectEdit::Make(mark) = edit {
            if cloud.0.is_none() {
                let mut tags = BTreeMap::new();
                set_mark(&mut tags, mark.text(&Sim::<Self>::owner()));
                cloud.0 = Some(Project {
                    maker: Maker::Others,
                    created: now,
                    description: "theirs".to_owned(),
                    tags,
                });
            }
            return;
        }
        if let ProjectEdit::Delete = edit {
            cloud.0 = None;
            return;
        }
        let Some(project) = &mut cloud.0 else { return };
        match edit {
            ProjectEdit::Mark(mark) => set_mark(&mut project.tags, mark.text(&Sim::<Self>::owner())),
            ProjectEdit::Tag(key, value) => {
                project.tags.insert((*key).to_owned(), (*value).to_owned());
            }
            ProjectEdit::Untag(key) => drop(project.tags.remove(*key)),
            ProjectEdit::Describe(text) => (*text).clone_into(&mut project.description),
            ProjectEdit::Delete | ProjectEdit::Make(_) => {}
        }
    }

    fn wish(object: &mut AuditProject, wish: &ProjectWish) {
        match wish {
            ProjectWish::Tags(tags) => object.spec.tags.clone_from(tags),
            ProjectWish::Description(text) => object.spec.description = text.map(str::to_owned),
            ProjectWish::Adoption(policy) => object.spec.adoption_policy = *policy,
        }
    }

    fn set_deletion_policy(object: &mut AuditProject, policy: DeletionPolicy) {
        object.spec.deletion_policy = policy;
    }

    fn thing(cloud: &ProjectCloud) -> Option<(Maker, i64)> {
        cloud.0.as_ref().map(|project| (project.maker, project.created))
    }

    fn visit(sim: &mut Sim<Self>, pass: &mut Pass<Self>) -> Result<(), Halt> {
        let owner = Sim::<Self>::owner();
        let looked = Self::look(sim)?;
        let adoption = pass.object.spec.adoption_policy;
        let decision = decide(pass, adoption, looked.as_ref().map(|(_, found)| found))?;
        let wanted = project_plan::Wanted {
            spec: &pass.object.spec,
            name: pass.object.effective_name(),
            applied: pass.status.applied.as_ref(),
            owner: &owner,
            spelling: Spelling::Slash,
        };
        let mut steps = project_plan::plan(&wanted, &decision, looked.as_ref().map(|(seen, _)| seen))?;
        match looked {
            None => sim.may_create(&decision)?,
            Some(_) => sim.process.missing_since = None,
        }
        let (_, mut found) = if steps
            .first()
            .is_some_and(|step| step.action == project_plan::Action::Create)
        {
            steps.remove(0);
            Self::create(sim, pass)?
        } else {
            looked.ok_or(Halt::Waiting)?
        };
        let marking = steps
            .iter()
            .position(|step| matches!(step.action, project_plan::Action::Tag { marks: true, .. }));
        if let Some(position) = marking
            && let project_plan::Action::Tag { tags, .. } = steps.remove(position).action
        {
            let mut all = own_marks(&owner, Spelling::Slash);
            all.extend(tags);
            Self::tag(sim, pass, "TagResources with the mark", all)?;
            let tags = Self::look_at_tags(sim)?;
            found.mark = owner.judge(tags.get(OWNER_KEY).map(String::as_str));
            must_be_ours(&found.mark)?;
        }
        if let Some(origin) = origin(&decision) {
            let claim = Claim {
                origin,
                external_name: pass.object.effective_name().to_owned(),
                create_time: found.create_time.clone(),
                confirmed: None,
            };
            sim.acquired(pass, claim);
        }
        for step in steps {
            match step.action {
                project_plan::Action::Create | project_plan::Action::Tag { marks: true, .. } => {}
                project_plan::Action::Tag { tags, .. } => Self::tag(sim, pass, "TagResources", tags)?,
                project_plan::Action::Untag(keys) => {
                    Self::on_project(sim, pass, "UntagResources", move |project| {
                        project.tags.retain(|key, _| !keys.contains(key));
                    })?;
                }
                project_plan::Action::Describe(text) => {
                    Self::on_project(sim, pass, "UpdateProject", move |project| {
                        project.description = text;
                    })?;
                }
            }
        }
        if decision != Decision::Contested {
            pass.status.applied = Some(project_plan::applied(&pass.object.spec));
            sim.confirm(pass);
        }
        Ok(())
    }

    fn release(sim: &mut Sim<Self>, pass: &mut Pass<Self>) -> Result<(), Halt> {
        let owner = Sim::<Self>::owner();
        let found = Self::look(sim)?.map(|(_, found)| found);
        let delete = pass.object.spec.deletion_policy == DeletionPolicy::Delete;
        let claim = pass.status.claim.clone();
        let result = match acquisition::release(&pass.object, claim.as_ref(), found.as_ref(), delete) {
            Release::Nothing => Ok(()),
            Release::Free | Release::FreeInstead => {
                let released = owner.released_mark(Spelling::Slash);
                sim.change(pass, "TagResources as released", move |cloud, _| {
                    let project = cloud.0.as_mut().ok_or(Code::Missing)?;
                    project.tags.insert(OWNER_KEY.to_owned(), released);
                    Ok(())
                })
            }
            Release::Delete => sim.remove(pass, "DeleteProject", |cloud, _| {
                cloud.0.take().map(drop).ok_or(Code::Missing)
            }),
        };
        match result {
            Err(Halt::Refused(Code::Missing)) => Ok(()),
            result => result,
        }
    }

    fn losses(before: &ProjectCloud, after: &ProjectCloud) -> Vec<&'static str> {
        let (Some(before), Some(after)) = (&before.0, &after.0) else {
            return Vec::new();
        };
        let mut lost = Vec::new();
        if before.tags.contains_key(OWNER_KEY) && !after.tags.contains_key(OWNER_KEY) {
            lost.push("mark");
        }
        let gone = |key: &&String| !key.starts_with(KEY_PREFIX) && !after.tags.contains_key(*key);
        if before.tags.keys().any(|key| gone(&key)) {
            lost.push("tags");
        }
        lost
    }

    fn fell(field: &str, before: &AuditProject, after: &AuditProject) -> bool {
        field == "tags"
            && before
                .spec
                .tags
                .keys()
                .any(|key| !after.spec.tags.contains_key(key))
    }

    fn held(object: &AuditProject, cloud: &ProjectCloud) -> Vec<(&'static str, bool)> {
        let held = cloud.0.as_ref().is_some_and(|project| {
            project
                .tags
                .keys()
                .filter(|key| !key.starts_with(KEY_PREFIX))
                .eq(object.spec.tags.keys())
        });
        vec![("tags", held)]
    }

    fn at_rest(object: &AuditProject, cloud: &ProjectCloud) -> Result<(), String> {
        let Some(project) = &cloud.0 else {
            return Err("there is no project".to_owned());
        };
        let owner = Sim::<Self>::owner();
        let mark = owner.judge(project.tags.get(OWNER_KEY).map(String::as_str));
        let claim = object.status.as_ref().and_then(|status| status.claim.as_ref());
        let adoption = object.spec.adoption_policy;
        if may_be_left(claim, adoption, &owner, project.created, &mark, false) {
            return Ok(());
        }
        if mark != Mark::Ours || claim.is_none_or(|claim| claim.confirmed != Some(true)) {
            return Err("it is not marked, claimed and confirmed".to_owned());
        }
        let tagged = |(key, value): (&String, &String)| project.tags.get(key) == Some(value);
        if !object.spec.tags.iter().all(tagged) {
            return Err("a tag is missing".to_owned());
        }
        if object
            .spec
            .description
            .as_ref()
            .is_some_and(|text| *text != project.description)
        {
            return Err("the description differs".to_owned());
        }
        Ok(())
    }
}

// ---- log stores ----

/// Log stores.
#[derive(Clone, Debug)]
pub struct LogStores;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoreCloud(Option<Store>);

#[derive(Clone, Debug, PartialEq)]
struct Store {
    maker: Maker,
    created: i64,
    days: i64,
    shards: i64,
    anonymous: bool,
    append_meta: bool,
    index: Option<Map<String, Value>>,
    tags: BTreeMap<String, String>,
}

#[derive(Clone, Debug)]
pub enum StoreEdit {
    Delete,
    Make(MarkText, i64),
    Mark(MarkText),
    Days(i64),
    Anonymous,
    AppendMeta(bool),
    DropIndex,
    NarrowIndex,
    DropLeaf,
    AddKey,
    Retype,
}

#[derive(Clone, Debug)]
pub enum StoreWish {
    Days(i32),
    AppendMeta(Option<bool>),
    Adoption(AdoptionPolicy),
}

impl LogStores {
    fn seen(store: &Store) -> store_plan::Seen {
        store_plan::Seen {
            retention_days: Some(store.days),
            shard_count: Some(store.shards),
            anonymous_writing: store.anonymous,
            append_meta: store.append_meta,
            ..store_plan::Seen::default()
        }
    }

    fn look(sim: &mut Sim<Self>) -> Result<Option<(store_plan::Seen, Found)>, Halt> {
        let Some(store) = sim.look("the store")?.0 else {
            return Ok(None);
        };
        let mut seen = Self::seen(&store);
        let tags = Self::look_at_tags(sim)?;
        seen.mark = tags.get(OWNER_KEY).cloned();
        seen.tag_count = tags.len();
        let found = found::<Self>(store.created, seen.mark.as_ref());
        Ok(Some((seen, found)))
    }

    fn look_at_tags(sim: &mut Sim<Self>) -> Result<BTreeMap<String, String>, Halt> {
        sim.look("the tags")?
            .0
            .map(|store| store.tags)
            .ok_or(Halt::Waiting)
    }

    fn on_store(
        sim: &mut Sim<Self>,
        pass: &Pass<Self>,
        what: &str,
        change: impl FnOnce(&mut Store) -> Result<(), Code> + 'static,
    ) -> Result<(), Halt> {
        let result = sim.change(pass, what, move |cloud, _| {
            change(cloud.0.as_mut().ok_or(Code::Missing)?)
        });
        Self::or_waits(result)
    }

    /// Sends a whole setting, merged from the look right before.
    fn put(
        sim: &mut Sim<Self>,
        pass: &Pass<Self>,
        what: &str,
        basis: StoreCloud,
        change: impl FnOnce(&mut Store) -> Result<(), Code> + 'static,
    ) -> Result<(), Halt> {
        let result = sim.put(pass, what, basis, move |cloud, _| {
            change(cloud.0.as_mut().ok_or(Code::Missing)?)
        });
        Self::or_waits(result)
    }

    fn or_waits(result: Result<(), Halt>) -> Result<(), Halt> {
        match result {
            Err(Halt::Refused(Code::Missing | Code::Exists)) => Err(Halt::Waiting),
            result => result,
        }
    }

    fn take(
        sim: &mut Sim<Self>,
        pass: &Pass<Self>,
        seen: &mut store_plan::Seen,
        found: &Found,
        decision: &Decision,
        step: Step<store_plan::Action>,
    ) -> Result<(), Halt> {
        match step.action {
            store_plan::Action::Create { .. } | store_plan::Action::Mark => Ok(()),
            store_plan::Action::Update { retention_days, .. } => {
                Self::update(sim, pass, seen, found, |fresh| {
                    store_plan::update_of(fresh, retention_days, step.effect)
                })
            }
            store_plan::Action::AppendMeta(on) => Self::update(sim, pass, seen, found, |fresh| {
                store_plan::append_meta_of(fresh, on)
            }),
            store_plan::Action::CreateIndex(index) => {
                seen.index = Some(index.clone());
                Self::on_store(sim, pass, "CreateIndex", move |store| {
                    if store.index.is_some() {
                        return Err(Code::Exists);
                    }
                    store.index = Some(index);
                    Ok(())
                })
            }
            store_plan::Action::UpdateIndex(_) => {
                let basis = sim.look("the index once more")?;
                let fresh = basis.0.as_ref().and_then(|store| store.index.as_ref());
                let typed = store_plan::typed_before(pass.status.applied.as_ref(), decision);
                let repair = index_preset::repair(fresh.ok_or(Halt::Waiting)?, typed);
                let index = repair.index;
                seen.index = Some(index.clone());
                if repair.missing.is_empty() {
                    return Ok(());
                }
                Self::put(sim, pass, "UpdateIndex", basis, move |store| {
                    *store.index.as_mut().ok_or(Code::Missing)? = index;
                    Ok(())
                })
            }
        }
    }

    /// Sends the whole configuration as it is seen right before.
    fn update(
        sim: &mut Sim<Self>,
        pass: &Pass<Self>,
        seen: &mut store_plan::Seen,
        found: &Found,
        left: impl FnOnce(&store_plan::Seen) -> store_plan::Update,
    ) -> Result<(), Halt> {
        let basis = sim.look("the store once more")?;
        let fresh = basis.0.as_ref().ok_or(Halt::Waiting)?;
        if !found.create_times.contains(&Sim::<Self>::time(fresh.created)) {
            return Err(Halt::Waiting);
        }
        let fresh = Self::seen(fresh);
        let now = left(&fresh);
        let days = now.days_after(&fresh);
        seen.retention_days = days;
        let anonymous = fresh.anonymous_writing && !now.forbid_anonymous;
        let append_meta = now.append_meta.unwrap_or(fresh.append_meta);
        seen.append_meta = append_meta;
        if now.is_nothing() {
            return Ok(());
        }
        Self::put(sim, pass, "UpdateLogStore", basis, move |store| {
            store.days = days.unwrap_or(store.days);
            store.anonymous = anonymous;
            store.append_meta = append_meta;
            Ok(())
        })
    }

    fn create(
        sim: &mut Sim<Self>,
        pass: &mut Pass<Self>,
        (days, shards, append_meta): (i32, i32, bool),
    ) -> Result<(store_plan::Seen, Found), Halt> {
        let created = sim.create(pass, "CreateLogStore", move |cloud, now| {
            if cloud.0.is_some() {
                return Err(Code::Exists);
            }
            cloud.0 = Some(Store {
                maker: Maker::Us,
                created: now,
                days: days.into(),
                shards: shards.into(),
                anonymous: false,
                append_meta,
                index: None,
                tags: BTreeMap::new(),
            });
            Ok(())
        });
        match created {
            Err(Halt::Refused(Code::Exists)) => {
                sim.process.taken_at = Some(sim.now);
                return Err(Halt::Waiting);
            }
            result => result?,
        }
        let store = sim.look("the store")?.0.ok_or(Halt::Waiting)?;
        Ok((Self::seen(&store), found::<Self>(store.created, None)))
    }
}

impl Subject for LogStores {
    type Object = AuditLogStore;
    type Cloud = StoreCloud;
    type Edit = StoreEdit;
    type Wish = StoreWish;
    type Memory = ();
    const TEST: &'static str = "a_log_store_comes_to_rest_as_wanted_and_stays_so";

    fn object() -> AuditLogStore {
        serde_json::from_value(json!({
            "apiVersion": "ramtrail.io/v1alpha1", "kind": "AuditLogStore", "metadata": {"name": "events", "namespace": "n"},
            "spec": {"projectRef": {"name": "audit"}, "retentionDays": 60},
        }))
        .unwrap()
    }

    fn edits() -> BoxedStrategy<StoreEdit> {
        let days = || prop_oneof![Just(7_i64), Just(30), Just(60), Just(100), Just(365)];
        prop_oneof![
            2 => Just(StoreEdit::Delete),
            2 => (marks(), days()).prop_map(|(mark, days)| StoreEdit::Make(mark, days)),
            4 => marks().prop_map(StoreEdit::Mark),
            4 => days().prop_map(StoreEdit::Days),
            1 => Just(StoreEdit::Anonymous),
            2 => any::<bool>().prop_map(StoreEdit::AppendMeta),
            1 => Just(StoreEdit::DropIndex),
            1 => Just(StoreEdit::NarrowIndex),
            1 => Just(StoreEdit::DropLeaf),
            1 => Just(StoreEdit::AddKey),
            1 => Just(StoreEdit::Retype),
        ]
        .boxed()
    }

    fn wishes() -> BoxedStrategy<StoreWish> {
        prop_oneof![
            3 => prop_oneof![Just(7), Just(30), Just(60), Just(100)].prop_map(StoreWish::Days),
            2 => proptest::option::of(any::<bool>()).prop_map(StoreWish::AppendMeta),
            1 => adoptions().prop_map(StoreWish::Adoption),
        ]
        .boxed()
    }

    fn edit(cloud: &mut StoreCloud, now: i64, edit: &StoreEdit) {
        if let StoreEdit::Make(mark, days) = edit {
            if cloud.0.is_none() {
                let mut tags = BTreeMap::new();
                set_mark(&mut tags, mark.text(&Sim::<Self>::owner()));
                cloud.0 = Some(Store {
                    maker: Maker::Others,
                    created: now,
                    days: *days,
                    shards: 1,
                    anonymous: false,
                    append_meta: false,
                    index: None,
                    tags,
                });
            }
            return;
        }
        if let StoreEdit::Delete = edit {
            cloud.0 = None;
            return;
        }
        let Some(store) = &mut cloud.0 else { return };
        let keys = store
            .index
            .as_mut()
            .and_then(|index| index.get_mut("keys"))
            .and_then(Value::as_object_mut);
        match edit {
            StoreEdit::Mark(mark) => set_mark(&mut store.tags, mark.text(&Sim::<Self>::owner())),
            StoreEdit::Days(days) => store.days = *days,
            StoreEdit::Anonymous => store.anonymous = true,
            StoreEdit::AppendMeta(on) => store.append_meta = *on,
            StoreEdit::DropIndex => store.index = None,
            StoreEdit::NarrowIndex => drop(keys.and_then(|keys| keys.remove("event"))),
            StoreEdit::DropLeaf => {
                let leaves = keys
                    .and_then(|keys| keys.get_mut("event"))
                    .and_then(|event| event.get_mut("json_keys"))
                    .and_then(Value::as_object_mut);
                drop(leaves.and_then(|leaves| leaves.remove("eventName")));
            }
            StoreEdit::AddKey => {
                if let Some(keys) = keys {
                    keys.insert("team".to_owned(), json!({"type": "text"}));
                }
            }
            StoreEdit::Retype => {
                let leaf = keys
                    .and_then(|keys| keys.get_mut("event"))
                    .and_then(|event| event.get_mut("json_keys"))
                    .and_then(|leaves| leaves.get_mut("errorCode"));
                if let Some(leaf) = leaf {
                    leaf["type"] = json!("long");
                }
            }
            StoreEdit::Delete | StoreEdit::Make(..) => {}
        }
    }

    fn wish(object: &mut AuditLogStore, wish: &StoreWish) {
        match wish {
            StoreWish::Days(days) => object.spec.retention_days = *days,
            StoreWish::AppendMeta(wanted) => object.spec.append_meta = *wanted,
            StoreWish::Adoption(policy) => object.spec.adoption_policy = *policy,
        }
    }

    fn set_deletion_policy(object: &mut AuditLogStore, policy: DeletionPolicy) {
        object.spec.deletion_policy = policy;
    }

    fn thing(cloud: &StoreCloud) -> Option<(Maker, i64)> {
        cloud.0.as_ref().map(|store| (store.maker, store.created))
    }

    fn visit(sim: &mut Sim<Self>, pass: &mut Pass<Self>) -> Result<(), Halt> {
        let owner = Sim::<Self>::owner();
        let mut looked = Self::look(sim)?;
        if let Some((seen, _)) = &mut looked {
            seen.index = sim.look("the index")?.0.and_then(|store| store.index);
        }
        let adoption = pass.object.spec.adoption_policy;
        let decision = decide(pass, adoption, looked.as_ref().map(|(_, found)| found))?;
        let wanted = store_plan::Wanted {
            spec: &pass.object.spec,
            name: pass.object.effective_name(),
            applied: pass.status.applied.as_ref(),
            owner: &owner,
        };
        let plan = store_plan::plan(&wanted, &decision, looked.as_ref().map(|(seen, _)| seen))?;
        let mut steps = plan.steps;
        match looked {
            None => sim.may_create(&decision)?,
            Some(_) => sim.process.missing_since = None,
        }
        let create = match steps.first().map(|step| &step.action) {
            Some(store_plan::Action::Create {
                retention_days,
                shard_count,
                append_meta,
            }) => Some((*retention_days, *shard_count, *append_meta)),
            _ => None,
        };
        let (mut seen, mut found) = match create {
            Some(new) => {
                steps.remove(0);
                Self::create(sim, pass, new)?
            }
            None => looked.ok_or(Halt::Waiting)?,
        };
        if let Some(position) = steps
            .iter()
            .position(|step| step.action == store_plan::Action::Mark)
        {
            steps.remove(position);
            let all = own_marks(&owner, Spelling::Slash);
            Self::on_store(sim, pass, "TagResources with the mark", move |store| {
                store.tags.extend(all);
                Ok(())
            })?;
            let tags = Self::look_at_tags(sim)?;
            found.mark = owner.judge(tags.get(OWNER_KEY).map(String::as_str));
            must_be_ours(&found.mark)?;
        }
        if let Some(origin) = origin(&decision) {
            let claim = Claim {
                origin,
                external_name: pass.object.effective_name().to_owned(),
                create_time: found.create_time.clone(),
                confirmed: None,
            };
            sim.acquired(pass, claim);
        }
        for step in steps {
            Self::take(sim, pass, &mut seen, &found, &decision, step)?;
        }
        if decision != Decision::Contested {
            pass.status.applied = Some(AppliedLogStore {
                retention_days: Some(pass.object.spec.retention_days),
                append_meta: pass.object.spec.append_meta,
                index_types: seen
                    .index
                    .as_ref()
                    .map(index_preset::typed_keys)
                    .unwrap_or_default(),
            });
            sim.confirm(pass);
        }
        Ok(())
    }

    fn release(sim: &mut Sim<Self>, pass: &mut Pass<Self>) -> Result<(), Halt> {
        let owner = Sim::<Self>::owner();
        let found = Self::look(sim)?.map(|(_, found)| found);
        let delete = pass.object.spec.deletion_policy == DeletionPolicy::Delete;
        let claim = pass.status.claim.clone();
        match acquisition::release(&pass.object, claim.as_ref(), found.as_ref(), delete) {
            Release::Nothing => Ok(()),
            Release::Free | Release::FreeInstead => {
                let released = owner.released_mark(Spelling::Slash);
                Self::on_store(sim, pass, "TagResources as released", move |store| {
                    store.tags.insert(OWNER_KEY.to_owned(), released);
                    Ok(())
                })
            }
            Release::Delete => {
                let deleted = sim.remove(pass, "DeleteLogStore", |cloud, _| {
                    cloud.0.take().map(drop).ok_or(Code::Missing)
                });
                match deleted {
                    Err(Halt::Refused(Code::Missing)) => Ok(()),
                    result => result,
                }
            }
        }
    }

    fn losses(before: &StoreCloud, after: &StoreCloud) -> Vec<&'static str> {
        let (Some(before), Some(after)) = (&before.0, &after.0) else {
            return Vec::new();
        };
        let mut lost = Vec::new();
        if after.days < before.days {
            lost.push("days");
        }
        if after.anonymous && !before.anonymous {
            lost.push("anonymous");
        }
        if before.append_meta && !after.append_meta {
            lost.push("append_meta");
        }
        if before.tags.contains_key(OWNER_KEY) && !after.tags.contains_key(OWNER_KEY) {
            lost.push("mark");
        }
        if keys_of(before).iter().any(|key| !keys_of(after).contains(key)) {
            lost.push("index");
        }
        lost
    }

    fn fell(field: &str, before: &AuditLogStore, after: &AuditLogStore) -> bool {
        match field {
            "days" => after.spec.retention_days < before.spec.retention_days,
            "append_meta" => before.spec.append_meta == Some(true) && after.spec.append_meta == Some(false),
            _ => false,
        }
    }

    fn held(object: &AuditLogStore, cloud: &StoreCloud) -> Vec<(&'static str, bool)> {
        let days = i64::from(object.spec.retention_days);
        vec![("days", cloud.0.as_ref().is_some_and(|store| store.days == days))]
    }

    fn at_rest(object: &AuditLogStore, cloud: &StoreCloud) -> Result<(), String> {
        let Some(store) = &cloud.0 else {
            return Err("there is no store".to_owned());
        };
        let owner = Sim::<Self>::owner();
        let mark = owner.judge(store.tags.get(OWNER_KEY).map(String::as_str));
        let claim = object.status.as_ref().and_then(|status| status.claim.as_ref());
        let days = i64::from(object.spec.retention_days);
        let adoption = object.spec.adoption_policy;
        if may_be_left(claim, adoption, &owner, store.created, &mark, days < store.days) {
            return Ok(());
        }
        if mark != Mark::Ours || claim.is_none_or(|claim| claim.confirmed != Some(true)) {
            return Err("it is not marked, claimed and confirmed".to_owned());
        }
        if store.days < days
            || store.anonymous
            || (object.spec.append_meta == Some(true) && !store.append_meta)
        {
            return Err("it protects less than wanted".to_owned());
        }
        let missing = store
            .index
            .as_ref()
            .map(|index| index_preset::repair(index, &[]).missing);
        if missing != Some(Vec::new()) {
            return Err(format!("its index lacks {missing:?}"));
        }
        Ok(())
    }
}

/// Keys and leaves of the index.
fn keys_of(store: &Store) -> Vec<String> {
    let names = |value: Option<&Value>| -> Vec<String> {
        value
            .and_then(Value::as_object)
            .map(|keys| keys.keys().cloned().collect())
            .unwrap_or_default()
    };
    let keys = store.index.as_ref().and_then(|index| index.get("keys"));
    let leaves = keys
        .and_then(|keys| keys.get("event"))
        .and_then(|event| event.get("json_keys"));
    let leaves = names(leaves).into_iter().map(|leaf| format!("event.{leaf}"));
    names(keys).into_iter().chain(leaves).collect()
}
