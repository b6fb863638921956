//! Looks at a log store. Decides nothing.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;

use super::plan::Seen;
use crate::aliyun::log_service::{LogStore, Taggable};
use crate::aliyun::{Class, LogStoreName};
use crate::api::condition::reason;
use crate::api::v1alpha1::AuditLogStore;
use crate::controllers::access::Access;
use crate::controllers::acquisition::Found;
use crate::controllers::failure::Failure;
use crate::controllers::ownership::{Mark, OWNER_KEY, Owner, describe_foreign, store_key};
use crate::controllers::pass::{Pass, second};

/// A log store as the cloud shows it.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Every field, for updates.
    pub store: LogStore,
    /// What plans are made from.
    pub seen: Seen,
    /// When it was made.
    pub create_time: Option<Timestamp>,
    /// The tags among which the mark is.
    pub tags: BTreeMap<String, String>,
}

impl Observed {
    /// What ownership is decided by.
    pub fn found(&self, owner: &Owner) -> Found {
        let mark = owner.judge(self.seen.mark.as_deref());
        let foreign_owner = match &mark {
            Mark::Foreign(text) => describe_foreign(text, &self.tags),
            _ => String::new(),
        };
        Found {
            create_time: self.create_time.map(second),
            create_times: self.create_time.into_iter().collect(),
            mark,
            foreign_owner,
        }
    }

    /// The newest tags, after the mark was written.
    pub fn take_tags(&mut self, tags: BTreeMap<String, String>, key: &str) {
        self.seen.mark = tags.get(key).cloned();
        self.seen.tag_count = tags.len();
        self.tags = tags;
    }
}

/// Where the mark of a store lies.
#[derive(Clone, Debug)]
pub struct MarkPlace {
    /// What carries it.
    pub target: Taggable,
    /// Its key.
    pub key: String,
    /// Whether it lies on the project because stores cannot be tagged.
    pub on_project: bool,
}

impl MarkPlace {
    /// On the store; on its project where the cloud does not tag stores.
    pub fn new(pass: &Pass<AuditLogStore>, access: &Access, name: &LogStoreName) -> Self {
        if pass.ctx.log_store_tags() != Some(false) {
            let target = Taggable::LogStore(access.project.clone(), name.clone());
            return Self {
                target,
                key: OWNER_KEY.to_owned(),
                on_project: false,
            };
        }
        let target = Taggable::Project(access.project.clone());
        Self {
            target,
            key: store_key(name.as_str()),
            on_project: true,
        }
    }
}

/// The store without marks and index; nothing if there is none.
pub async fn store(
    pass: &Pass<AuditLogStore>,
    access: &Access,
    name: &LogStoreName,
) -> Result<Option<Observed>, Failure> {
    let doing = format!("read log store {name} of project {}", access.project);
    match pass
        .read(
            doing,
            access.clients.log_service.get_log_store(&access.project, name),
        )
        .await
    {
        Ok(store) => {
            let seen = Seen {
                retention_days: store.retention_days(),
                shard_count: store.shard_count(),
                anonymous_writing: store.anonymous_writing(),
                append_meta: store.append_meta(),
                ..Seen::default()
            };
            Ok(Some(Observed {
                create_time: store.create_time(),
                seen,
                tags: BTreeMap::new(),
                store,
            }))
        }
        Err(failure) if failure.class() == Some(Class::NotFound) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// The store with marks; nothing if there is none.
pub async fn marked(
    pass: &Pass<AuditLogStore>,
    access: &Access,
    name: &LogStoreName,
) -> Result<Option<Observed>, Failure> {
    let Some(mut observed) = store(pass, access, name).await? else {
        return Ok(None);
    };
    let (tags, key) = marks(pass, access, name).await?;
    observed.take_tags(tags, &key);
    Ok(Some(observed))
}

/// The store with marks and index; nothing if there is none.
pub async fn whole(
    pass: &Pass<AuditLogStore>,
    access: &Access,
    name: &LogStoreName,
) -> Result<Option<Observed>, Failure> {
    let Some(mut observed) = marked(pass, access, name).await? else {
        return Ok(None);
    };
    let doing = format!("read the index of log store {name} of project {}", access.project);
    observed.seen.index = match pass
        .read(doing, access.clients.log_service.get_index(&access.project, name))
        .await
    {
        Ok(index) => Some(index),
        Err(failure) if failure.class() == Some(Class::NotFound) => None,
        Err(failure) => return Err(failure),
    };
    Ok(Some(observed))
}

/// The tags among which the mark of the store is, and its key.
pub async fn marks(
    pass: &Pass<AuditLogStore>,
    access: &Access,
    name: &LogStoreName,
) -> Result<(BTreeMap<String, String>, String), Failure> {
    let place = MarkPlace::new(pass, access, name);
    let result = list(pass, access, &place, name).await;
    if !place.on_project && matches!(&result, Err(failure) if failure.class() == Some(Class::InvalidSpec)) {
        pass.ctx.learn_log_store_tags(false);
        let place = MarkPlace::new(pass, access, name);
        return Ok((list(pass, access, &place, name).await?, place.key));
    }
    let tags = result?;
    if !place.on_project {
        pass.ctx.learn_log_store_tags(true);
    }
    Ok((tags, place.key))
}

async fn list(
    pass: &Pass<AuditLogStore>,
    access: &Access,
    place: &MarkPlace,
    name: &LogStoreName,
) -> Result<BTreeMap<String, String>, Failure> {
    let doing = format!("read the marks of log store {name} of project {}", access.project);
    match pass
        .read(
            doing,
            access.clients.log_service.list_tag_resources(&place.target),
        )
        .await
    {
        // It was there a moment ago.
        Err(failure) if failure.class() == Some(Class::NotFound) => Err(invisible(name)),
        result => result,
    }
}

/// It was made, and Log Service does not show it everywhere yet.
pub fn invisible(name: &LogStoreName) -> Failure {
    Failure::waiting_soon(
        reason::AWAITING_VISIBILITY,
        format!("Log store {name} was created and is not shown everywhere by Log Service yet"),
    )
}
