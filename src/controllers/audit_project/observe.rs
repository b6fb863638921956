//! Looks at a project. Decides nothing.

use k8s_openapi::jiff::Timestamp;

use super::plan::Seen;
use crate::aliyun::Class;
use crate::aliyun::log_service::Taggable;
use crate::api::condition::reason;
use crate::api::v1alpha1::AuditProject;
use crate::controllers::access::Access;
use crate::controllers::acquisition::Found;
use crate::controllers::failure::Failure;
use crate::controllers::ownership::{Mark, OWNER_KEY, Owner, describe_foreign};
use crate::controllers::pass::Pass;

/// A project as the cloud shows it.
#[derive(Clone, Debug)]
pub struct Observed {
    /// What plans are made from.
    pub seen: Seen,
    /// The points in time that its creation time may mean.
    pub create_times: Vec<Timestamp>,
}

impl Observed {
    /// What ownership is decided by.
    pub fn found(&self, owner: &Owner) -> Found {
        let tags = &self.seen.tags;
        let mark = owner.judge(tags.get(OWNER_KEY).map(String::as_str));
        let foreign_owner = match &mark {
            Mark::Foreign(text) => describe_foreign(text, tags),
            _ => String::new(),
        };
        Found {
            create_time: self.seen.create_time.clone(),
            create_times: self.create_times.clone(),
            mark,
            foreign_owner,
        }
    }
}

/// The project without its tags; nothing if there is none.
pub async fn project(pass: &Pass<AuditProject>, access: &Access) -> Result<Option<Observed>, Failure> {
    let doing = format!("read project {}", access.project);
    match pass
        .read(doing, access.clients.log_service.get_project(&access.project))
        .await
    {
        Ok(project) => {
            let create_times = project.create_time_candidates();
            let seen = Seen {
                description: project.description,
                create_time: project.create_time,
                tags: std::collections::BTreeMap::new(),
            };
            Ok(Some(Observed { seen, create_times }))
        }
        Err(failure) if failure.class() == Some(Class::NotFound) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// The project with its tags; nothing if there is none.
pub async fn whole(pass: &Pass<AuditProject>, access: &Access) -> Result<Option<Observed>, Failure> {
    let Some(mut observed) = project(pass, access).await? else {
        return Ok(None);
    };
    observed.seen.tags = tags(pass, access).await?;
    Ok(Some(observed))
}

/// The tags of a project that is there.
pub async fn tags(
    pass: &Pass<AuditProject>,
    access: &Access,
) -> Result<std::collections::BTreeMap<String, String>, Failure> {
    let target = Taggable::Project(access.project.clone());
    let doing = format!("read the tags of project {}", access.project);
    let tags = pass
        .read(doing, access.clients.log_service.list_tag_resources(&target))
        .await;
    match tags {
        // It was there a moment ago.
        Err(failure) if failure.class() == Some(Class::NotFound) => Err(Failure::waiting_soon(
            reason::AWAITING_VISIBILITY,
            format!(
                "Project {} exists, but not everywhere in Log Service yet",
                access.project
            ),
        )),
        result => result,
    }
}
