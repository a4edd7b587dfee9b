//! A cluster and a cloud, the command that asks about it, and objects with the values of its conclusion.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use imm_emulator::{BucketSeed, Emulator, ProjectSeed, Seed};
use imm_harness::official_names::{certificate, proxy_to};
use imm_harness::{Operator, OperatorOptions, until};
use serde_json::{Value, json};

use super::cases::{Case, Own};
use crate::support::tenant::{GRANT, JOB, merge};
use crate::support::{ACCOUNT_B, PATIENCE, REGION, Stage, Tenant, condition, oidc};

/// Roles of a chain, the role of the machine, and the one that an identity of the bucket owner account assumes to score.
const ACCOUNTS: &str = r#"
accounts:
  - uid: "1234567890123456"
    roles:
      - { name: chain-start, allow: ["sts:AssumeRole"], trust: { services: [imm.aliyuncs.com] } }
      - { name: scorer, allow: ["imm:*", "ram:PassRole"], trust: { accounts: ["6543210987654321"] } }
  - uid: "6543210987654321"
    roles: [{ name: chain-reader, allow: ["oss:GetObject"], trust: { accounts: ["1234567890123456"] } }, { name: node-role }]
instance: { region: cn-hangzhou, account: "6543210987654321", role: node-role }
"#;
/// The role of the last account but one, in which the operator's own identity scores.
pub(super) const SCORER: &str = "acs:ram::1234567890123456:role/scorer";

/// A cluster whose operator reaches an emulator by the official names.
pub(super) struct Place {
    pub(super) stage: Arc<Stage>,
    environment: Vec<(String, String)>,
    /// What ACK's webhook adds to the environment of a Pod of the operator.
    webhook: Vec<(String, String)>,
}

impl Place {
    pub(super) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap().keep();
        let tls = certificate(&folder, REGION).unwrap();
        let authority = tls.certificate.display().to_string();
        let options = imm_emulator::Options {
            tls: Some(tls),
            ..imm_emulator::Options::default()
        };
        let seed = Seed::from_yaml(ACCOUNTS).unwrap();
        let emulator = Emulator::start(seed, options).await.unwrap();
        let proxy = proxy_to(emulator.address()).await.unwrap();
        let environment = [
            ("HTTPS_PROXY", format!("http://{proxy}")),
            ("NO_PROXY", "127.0.0.1".to_owned()),
            ("SSL_CERT_FILE", authority),
        ];
        let stage = Stage::on_cloud(emulator).await;
        Self {
            webhook: webhook(&stage, &folder).await,
            stage,
            environment: environment.map(|(name, value)| (name.to_owned(), value)).to_vec(),
        }
    }

    /// The environment of a process with an identity.
    fn environment(&self, own: Option<Own>) -> impl Iterator<Item = (String, String)> {
        let by_token = own == Some(Own::Token);
        let webhook = self.webhook.iter().filter(move |_| by_token);
        self.environment.iter().chain(webhook).cloned()
    }

    /// The flags of a process with an identity.
    fn flags(&self, own: Option<Own>) -> Vec<String> {
        let mut flags: Vec<String> = own
            .into_iter()
            .flat_map(|own| ["--own-identity".to_owned(), own.name().to_owned()])
            .collect();
        if own == Some(Own::Machine) {
            let address = self.stage.cloud.address().to_string();
            flags.extend(["--metadata-address".to_owned(), address]);
        }
        flags
    }

    /// Starts an operator with one source of its own identity, or with its folder.
    pub(super) async fn operator(&self, own: Option<Own>, flags: Vec<String>) -> Operator {
        let mut options = OperatorOptions {
            cloud_url: String::new(),
            ..self.stage.options("operator.log")
        };
        options.extra_env.extend(self.environment(own));
        if own.is_some() {
            let all = &mut options.extra_args;
            let folder = all
                .iter()
                .position(|flag| flag == "--credentials-folder")
                .unwrap();
            all.drain(folder..=folder + 1);
        }
        options.extra_args.extend(self.flags(own));
        options.extra_args.extend(flags);
        Operator::start(options).await.unwrap()
    }

    /// Creates the buckets and the project of a case.
    pub(super) async fn tenant(&self, case: Case) -> Tenant {
        let seed = format!(
            "buckets: [{{ {} }}]\nprojects: [{{ {} }}]",
            case.bucket, case.project
        );
        let seed = Seed::from_yaml(&seed).unwrap();
        let project = seed.projects[0].clone();
        let bucket = BucketSeed {
            policy: case.policy.map(str::to_owned),
            ..seed.buckets[0].clone()
        };
        let tenant = Tenant::with_bucket(&self.stage, case.name, bucket.clone()).await;
        let probed = BucketSeed {
            name: format!("{}-probed", case.name),
            region: REGION.to_owned(),
            owner: ACCOUNT_B.to_owned(),
            ..bucket
        };
        self.stage.cloud.add_bucket(probed.clone()).unwrap();
        self.stage.add_project(ProjectSeed {
            name: tenant.project.clone(),
            ..project
        });
        for bucket in [&tenant.bucket, &probed.name] {
            assert!(
                self.stage
                    .cloud
                    .put_object(bucket, "a.jpg", "pixels", Some("0.5"))
            );
        }
        tenant
    }

    /// Asks about a case, and returns the settings of the conclusion.
    pub(super) async fn conclusion(&self, tenant: &Tenant, case: Case) -> Vec<(String, String)> {
        let folder = tempfile::tempdir().unwrap();
        let manifest = folder.path().join("manifest.yaml");
        let (grant, job) = (grant(case), job(tenant, case));
        let job = tenant.job("j", &[], &job);
        std::fs::write(&manifest, format!("{}\n---\n{job}", tenant.grant("g", &grant))).unwrap();
        let bucket = format!("{}-probed", case.name);
        let before = self.stage.cloud.policy(&bucket);
        let mut command = Command::new(env!("CARGO_BIN_EXE_imm-operator"));
        command
            .args(["doctor", "-o", "json", "-f", "manifest.yaml", "--no-mask"])
            .args(["--probe-bucket", &bucket, "--probe-object", "a.jpg"])
            .args(["--i-own", &bucket, "--yes"])
            .args(case.policy.map(|_| "--with-policy"))
            .args(case.flags)
            .args(self.flags(case.own))
            .current_dir(folder.path())
            .env_clear()
            .envs(self.environment(case.own));
        let secrets = case.own.is_none();
        for (whose, who) in [("GRANT", "owner"), ("JOB", "caller"), ("SOURCE", "owner")]
            .into_iter()
            .filter(|_| secrets)
        {
            let name = format!("IMM_OPERATOR_{whose}_ACCESS_KEY");
            command.env(format!("{name}_ID"), tenant.key_id(who));
            command.env(format!("{name}_SECRET"), tenant.secret(who));
        }
        let output = tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let report: Value = serde_json::from_str(&text)
            .unwrap_or_else(|_| panic!("{}: {text}{}", case.name, String::from_utf8_lossy(&output.stderr)));
        let settings = report["conclusion"].as_array().unwrap().iter();
        let settings: Vec<_> = settings
            .map(|setting| {
                let text = |name: &str| setting[name].as_str().unwrap().to_owned();
                (text("setting"), text("value"))
            })
            .collect();
        for (name, value) in case.expected {
            let expected = ((*name).to_owned(), (*value).to_owned());
            assert!(settings.contains(&expected), "{}: {report:#}", case.name);
        }
        assert_eq!(self.stage.cloud.policy(&bucket), before, "{}", case.name);
        settings
    }
}

/// Returns what ACK's webhook gives a Pod of the operator: a token of its ServiceAccount, and the names of role and
/// provider.
async fn webhook(stage: &Stage, folder: &Path) -> Vec<(String, String)> {
    let provider = oidc::provider(stage, "cluster").await;
    let subject = "system:serviceaccount:imm-system:imm-operator";
    let [role, provider] = oidc::add_role(stage, "operator", provider, subject);
    let token = stage
        .kubectl(&[
            "create",
            "token",
            "imm-operator",
            "-n",
            "imm-system",
            "--audience",
            oidc::AUDIENCE,
        ])
        .await;
    let file = folder.join("token");
    std::fs::write(&file, token).unwrap();
    let all = [
        ("ROLE_ARN", role),
        ("OIDC_PROVIDER_ARN", provider),
        ("OIDC_TOKEN_FILE", file.display().to_string()),
        ("STS_ENDPOINT", format!("sts-vpc.{REGION}.aliyuncs.com")),
        ("STS_REGION", REGION.to_owned()),
        ("VPC_ENDPOINT_ENABLED", "true".to_owned()),
    ];
    all.map(|(name, value)| (format!("ALIBABA_CLOUD_{name}"), value))
        .to_vec()
}

fn grant(case: Case) -> Value {
    match case.own {
        Some(_) => json!({"credentials": {"source": "Operator", "secretRef": null}}),
        None => json!({}),
    }
}

/// A job that lists its images with the credentials of the owner.
fn job(tenant: &Tenant, case: Case) -> Value {
    let (caller, lister) = match case.own {
        // The identity belongs to the owner, and IMM is called in the account of the project.
        Some(_) => (
            json!({"source": "Operator", "secretRef": null, "assumeRole": {"roleARN": SCORER}}),
            json!({"source": "Operator"}),
        ),
        None => (
            json!({}),
            json!({"source": "Secret", "secretRef": {"name": "owner"}}),
        ),
    };
    let mut job = json!({"source": {"uris": null, "prefix": {"bucket": tenant.bucket, "prefix": "a", "credentials": lister}},
        "credentials": caller, "budget": {"maxRequests": 10}, "grantRef": {"name": "g"}});
    if case.project.contains("callerPasses") {
        job["access"] = json!({"passedRole": "AliyunIMMDefaultRole"});
    }
    job
}

/// Applies objects with the values of a conclusion, waits for the score, and deletes the grant, after which the
/// policy is as before.
pub(super) async fn follow(tenant: &Tenant, case: Case, settings: &[(String, String)]) {
    let (mut of_grant, mut of_job) = (grant(case), job(tenant, case));
    let before = tenant.policy();
    let (mut granted, mut settled) = (true, Duration::ZERO);
    for (name, value) in settings {
        match name.as_str() {
            "grantee.principal" if value.starts_with("none") => granted = false,
            "grantee.principal" => merge(&mut of_grant, &json!({"grantee": {"principal": value}})),
            "grantee.roleName" => merge(&mut of_grant, &json!({"grantee": {"roleName": value}})),
            "access.passRoleStatement" => {
                merge(&mut of_grant, &json!({"access": {"passRoleStatement": value}}));
            }
            "grantWait.settleSeconds" => {
                let seconds: u64 = value.parse().unwrap();
                settled = Duration::from_secs(seconds);
                merge(&mut of_job, &json!({"grantWait": {"settleSeconds": seconds}}));
            }
            "endpoints" | "--oss-endpoint" => {}
            other => panic!("{}: {other} is not followed", case.name),
        }
    }
    if granted {
        tenant.granted("g", &of_grant).await;
    } else {
        let link = json!({"role": "chain-reader", "assumeRoleFor": ACCOUNT_B});
        let chain =
            json!({"mode": "RoleChain", "roleChain": {"serviceRole": "chain-start", "chain": [link]}});
        merge(
            &mut of_job,
            &json!({"grantRef": null, "grantWait": null, "access": chain}),
        );
    }
    tenant.apply(&tenant.job("j", &[], &of_job)).await;
    let what = format!("the job of {} to be complete", case.name);
    let job = until(&what, PATIENCE + settled, || async {
        let job = tenant.object(JOB, "j").await;
        if condition(&job, "Complete")[0] == "True" {
            Ok(job)
        } else {
            Err(job["status"].to_string())
        }
    })
    .await
    .unwrap();
    assert_eq!(job["status"]["items"]["succeeded"], 1, "{}", case.name);
    // No call was denied before.
    assert_eq!(job["status"]["requests"]["estimatedBillable"], 1, "{}", case.name);
    if granted {
        assert_ne!(tenant.policy(), before, "{}", case.name);
        tenant.delete(GRANT, "g").await;
        tenant.until_deleted(GRANT, "g").await;
        assert_eq!(tenant.policy(), before, "{}", case.name);
    }
}
