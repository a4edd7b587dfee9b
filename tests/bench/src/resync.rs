//! B8: looking again at a hundred healthy grants of one bucket. One answer of the cloud tells about all of them.

use kube::api::{Patch, PatchParams};
use serde_json::json;

use imm_harness::until;

use crate::peer::Script;
use crate::stage::{PATIENCE, Stage, float, grant};
use crate::table::Row;
use crate::{Arguments, Result};

const GRANTS: usize = 100;
/// Statements for ten grants each: more than a policy of 16 KB has room for would not fit.
const PREFIXES: usize = 10;
const BUCKET: &str = "resync-bucket";

/// Runs it.
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
    // A look after the operator's own write comes within 45 seconds, and must not be counted: a fresh process has none.
    operator.kill()?;
    let operator = stage.operator(false).await?;
    until("the first look of the new process", PATIENCE, || {
        let looked = stage
            .cloud
            .calls()
            .last()
            .is_some_and(|call| call.action == "GetBucketPolicy");
        std::future::ready(looked.then_some(()))
    })
    .await?;
    stage.cloud.clear_calls();
    let audited = stage.audited()?;
    let ask = json!({"metadata": {"annotations": {"immops.dev/reconcile-at": "bench"}}});
    stage
        .grants()
        .patch("grant-000", &PatchParams::default(), &Patch::Merge(&ask))
        .await?;
    until("the pass to be reported", PATIENCE, || async {
        let grant = stage
            .grants()
            .get("grant-000")
            .await
            .map_err(|error| error.to_string())?;
        let handled = grant.data.pointer("/status/lastHandledReconcileAt");
        if handled.and_then(serde_json::Value::as_str) == Some("bench") {
            Ok(())
        } else {
            Err("it is not".to_owned())
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
    let looks = vec![json!({"bucket": BUCKET}); GRANTS];
    Script::policies(arguments, &stage.cloud, 10)?
        .obey::<Vec<f64>>(&looks)
        .await?;
    let peer = stage.cloud.calls().len();
    let what = format!("a look at {GRANTS} healthy grants of one bucket: ");
    Ok(vec![
        Row::new("B8", format!("{what}calls to the cloud"), float(calls.len()), "")
            .limit(1.0)
            .goal(1.0)
            .peer("SDK, one look a grant", float(peer))
            .note(
                calls
                    .iter()
                    .map(|call| call.action.clone())
                    .collect::<Vec<_>>()
                    .join(", "),
            ),
        Row::new("B8", format!("{what}writes to the API server"), float(writes), "")
            .goal(1.0)
            .note("the one that answers the annotation by which the look was asked for"),
    ])
}
