//! Uninstalled in either order, with the rescue for objects that were left behind, and installed again.

use serde_json::{Value, json};
use xtask::book::{self, Block};
use xtask::control_plane::command_in;
use xtask::kubectl::Kubectl;

use crate::release::{CRDS, Installation, RELEASE};
use crate::support::{OPERATOR_NAMESPACE, World};
use crate::trail_support::{STACK, TRAIL, apply_stack, settle_stack, trail};
use crate::{chart, identities, mutating};
use ramtrail::aliyun::action_trail::TrailState;

const PAGE: &str = "docs/uninstall.md";
const FINALIZER: &str = "ramtrail.io/finalizer";

/// Today's chart with the stack at rest.
fn installed(purpose: &str) -> Installation {
    let mut it = Installation::of(&chart(), purpose, &json!({}));
    apply_stack(&it.world);
    let options = it.operator();
    it.world.start_as(&options);
    settle_stack(&it.world);
    it
}

/// Uninstalls; the process ends as a Pod whose Deployment is gone.
fn uninstall(it: &mut Installation) {
    it.control_plane.nothing_was_refused();
    it.helm.uninstall();
    it.world.stop();
    // Between the two it had no rights any more.
    it.control_plane.refusals_were_meant();
    assert_eq!(it.installed().len(), 0, "{:?}", it.installed());
    for name in CRDS {
        it.world.kubectl.run(["get", "crd", name]).unwrap();
    }
}

/// Installs again under the same name, over the kinds that stayed.
fn install(it: &mut Installation) {
    it.helm.install(&chart(), &json!({}));
    let options = it.operator();
    it.world.start_as(&options);
}

/// Installs and declares the stack again: since that row of the journal nothing was asked to change.
fn declared_again_nothing_is_written(it: &mut Installation, since: u64) {
    install(it);
    apply_stack(&it.world);
    settle_stack(&it.world);
    let calls = mutating(&it.world, since);
    assert_eq!(calls, Vec::<String>::new(), "{}", it.world.report());
}

/// Runs the one block of the documentation that holds this text.
fn documented(it: &Installation, text: &str) {
    let blocks: Vec<Block> = book::pages()
        .unwrap()
        .iter()
        .filter(|page| page.path.ends_with(PAGE))
        .flat_map(book::Page::blocks)
        .filter(|block| block.language == "sh" && block.text.contains(text))
        .collect();
    let [block] = blocks.as_slice() else {
        panic!("{} blocks of {PAGE} hold {text}", blocks.len());
    };
    let output = command_in(&it.control_plane, "sh")
        .unwrap()
        .current_dir(xtask::workspace::root())
        .args(["-eu", "-c", &block.text])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}\n{}{}",
        block.text,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Asks for the deletion of the whole stack; each object waits for its finalizer.
fn ask_for_deletion(world: &World) {
    for (kind, name) in STACK {
        world.delete(kind, name);
        let object = world.object(kind, name).unwrap();
        assert!(object.metadata.deletion_timestamp.is_some(), "{kind} {name}");
        assert_eq!(object.metadata.finalizers.unwrap(), [FINALIZER], "{kind} {name}");
    }
}

fn all_gone(world: &World) {
    for (kind, name) in STACK {
        world.gone(kind, name);
    }
}

/// The trail records, and nothing was deleted or weakened.
fn cloud_is_whole(world: &World) {
    assert_eq!(trail(world).unwrap().state(), TrailState::Enable, "{TRAIL}");
    let deletions: Vec<String> = world
        .journal(0)
        .iter()
        .filter(|row| row.is_ours() && row.is_change() && row.action().starts_with("Delete"))
        .map(ToString::to_string)
        .collect();
    assert_eq!(deletions, Vec::<String>::new());
    world.nothing_was_reduced();
}

fn origins(world: &World) -> Vec<Value> {
    STACK
        .iter()
        .map(|(kind, name)| world.object(kind, name).unwrap().data["status"]["claim"]["origin"].clone())
        .collect()
}

/// The order that the documentation gives.
#[test]
fn objects_first_then_the_release_leaves_the_kinds_and_the_cloud() {
    let mut it = installed("in-order");
    documented(&it, "kubectl delete rt,als,aproj");
    all_gone(&it.world);
    uninstall(&mut it);
    cloud_is_whole(&it.world);
    // What stays in the namespace, besides what Kubernetes puts into each: the lease, which the operator made.
    let left = it
        .world
        .kubectl
        .run(["-n", OPERATOR_NAMESPACE, "get", "leases", "-o", "name"])
        .unwrap();
    assert_eq!(left.trim(), format!("lease.coordination.k8s.io/{RELEASE}"));

    // Installed and declared again, what was released is taken back: marks are written, nothing is created.
    let since = it.world.now();
    install(&mut it);
    apply_stack(&it.world);
    settle_stack(&it.world);
    let calls = it.world.writes(since);
    assert!(!calls.iter().any(|call| call.starts_with("Create")), "{calls:?}");
    cloud_is_whole(&it.world);

    // And without kinds nothing of ours is left in the cluster.
    documented(&it, "kubectl delete rt,als,aproj");
    uninstall(&mut it);
    documented(&it, "kubectl delete crd");
    let kinds = [
        "api-resources",
        "--api-group=ramtrail.io",
        "--cached=false",
        "-o",
        "name",
    ];
    it.world.eventually("no kind of ours is served", || {
        let served = it.world.kubectl.run(kinds).map_err(|error| error.to_string())?;
        if served.trim().is_empty() {
            Ok(())
        } else {
            Err(served)
        }
    });
}

#[test]
fn the_release_first_leaves_all_objects_and_the_next_installation_goes_on_with_them() {
    let mut it = installed("release-first");
    let before = identities(&it.world);
    let since = it.world.now();
    uninstall(&mut it);
    assert_eq!(identities(&it.world), before, "uninstalling touches no object");
    install(&mut it);
    for action in ["GetProject", "GetLogStore", "GetTrailStatus"] {
        it.world.resyncs(action, 3);
    }
    settle_stack(&it.world);
    assert_eq!(identities(&it.world), before, "{}", it.world.report());
    let calls = mutating(&it.world, since);
    assert_eq!(calls, Vec::<String>::new(), "{}", it.world.report());

    // Deleted while there is no operator, they wait; the next one lets them go.
    uninstall(&mut it);
    ask_for_deletion(&it.world);
    assert_eq!(mutating(&it.world, since), Vec::<String>::new());
    install(&mut it);
    all_gone(&it.world);
    cloud_is_whole(&it.world);
}

#[test]
fn objects_that_no_operator_will_free_are_rescued_by_the_documented_commands() {
    let mut it = installed("rescue");
    let since = it.world.now();
    uninstall(&mut it);
    ask_for_deletion(&it.world);
    documented(&it, "\"finalizers\": null");
    all_gone(&it.world);
    assert_eq!(
        mutating(&it.world, since),
        Vec::<String>::new(),
        "nobody was there to call"
    );
    cloud_is_whole(&it.world);

    // Their marks still stand in the cloud, so that the same objects own the same things again: nothing is written.
    declared_again_nothing_is_written(&mut it, since);
    assert_eq!(origins(&it.world), ["Adopted", "Adopted", "Adopted"]);
}

/// The kinds deleted with objects in them: they wait for the objects, which wait for an operator that is gone.
#[test]
fn kinds_that_were_deleted_too_early_end_when_their_objects_are_rescued() {
    let mut it = installed("kinds-first");
    let since = it.world.now();
    uninstall(&mut it);
    let kubectl: &Kubectl = &it.world.kubectl;
    kubectl
        .run(["delete", "crd", "--wait=false"].iter().chain(&CRDS))
        .unwrap();
    it.world.eventually("the objects are asked to go and stay", || {
        let waiting = |(kind, name): &(&str, &str)| {
            it.world
                .object(kind, name)
                .is_some_and(|object| object.metadata.deletion_timestamp.is_some())
        };
        if STACK.iter().all(waiting) {
            Ok(())
        } else {
            Err("not all yet".to_owned())
        }
    });
    documented(&it, "\"finalizers\": null");
    it.world.eventually("the kinds are gone", || {
        let arguments = ["get", "crd", "-o", "name", "--ignore-not-found"];
        let found = kubectl
            .run(arguments.iter().chain(&CRDS))
            .map_err(|error| error.to_string())?;
        if found.trim().is_empty() {
            Ok(())
        } else {
            Err(found)
        }
    });
    cloud_is_whole(&it.world);
    declared_again_nothing_is_written(&mut it, since);
}
