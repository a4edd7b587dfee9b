//! `imm-operator plan`: what a grant would change in a bucket's policy, with the bytes that the operator would write. It
//! needs no cluster, and with a policy file no account.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use k8s_openapi::jiff::Timestamp;
use thiserror::Error;

use crate::api::{GrantSpec, GrantStatus, PassRoleReport, PassRoleStatement, PlannedChange};
use crate::cloud::{Cloud, Endpoints};
use crate::core::grant::{
    Desired, Disposition, GrantInput, GrantOutcome, ObjectKey, PassRoleDecision, PlanInput,
    PublicAccessBlock, decide_pass_role, parse_spec, planned_change,
};
use crate::core::policy::{Document, POLICY_LIMIT};
use crate::ports::AccessKeys;

/// Whether Block Public Access is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BlockPublicAccess {
    /// On for the bucket or the account.
    On,
    /// Off for both.
    Off,
}

/// Flags of `plan`.
#[derive(Debug, clap::Args)]
pub struct PlanArgs {
    /// Manifest with one ImmBucketGrant.
    #[arg(long, short)]
    file: PathBuf,
    /// The bucket's policy as a file; an empty file stands for no policy.
    #[arg(long, conflicts_with = "live", required_unless_present = "live")]
    policy: Option<PathBuf>,
    /// Read the bucket's policy from OSS, with the keys that ALIBABA_CLOUD_ACCESS_KEY_ID and its companions hold.
    #[arg(long)]
    live: bool,
    /// Block Public Access of the bucket; with --policy it decides about the ram:PassRole statement. Unknown counts as on.
    #[arg(long, value_enum)]
    public_access_block: Option<BlockPublicAccess>,
    /// Address of OSS for --live; {region} stands for the bucket's region.
    #[arg(long, env = "IMM_OPERATOR_OSS_ENDPOINT", default_value = Endpoints::OSS)]
    oss_endpoint: String,
}

/// Why there is no plan.
#[derive(Debug, Error)]
pub enum PlanError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The manifest is not a grant.
    #[error("{path} does not hold one ImmBucketGrant: {message}")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The policy cannot be edited.
    #[error("the policy would be left alone because {0}")]
    Unreadable(#[from] crate::core::policy::PolicyParseError),
    /// OSS could not be asked.
    #[error("OSS could not be asked: {0}")]
    Cloud(String),
    /// The plan does not fit.
    #[error("the statements do not fit into the policy, or are too long")]
    TooLarge,
    /// A statement that may not be adopted is in the way.
    #[error(
        "an equal statement is in the policy already and adoptionPolicy is Fail: set it to Adopt, or remove the statement"
    )]
    Existing,
}

/// Prints the plan. Exit code 0: no change. 2: a change. 1: an error.
pub async fn run(plan: &PlanArgs, own_keys: Option<AccessKeys>, now: Timestamp) -> ExitCode {
    match plan_grant(plan, own_keys, now).await {
        Ok((text, changes)) => {
            print!("{text}");
            if changes {
                ExitCode::from(2)
            } else {
                ExitCode::SUCCESS
            }
        }
        Err(error) => {
            eprintln!("imm-operator plan: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn plan_grant(
    plan: &PlanArgs,
    own_keys: Option<AccessKeys>,
    now: Timestamp,
) -> Result<(String, bool), PlanError> {
    let spec = read_grant(plan).await?;
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
        None => read_live(plan, &spec, own_keys, now).await?,
    };
    let document = bytes.as_deref().map(Document::parse).transpose()?;
    let choice =
        decide_pass_role(&spec, 1, &GrantStatus::default(), Some(block)).unwrap_or(PassRoleDecision::Omitted);
    let manifest = |message: String| PlanError::Manifest {
        path: plan.file.clone(),
        message,
    };
    let wanted = parse_spec(&spec, choice).map_err(|error| manifest(error.to_string()))?;
    let change = planned_change_for(document.as_ref(), &wanted, now).map_err(|verdict| {
        if verdict == GrantOutcome::ExistingStatement {
            PlanError::Existing
        } else {
            PlanError::TooLarge
        }
    })?;
    Ok((
        format_plan(&spec, document.as_ref(), &change, choice),
        !change.add.is_empty() || !change.remove.is_empty(),
    ))
}

/// The change for a grant that owns nothing yet; else why its statements would not get in.
fn planned_change_for(
    document: Option<&Document>,
    wanted: &Desired,
    now: Timestamp,
) -> Result<PlannedChange, GrantOutcome> {
    let key = ObjectKey {
        namespace: String::new(),
        name: String::new(),
    };
    let mut members = [GrantInput {
        key,
        created: None,
        disposition: Disposition::Enforced(wanted.clone()),
        ledger: Vec::new(),
    }];
    let scene = PlanInput {
        document,
        now,
        unsettled_until: None,
        absence_untrusted: false,
        placed_by_others: None,
        confirmed_removed: None,
    };
    planned_change(scene, &mut members, 0, wanted)
}

/// The policy as a list of statements, each marked; foreign ones are shown as they stand.
fn format_plan(
    spec: &GrantSpec,
    document: Option<&Document>,
    change: &PlannedChange,
    choice: PassRoleDecision,
) -> String {
    let before = document.map_or(0, |d| d.text().len());
    let found: Vec<&str> = document
        .into_iter()
        .flat_map(|d| d.statements().iter().map(|s| d.text_of(s)))
        .collect();
    let mut lines = vec![
        format!("--- oss://{} policy, {before} bytes", spec.bucket.name),
        format!(
            "+++ oss://{} policy, {} of {POLICY_LIMIT} bytes",
            spec.bucket.name, change.resulting_bytes
        ),
        format!(
            "@@ {} statements found, untouched; {} added @@",
            found.len(),
            change.add.len()
        ),
    ];
    // A statement may be spread over lines; each of them belongs to it.
    lines.extend(
        found
            .iter()
            .flat_map(|statement| statement.lines())
            .map(|line| format!(" {line}")),
    );
    lines.extend(change.add.iter().map(|statement| format!("+{statement}")));
    lines.push(pass_role_line(choice, spec.access.pass_role_statement));
    lines.extend(
        change
            .resulting_sha256
            .iter()
            .map(|digest| format!("# resulting sha256 {digest}")),
    );
    lines.join("\n") + "\n"
}

/// States in the words of `status.passRoleStatement` whether the ram:PassRole statement is written, and why.
fn pass_role_line(decision: PassRoleDecision, requested: PassRoleStatement) -> String {
    let PassRoleReport { written, cause } = decision.report(requested);
    let verb = if written { "written" } else { "omitted" };
    format!("# ram:PassRole statement {verb}: {cause:?}")
}

async fn read(path: &Path) -> Result<Vec<u8>, PlanError> {
    let bytes = tokio::fs::read(path).await;
    bytes.map_err(|source| PlanError::Read {
        path: path.to_owned(),
        source,
    })
}

async fn read_grant(plan: &PlanArgs) -> Result<GrantSpec, PlanError> {
    let refuse = |message: String| PlanError::Manifest {
        path: plan.file.clone(),
        message,
    };
    let text =
        String::from_utf8(read(&plan.file).await?).map_err(|_| refuse("it is not UTF-8 text".to_owned()))?;
    let objects: Vec<serde_json::Value> =
        serde_saphyr::from_multiple(&text).map_err(|error| refuse(error.to_string()))?;
    let mut grants = objects
        .into_iter()
        .filter(|o| o.get("kind").is_some_and(|k| k == "ImmBucketGrant"));
    let grant = grants
        .next()
        .ok_or_else(|| refuse("there is none in it".to_owned()))?;
    if grants.next().is_some() {
        return Err(refuse("there is more than one in it".to_owned()));
    }
    let spec = grant.get("spec").cloned().unwrap_or_default();
    serde_json::from_value(spec).map_err(|error| refuse(error.to_string()))
}

async fn read_live(
    plan: &PlanArgs,
    spec: &GrantSpec,
    own_keys: Option<AccessKeys>,
    now: Timestamp,
) -> Result<(Option<Vec<u8>>, PublicAccessBlock), PlanError> {
    let failed = |message: &dyn std::fmt::Display| PlanError::Cloud(message.to_string());
    let keys = own_keys
        .ok_or_else(|| failed(&"set ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET"))?;
    let endpoints =
        Endpoints::new(&plan.oss_endpoint, Endpoints::IMM, Endpoints::STS).map_err(|e| failed(&e))?;
    let cloud = Cloud::new(endpoints).map_err(|e| failed(&e))?;
    let read = cloud
        .get_policy(&spec.bucket, &keys, now)
        .await
        .map_err(|f| failed(&f.code_and_request_id()))?;
    let block = cloud
        .read_public_access_block(&spec.bucket, &keys, now)
        .await
        .unwrap_or(PublicAccessBlock::Unreadable);
    Ok((read.bytes, block))
}
