//! Credentials: no output shows them, and a tenant grants access to one Secret with the commands of the message.

use std::sync::Arc;

use imm_emulator::{FaultAnswer, FaultEffect};
use serde_json::json;

use crate::support::commands::run_printed;
use crate::support::leaks;
use crate::support::tenant::{GRANT, JOB};
use crate::support::{Stage, Tenant, condition};

// P10: the clouds echo the credentials, as a careless proxy could. The same search ends every test program.
pub async fn no_secret_is_shown_under_any_failure(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "leaky").await;
    let text = "wrong key canary-owner-leaky, header Authorization: canary-header";
    assert!(text.contains(leaks::CANARY));
    let answers = [
        FaultAnswer {
            status: 403,
            code: "AccessDenied".to_owned(),
            message: Some(text.to_owned()),
            ..FaultAnswer::default()
        },
        FaultAnswer {
            status: 403,
            code: "InvalidAccessKeyId".to_owned(),
            message: Some(text.to_owned()),
            ..FaultAnswer::default()
        },
        FaultAnswer {
            status: 500,
            code: "InternalError".to_owned(),
            message: Some(text.to_owned()),
            ..FaultAnswer::default()
        },
        FaultAnswer {
            status: 502,
            body: Some(text.to_owned()),
            content_type: Some("text/html".to_owned()),
            ..FaultAnswer::default()
        },
        FaultAnswer {
            status: 400,
            code: "InvalidPolicyDocument".to_owned(),
            message: Some(text.to_owned()),
            ..FaultAnswer::default()
        },
    ];
    for (index, answer) in answers.into_iter().enumerate() {
        let (status, seen) = (
            answer.status,
            stage.calls(&tenant.bucket, "GetBucketPolicy").len(),
        );
        tenant.fault("GetBucketPolicy", 0, 1, FaultEffect::Answer(answer));
        let name = format!("grant-{index}");
        tenant
            .apply(&tenant.grant(&name, &json!({"access": {"prefixes": [format!("{index}/")]}})))
            .await;
        let calls = stage
            .until_calls("the rejected read", &tenant.bucket, "GetBucketPolicy", seen + 1)
            .await;
        assert!(
            calls
                .iter()
                .any(|call| call.status == Some(status) && call.fault.is_some()),
            "{index}"
        );
        // The error is in status now; the next reconcile clears it.
        tenant
            .until(GRANT, &name, "a failed Ready", |grant| {
                condition(grant, "Ready")[0] == "False"
            })
            .await;
        tenant.reconcile(&name).await;
        tenant.until_reason(GRANT, &name, "Applied").await;
    }
    let wrong = tenant.keys("caller").replace("canary-caller", "canary-wrong");
    tenant.apply(&wrong).await;
    tenant.apply(&tenant.job("refused", &["a.jpg"], &json!({}))).await;
    let job = tenant
        .until_reason(JOB, "refused", "CredentialsUnavailable")
        .await;
    assert_eq!(condition(&job, "CredentialsValid")[1], "CredentialsRejected");
    let denied = Tenant::new(&stage, "unreadable").await;
    let broken = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "owner", "namespace": "unreadable"},
        "stringData": {"accessKeyId": "canary-id", "accessKeySecret": "canary\nwith a line break"}});
    denied.apply(&broken.to_string()).await;
    denied.apply(&denied.grant("unreadable", &json!({}))).await;
    let grant = denied
        .until_reason(GRANT, "unreadable", "CredentialsUnavailable")
        .await;
    assert_eq!(condition(&grant, "CredentialsValid")[1], "SecretInvalid");
    leaks::search(&stage).await.unwrap();
}

// D10
pub async fn the_commands_in_the_message_grant_access_to_the_secret(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "locked").await;
    stage
        .kubectl(&["delete", "rolebinding", "read-keys", "-n", "locked"])
        .await;
    tenant.apply(&tenant.grant("locked", &json!({}))).await;
    let grant = tenant
        .until_reason(GRANT, "locked", "CredentialsUnavailable")
        .await;
    let [_, reason, message] = condition(&grant, "CredentialsValid");
    assert_eq!(reason, "SecretAccessDenied");
    assert!(
        stage.calls(&tenant.bucket, "GetBucketPolicy").is_empty(),
        "no call without credentials"
    );

    run_printed(&stage, message).await;
    // A denial is retried automatically; a requested reconcile is sooner.
    tenant.reconcile_until_reason("locked", "Applied").await;
    let account = "--as=system:serviceaccount:imm-system:imm-operator";
    let other = ["auth", "can-i", "get", "secret/caller", "-n", "locked", account];
    assert!(
        stage.plane.kubectl(&other).await.is_err(),
        "the Role covers that Secret only"
    );
}
