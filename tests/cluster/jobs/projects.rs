//! Projects that are deleted, created, unavailable or corrected while jobs need them.

use std::sync::Arc;

use imm_emulator::{BucketSeed, Call, Fault, FaultAnswer, FaultEffect, FaultMatch, ProjectSeed};
use serde_json::json;

use super::fixtures::{
    add_score_fault, answer, assert_counts, item_counts, outcome, prefix_job, project_count, put_images,
    results_of, set_speed, until_finished, with_grant,
};
use super::scoring::{gallery, over};
use crate::support::{ACCOUNT_B, Stage, Tenant, condition};

/// Returns IMM's error for a project that does not exist.
fn no_project() -> FaultEffect {
    FaultEffect::Answer(FaultAnswer {
        status: 400,
        code: "ResourceNotFound".to_owned(),
        message: Some("The specified resource project is not found.".to_owned()),
        ..FaultAnswer::default()
    })
}

/// Adds a fault for calls that name the tenant's project, of one action or of all.
fn strike_project(tenant: &Tenant, action: Option<&str>, skip: u32, times: Option<u32>, effect: FaultEffect) {
    tenant.stage.cloud.add_fault(Fault {
        matching: FaultMatch {
            action: action.map(ToOwned::to_owned),
            project: Some(tenant.project.clone()),
            ..FaultMatch::default()
        },
        skip,
        times,
        effect,
    });
}

/// Returns the calls that name a project, in the order of their answers.
fn calls_of(stage: &Stage, project: &str) -> Vec<Call> {
    let calls = stage.cloud.calls().into_iter();
    calls
        .filter(|call| call.project.as_deref() == Some(project))
        .collect()
}

// J14
pub async fn a_project_deleted_while_its_job_runs_fails_the_job_within_a_few_calls(stage: Arc<Stage>) {
    let tenant = with_grant(&stage, "bulldozed").await;
    put_images(&tenant, 300, Some("0.5"));
    set_speed(&tenant, 100, 100);
    // The request for the limits and a hundred images succeed; then every call reports that the project is missing.
    strike_project(&tenant, None, 101, None, no_project());
    let changes = json!({"parallelism": 10, "maxFailedItems": "100%"});
    tenant
        .apply(&prefix_job(&tenant, "bulldozed", &json!({}), &changes))
        .await;
    let job = until_finished(&tenant, "bulldozed").await;
    assert_eq!(outcome(&job), ["Failed", "ProjectNotFound"]);
    let [_, _, message] = condition(&job, "Failed");
    assert!(message.contains(&tenant.project), "{message}");
    let calls = tenant.scores();
    let served = calls.iter().filter(|call| call.status == Some(200)).count();
    let refused = calls.iter().filter(|call| call.billed).count() - served;
    // Calls that were in flight when the first error came back, and a few that were sent meanwhile.
    assert!(refused <= 15, "{refused} rejected calls are billed");
    let served = u64::try_from(served).unwrap();
    assert_eq!(
        item_counts(&job, ["succeeded", "failed", "skipped", "ignored"]),
        [served, 0, 0, 0]
    );
    assert_eq!(
        u64::try_from(results_of(&tenant, "bulldozed").await.len()).unwrap(),
        served
    );
    assert_counts(&tenant, &job);
}

// J14
pub async fn a_single_missing_project_error_fails_no_job_whose_project_exists(stage: Arc<Stage>) {
    let tenant = with_grant(&stage, "blinking").await;
    put_images(&tenant, 120, Some("0.5"));
    set_speed(&tenant, 100, 50);
    tenant.fault("DetectImageScore", 40, 1, no_project());
    tenant
        .apply(&prefix_job(
            &tenant,
            "blinking",
            &json!({}),
            &json!({"parallelism": 10}),
        ))
        .await;
    let job = until_finished(&tenant, "blinking").await;
    assert_eq!(outcome(&job), ["Complete", "Completed"]);
    assert_eq!(item_counts(&job, ["succeeded", "failed", "skipped"]), [120, 0, 0]);
    assert_eq!(tenant.scores().len(), 121, "one image is requested again");
    assert_counts(&tenant, &job);
}

// J5
pub async fn a_corrected_role_is_read_by_the_next_job(stage: Arc<Stage>) {
    let (tenant, keys) = gallery(&stage, "mended-role", 3).await;
    let project = |role: Option<&str>| ProjectSeed {
        name: tenant.project.clone(),
        service_role: role.map(ToOwned::to_owned),
        ..ProjectSeed::default()
    };
    stage.add_project(project(Some("AnotherRole")));
    tenant.apply(&over(&tenant, "before", &keys, &json!({}))).await;
    let job = until_finished(&tenant, "before").await;
    assert_eq!(outcome(&job), ["Failed", "GrantMismatch"]);
    stage.add_project(project(None));
    tenant.apply(&over(&tenant, "after", &keys, &json!({}))).await;
    let job = until_finished(&tenant, "after").await;
    assert_eq!(outcome(&job), ["Complete", "Completed"]);
    assert_eq!(tenant.scores().len(), 3);
}

// J12
pub async fn unreadable_limits_are_requested_again_before_the_rate_is_raised(stage: Arc<Stage>) {
    let failures = [
        ("stutters", answer(500, "InternalError")),
        ("hangs-up", FaultEffect::DropAfter),
    ];
    let mut tenants = Vec::new();
    for (name, failure) in failures {
        let (tenant, keys) = gallery(&stage, name, 30).await;
        stage.add_project(ProjectSeed {
            name: tenant.project.clone(),
            queries_per_second: Some(5),
            ..ProjectSeed::default()
        });
        strike_project(&tenant, Some("GetProject"), 0, Some(1), failure);
        tenant.apply(&over(&tenant, name, &keys, &json!({}))).await;
        tenants.push(tenant);
    }
    for tenant in &tenants {
        let job = until_finished(tenant, &tenant.name).await;
        assert_eq!(outcome(&job), ["Complete", "Completed"]);
        let seen = project_count(tenant);
        println!("a limit of 5 per second, at first unknown: {seen:?}");
        // A busy machine sends requests in bursts; at the default rate most of the job's calls would be throttled.
        assert!(seen.highest_per_second <= 7 && seen.throttled <= 2, "{seen:?}");
        assert_counts(tenant, &job);
    }
}

// J12
pub async fn the_next_job_requests_the_limits_of_a_project_that_was_missing(stage: Arc<Stage>) {
    let (tenant, keys) = gallery(&stage, "late-comer", 5).await;
    let elsewhere = json!({"project": {"name": "late-project"}});
    tenant.apply(&over(&tenant, "before", &keys, &elsewhere)).await;
    let job = until_finished(&tenant, "before").await;
    assert_eq!(outcome(&job), ["Failed", "ProjectNotFound"]);
    let asked = calls_of(&stage, "late-project").len();
    stage.add_project(ProjectSeed {
        name: "late-project".to_owned(),
        ..ProjectSeed::default()
    });
    tenant.apply(&over(&tenant, "after", &keys, &elsewhere)).await;
    let job = until_finished(&tenant, "after").await;
    assert_eq!(outcome(&job), ["Complete", "Completed"]);
    let calls = calls_of(&stage, "late-project");
    let actions: Vec<&str> = calls[asked..].iter().map(|call| call.action.as_str()).collect();
    assert_eq!(actions.first(), Some(&"GetProject"), "{actions:?}");
    assert_eq!(tenant.scores().len(), 5);
}

// J13
pub async fn a_bucket_that_imm_finds_in_another_region_costs_one_request(stage: Arc<Stage>) {
    let bucket = BucketSeed {
        region: "cn-beijing".to_owned(),
        ..BucketSeed::default()
    };
    let tenant = Tenant::with_bucket(&stage, "overseas", bucket).await;
    let keys: Vec<String> = (0..30).map(|n| format!("{n}.jpg")).collect();
    for key in &keys {
        assert!(stage.cloud.put_object(&tenant.bucket, key, "pixels", Some("0.5")));
    }
    let changes = json!({"grantRef": null, "maxFailedItems": "100%"});
    tenant.apply(&over(&tenant, "overseas", &keys, &changes)).await;
    let job = until_finished(&tenant, "overseas").await;
    assert_eq!(outcome(&job), ["Failed", "RegionMismatch"]);
    let [_, _, message] = condition(&job, "Failed");
    assert!(message.contains("cn-hangzhou"), "{message}");
    assert_eq!(tenant.scores().len(), 1);
    assert_eq!(job["status"]["requests"]["clientErrors"], 1);
}

// C22
pub async fn a_word_about_regions_after_the_first_score_concerns_one_image(stage: Arc<Stage>) {
    let tenant = with_grant(&stage, "region-word").await;
    let keys: Vec<String> = (0..6).map(|n| format!("{n}.jpg")).collect();
    for key in &keys {
        assert!(stage.cloud.put_object(&tenant.bucket, key, "pixels", Some("0.5")));
    }
    let elsewhere = BucketSeed {
        name: "region-word-elsewhere".to_owned(),
        region: "cn-beijing".to_owned(),
        owner: ACCOUNT_B.to_owned(),
        ..BucketSeed::default()
    };
    stage.cloud.add_bucket(elsewhere).unwrap();
    let unsupported = FaultAnswer {
        status: 400,
        code: "InvalidArgument".to_owned(),
        message: Some("The region of interest is not supported.".to_owned()),
        ..FaultAnswer::default()
    };
    add_score_fault(&tenant, "4.jpg", None, FaultEffect::Answer(unsupported));
    let changes = json!({"maxFailedItems": 1});
    tenant.apply(&over(&tenant, "region-word", &keys, &changes)).await;
    let job = until_finished(&tenant, "region-word").await;
    assert_eq!(outcome(&job), ["Complete", "CompletedWithFailures"]);
    assert_eq!(tenant.scores().len(), 6);

    // An image in a bucket of another region.
    let uris = [
        format!("oss://{}/0.jpg", tenant.bucket),
        "oss://region-word-elsewhere/1.jpg".to_owned(),
        format!("oss://{}/2.jpg", tenant.bucket),
    ];
    let changes = json!({"grantRef": null, "maxFailedItems": 1, "source": {"uris": uris}});
    tenant.apply(&over(&tenant, "two-regions", &keys, &changes)).await;
    let job = until_finished(&tenant, "two-regions").await;
    assert_eq!(outcome(&job), ["Complete", "CompletedWithFailures"]);
    assert_eq!(job["status"]["failures"][0]["code"], "InvalidArgument");
    assert_eq!(item_counts(&job, ["succeeded", "failed", "skipped"]), [2, 1, 0]);
}
