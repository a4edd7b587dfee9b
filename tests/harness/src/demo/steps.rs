//! The steps of the demo. Each step prints what a user would see and then checks the result. A step fails if a check
//! does not hold.

use serde_json::Value;

use super::difference::difference;
use super::stage::{ACCOUNT, PATIENCE, SYSTEM, Stage, unexpected};
use crate::CANARY;
use crate::current::created;
use crate::environment::checkout;
use crate::error::{HarnessError, Result};

const GRANT: [&str; 3] = ["immbucketgrant", "media", "photos-to-analytics"];
const FIRST: [&str; 3] = ["imagescorejob", "analytics", "one-image"];
const DEFINITIONS: [&str; 3] = [
    "imagescorejobs.immops.dev",
    "imagescorereports.immops.dev",
    "immbucketgrants.immops.dev",
];
/// Columns of a usual terminal.
const WIDTH: usize = 120;
/// The reasons of the events that exist after the second job.
const EVENTS: [&str; 3] = ["WaitingForGrant", "StatementAdded", "Completed"];
pub(super) const SAMPLES: [&str; 5] = [
    "namespaces.yaml",
    "keys.yaml",
    "job.yaml",
    "grant.yaml",
    "gallery.yaml",
];

/// Shows the bucket's policy before any change and returns it.
pub(super) fn bucket(stage: &Stage) -> Result<String> {
    let policy = stage.policy()?;
    let blocked = stage.public_access_blocked;
    stage.check_fact("Block Public Access is on for the bucket", blocked, || {
        "off".to_owned()
    })?;
    stage
        .show
        .line(&format!("  bucket policy, {} bytes:", policy.len()));
    stage.show.line(policy.trim_end());
    Ok(policy)
}

/// Installs the chart with the real Helm. On the user's cluster without Pods, because the operator runs on this machine.
pub(super) async fn install(stage: &Stage) -> Result<()> {
    let chart = checkout().join("charts/imm-operator").display().to_string();
    let namespaced = ["install", ACCOUNT, &chart, "--namespace", SYSTEM];
    let labels = stage.cluster.current().map(created::labels);
    let more = match &labels {
        None => vec!["--create-namespace"],
        Some(labels) => [
            vec!["--set", "replicaCount=0"],
            labels.iter().map(String::as_str).collect(),
        ]
        .concat(),
    };
    stage.create_system_namespace().await?;
    let notes = stage.cluster.helm(&[&namespaced[..], &more].concat()).await?;
    let line = "helm install imm-operator charts/imm-operator --namespace imm-system";
    stage.show.command(&format!("{line} {}", more.join(" ")), &notes);
    stage.note_release().await?;
    stage
        .kubectl(
            &[
                &["get", "customresourcedefinitions", "-o", "name"][..],
                &DEFINITIONS,
            ]
            .concat(),
        )
        .await?;
    Ok(())
}

/// Creates the tenants' namespaces and Secrets, and the Role with which each tenant grants access to its Secret.
pub(super) async fn keys(stage: &Stage) -> Result<()> {
    stage.create("namespaces.yaml").await?;
    stage.create("keys.yaml").await?;
    let account = format!("--as=system:serviceaccount:{SYSTEM}:{ACCOUNT}");
    stage
        .kubectl(&[
            "auth",
            "can-i",
            "get",
            "secret/oss-policy-admin",
            "-n",
            "media",
            &account,
        ])
        .await?;
    let others = ["auth", "can-i", "get", "secret/another", "-n", "media", &account];
    let answer = match stage.cluster.kubectl(&others).await {
        Err(HarnessError::Command { output, .. }) => output,
        other => other?,
    };
    let denied = answer.lines().any(|line| line == "no");
    stage.check_fact(
        "the operator may read this Secret and no other Secret of the namespace",
        denied,
        || answer,
    )
}

/// Applies a job whose grant does not exist yet and checks that it waits without API calls.
pub(super) async fn job_waits(stage: &Stage) -> Result<()> {
    stage.create("job.yaml").await?;
    let what = "the job to report WaitingForGrant";
    stage
        .show
        .wait(what, PATIENCE, || {
            reason_is(stage, FIRST, "Ready", "WaitingForGrant")
        })
        .await?;
    stage
        .kubectl(&["get", "imagescorejobs", "-n", "analytics"])
        .await?;
    let calls = stage.cloud.calls();
    stage.check_fact("the job made no API calls", calls.is_empty(), || {
        format!("{calls:?}")
    })
}

/// Applies the grant and checks its effect on the policy.
pub(super) async fn grant(stage: &Stage, before: &str) -> Result<()> {
    stage.create("grant.yaml").await?;
    stage
        .show
        .wait("the grant to be applied", PATIENCE, || {
            reason_is(stage, GRANT, "Ready", "Applied")
        })
        .await?;
    stage.kubectl(&["get", "immbucketgrants", "-n", "media"]).await?;
    let [kind, namespace, name] = GRANT;
    let object = stage.object(kind, namespace, name).await?;
    let decided = object
        .pointer("/status/passRoleStatement")
        .map_or_else(|| "not reported".to_owned(), Value::to_string);
    stage.show.line(&format!("  ram:PassRole statement: {decided}"));
    let after = stage.policy()?;
    stage.show.line("  changes to the policy:");
    let shown = difference(before, &after);
    stage.show.line(shown.trim_end());
    let removed = shown.lines().any(|line| line.starts_with('-'));
    stage.check_fact(
        "the unmanaged statements are unchanged, byte for byte",
        !removed && after != before,
        || shown,
    )?;
    let writes = stage.calls("PutBucketPolicy");
    stage.check_fact("the operator wrote the policy once", writes.len() == 1, || {
        format!("{} writes", writes.len())
    })
}

/// Waits for the first job and checks its score and its cost.
pub(super) async fn score(stage: &Stage) -> Result<()> {
    let [kind, namespace, name] = FIRST;
    stage
        .show
        .line("  waiting for the job to complete (at most 60 s) ...");
    let target = format!("{kind}/{name}");
    stage
        .kubectl(&[
            "wait",
            "--for=condition=Complete",
            &target,
            "-n",
            namespace,
            "--timeout=60s",
        ])
        .await?;
    stage.kubectl(&["get", "imagescorejobs", "-n", namespace]).await?;
    let job = stage.object(kind, namespace, name).await?;
    let scores = scores(&job)?;
    let right = matches!(scores.as_slice(), [(_, uri)] if uri.ends_with("/test-object.jpg"))
        && scores.iter().all(|(score, _)| score == "0.727");
    stage.check_fact(
        "oss://test-bucket-2024/test-object.jpg has score 0.727",
        right,
        || format!("{scores:?}"),
    )?;
    let billed = stage.cloud.billed();
    stage.check_fact("the job made exactly one billed call", billed == 1, || {
        format!("{billed} billed calls")
    })
}

/// Prints all objects and events, and checks the number of billed calls.
pub(super) async fn overview(stage: &Stage) -> Result<()> {
    let shown = stage.kubectl(&["get", "imm", "-A"]).await?;
    let narrow = shown.lines().all(|line| line.len() <= WIDTH);
    stage.check_fact("every line fits a terminal of 120 columns", narrow, || shown)?;
    stage.kubectl(&["get", "imm", "-A", "-o", "wide"]).await?;
    // The user's cluster has events that are none of the demo's.
    let places: &[&[&str]] = match stage.cluster.current() {
        None => &[&["-A"]],
        Some(_) => &[&["-n", "media"], &["-n", "analytics"]],
    };
    let mut events = String::new();
    for place in places {
        let args = [
            &["get", "events"],
            *place,
            &["--sort-by=.metadata.creationTimestamp"],
        ]
        .concat();
        events += &stage.kubectl(&args).await?;
    }
    let missing: Vec<_> = EVENTS
        .iter()
        .filter(|reason| !events.contains(**reason))
        .collect();
    stage.check_fact("every state change has an event", missing.is_empty(), || {
        format!("missing events: {missing:?}")
    })?;
    let billed = stage.cloud.billed();
    stage.check_fact("401 billed calls in total, one per image", billed == 401, || {
        format!("{billed}")
    })
}

/// Applies the same manifests again, triggers a reconcile, and checks that nothing is written.
pub(super) async fn apply_again(stage: &Stage) -> Result<()> {
    let writes = stage.calls("PutBucketPolicy").len();
    for sample in SAMPLES {
        stage.must_be_own(sample).await?;
        let answer = stage.apply(sample).await?;
        let changed = answer.lines().find(|line| !line.ends_with("unchanged"));
        // kubectl prints "configured" for every Secret with stringData, because the server converts it to data.
        if let Some(line) = changed.filter(|line| !line.starts_with("secret/")) {
            return Err(unexpected(format!(
                "applying {sample} again changed an object: {line}"
            )));
        }
    }
    let [kind, namespace, name] = GRANT;
    let mark = "immops.dev/reconcile-at=demo";
    stage
        .kubectl(&["annotate", kind, name, "-n", namespace, mark])
        .await?;
    let what = "the reconcile triggered by the annotation";
    stage
        .show
        .wait(what, PATIENCE, || async {
            let grant = stage
                .object(kind, namespace, name)
                .await
                .map_err(|error| error.to_string())?;
            let handled = grant
                .pointer("/status/lastHandledReconcileAt")
                .and_then(Value::as_str);
            if handled == Some("demo") {
                Ok(())
            } else {
                Err(format!("last handled: {handled:?}"))
            }
        })
        .await?;
    let (now, billed) = (stage.calls("PutBucketPolicy").len(), stage.cloud.billed());
    stage.check_fact(
        "no policy was written and nothing was billed",
        now == writes && billed == 401,
        || format!("{} additional writes, {billed} billed calls", now - writes),
    )
}

/// Deletes the grant and checks that the original policy is restored.
pub(super) async fn delete(stage: &Stage, before: &str) -> Result<()> {
    let [kind, namespace, name] = GRANT;
    stage.must_be_own("grant.yaml").await?;
    stage
        .show
        .line("  waiting for the grant to remove its statement (at most 60 s) ...");
    stage
        .kubectl(&["delete", kind, name, "-n", namespace, "--timeout=60s"])
        .await?;
    let after = stage.policy()?;
    let fact = format!(
        "the policy equals the original, byte for byte ({} bytes)",
        before.len()
    );
    stage.check_fact(&fact, after == before, || difference(before, &after))
}

/// Checks that no secret was printed, logged, or stored outside of Secrets.
pub(super) async fn no_secret(stage: &Stage) -> Result<()> {
    let log = stage
        .operator
        .as_ref()
        .map(crate::operator::Operator::log)
        .unwrap_or_default();
    let objects = stage
        .cluster
        .kubectl(&["get", "imm,events", "-A", "-o", "yaml"])
        .await?;
    let places = [
        ("the demo's output", stage.show.shown()),
        ("the operator's log", log),
        ("the objects or events", objects),
    ];
    let leaks: Vec<&str> = places
        .iter()
        .filter(|(_, text)| text.contains(CANARY))
        .map(|(place, _)| *place)
        .collect();
    stage.check_fact(
        "the output, the operator's log, the objects and the events contain no secret",
        leaks.is_empty(),
        || format!("secrets in: {}", leaks.join(", ")),
    )
}

/// Returns `Ok` if the condition has the reason, otherwise the observed reason.
pub(super) async fn reason_is(
    stage: &Stage,
    object: [&str; 3],
    condition: &str,
    reason: &str,
) -> std::result::Result<(), String> {
    let seen = stage.reason(object, condition).await?;
    if seen == reason {
        Ok(())
    } else {
        Err(format!("{condition} has reason {seen}"))
    }
}

/// Returns score and URI of every result of a job. Fails if the job's status has no results.
fn scores(job: &Value) -> Result<Vec<(String, String)>> {
    let results = job.pointer("/status/results").and_then(Value::as_array);
    let text = |result: &Value, name: &str| result.get(name).and_then(Value::as_str).map(str::to_owned);
    let scores = results.map(|all| {
        all.iter()
            .map(|one| text(one, "score").zip(text(one, "uri")))
            .collect()
    });
    scores.flatten().ok_or_else(|| {
        unexpected(format!(
            "the job's status does not contain all results: {}",
            super::stage::status(job)
        ))
    })
}
