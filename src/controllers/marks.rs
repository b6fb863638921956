//! Owns the writing of marks and tags: in the spelling that the cloud takes, with what else belongs into the same call.

use std::collections::BTreeMap;

use super::access::Access;
use super::failure::Failure;
use super::object::Managed;
use super::ownership::{Mark, OBJECT_KEY, OWNER_KEY, Owner, Spelling, describe_foreign};
use super::pass::Pass;
use crate::aliyun::Class;
use crate::aliyun::log_service::Taggable;
use crate::api::condition::reason;

/// The marks of an owner on something that carries tags itself.
pub fn own_marks(owner: &Owner, spelling: Spelling) -> BTreeMap<String, String> {
    BTreeMap::from([
        (OWNER_KEY.to_owned(), owner.mark(spelling)),
        (OBJECT_KEY.to_owned(), owner.readable(spelling)),
    ])
}

/// Sets tags that contain marks. Where the cloud refuses the slash in them they are written without, now and from then
/// on. `protective`: the tags restore what protects the audit.
pub async fn set<K: Managed>(
    pass: &mut Pass<K>,
    access: &Access,
    target: &Taggable,
    doing: &str,
    tags: impl Fn(Spelling) -> BTreeMap<String, String>,
) -> Result<(), Failure> {
    let spelling = pass.ctx.spelling();
    let log_service = access.clients.protective().log_service;
    let written = tags(spelling);
    let result = pass
        .change(doing, log_service.tag_resources(target, &written))
        .await;
    let refused = matches!(&result, Err(failure) if failure.class() == Some(Class::InvalidSpec));
    let respelled = tags(Spelling::Underscore);
    if refused && spelling == Spelling::Slash && respelled != written {
        pass.change(doing, log_service.tag_resources(target, &respelled))
            .await?;
        tracing::info!("the cloud refuses '/' in tags: marks are written with '_' from now on");
        pass.ctx.avoid_slash();
        return Ok(());
    }
    result.map(|_| ())
}

/// Judges a mark that was read back after it was written: only what was read back counts.
///
/// # Errors
/// Stalled when somebody else marked the thing at the same moment; waiting while the mark is not shown.
pub fn must_be_ours(
    owner: &Owner,
    tags: &BTreeMap<String, String>,
    key: &str,
    what: &str,
) -> Result<(), Failure> {
    match owner.judge(tags.get(key).map(String::as_str)) {
        Mark::Ours => Ok(()),
        Mark::Foreign(mark) => Err(Failure::stalled(
            reason::OWNED_BY_ANOTHER,
            format!(
                "{} marked {what} at the same moment as {}. Choose another name for one of them",
                describe_foreign(&mark, tags),
                owner.object()
            ),
        )),
        Mark::Unowned | Mark::ReleasedByUs => Err(Failure::waiting_soon(
            reason::AWAITING_VISIBILITY,
            format!("The mark on {what} was written and is not shown yet"),
        )),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_a_mark_that_is_ours_passes() {
        let owner = Owner::new("prod", "AuditProject", "n", "p");
        let judged = |mark: Option<&str>| {
            let tags = mark
                .map(|mark| (OWNER_KEY.to_owned(), mark.to_owned()))
                .into_iter()
                .collect();
            must_be_ours(&owner, &tags, OWNER_KEY, "project p")
        };
        assert!(judged(Some(&owner.mark(Spelling::Slash))).is_ok());
        assert!(matches!(
            judged(Some("x")),
            Err(Failure::Stalled {
                reason: reason::OWNED_BY_ANOTHER,
                ..
            })
        ));
        assert!(matches!(judged(None), Err(Failure::Waiting { soon: true, .. })));
    }
}
