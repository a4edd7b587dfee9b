//! B8: reconciling a hundred healthy grants of one bucket. One read of the bucket policy covers all of them.

use kube::api::{Patch, PatchParams};
use serde_json::json;

use imm_harness::until;

use crate::peer::Script;
use crate::stage::{PATIENCE, Stage, float, grant};
use crate::table::Row;
use crate::{Arguments, Result};

const GRANTS: usize = 100;
/// Statements for ten grants each: one statement per grant would exceed the 16 KB of a policy.
const PREFIXES: usize = 10;
const BUCKET: &str = "resync-bucket";

/// Runs the benchmark.
pub async fn run(arguments: &Arguments) -> Result<Vec<Row>> {
    let stage = Stage::set(arguments.operator()?).await?;
    stage.bucket(BUCKET, None)?;
    let operator = stage.operator(false).await?;
    let grants = (0..GRANTS).map(|n| {
        let access = json!({"preset": "Minimal", "prefixes": [format!("{}/", n % PREFIXES)]});
        grant(&format!("grant-{n:03}"), BUCKET, json!({"access": access}))
    });
    stage.create(grants).await?;
    stage.until_all("Applied", GRANTS).await?;
    // The check after the operator's own write comes within 45 seconds and must not be counted; a new process has none
    // pending.
    operator.kill()?;
    let operator = stage.operator(false).await?;
    until("the first check by the new process", PATIENCE, || {
        let checked = stage
            .cloud
            .calls()
            .last()
            .is_some_and(|call| call.action == "GetBucketPolicy");
        std::future::ready(checked.then_some(()))
    })
    .await?;
    stage.cloud.clear_calls();
    let audited = stage.audited()?;
    let ask = json!({"metadata": {"annotations": {"immops.dev/reconcile-at": "bench"}}});
    stage
        .grants()
        .patch("grant-000", &PatchParams::default(), &Patch::Merge(&ask))
        .await?;
    until("the reconcile to be reported", PATIENCE, || async {
        let grant = stage
            .grants()
            .get("grant-000")
            .await
            .map_err(|error| error.to_string())?;
        let handled = grant.data.pointer("/status/lastHandledReconcileAt");
        if handled.and_then(serde_json::Value::as_str) == Some("bench") {
            Ok(())
        } else {
            Err("not reported yet".to_owned())
        }
    })
    .await?;
    operator.must_run()?;
    let calls = stage.cloud.calls();
    let asked = stage.asked_since(audited)?;
    let writes = asked
        .iter()
        .filter(|(verb, _)| !["get", "list", "watch"].contains(&verb.as_str()))
        .count();

    stage.cloud.clear_calls();
    let reads = vec![json!({"bucket": BUCKET}); GRANTS];
    Script::policies(arguments, &stage.cloud, 10)?
        .run::<Vec<f64>>(&reads)
        .await?;
    let peer = stage.cloud.calls().len();
    let what = format!("a check of {GRANTS} healthy grants of one bucket: ");
    Ok(vec![
        Row::new("B8", format!("{what}calls to the cloud"), float(calls.len()), "")
            .limit(1.0)
            .goal(1.0)
            .peer("SDK, one check a grant", float(peer))
            .note(
                calls
                    .iter()
                    .map(|call| call.action.clone())
                    .collect::<Vec<_>>()
                    .join(", "),
            ),
        Row::new("B8", format!("{what}writes to the API server"), float(writes), "")
            .goal(1.0)
            .note("the status update that acknowledges the annotation"),
    ])
}
