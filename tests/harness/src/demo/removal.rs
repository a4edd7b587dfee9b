//! The end of a demo on the user's cluster: removes what the demo created, also after a failure or Ctrl-C.

use super::stage::{SYSTEM, Stage, sample, unexpected};
use super::steps::SAMPLES;
use crate::current::created::{self, CreatedObject};
use crate::current::removal::{remove_own_kinds, remove_rest};
use crate::error::Result;

/// Removes everything from the user's cluster, and stops the operator when its objects are gone. Shows what stays.
pub(super) async fn remove(stage: &mut Stage) -> Result<()> {
    let Some(cluster) = stage.cluster.current() else {
        return Ok(());
    };
    let created = all_created(stage).await?;
    let own = remove_own_kinds(cluster, &created).await;
    // The rest is removed also if the operator did not end as it should.
    let stopped = super::stop_operator(&stage.show, stage.operator.take()).await;
    let rest = remove_rest(cluster, &created).await?;
    let removed = own.removed + rest.removed;
    stage.show.fact(&format!(
        "{removed} objects of the demo were removed by their uid"
    ));
    for line in rest.left {
        stage.show.line(&format!("  left: {line}"));
    }
    let failed = [own.failed, rest.failed].concat();
    if !failed.is_empty() {
        return Err(unexpected(format!("not removed: {}", failed.join("; "))));
    }
    stopped
}

/// Returns what the demo created: what it noted, and what an interrupted command created before it could be noted.
async fn all_created(stage: &Stage) -> Result<Vec<CreatedObject>> {
    let mut all = stage.created();
    let Some(cluster) = stage.cluster.current() else {
        return Ok(all);
    };
    let mut found = created::of_namespace(cluster, SYSTEM).await?;
    found.extend(created::of_release(cluster).await?.objects);
    for name in SAMPLES {
        found.extend(created::of_manifest(cluster, &sample(name)).await?);
    }
    found.retain(|object| !all.contains(object));
    all.extend(found);
    Ok(all)
}
