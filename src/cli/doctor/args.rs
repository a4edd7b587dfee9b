//! Flags of `doctor`.

use std::path::PathBuf;

use clap::ValueEnum;

use super::probe_args::ProbeArgs;
use crate::cli::cloud_args::CloudArgs;
use crate::cli::cluster::ClusterArgs;

/// Examples in the help text.
const EXAMPLES: &str = "Examples:
  # A grant and a job before they are applied, each with the AccessKey pair of its account: in IMM_OPERATOR_GRANT_ACCESS_KEY_ID
  # and IMM_OPERATOR_GRANT_ACCESS_KEY_SECRET, and in IMM_OPERATOR_JOB_ACCESS_KEY_ID and IMM_OPERATOR_JOB_ACCESS_KEY_SECRET
  imm-operator doctor -f grant.yaml -f job.yaml

  # What is in the cluster, with the Secrets that you may read
  imm-operator doctor ibg/photos-to-analytics -n media

  # A report without account numbers and names, to paste into an issue
  imm-operator doctor -f - -o markdown < grant.yaml

  # What only a write and billed calls can tell, on a bucket of its own without a policy
  imm-operator doctor -f grant.yaml -f job.yaml --probe-bucket probe-2026 --probe-object a.jpg --i-own probe-2026 --yes

  # How OSS spells the role that read, and whether it is one session, by an exported access log
  imm-operator doctor -f grant.yaml --access-log log.json

Exit code 0: all checks are ok, 1: warnings, 2: a check failed, or the input cannot be used, 64: invalid command line.";

/// Form of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ReportFormat {
    /// One line for each check.
    Text,
    /// JSON.
    Json,
    /// Markdown without account numbers, buckets and object names.
    Markdown,
}

/// Where the credentials come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum KeysFrom {
    /// The environment and --own-identity.
    Environment,
    /// The Secret or ServiceAccount that the object names, with your permissions in the cluster.
    Cluster,
}

/// Flags of `doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct DoctorArgs {
    /// Grant and job in the cluster: ibg/NAME, isj/NAME. The grant that a job names is checked too.
    #[arg(value_name = "KIND/NAME")]
    pub(super) objects: Vec<String>,
    /// YAML or JSON manifest with an ImmBucketGrant, an ImageScoreJob, or one of each, or a folder with such files; -
    /// reads standard input. Can be repeated. Other kinds are ignored.
    #[arg(long, short, value_name = "FILE")]
    pub(super) file: Vec<PathBuf>,
    /// Namespace of objects without one. Default: the namespace of the context, as for kubectl apply.
    #[arg(long, short)]
    pub(super) namespace: Option<String>,
    #[command(flatten)]
    pub(super) cluster: ClusterArgs,
    #[command(flatten)]
    pub(super) cloud: CloudArgs,
    /// Where the credentials come from. environment: IMM_OPERATOR_GRANT_ACCESS_KEY_ID, _ACCESS_KEY_SECRET and
    /// _SECURITY_TOKEN for the grant, the same with JOB for the job and SOURCE for its source, else
    /// ALIBABA_CLOUD_ACCESS_KEY_ID and its companions, or what --own-identity names. cluster: what the object names,
    /// with your own permissions. Default: environment for files, cluster for objects in the cluster.
    #[arg(long, value_enum)]
    pub(super) keys: Option<KeysFrom>,
    /// Do not call IMM, which leaves no probe. Without it, GetProject is called once and ListRegions five times;
    /// their prices are not documented.
    #[arg(long)]
    pub(super) no_imm: bool,
    /// Also ask the name of OSS for acceleration, oss-accelerate.aliyuncs.com, what its other names are asked. What
    /// it sends is billed by volume if transfer acceleration is on for the bucket.
    #[arg(long)]
    pub(super) accelerate: bool,
    /// Access log of the bucket, from the time at which IMM read images: says how OSS spells the role, and whether
    /// IMM reads as one session. Export it from the real-time log query of OSS, as JSON or CSV with the field
    /// extend_information. At most 64 MiB; nothing is sent.
    #[arg(long, value_name = "FILE")]
    pub(super) access_log: Option<PathBuf>,
    /// Form of the report.
    #[arg(long, short, value_enum, default_value_t = ReportFormat::Text)]
    pub(super) output: ReportFormat,
    /// Show account numbers, buckets and object names in Markdown.
    #[arg(long)]
    pub(super) no_mask: bool,
    #[command(flatten)]
    pub(super) probe: ProbeArgs,
}
