//! Flags of a probe.

use std::path::PathBuf;

use clap::ValueEnum;

/// What a probe asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ProbeKind {
    /// Which principal OSS accepts, with which spelling of the role IMM may read, and how soon a policy is enforced.
    Access,
    /// The same, and how soon access ends after the statement was removed.
    Lag,
    /// Access, and whether a Deny still matches if its action is in lower case or has a ?. Takes five more calls, and
    /// more where OSS enforces policies late.
    Deny,
    /// Which other ways give access: the role chain of the job, without a bucket policy, and the statement with
    /// conditions on the network. Takes few calls, each of which may be billed.
    Ways,
    /// What OSS answers to policies of unusual form, to two writes at once, and to a write by the account of the job.
    /// Takes no scoring call. None of these policies gives access to anybody; the bucket must have none.
    Forms,
    /// With which errors IMM refuses calls, and how it throttles them. Takes many calls, each of which may be billed.
    Limits,
}

/// Flags of a probe.
#[derive(Debug, clap::Args)]
pub(super) struct ProbeArgs {
    /// Answer what only a write and billed calls can: write statements into the policy of this bucket of the grant's
    /// owner, score an image of it until access is given, and put the policy back. Needs a grant and a job. A bucket
    /// that the grant or one of the cluster names is refused.
    #[arg(long, value_name = "BUCKET")]
    pub(super) probe_bucket: Option<String>,
    /// What the probe asks. Without a value: access.
    #[arg(long, value_enum, value_name = "KIND", num_args = 0..=1, default_value_t = ProbeKind::Access, default_missing_value = "access", requires = "probe_bucket")]
    pub(super) probe: ProbeKind,
    /// Key of an image in the probe bucket. Every probe needs it, except --probe forms.
    #[arg(long, value_name = "KEY", requires = "probe_bucket")]
    pub(super) probe_object: Option<String>,
    /// Also write the ram:PassRole statement of Alibaba Cloud's procedure, which may make the policy of the probe
    /// bucket public for the time of the probe: says whether OSS counts it as public, and whether IMM needs it. Block
    /// Public Access is never changed.
    #[arg(long, requires = "probe_bucket")]
    pub(super) allow_public: bool,
    /// Key of another object in the probe bucket that --probe limits scores once, for example one that is no image,
    /// empty or larger than 20 MB. Can be repeated.
    #[arg(long, value_name = "KEY", requires = "probe_bucket")]
    pub(super) limits_object: Vec<String>,
    /// Bucket of the grant's owner in another region, for which --probe limits makes one scoring call. Nothing is
    /// written to it.
    #[arg(long, value_name = "BUCKET", requires = "probe_bucket")]
    pub(super) limits_region_bucket: Option<String>,
    /// Probe although no cluster says that no grant names the bucket: repeat the name of the bucket. A cluster that
    /// answers is asked anyway, and must accept your credentials and allow to list its grants.
    #[arg(long, value_name = "BUCKET", requires = "probe_bucket")]
    pub(super) i_own: Option<String>,
    /// Probe a bucket that has a policy. The statement is written beside it. Not for --probe ways and --probe forms.
    #[arg(long, requires = "probe_bucket")]
    pub(super) with_policy: bool,
    /// Most scoring calls of the probe, each of which may be billed. The default is enough for both spellings of the
    /// role.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) max_billed: u32,
    /// File that the policy from before is stored in; must not exist. Default: imm-operator-doctor-BUCKET.json.
    #[arg(long, value_name = "FILE", requires = "probe_bucket")]
    pub(super) pre_image: Option<PathBuf>,
    /// Do it without a question. Otherwise the command says what it would do and how many calls may be billed, and
    /// does it after the line yes on standard input.
    #[arg(long, requires = "probe_bucket")]
    pub(super) yes: bool,
    /// Put the policy back that a probe has stored in a file, if the live one is the probe's, and nothing else. Takes the
    /// credentials of the grant as the probe does: name the grant with -f or as ibg/NAME. Without a grant, the
    /// credentials are those of --keys environment.
    #[arg(long, value_name = "FILE", conflicts_with = "probe_bucket")]
    pub(super) restore: Option<PathBuf>,
}
