//! Flags of a probe.

use std::path::PathBuf;

/// Flags of a probe.
#[derive(Debug, clap::Args)]
pub(super) struct ProbeArgs {
    /// Answer what only a write and billed calls can: write statements into the policy of this bucket of the grant's owner,
    /// score an image of it until access is given, and put the policy back. Needs a grant and a job. A bucket that a grant of
    /// the cluster names is refused.
    #[arg(long, value_name = "BUCKET", requires = "probe_object")]
    pub(super) probe_bucket: Option<String>,
    /// Key of an image in the probe bucket.
    #[arg(long, value_name = "KEY", requires = "probe_bucket")]
    pub(super) probe_object: Option<String>,
    /// Probe without looking for grants of the bucket in a cluster: repeat the name of the bucket.
    #[arg(long, value_name = "BUCKET", requires = "probe_bucket")]
    pub(super) i_own: Option<String>,
    /// Probe a bucket that has a policy. The statement is written beside it.
    #[arg(long, requires = "probe_bucket")]
    pub(super) with_policy: bool,
    /// Most scoring calls of the probe, each of which may be billed.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) max_billed: u32,
    /// File that the policy from before is stored in; must not exist. Default: imm-operator-doctor-BUCKET.json.
    #[arg(long, value_name = "FILE", requires = "probe_bucket")]
    pub(super) pre_image: Option<PathBuf>,
    /// Do it, instead of saying what would be done.
    #[arg(long, requires = "probe_bucket")]
    pub(super) yes: bool,
    /// Put the policy back that a probe has stored in a file, if the live one is the probe's, and nothing else.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["probe_bucket", "file", "objects"])]
    pub(super) restore: Option<PathBuf>,
}

impl ProbeArgs {
    /// Returns the file whose policy is put back, without a check of anything.
    pub(super) fn restored(&self) -> Option<&PathBuf> {
        self.restore.as_ref()
    }

    /// The bucket of the probe; `None` if there is none.
    pub(super) fn bucket(&self) -> Option<&String> {
        self.probe_bucket.as_ref()
    }
}
