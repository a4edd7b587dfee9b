//! Does what a conclusion says, and scores an image.

use imm_emulator::Emulator;
use imm_operator::api::{
    ChainLink, GrantSpec, ImmBucketGrant, JobAccess, PrincipalForm, RoleChain, RoleType,
};
use imm_operator::cloud::{Cloud, imm, oss_policy};
use imm_operator::core::endpoints::Endpoints;
use imm_operator::core::grant::{PassRoleDecision, parse_spec};
use imm_operator::core::place::{BucketPlace, ProjectPlace};
use imm_operator::core::policy::Document;
use imm_operator::ports::{AccessKeys, CloudError, CloudErrorKind};
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::setup::{ACCOUNT_A, ACCOUNT_B, BUCKET, GRANT, REGION, World, setting};

pub(super) fn keys(id: &str, secret: &str) -> AccessKeys {
    AccessKeys {
        id: id.to_owned(),
        secret: secret.into(),
        token: None,
        expires_at: None,
    }
}

pub(super) fn client(emulator: &Emulator) -> Cloud {
    let url = emulator.url();
    Cloud::new(Endpoints::new(&url, &url, &url).unwrap()).unwrap()
}

async fn score(cloud: &Cloud, access: &JobAccess) -> Result<String, CloudError> {
    let project = serde_json::json!({"name": "immtest", "region": REGION, "accountUID": ACCOUNT_A});
    let project = ProjectPlace::of(&serde_json::from_value(project).unwrap()).unwrap();
    let uri = format!("oss://{BUCKET}/photos/test-object.jpg");
    let keys = keys("LTAI5tScorer", "canary-scorer");
    imm::detect_image_score(cloud, &project, access, &keys, &uri, Timestamp::now()).await
}

/// Writes the statements of a grant beside what is in the policy.
async fn write(cloud: &Cloud, emulator: &Emulator, spec: &GrantSpec, pass_role: PassRoleDecision) {
    let wanted = parse_spec(spec, pass_role).unwrap();
    let texts: Vec<String> = wanted
        .statements
        .into_iter()
        .map(|statement| statement.text)
        .collect();
    let live = emulator.policy(BUCKET);
    let text = match &live {
        Some(live) => Document::parse(live.as_bytes())
            .unwrap()
            .splice(&[], &texts)
            .unwrap(),
        None => Document::new_document(&texts).unwrap(),
    };
    let bucket = BucketPlace::new(BUCKET, REGION).unwrap();
    let keys = keys("LTAI5tPolicy", "canary-policy");
    loop {
        let written = oss_policy::put_policy(cloud, &bucket, &keys, &text, Timestamp::now()).await;
        match written {
            // Another client changes the settings of the bucket at the moment.
            Err(error) if error.kind == CloudErrorKind::BucketLocked => tokio::task::yield_now().await,
            other => {
                other.unwrap();
                return;
            }
        }
    }
}

/// Installs what the conclusion says and scores an image.
pub(super) async fn follow(world: &World, report: &Value) {
    let cloud = client(&world.emulator);
    let by_chain = setting(report, "access.mode").is_some_and(|(value, _)| value == "RoleChain");
    let principal = setting(report, "grantee.principal");
    if by_chain
        || principal
            .as_ref()
            .is_some_and(|(value, _)| value.contains("RoleChain"))
    {
        let link = ChainLink {
            role: "reader".to_owned(),
            role_type: RoleType::User,
            assume_role_for: ACCOUNT_B.to_owned(),
        };
        let chain = RoleChain {
            service_role: "first".to_owned(),
            chain: vec![link],
        };
        let access = JobAccess {
            role_chain: Some(chain),
            ..JobAccess::default()
        };
        assert_eq!(score(&cloud, &access).await.unwrap(), "0.727");
        return;
    }
    assert_eq!(principal.unwrap().0, "ServiceRole");
    let (role, role_confirmed) = setting(report, "grantee.roleName").unwrap();
    let (pass_role, _) = setting(report, "access.passRoleStatement").unwrap();
    assert_eq!(pass_role, "Omit");
    let grant: ImmBucketGrant = serde_saphyr::from_str(GRANT).unwrap();
    let mut spec = grant.spec;
    spec.grantee.principal = PrincipalForm::ServiceRole;
    spec.grantee.role_name = role;
    write(&cloud, &world.emulator, &spec, PassRoleDecision::Omitted).await;
    // The time of grantWait.settleSeconds passes.
    world.emulator.set_lag(imm_emulator::Lag::default());
    let direct = JobAccess::default();
    let mut scored = score(&cloud, &direct).await;
    if scored
        .as_ref()
        .is_err_and(|error| error.kind == CloudErrorKind::AccessDenied)
        && !role_confirmed
    {
        // What the conclusion says about a spelling that was not seen.
        spec.grantee.role_name = spec.grantee.role_name.to_lowercase();
        write(&cloud, &world.emulator, &spec, PassRoleDecision::Omitted).await;
        scored = score(&cloud, &direct).await;
    }
    assert_eq!(scored.unwrap(), "0.727");
}
