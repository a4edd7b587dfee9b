//! The ServiceAccount source: a token signed by the API server, exchanged at an STS that verifies it with the API
//! server's published keys.

use std::sync::Arc;

use imm_emulator::BucketSeed;
use imm_emulator::seed::OidcProviderSeed;
use serde_json::{Value, json};

use crate::support::commands::run_printed;
use crate::support::oidc;
use crate::support::tenant::GRANT;
use crate::support::{ACCOUNT_B, REGION, Stage, Tenant, condition};

/// Creates the ServiceAccount, and at the cloud an OIDC provider with the API server's keys and a role that trusts
/// `subject`. Returns the part of a grant's spec that uses them.
pub async fn trusted(tenant: &Tenant, subject: &str) -> Value {
    trusted_by(tenant, subject, |_| {}).await
}

/// A change of a provider before the cloud stores it.
type Change = fn(&mut OidcProviderSeed);

/// Like `trusted`, with a changed provider.
async fn trusted_by(tenant: &Tenant, subject: &str, change: Change) -> Value {
    let name = &tenant.name;
    let mut provider = oidc::provider(&tenant.stage, &format!("cluster-{name}")).await;
    change(&mut provider);
    let [role, provider] = oidc::add_role(&tenant.stage, &format!("writer-{name}"), provider, subject);
    tenant
        .apply(&json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "oss-admin", "namespace": name}}).to_string())
        .await;
    json!({"credentials": {"source": "ServiceAccount", "secretRef": null,
        "serviceAccount": {"name": "oss-admin", "roleARN": role, "oidcProviderARN": provider}}})
}

/// Returns the subject of the tenant's own ServiceAccount.
pub fn subject(tenant: &Tenant) -> String {
    format!("system:serviceaccount:{}:oss-admin", tenant.name)
}

/// Allows the operator to request tokens of that ServiceAccount only.
pub async fn open(tenant: &Tenant) {
    let (name, group) = (&tenant.name, "rbac.authorization.k8s.io");
    let role = json!({"apiVersion": format!("{group}/v1"), "kind": "Role", "metadata": {"name": "request-token", "namespace": name},
        "rules": [{"apiGroups": [""], "resources": ["serviceaccounts/token"], "resourceNames": ["oss-admin"], "verbs": ["create"]}]});
    let binding = json!({"apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": {"name": "request-token", "namespace": name},
        "roleRef": {"apiGroup": group, "kind": "Role", "name": "request-token"},
        "subjects": [{"kind": "ServiceAccount", "name": "imm-operator", "namespace": "imm-system"}]});
    tenant.apply(&format!("{role}\n---\n{binding}")).await;
}

/// Returns the AccessKey id that wrote a bucket's policy, and its principal.
fn writer(stage: &Stage, bucket: &str) -> (String, String) {
    let put = stage.calls(bucket, "PutBucketPolicy").remove(0);
    (put.access_key_id.unwrap(), put.principal.unwrap())
}

// P16
pub async fn a_token_of_a_service_account_opens_a_session_for_one_bucket(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "rrsa").await;
    let second = BucketSeed {
        name: "rrsa-second".to_owned(),
        region: REGION.to_owned(),
        owner: ACCOUNT_B.to_owned(),
        ..BucketSeed::default()
    };
    stage.cloud.add_bucket(second).unwrap();
    let credentials = trusted(&tenant, &subject(&tenant)).await;
    open(&tenant).await;
    let grant = tenant.granted("first", &credentials).await;
    assert_eq!(condition(&grant, "CredentialsValid")[0], "True");
    let mut other = credentials.clone();
    other["bucket"] = json!({"name": "rrsa-second"});
    tenant.granted("second", &other).await;

    let (first, principal) = writer(&stage, &tenant.bucket);
    let (second, _) = writer(&stage, "rrsa-second");
    assert_eq!(
        principal,
        format!("arn:sts::{ACCOUNT_B}:assumed-role/writer-rrsa/imm-operator@rrsa"),
        "the owner's audit log names the namespace"
    );
    assert_ne!(first, second, "one session for each bucket");
    // The role may do everything; the session is limited to policy calls on its own bucket.
    let lets = |key: &str, action: &str, bucket: &str| stage.cloud.session_lets(key, action, bucket).unwrap();
    assert!(lets(&first, "oss:PutBucketPolicy", &tenant.bucket));
    assert!(lets(&second, "oss:PutBucketPolicy", "rrsa-second"));
    assert!(!lets(&first, "oss:GetBucketPolicy", "rrsa-second"));
    assert!(!lets(&second, "oss:PutBucketPolicy", &tenant.bucket));
    for action in ["oss:DeleteBucket", "oss:PutBucketAcl", "oss:ListObjects"] {
        assert!(!lets(&first, action, &tenant.bucket), "{action}");
    }

    // A session is reused until it expires.
    tenant.reconcile("first").await;
    let used = stage.calls(&tenant.bucket, "GetBucketPolicy");
    assert!(
        used.iter()
            .all(|call| call.access_key_id.as_deref() == Some(&first))
    );
    // Token requests for that ServiceAccount only.
    let requested: Vec<_> = stage.audited();
    let requested = requested
        .iter()
        .filter(|one| one.resource == "serviceaccounts/token" && one.namespace == "rrsa");
    assert_eq!(
        requested
            .map(|one| (one.name.as_str(), one.code))
            .collect::<Vec<_>>(),
        [("oss-admin", 201); 2]
    );
}

// D10
pub async fn the_commands_in_the_message_grant_access_to_the_service_account(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "locked").await;
    let credentials = trusted(&tenant, &subject(&tenant)).await;
    tenant.apply(&tenant.grant("locked", &credentials)).await;
    let grant = tenant
        .until_reason(GRANT, "locked", "CredentialsUnavailable")
        .await;
    let [valid, reason, message] = condition(&grant, "CredentialsValid");
    assert_eq!([valid, reason], ["False", "TokenRequestDenied"]);
    assert!(stage.calls(&tenant.bucket, "GetBucketPolicy").is_empty());

    run_printed(&stage, message).await;
    tenant.reconcile_until_reason("locked", "Applied").await;
    let account = "--as=system:serviceaccount:imm-system:imm-operator";
    let other = [
        "auth",
        "can-i",
        "create",
        "serviceaccounts/default",
        "--subresource=token",
        "-n",
        "locked",
        account,
    ];
    assert!(
        stage.plane.kubectl(&other).await.is_err(),
        "the Role covers that ServiceAccount only"
    );
}

// D10
pub async fn a_subject_that_the_role_does_not_trust_is_reported(stage: Arc<Stage>) {
    let tenant = Tenant::new(&stage, "untrusted").await;
    let credentials = trusted(&tenant, "system:serviceaccount:somewhere:else").await;
    open(&tenant).await;
    tenant.apply(&tenant.grant("untrusted", &credentials)).await;
    let grant = tenant
        .until_reason(GRANT, "untrusted", "CredentialsUnavailable")
        .await;
    let [_, reason, message] = condition(&grant, "CredentialsValid");
    assert_eq!(reason, "AssumeRoleDenied");
    assert!(message.contains("AuthenticationFail.NoPermission"), "{message}");
    assert!(stage.calls(&tenant.bucket, "GetBucketPolicy").is_empty());
}

// P16
pub async fn a_token_that_the_provider_rejects_opens_no_session(stage: Arc<Stage>) {
    let changes: [(&str, Change); 3] = [
        ("other-keys", |provider| {
            // Another key under the same id, as another cluster could publish it.
            let key = &mut provider.jwks.as_mut().unwrap()["keys"][0]["n"];
            let modulus: String = key.as_str().unwrap().chars().rev().collect();
            *key = json!(modulus);
        }),
        ("other-issuer", |provider| {
            provider.issuer = "https://elsewhere.example.com".to_owned();
        }),
        ("other-audience", |provider| {
            provider.audiences = vec!["another-audience".to_owned()];
        }),
    ];
    for (name, change) in changes {
        let tenant = Tenant::new(&stage, name).await;
        let credentials = trusted_by(&tenant, &subject(&tenant), change).await;
        open(&tenant).await;
        tenant.apply(&tenant.grant(name, &credentials)).await;
        let grant = tenant.until_reason(GRANT, name, "CredentialsUnavailable").await;
        let [_, reason, message] = condition(&grant, "CredentialsValid");
        assert_eq!(reason, "AssumeRoleDenied", "{name}");
        assert!(
            message.contains("AuthenticationFail.OIDCToken.Invalid"),
            "{name}: {message}"
        );
        assert!(
            stage.calls(&tenant.bucket, "GetBucketPolicy").is_empty(),
            "{name}"
        );
    }
}
