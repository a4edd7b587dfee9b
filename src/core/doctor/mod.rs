//! What `imm-operator doctor` says about an installation: from what was seen to one line for each check, and to the values
//! to set. Nothing here calls anything.

mod advice;
mod bucket;
mod conclusion;
mod facts;
mod job;
mod mask;
mod network;
mod probe;
mod probe_checks;
mod public_policy;
mod render;
mod restore;

pub use facts::{
    BucketFacts, CredentialFacts, EndpointFacts, Facts, GrantFacts, JobFacts, ListingFacts, ProbeFacts,
    ProjectFacts, Reachability, Service, TlsFault, VariantFacts,
};
pub use mask::Mask;
pub use probe::{Probe, ProbeAnswer, ProbeFindings, ProbeStep};
pub use restore::{PreImage, Restoration, RestoreOutcome};

use k8s_openapi::jiff::Timestamp;
use serde::Serialize;

/// Result of a check, in ascending order of severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It may not work, or could not be checked.
    Warning,
    /// It does not work.
    Failed,
}

impl Level {
    /// Returns the level as reports show it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

/// One check: one line of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Name of the check.
    pub name: &'static str,
    /// Result.
    pub level: Level,
    /// What was seen.
    pub seen: String,
    /// What to change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<String>,
}

impl Check {
    fn new(name: &'static str, level: Level, seen: impl Into<String>) -> Self {
        Self {
            name,
            level,
            seen: seen.into(),
            change: None,
        }
    }

    fn ok(name: &'static str, seen: impl Into<String>) -> Self {
        Self::new(name, Level::Ok, seen)
    }

    fn warning(name: &'static str, seen: impl Into<String>, change: impl Into<String>) -> Self {
        Self {
            change: Some(change.into()),
            ..Self::new(name, Level::Warning, seen)
        }
    }

    fn failed(name: &'static str, seen: impl Into<String>, change: impl Into<String>) -> Self {
        Self {
            change: Some(change.into()),
            ..Self::new(name, Level::Failed, seen)
        }
    }
}

/// Returns a number with a noun.
fn counted(number: usize, noun: &str) -> String {
    if number == 1 {
        format!("1 {noun}")
    } else {
        format!("{number} {noun}s")
    }
}

/// A value to set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Setting {
    /// Field or flag.
    pub setting: &'static str,
    /// Value to set.
    pub value: String,
    /// Whether something that was seen decides it; otherwise it is the value of the documentation, or the one in the object.
    pub confirmed: bool,
    /// Why.
    pub why: String,
}

/// All checks and the conclusion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The checks, in the order in which they depend on each other.
    pub checks: Vec<Check>,
    /// The values to set.
    pub conclusion: Vec<Setting>,
}

impl Report {
    /// Judges what was seen.
    pub fn of(facts: &Facts, now: Timestamp) -> Self {
        let mut checks = network::endpoint_checks(&facts.endpoints);
        if let Some(grant) = &facts.grant {
            checks.extend(bucket::grant_checks(grant, facts.probe.as_ref(), now));
        }
        if let Some(job) = &facts.job {
            checks.extend(job::job_checks(job, facts.grant.as_ref()));
        }
        checks.extend(network::variant_check(&facts.variants));
        checks.extend(job::listing_checks(facts));
        if let Some(probe) = &facts.probe {
            checks.extend(probe_checks::probe_checks(probe));
        }
        Self {
            checks,
            conclusion: conclusion::conclude(facts),
        }
    }

    /// Returns the report about putting a policy back.
    pub fn of_restoration(outcome: &RestoreOutcome, file: &str) -> Self {
        Self {
            checks: vec![probe_checks::restore_check(outcome, file)],
            conclusion: Vec::new(),
        }
    }

    /// Returns the most severe level.
    pub fn level(&self) -> Level {
        let levels = self.checks.iter().map(|check| check.level);
        levels.max().unwrap_or(Level::Ok)
    }

    /// Returns the exit code: 0 if all is well, 1 after a warning, 2 after a failure.
    pub fn exit_code(&self) -> u8 {
        match self.level() {
            Level::Ok => 0,
            Level::Warning => 1,
            Level::Failed => 2,
        }
    }
}
