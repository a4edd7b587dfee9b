//! The operator's own identity from the machine: the RAM role of its ECS instance, and a credentials URI.

use std::sync::Arc;

use imm_emulator::Seed;
use imm_emulator::seed::{AccountSeed, InstanceSeed, RoleSeed};
use imm_harness::{Operator, OperatorOptions};
use serde_json::json;

use crate::support::stage::OWN_KEY;
use crate::support::tenant::GRANT;
use crate::support::{ACCOUNT_B, REGION, Stage, Tenant, condition};

/// Attaches a role of the bucket owner account to the instance that the operator runs on.
fn attach(stage: &Stage, instance: InstanceSeed) {
    let role = RoleSeed {
        name: "node-role".to_owned(),
        ..RoleSeed::default()
    };
    let account = AccountSeed {
        uid: ACCOUNT_B.to_owned(),
        roles: vec![role],
        ..AccountSeed::default()
    };
    let instance = InstanceSeed {
        region: REGION.to_owned(),
        account: ACCOUNT_B.to_owned(),
        ..instance
    };
    let seed = Seed {
        accounts: vec![account],
        instance: Some(instance),
        ..Seed::default()
    };
    stage.cloud.add(seed).unwrap();
}

/// The role of the instance.
fn with_role() -> InstanceSeed {
    InstanceSeed {
        role: "node-role".to_owned(),
        ..InstanceSeed::default()
    }
}

/// Options of an operator with one named source of its identity.
fn options(stage: &Stage, source: &str) -> OperatorOptions {
    let mut options = stage.options(&format!("operator-{source}.log"));
    let folder = options
        .extra_args
        .iter()
        .position(|flag| flag == "--credentials-folder")
        .unwrap();
    options.extra_args.drain(folder..=folder + 1);
    let address = stage.cloud.address().to_string();
    let more = ["--own-identity", source, "--metadata-address", &address];
    options.extra_args.extend(more.map(str::to_owned));
    // Another configured source, which must never be used instead.
    options.extra_env.extend([
        ("ALIBABA_CLOUD_ACCESS_KEY_ID".to_owned(), OWN_KEY.to_owned()),
        (
            "ALIBABA_CLOUD_ACCESS_KEY_SECRET".to_owned(),
            "canary-own".to_owned(),
        ),
        (
            "ALIBABA_CLOUD_CREDENTIALS_URI".to_owned(),
            format!("{}/-/credentials?canary-uri", stage.cloud.url()),
        ),
    ]);
    options
}

async fn tenant(stage: &Arc<Stage>, name: &str) -> Tenant {
    let tenant = Tenant::new(stage, name).await;
    stage.allow(
        json!({"namespaces": {"names": [name]}, "kinds": ["ImmBucketGrant"], "credentialSources": ["Operator"],
            "ownerUIDs": [ACCOUNT_B], "buckets": [format!("{name}-*")]}),
    );
    tenant
}

/// Credentials of the spec that name the operator's own identity.
fn own() -> serde_json::Value {
    json!({"credentials": {"source": "Operator", "secretRef": null}})
}

/// Starts an operator in place of the one of the stage.
async fn replace(stage: &Stage, options: OperatorOptions) -> Operator {
    stage.stop_operator().await;
    Operator::start(options).await.unwrap()
}

async fn restore(stage: &Stage, operator: Operator) {
    assert!(operator.terminate().await.unwrap().success());
    stage.start_operator().await;
}

/// Returns the AccessKey ids of the calls on the tenant's bucket.
fn used_keys(tenant: &Tenant) -> Vec<String> {
    let calls = tenant.stage.cloud.calls().into_iter();
    calls
        .filter(|call| call.bucket.as_deref() == Some(&tenant.bucket))
        .filter_map(|call| call.access_key_id)
        .collect()
}

// C24, C4
pub async fn the_role_of_the_instance_writes_and_is_renewed(stage: Arc<Stage>) {
    attach(
        &stage,
        InstanceSeed {
            token_required: true,
            ..with_role()
        },
    );
    let tenant = tenant(&stage, "instance").await;
    let mut options = options(&stage, "ecs");
    let network = ["--network", "internal"];
    options.extra_args.extend(network.map(str::to_owned));
    let operator = replace(&stage, options).await;
    assert!(
        operator.log().contains(&format!("\"region\":\"{REGION}\"")),
        "the metadata service names the region: {}",
        operator.log()
    );
    tenant.granted("instance", &own()).await;
    let put = tenant.puts().remove(0);
    let session = format!("arn:sts::{ACCOUNT_B}:assumed-role/node-role/i-bp1emulated");
    assert_eq!(put.principal, Some(session));

    // The session ends early, for example because another role was attached.
    stage.cloud.expire_sessions();
    let grant = tenant.reconcile("instance").await;
    assert_eq!(condition(&grant, "Ready")[1], "Applied");
    let keys = used_keys(&tenant);
    assert_ne!(keys.first(), keys.last(), "another session");
    assert!(keys.iter().all(|key| key.starts_with("STS.")), "{keys:?}");
    let requests = stage.cloud.metadata_requests();
    let read = requests.iter().filter(|request| request.starts_with("GET"));
    assert!(read.clone().count() >= 4, "{requests:?}");
    assert!(
        read.clone().all(|request| request.ends_with("+token")),
        "{requests:?}"
    );
    restore(&stage, operator).await;
}

// C24
pub async fn a_named_source_that_fails_is_not_replaced_by_another(stage: Arc<Stage>) {
    // No role is attached, and the service has no tokens.
    let bare = InstanceSeed {
        version_1_only: true,
        ..InstanceSeed::default()
    };
    attach(&stage, bare.clone());
    let tenant = tenant(&stage, "bare").await;
    let operator = replace(&stage, options(&stage, "ecs")).await;
    tenant.apply(&tenant.grant("bare", &own())).await;
    let grant = tenant.until_reason(GRANT, "bare", "CredentialsUnavailable").await;
    let message = condition(&grant, "Ready")[2];
    assert!(
        message.contains("Http404") && message.contains("no other source"),
        "{message}"
    );
    assert_eq!(used_keys(&tenant), Vec::<String>::new());

    attach(
        &stage,
        InstanceSeed {
            role: "node-role".to_owned(),
            ..bare
        },
    );
    tenant.reconcile_until_reason("bare", "Applied").await;
    assert!(!used_keys(&tenant).contains(&OWN_KEY.to_owned()));
    restore(&stage, operator).await;
}

// C24
pub async fn a_credentials_uri_writes_where_it_is_named(stage: Arc<Stage>) {
    attach(&stage, with_role());
    let tenant = tenant(&stage, "uri").await;
    let operator = replace(&stage, options(&stage, "uri")).await;
    tenant.granted("uri", &own()).await;
    let keys = used_keys(&tenant);
    assert!(
        !keys.is_empty() && keys.iter().all(|key| key.starts_with("STS.")),
        "{keys:?}"
    );
    assert!(stage.cloud.metadata_requests().is_empty());
    restore(&stage, operator).await;
}
