//! `imm-operator doctor --probe-bucket` asks clouds that read policies in different ways, and installations with the
//! values of its conclusions score an image.

use std::sync::Arc;

use futures::future::join_all;
use imm_emulator::Call;
use serde_json::{Value, json};

use super::cases::{CASES, Case, DENIED_AT_FIRST, Own, WITH_FLAGS};
use super::place::{Place, SCORER, follow};
use crate::support::tenant::merge;
use crate::support::{ACCOUNT_A, ACCOUNT_B, Stage};

/// Asks about all cases and follows each conclusion.
async fn ask_and_follow(place: &Place, cases: &[Case]) {
    let operator = place.operator(None, Vec::new()).await;
    join_all(cases.iter().map(async |case| {
        let tenant = place.tenant(*case).await;
        let settings = place.conclusion(&tenant, *case).await;
        follow(&tenant, *case, &settings).await;
    }))
    .await;
    assert!(operator.terminate().await.unwrap().success());
}

// P20
pub async fn what_the_doctor_concludes_scores_an_image(_stage: Arc<Stage>) {
    let place = Place::start().await;
    let stage = &place.stage;
    stage.allow(json!({"principals": ["Account"], "namespaces": {"names": ["account"]}}));
    ask_and_follow(&place, CASES).await;
    stage.finish().await.unwrap();
}

// P20
pub async fn what_the_doctor_concludes_after_minutes_scores_an_image(_stage: Arc<Stage>) {
    let place = Place::start().await;
    ask_and_follow(&place, DENIED_AT_FIRST).await;
    place.stage.finish().await.unwrap();
}

// P20
pub async fn flags_that_the_doctor_concludes_score_an_image(_stage: Arc<Stage>) {
    let place = Place::start().await;
    let stage = &place.stage;
    for own in WITH_FLAGS.iter().filter(|case| case.own.is_some()) {
        let (name, bucket) = (own.name, format!("{}-bucket", own.name));
        let rule = json!({"namespaces": {"names": [name]}, "credentialSources": ["Operator"],
            "ownerUIDs": [ACCOUNT_B], "buckets": [bucket]});
        let of_jobs = json!({"kinds": ["ImageScoreJob"], "granteeUIDs": [ACCOUNT_A], "projects": [format!("project-{name}")]});
        // One rule lists the images, and one scores them.
        for change in [
            json!({"kinds": ["ImmBucketGrant"]}),
            of_jobs.clone(),
            merged(&of_jobs, &json!({"assumeRoleARNs": [SCORER]})),
        ] {
            stage.allow(merged(&rule, &change));
        }
    }
    let asked = join_all(WITH_FLAGS.iter().map(async |case| {
        let tenant = place.tenant(*case).await;
        let settings = place.conclusion(&tenant, *case).await;
        (tenant, *case, settings)
    }))
    .await;
    let flags: Vec<String> = asked
        .iter()
        .flat_map(|(_, _, settings)| settings)
        .filter(|(name, _)| name.starts_with("--"))
        .flat_map(|(name, value)| [name.clone(), value.clone()])
        .collect();
    // An operator has one identity.
    for own in [Own::Machine, Own::Token] {
        let operator = place.operator(Some(own), flags.clone()).await;
        let other = |case: &Case| case.own.is_some_and(|of_case| of_case != own);
        let followed = asked
            .iter()
            .filter(|(tenant, case, _)| !other(case) && tenant.puts().is_empty());
        join_all(followed.map(|(tenant, case, settings)| follow(tenant, *case, settings))).await;
        assert!(operator.terminate().await.unwrap().success());
    }
    for (tenant, case, _) in asked.iter().filter(|(_, case, _)| case.own.is_some()) {
        let calls = stage.cloud.calls().into_iter();
        let keys: Vec<String> = calls
            .filter(|call| {
                call.bucket
                    .as_ref()
                    .is_some_and(|name| name.starts_with(case.name))
            })
            .filter_map(|call| call.access_key_id)
            .collect();
        assert!(!keys.is_empty(), "{}", tenant.name);
        assert!(keys.iter().all(|key| key.starts_with("STS.")), "{keys:?}");
    }
    let exchanged = |call: &Call| call.action == "AssumeRoleWithOIDC" && call.status == Some(200);
    assert!(stage.cloud.calls().iter().any(exchanged));
    stage.finish().await.unwrap();
}

fn merged(value: &Value, change: &Value) -> Value {
    let mut merged = value.clone();
    merge(&mut merged, change);
    merged
}
