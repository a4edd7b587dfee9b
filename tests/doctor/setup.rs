//! A world: an emulator with some of its switches set, behind the names of Alibaba Cloud.

use std::path::PathBuf;
use std::process::Output;

use imm_emulator::{Emulator, Options, Seed};
use imm_harness::official_names::{certificate, proxy_to};
use serde_json::Value;
use tempfile::TempDir;

pub(super) const ACCOUNT_A: &str = "1234567890123456";
pub(super) const ACCOUNT_B: &str = "6543210987654321";
pub(super) const BUCKET: &str = "test-bucket-2024";
pub(super) const PROBE_BUCKET: &str = "probe-bucket";
pub(super) const REGION: &str = "cn-hangzhou";

/// A token of subject `system:serviceaccount:team:scorer`, valid until 2100.
pub(super) const TOKEN: &str = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL2lzc3Vlci50ZXN0IiwiYXVkIjpbInN0cy5hbGl5dW5jcy5jb20iXSwiZXhwIjo0MTAyNDQ0ODAwLCJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6dGVhbTpzY29yZXIifQ.bm9uZQ";

/// Two accounts, a bucket and a project; BUCKET and PROJECT stand for the switches.
const SEED: &str = r#"
accounts:
  - uid: "1234567890123456"
    keys: [{ id: LTAI5tScorer, secret: canary-scorer }]
    roles: [{ name: scorer, allow: ["imm:*"] }, { name: first, allow: ["sts:AssumeRole"], trust: { services: [imm.aliyuncs.com] } }]
  - uid: "6543210987654321"
    keys:
      - { id: LTAI5tPolicy, secret: canary-policy }
      - { id: LTAI5tLister, secret: canary-lister, user: "27000000000000001", allow: ["oss:ListObjects"] }
      - { id: LTAI5tEditor, secret: canary-editor, user: "27000000000000002", allow: ["sts:AssumeRole"] }
    roles:
      - { name: reader, allow: ["oss:GetObject"], trust: { accounts: ["1234567890123456"] } }
      - { name: node }
      - { name: editor, trust: { accounts: ["6543210987654321"] } }
      - { name: policy-admin, trust: { oidc: [{ provider: cluster, subjects: ["system:serviceaccount:team:*"] }] } }
    oidcProviders: [{ name: cluster, issuer: "https://issuer.test", audiences: [sts.aliyuncs.com] }]
buckets:
  - { name: test-bucket-2024, region: cn-hangzhou, owner: "6543210987654321",
      objects: [{ key: photos/test-object.jpg, image: { kind: sharp, width: 8, height: 8, seed: 1 }, score: "0.727" }] BUCKET }
  - { name: probe-bucket, region: cn-hangzhou, owner: "6543210987654321",
      objects: [{ key: a.jpg, image: { kind: sharp, width: 8, height: 8, seed: 1 }, score: "0.727" }] BUCKET }
  - { name: beijing-bucket, region: cn-beijing, owner: "6543210987654321" }
projects:
  - { name: immtest, region: cn-hangzhou, account: "1234567890123456" PROJECT }
instance: { region: cn-hangzhou, account: "6543210987654321", role: node }
"#;

pub(super) const GRANT: &str = r#"
apiVersion: immops.dev/v1alpha1
kind: ImmBucketGrant
metadata: {name: photos, namespace: media}
spec:
  bucket: {name: test-bucket-2024, region: cn-hangzhou, ownerUID: "6543210987654321"}
  grantee: {accountUID: "1234567890123456"}
  access: {preset: Minimal, prefixes: ["photos/"]}
  credentials: {source: Secret, secretRef: {name: oss-policy-admin}}
"#;

pub(super) const JOB: &str = r#"
apiVersion: immops.dev/v1alpha1
kind: ImageScoreJob
metadata: {name: score, namespace: media}
spec:
  project: {name: immtest, region: cn-hangzhou, accountUID: "1234567890123456"}
  credentials: {source: Secret, secretRef: {name: imm-caller}}
  source:
    prefix:
      bucket: test-bucket-2024
      prefix: photos/
      credentials: {source: Secret, secretRef: {name: lister}}
  budget: {maxRequests: 10}
  grantRef: {name: photos}
"#;

/// Keys of all identities.
pub(super) const KEYS: &[(&str, &str)] = &[
    ("IMM_OPERATOR_GRANT_ACCESS_KEY_ID", "LTAI5tPolicy"),
    ("IMM_OPERATOR_GRANT_ACCESS_KEY_SECRET", "canary-policy"),
    ("IMM_OPERATOR_JOB_ACCESS_KEY_ID", "LTAI5tScorer"),
    ("IMM_OPERATOR_JOB_ACCESS_KEY_SECRET", "canary-scorer"),
    ("IMM_OPERATOR_SOURCE_ACCESS_KEY_ID", "LTAI5tLister"),
    ("IMM_OPERATOR_SOURCE_ACCESS_KEY_SECRET", "canary-lister"),
];

/// Other calls than these are a fault, as they write or are billed.
const READS: &[&str] = &[
    "AssumeRole",
    "AssumeRoleWithOIDC",
    "GetBucketInfo",
    "GetBucketLocation",
    "GetBucketPolicy",
    "GetBucketPolicyStatus",
    "GetBucketPublicAccessBlock",
    "GetCallerIdentity",
    "GetObject",
    "GetProject",
    "GetPublicAccessBlock",
    "ListBuckets",
    "ListObjectsV2",
    "ListRegions",
];

pub(super) struct World {
    pub(super) emulator: Emulator,
    pub(super) folder: TempDir,
    proxy: String,
}

/// The result of a run.
pub(super) struct Run {
    pub(super) code: i32,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl World {
    /// Starts a world with switches of its bucket and its project, as members of the seed.
    pub(super) async fn new(bucket: &str, project: &str) -> Self {
        let seed = SEED.replace("BUCKET", bucket).replace("PROJECT", project);
        Self::of(&seed, REGION).await
    }

    /// Starts a world whose buckets and project are in another region.
    pub(super) async fn in_region(region: &str) -> Self {
        let seed = SEED.replace("BUCKET", "").replace("PROJECT", "");
        Self::of(&seed.replace(REGION, region), region).await
    }

    /// Starts a world in a region whose clients are in the network of the usual region.
    pub(super) async fn seen_from_network(region: &str) -> Self {
        let seed = SEED.replace("BUCKET", "").replace("PROJECT", "");
        let seed = seed.replace(REGION, region);
        Self::of(&format!("{seed}network: {REGION}\n"), region).await
    }

    /// Starts a world of a seed, with the names of the services in a region.
    pub(super) async fn of(seed: &str, region: &str) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let tls = certificate(folder.path(), region).unwrap();
        let options = Options {
            tls: Some(tls),
            ..Options::default()
        };
        let emulator = Emulator::start(Seed::from_yaml(seed).unwrap(), options)
            .await
            .unwrap();
        let proxy = proxy_to(emulator.address()).await.unwrap();
        Self {
            emulator,
            folder,
            proxy,
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs the command on a manifest. It must not change the policy, make a billed call, or show a secret.
    pub(super) async fn doctor(&self, manifest: &str, flags: &[&str], environment: &[(&str, &str)]) -> Run {
        let before = self.emulator.policy(BUCKET);
        self.emulator.clear_calls();
        let mut command = self.command(manifest, flags, environment);
        let run = Run::of(&command.output().await.unwrap());
        assert_eq!(self.emulator.policy(BUCKET), before);
        assert_eq!(self.emulator.billed(), 0);
        let calls = self.emulator.calls();
        assert!(!calls.is_empty());
        for call in &calls {
            assert!(READS.contains(&call.action.as_str()), "{}", call.action);
        }
        let of_project = calls.iter().filter(|call| call.action == "GetProject").count();
        assert!(of_project <= 1, "{of_project} calls");
        for secret in ["canary", "LTAI5t", "eyJhbGci"] {
            let shown = run.stdout.contains(secret) || run.stderr.contains(secret);
            assert!(!shown, "{secret}: {}{}", run.stdout, run.stderr);
        }
        run
    }

    /// Returns the command on a manifest, with nothing else in the environment than what is given and the way to the
    /// emulator.
    pub(super) fn command(
        &self,
        manifest: &str,
        flags: &[&str],
        environment: &[(&str, &str)],
    ) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_imm-operator"));
        command.arg("doctor");
        if !manifest.is_empty() {
            std::fs::write(self.path("manifest.yaml"), manifest).unwrap();
            command.args(["-f", "manifest.yaml"]);
        }
        command
            .args(flags)
            .current_dir(self.folder.path())
            .env_clear()
            .env("HTTPS_PROXY", format!("http://user:canary-proxy@{}", self.proxy))
            .env("SSL_CERT_FILE", self.path("certificate.pem"))
            .envs(environment.iter().copied());
        command
    }

    /// Where the proxy listens, to make a report independent of it.
    pub(super) fn proxy(&self) -> &str {
        &self.proxy
    }
}

impl Run {
    pub(super) fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout.clone()).unwrap(),
            stderr: String::from_utf8(output.stderr.clone()).unwrap(),
        }
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}{}", self.stdout, self.stderr))
    }
}

/// Returns the check of a name.
pub(super) fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    let mut checks = report["checks"].as_array().unwrap().iter();
    checks
        .find(|check| check["name"] == name)
        .unwrap_or_else(|| panic!("no {name}: {report:#}"))
}

/// Returns the value of a setting, and whether it is confirmed.
pub(super) fn setting(report: &Value, name: &str) -> Option<(String, bool)> {
    let mut settings = report["conclusion"].as_array().unwrap().iter();
    let found = settings.find(|setting| setting["setting"] == name)?;
    Some((
        found["value"].as_str().unwrap().to_owned(),
        found["confirmed"].as_bool().unwrap(),
    ))
}
