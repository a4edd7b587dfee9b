//! `imm-operator doctor --probe-bucket` asks clouds that read policies in different ways, and installations with the values of
//! its conclusions score an image.

use std::sync::Arc;

use futures::future::join_all;
use serde_json::json;

use super::cases::{CASES, Case, DENIED_AT_FIRST, WITH_FLAGS};
use super::place::{Place, follow};
use crate::support::{ACCOUNT_B, Stage};

/// Asks about all cases and follows each conclusion.
async fn ask_and_follow(place: &Place, cases: &[Case]) {
    let operator = place.operator(Vec::new()).await;
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
    stage.allow(
        json!({"kinds": ["ImmBucketGrant"], "credentialSources": ["Operator"], "ownerUIDs": [ACCOUNT_B],
        "namespaces": {"names": ["machine"]}, "buckets": ["machine-bucket"]}),
    );
    let mut flags = vec![
        "--own-identity".to_owned(),
        "ecs".to_owned(),
        "--metadata-address".to_owned(),
        stage.cloud.address().to_string(),
    ];
    let mut asked = Vec::new();
    for case in WITH_FLAGS {
        let tenant = place.tenant(*case).await;
        let settings = place.conclusion(&tenant, *case).await;
        let endpoints = settings
            .iter()
            .filter(|(name, _)| name.starts_with("--"))
            .flat_map(|(name, value)| [name.clone(), value.clone()]);
        flags.extend(endpoints);
        asked.push((tenant, *case, settings));
    }
    let operator = place.operator(flags).await;
    join_all(
        asked
            .iter()
            .map(|(tenant, case, settings)| follow(tenant, *case, settings)),
    )
    .await;
    assert!(operator.terminate().await.unwrap().success());
    stage.finish().await.unwrap();
}
