//! The end of a demo on the user's cluster: removes what the demo created, also after a failure or Ctrl-C, and later if
//! the demo could not.

use std::collections::BTreeSet;
use std::time::Duration;

use super::show::Show;
use super::stage::{PATIENCE, SYSTEM, Stage, sample, unexpected};
use super::steps::SAMPLES;
use crate::current::CurrentCluster;
use crate::current::created::{self, CreatedObject, Lookup};
use crate::current::removal::{RemovalReport, remove_own_kinds, remove_rest};
use crate::error::Result;

/// How long a grant may keep its finalizer without an operator that could remove it.
const WITHOUT_OPERATOR: Duration = Duration::from_secs(5);

/// Removes everything from the user's cluster, and stops the operator when its objects are gone. Shows what stays.
pub(super) async fn remove(stage: &mut Stage) -> Result<()> {
    let Some(cluster) = stage.cluster.current() else {
        return Ok(());
    };
    cluster.outlive_terminal();
    let created = all_created(cluster, stage.created()).await;
    let own = remove_own_kinds(cluster, &created.objects, PATIENCE).await;
    // The rest is removed also if the operator did not end as it should.
    let stopped = super::stop_operator(&stage.show, stage.operator.take()).await;
    let rest = remove_rest(cluster, &created.objects).await;
    summary(&stage.show, cluster, created, own, rest)?;
    stopped
}

/// Removes everything that carries the mark of the cluster's value, without an operator. Fails if nothing does.
pub(super) async fn remove_marked(show: &Show, cluster: &CurrentCluster) -> Result<()> {
    cluster.outlive_terminal();
    let created = all_created(cluster, Vec::new()).await;
    if created.objects.is_empty() && created.failed.is_empty() {
        return Err(unexpected(format!(
            "no object in the cluster carries the mark {}",
            cluster.mark()
        )));
    }
    let own = remove_own_kinds(cluster, &created.objects, WITHOUT_OPERATOR).await;
    let rest = remove_rest(cluster, &created.objects).await;
    summary(show, cluster, created, own, rest)
}

/// Shows what was removed and what stays. Fails if something could not be removed, with the command that tries again.
fn summary(
    show: &Show,
    cluster: &CurrentCluster,
    created: Lookup,
    own: RemovalReport,
    rest: RemovalReport,
) -> Result<()> {
    show.fact(&format!(
        "{} objects of the demo were removed by their uid",
        own.removed + rest.removed
    ));
    for line in own.left.iter().chain(&rest.left) {
        show.line(&format!("  left: {line}"));
    }
    let unknown: BTreeSet<String> = created.unknown.into_iter().chain(rest.unknown).collect();
    for line in unknown {
        show.line(&format!("  not looked at: {line}"));
    }
    let failed = [created.failed, own.failed, rest.failed].concat();
    if failed.is_empty() {
        return Ok(());
    }
    Err(unexpected(format!(
        "not removed: {}; `{}` tries it again",
        failed.join("; "),
        cluster.removal_command(cluster.mark())
    )))
}

/// Returns what the demo created: what it noted, and what an interrupted command created before it could be noted. A
/// lookup that fails does not keep the others from being made.
async fn all_created(cluster: &CurrentCluster, noted: Vec<CreatedObject>) -> Lookup {
    let mut all = Lookup {
        objects: noted,
        ..Lookup::default()
    };
    let mut found = vec![created::of_namespace(cluster, SYSTEM).await];
    match created::of_release(cluster).await {
        Ok(release) => {
            all.unknown = release.unknown;
            all.failed = release.failed;
            found.push(Ok(release.objects));
        }
        Err(error) => found.push(Err(error)),
    }
    for name in SAMPLES {
        found.push(created::of_manifest(cluster, &sample(name)).await);
    }
    for found in found {
        match found {
            Ok(mut objects) => {
                objects.retain(|object| !all.objects.contains(object));
                all.objects.append(&mut objects);
            }
            Err(error) => all.failed.push(error.to_string()),
        }
    }
    all
}
