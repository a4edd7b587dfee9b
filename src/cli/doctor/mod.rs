//! `imm-operator doctor`: says whether a real installation will work, and which values to set. Without a probe, it writes nothing
//! and makes no billed call.

mod collect;
mod endpoints;
mod input;
pub mod probe;
mod probe_args;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;

use self::probe_args::ProbeArgs;
use super::cloud_args::CloudArgs;
use super::cluster::ClusterArgs;
use super::escape::escaped;
use crate::core::doctor::{Mask, Report};
use crate::kubernetes::now;

/// Examples in the help text.
const EXAMPLES: &str = "Examples:
  # A grant and a job before they are applied; the keys are in ALIBABA_CLOUD_ACCESS_KEY_ID and _SECRET
  imm-operator doctor -f grant.yaml -f job.yaml

  # What is in the cluster, with the Secrets that you may read
  imm-operator doctor ibg/photos-to-analytics -n media

  # A report without account numbers and names, to paste into an issue
  imm-operator doctor -f - -o markdown < grant.yaml

  # What only a write and billed calls can tell, on a bucket of its own without a policy
  imm-operator doctor -f grant.yaml -f job.yaml --probe-bucket probe-2026 --probe-object a.jpg --i-own probe-2026 --yes

Exit code 0: all checks are ok, 1: warnings, 2: a check failed, or the input cannot be used.";

/// Form of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// One line for each check.
    Text,
    /// JSON.
    Json,
    /// Markdown without account numbers, buckets and object names.
    Markdown,
}

/// Where the credentials come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum KeysFrom {
    /// The environment and --own-identity.
    Environment,
    /// The Secret or ServiceAccount that the object names, with your rights in the cluster.
    Cluster,
}

/// Flags of `doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct DoctorArgs {
    /// Grant and job in the cluster: ibg/NAME, isj/NAME. The grant that a job names is checked too.
    #[arg(value_name = "KIND/NAME")]
    objects: Vec<String>,
    /// YAML or JSON manifest with an ImmBucketGrant, an ImageScoreJob, or one of each; - reads standard input. Can be
    /// repeated. Other kinds are ignored.
    #[arg(long, short, value_name = "FILE")]
    file: Vec<PathBuf>,
    /// Namespace of objects without one. Default: the namespace of the context, or default for files.
    #[arg(long, short)]
    namespace: Option<String>,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    cloud: CloudArgs,
    /// Where the credentials come from. environment: IMM_OPERATOR_GRANT_ACCESS_KEY_ID, _ACCESS_KEY_SECRET and _SECURITY_TOKEN
    /// for the grant, the same with JOB for the job and SOURCE for its source, else ALIBABA_CLOUD_ACCESS_KEY_ID and its companions, or what --own-identity names. cluster:
    /// what the object names, with your own rights. Default: environment for files, cluster for objects in the cluster.
    #[arg(long, value_enum)]
    keys: Option<KeysFrom>,
    /// Do not call IMM. Without it, GetProject is called once, whose price is not documented.
    #[arg(long)]
    no_imm: bool,
    /// Form of the report.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Show account numbers, buckets and object names in Markdown.
    #[arg(long)]
    no_mask: bool,
    #[command(flatten)]
    probe: ProbeArgs,
}

/// Prints the report. Returns its exit code, or 2 after an error.
pub async fn run(flags: &DoctorArgs) -> ExitCode {
    let (report, mask) = match Box::pin(examine(flags)).await {
        Ok(found) => found,
        Err(message) => {
            eprintln!("imm-operator doctor: {}", escaped(&message));
            return ExitCode::from(2);
        }
    };
    let text = match flags.output {
        Output::Text => report.to_text(),
        Output::Json => report.to_json(),
        Output::Markdown => report.to_markdown((!flags.no_mask).then_some(&mask)),
    };
    print!("{}", escaped(&text));
    ExitCode::from(report.exit_code())
}

async fn examine(flags: &DoctorArgs) -> Result<(Report, Mask), String> {
    let identity = flags
        .cloud
        .operator_identity()
        .map_err(|error| error.to_string())?;
    if let Some(file) = flags.probe.restored() {
        let outcome = collect::restore(flags, file, identity).await?;
        let report = Report::of_restoration(&outcome, &file.display().to_string());
        return Ok((report, Mask::default()));
    }
    let subjects = input::read(flags).await?;
    let facts = Box::pin(collect::collect(flags, subjects, identity)).await?;
    Ok((Report::of(&facts, now()), Mask::of(&facts)))
}
