//! `imm-operator plan`: prints what a grant would change in a bucket's policy, with the same bytes that the operator
//! would write. The command needs no cluster, and with `--policy` no credentials.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use k8s_openapi::jiff::Timestamp;
use thiserror::Error;

use super::escape::escaped;
use super::manifest::{self, ManifestError, ReadGrant};
use super::output::{fail, print};
use crate::api::{GrantSpec, GrantStatus, PassRoleReport, PassRoleStatement, PlannedChange};
use crate::cloud::{ClientError, Cloud, oss_policy};
use crate::core::endpoints::{EndpointError, EndpointSettings};
use crate::core::grant::{
    GrantOutcome, PassRoleDecision, PublicAccessBlock, decide_pass_role, parse_spec, planned_change_alone,
    public_statement, whole_account,
};
use crate::core::place::BucketPlace;
use crate::core::policy::{Document, POLICY_LIMIT, STATEMENT_LIMIT, StatementSpan, fingerprint};
use crate::core::text::counted;
use crate::core::validate::ValidationError;
use crate::ports::{AccessKeys, CloudError};

/// Examples in the help text.
const EXAMPLES: &str = "Examples:
  # With the bucket's policy in a file, for example in CI: no cluster and no credentials
  imm-operator plan -f grant.yaml --policy policy.json --public-access-block on

  # With the policy of the bucket itself; the AccessKey pair is in ALIBABA_CLOUD_ACCESS_KEY_ID and _SECRET
  imm-operator plan -f grant.yaml --live

  # A grant in the cluster
  kubectl get ibg photos-to-analytics -n media -o yaml | imm-operator plan -f - --live

Exit code 0: no change, 1: error, 2: changes, 64: invalid command line.";

/// State of Block Public Access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BlockPublicAccess {
    /// On for the bucket or its account.
    On,
    /// Off for the bucket and its account.
    Off,
}

/// Flags of `plan`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, group = clap::ArgGroup::new("current").args(["policy", "live"]).required(true))]
pub struct PlanArgs {
    /// YAML or JSON manifest with one ImmBucketGrant, also in several documents or in a List, or a folder with such
    /// files; - reads standard input. Can be repeated. Other kinds are ignored.
    #[arg(long, short, required = true)]
    file: Vec<PathBuf>,
    /// Name of the ImmBucketGrant, if the manifests have several.
    #[arg(long)]
    name: Option<String>,
    /// Namespace of the ImmBucketGrant, if the manifests have several of one name.
    #[arg(long, short)]
    namespace: Option<String>,
    /// File with the bucket's current policy (JSON); an empty file means no policy. Use it in CI, without credentials.
    #[arg(long)]
    policy: Option<PathBuf>,
    /// Read the bucket's policy and Block Public Access from OSS, with the credentials in ALIBABA_CLOUD_ACCESS_KEY_ID,
    /// ALIBABA_CLOUD_ACCESS_KEY_SECRET and, for temporary ones, ALIBABA_CLOUD_SECURITY_TOKEN.
    #[arg(long)]
    live: bool,
    /// Block Public Access to assume with --policy: decides whether the ram:PassRole statement is written. Default:
    /// unknown, which counts as on. --live reads it from OSS instead.
    #[arg(long, value_enum, conflicts_with = "live")]
    public_access_block: Option<BlockPublicAccess>,
    /// URL of OSS for --live, for all regions, or REGION=URL for one; can be repeated. {region} is replaced by the
    /// bucket's region. Default: the public name. Change it for internal (VPC) endpoints or an emulator.
    #[arg(
        long,
        env = "IMM_OPERATOR_OSS_ENDPOINT",
        value_name = "[REGION=]URL",
        value_delimiter = ','
    )]
    oss_endpoint: Vec<String>,
}

/// Why a plan cannot be made.
#[derive(Debug, Error)]
pub enum PlanError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// A folder cannot be read, or has no manifest.
    #[error(transparent)]
    Folder(ManifestError),
    /// The manifests have no valid grant, or more than one.
    #[error("{paths} must contain exactly one valid ImmBucketGrant: {of_file}{source}")]
    Manifest {
        /// Paths of the files.
        paths: String,
        /// Path of the one that is wrong, with a colon, if there are several.
        of_file: String,
        /// Cause.
        source: ManifestError,
    },
    /// The policy document cannot be edited.
    #[error("the operator would not write this policy because {0}: correct the policy document first")]
    Unreadable(#[from] crate::core::policy::PolicyParseError),
    /// There are no credentials for OSS.
    #[error(
        "cannot read the policy from OSS: set ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET"
    )]
    NoKeys,
    /// The endpoint of OSS cannot be used.
    #[error("cannot read the policy from OSS: {0}")]
    Endpoint(#[from] EndpointError),
    /// The HTTP client cannot be created.
    #[error("cannot read the policy from OSS: {0}")]
    Client(#[from] ClientError),
    /// The policy cannot be read from OSS.
    #[error("cannot read the policy from OSS: {}", not_read(.0))]
    Cloud(#[from] CloudError),
    /// The statements cannot be written.
    #[error("{}", not_planned(.0))]
    NotPlanned(GrantOutcome),
    /// Both inputs are standard input.
    #[error("standard input can be read only once: name a file in --file or --policy")]
    StdinTwice,
}

/// Prints the plan. Returns exit code 0 without a change, 2 with changes, 1 after an error.
pub async fn run(plan: &PlanArgs, own_keys: Option<AccessKeys>, now: Timestamp) -> ExitCode {
    match plan_grant(plan, own_keys, now).await {
        Ok((text, changes)) => {
            let code = if changes {
                ExitCode::from(2)
            } else {
                ExitCode::SUCCESS
            };
            print("plan", &escaped(&text), code)
        }
        Err(error) => fail("plan", &error, ExitCode::FAILURE),
    }
}

async fn plan_grant(
    plan: &PlanArgs,
    own_keys: Option<AccessKeys>,
    now: Timestamp,
) -> Result<(String, bool), PlanError> {
    let stdin = Path::new("-");
    let inputs = plan.file.iter().chain(&plan.policy);
    if inputs.filter(|path| *path == stdin).count() > 1 {
        return Err(PlanError::StdinTwice);
    }
    // Nothing is sent for a manifest that the operator would reject.
    let ReadGrant { spec, owned } = read_grant(plan).await?;
    let invalid = |error: ValidationError| not_one_grant(plan, None, error.into());
    let bucket = BucketPlace::of(&spec.bucket).map_err(invalid)?;
    let (bytes, block) = match &plan.policy {
        Some(path) => {
            let bytes = read(path).await?;
            let block = match plan.public_access_block {
                Some(BlockPublicAccess::On) => PublicAccessBlock::OnForBucket,
                Some(BlockPublicAccess::Off) => PublicAccessBlock::Off,
                None => PublicAccessBlock::Unreadable,
            };
            (Some(bytes).filter(|b| !b.trim_ascii().is_empty()), block)
        }
        None => read_live(plan, &bucket, own_keys, now).await?,
    };
    let document = bytes.as_deref().map(Document::parse).transpose()?;
    let choice =
        decide_pass_role(&spec, 1, &GrantStatus::default(), Some(block)).unwrap_or(PassRoleDecision::Omitted);
    let wanted = parse_spec(&spec, choice).map_err(invalid)?;
    let change =
        planned_change_alone(document.as_ref(), &wanted, owned, now).map_err(PlanError::NotPlanned)?;
    Ok((
        format_plan(&spec, document.as_ref(), &change, choice),
        !change.add.is_empty() || !change.remove.is_empty(),
    ))
}

/// Formats the plan like a diff: existing statements unchanged and with their original text, added ones with `+`.
fn format_plan(
    spec: &GrantSpec,
    document: Option<&Document>,
    change: &PlannedChange,
    choice: PassRoleDecision,
) -> String {
    let before = document.map_or(0, |d| d.text().len());
    let removed: Vec<String> = change
        .remove
        .iter()
        .filter_map(|text| fingerprint(text))
        .collect();
    let is_removed = |s: &StatementSpan| s.fingerprint.as_ref().is_some_and(|f| removed.contains(f));
    let found: Vec<(char, &str)> = document
        .into_iter()
        .flat_map(|d| d.statements().iter().map(move |s| (d, s)))
        .map(|(d, s)| (if is_removed(s) { '-' } else { ' ' }, d.text_of(s)))
        .collect();
    let leaving = found.iter().filter(|(mark, _)| *mark == '-').count();
    let also = if leaving == 0 {
        String::new()
    } else {
        format!(", {leaving} removed")
    };
    let mut lines = vec![
        format!(
            "--- oss://{} policy, {}",
            spec.bucket.name,
            counted(before, "byte")
        ),
        format!(
            "+++ oss://{} policy, {} of {POLICY_LIMIT} bytes",
            spec.bucket.name, change.resulting_bytes
        ),
        format!(
            "@@ {} unchanged, {} added{also} @@",
            counted(found.len() - leaving, "existing statement"),
            change.add.len()
        ),
    ];
    // A statement can have several lines; each is indented.
    lines.extend(
        found
            .iter()
            .flat_map(|(mark, statement)| statement.lines().map(move |line| format!("{mark}{line}"))),
    );
    lines.extend(change.add.iter().map(|statement| format!("+{statement}")));
    lines.push(pass_role_line(choice, spec.access.pass_role_statement));
    lines.extend(public_statement(Some(choice)).map(|note| format!("# {note}")));
    lines.extend(
        spec.suspend.then(|| {
            "# the grant is suspended: the operator writes nothing until suspend is false".to_owned()
        }),
    );
    lines.extend(
        whole_account(&spec.grantee)
            .map(|note| format!("# {note}; requires a tenancy rule with principals: [Account]")),
    );
    lines.extend(
        change
            .resulting_sha256
            .iter()
            .map(|digest| format!("# resulting sha256 {digest}")),
    );
    lines.join("\n") + "\n"
}

/// The message about an outcome without a plan.
fn not_planned(outcome: &GrantOutcome) -> String {
    match outcome {
        GrantOutcome::TooLarge { needed, free } => format!(
            "the statements need {needed} bytes, and {free} of {POLICY_LIMIT} are free in the policy: use fewer prefixes, or remove other statements"
        ),
        GrantOutcome::StatementTooLong { bytes } => format!(
            "a statement would have {bytes} bytes, and OSS accepts {STATEMENT_LIMIT}: use fewer prefixes, or split the grant"
        ),
        GrantOutcome::ExistingStatement => "an equal statement is already in the policy and adoptionPolicy is Fail: set it to Adopt, or remove the statement. If this grant has written it, plan the grant with its status, as kubectl get -o yaml prints it".to_owned(),
        GrantOutcome::LedgerFull
        | GrantOutcome::Applied
        | GrantOutcome::Writing
        | GrantOutcome::Propagating
        | GrantOutcome::Missing
        | GrantOutcome::Carried
        | GrantOutcome::Released { .. } => "the grant would own more than 12 statements".to_owned(),
    }
}

/// The message about a policy that could not be read.
fn not_read(error: &CloudError) -> String {
    let code = error.code_and_refusal();
    if error.is_clock_skew() {
        format!("{code}: correct the clock of this machine")
    } else if let Some(advice) = error.certificate_advice() {
        format!("{code}: {advice}")
    } else {
        code
    }
}

/// States in the words of `status.passRoleStatement` whether the ram:PassRole statement is written, and why.
fn pass_role_line(decision: PassRoleDecision, requested: PassRoleStatement) -> String {
    let PassRoleReport { written, cause } = decision.report(requested);
    let verb = if written { "written" } else { "omitted" };
    format!("# ram:PassRole statement {verb}: {cause:?}")
}

async fn read(path: &Path) -> Result<Vec<u8>, PlanError> {
    let bytes = manifest::read(path).await;
    bytes.map_err(|source| PlanError::Read {
        path: manifest::shown(path),
        source,
    })
}

async fn read_grant(plan: &PlanArgs) -> Result<ReadGrant, PlanError> {
    let mut found = Vec::new();
    let files = manifest::files_of(&plan.file).map_err(PlanError::Folder)?;
    for path in &files {
        let refuse = |error| not_one_grant(plan, (files.len() > 1).then_some(path), error);
        let text = String::from_utf8(read(path).await?).map_err(|error| refuse(error.into()))?;
        found.extend(manifest::objects_of(&text, "ImmBucketGrant").map_err(refuse)?);
    }
    manifest::only_grant(found, plan.name.as_deref(), plan.namespace.as_deref())
        .map_err(|error| not_one_grant(plan, None, error))
}

fn not_one_grant(plan: &PlanArgs, file: Option<&PathBuf>, source: ManifestError) -> PlanError {
    let shown = |path: &PathBuf| manifest::shown(path).display().to_string();
    PlanError::Manifest {
        paths: plan.file.iter().map(shown).collect::<Vec<_>>().join(", "),
        of_file: file.map_or_else(String::new, |path| shown(path) + ": "),
        source,
    }
}

async fn read_live(
    plan: &PlanArgs,
    bucket: &BucketPlace,
    own_keys: Option<AccessKeys>,
    now: Timestamp,
) -> Result<(Option<Vec<u8>>, PublicAccessBlock), PlanError> {
    let keys = own_keys.ok_or(PlanError::NoKeys)?;
    let endpoints = EndpointSettings {
        oss: plan.oss_endpoint.clone(),
        ..EndpointSettings::default()
    };
    let cloud = Cloud::new(endpoints.resolve(None)?)?;
    let read = oss_policy::get_policy(&cloud, bucket, &keys, now).await?;
    let block = oss_policy::read_public_access_block(&cloud, bucket, &keys, now)
        .await
        .unwrap_or(PublicAccessBlock::Unreadable);
    Ok((read.bytes, block))
}
