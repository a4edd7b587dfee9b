//! The report: all checks and the conclusion, as text, JSON and Markdown.

use std::fmt::Write;

use k8s_openapi::jiff::Timestamp;
use serde::Serialize;

use super::assumptions::{WrongAssumption, wrong_assumptions};
use super::check::{Check, Level, Setting};
use super::facts::Facts;
use super::mask::Mask;
use super::restore::RestoreOutcome;
use super::signature_answers::SignatureAnswers;
use super::{access_log, bucket, conclusion, forms, further_endpoints, job, limits, network, probe, ways};

/// All checks and the conclusion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DoctorReport {
    /// The checks, in the order in which they depend on each other.
    pub checks: Vec<Check>,
    /// The values to set.
    pub conclusion: Vec<Setting>,
    /// The assumptions of the documentation that were seen to be wrong.
    #[serde(rename = "wrongAssumptions")]
    pub wrong_assumptions: Vec<WrongAssumption>,
}

impl DoctorReport {
    /// Judges what was seen.
    pub fn of(facts: &Facts, now: Timestamp) -> Self {
        let signatures = facts.questions.signatures.as_ref();
        let tolerance = signatures.map(SignatureAnswers::tolerance);
        let mut checks = network::endpoint_checks(&facts.endpoints, tolerance);
        checks.extend(further_endpoints::further_checks(&facts.endpoints));
        if let Some(grant) = &facts.grant {
            checks.extend(bucket::grant_checks(grant, facts.probe.as_ref(), now));
        }
        if let Some(job) = &facts.job {
            checks.extend(job::job_checks(job, facts.grant.as_ref()));
        }
        checks.extend(network::variant_check(&facts.variants));
        checks.extend(job::listing_checks(facts));
        checks.extend(facts.questions.checks());
        if let Some(probe) = &facts.probe {
            checks.extend(probe::checks::probe_checks(probe, facts.grant.as_ref()));
        }
        if let Some(log) = &facts.access_log {
            let grantee = facts.grant.as_ref().map(|grant| &grant.spec.grantee);
            checks.extend(access_log::checks::access_log_checks(log, grantee));
        }
        if let Some(limits) = &facts.limits {
            checks.extend(limits::checks::limits_checks(limits));
        }
        if let Some(ways) = &facts.ways {
            checks.extend(ways::checks::ways_checks(ways));
        }
        if let Some(forms) = &facts.forms {
            checks.extend(forms::checks::forms_checks(forms));
        }
        Self {
            checks,
            conclusion: conclusion::conclude(facts),
            wrong_assumptions: wrong_assumptions(facts),
        }
    }

    /// Returns the report about putting a policy back.
    pub fn of_restoration(outcome: &RestoreOutcome, file: &str) -> Self {
        Self {
            checks: vec![probe::checks::restore_check(outcome, file)],
            conclusion: Vec::new(),
            wrong_assumptions: Vec::new(),
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

    /// Returns one line for each check and each value of the conclusion.
    pub fn to_text(&self) -> String {
        // Writing to a String cannot fail.
        let mut text = String::new();
        for check in &self.checks {
            text.push_str(&check.to_line());
        }
        if !self.conclusion.is_empty() {
            text.push_str("\nconclusion\n");
        }
        for setting in &self.conclusion {
            let certainty = if setting.confirmed { "seen" } else { "assumed" };
            let _ = writeln!(
                text,
                "{certainty:<8} {:<24} {}: {}",
                setting.setting, setting.value, setting.why
            );
        }
        if !self.wrong_assumptions.is_empty() {
            text.push_str("\ndocumentation that was seen to be wrong\n");
        }
        for wrong in &self.wrong_assumptions {
            let _ = writeln!(text, "{:<33} {}: {}", wrong.source, wrong.assumption, wrong.seen);
        }
        text
    }

    /// Returns the report as JSON, with its exit code.
    pub fn to_json(&self) -> String {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        if let Some(members) = value.as_object_mut() {
            members.insert("exitCode".to_owned(), self.exit_code().into());
        }
        let text = serde_json::to_string_pretty(&value).unwrap_or_default();
        text + "\n"
    }

    /// Returns the report as Markdown, masked unless there is no mask.
    pub fn to_markdown(&self, mask: Option<&Mask>) -> String {
        let shown = |text: &str| {
            let masked = mask.map_or_else(|| text.to_owned(), |mask| mask.apply(text));
            masked.replace('|', "\\|").replace(['\n', '\r'], " ")
        };
        let mut text = format!(
            "# imm-operator doctor\n\nVersion {}. Result: {}.\n\n## Checks\n\n| result | check | seen | to change |\n|---|---|---|---|\n",
            env!("CARGO_PKG_VERSION"),
            self.level().as_str()
        );
        for check in &self.checks {
            let _ = writeln!(
                text,
                "| {} | `{}` | {} | {} |",
                check.level.as_str(),
                check.name,
                shown(&check.seen),
                shown(check.change.as_deref().unwrap_or_default())
            );
        }
        text.push_str("\n## Conclusion\n\n| setting | value | | why |\n|---|---|---|---|\n");
        for setting in &self.conclusion {
            let _ = writeln!(
                text,
                "| `{}` | `{}` | {} | {} |",
                setting.setting,
                shown(&setting.value),
                if setting.confirmed { "seen" } else { "assumed" },
                shown(&setting.why)
            );
        }
        if self.conclusion.is_empty() {
            return text;
        }
        text.push_str("\n## Documentation\n\n");
        if self.wrong_assumptions.is_empty() {
            text.push_str("No assumption of the documentation was seen to be wrong.\n");
            return text;
        }
        text.push_str("These assumptions were seen to be wrong:\n\n| documentation | assumption | seen |\n|---|---|---|\n");
        for wrong in &self.wrong_assumptions {
            let _ = writeln!(
                text,
                "| {} | {} | {} |",
                wrong.source,
                shown(&wrong.assumption),
                shown(&wrong.seen)
            );
        }
        text
    }
}
