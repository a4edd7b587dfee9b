//! One check of a report, and one value of its conclusion.

use serde::Serialize;

use crate::api::reason::names;

names! {
    /// Result of a check, in ascending order of severity: as it should be; it may not work, or could not be checked; it
    /// does not work.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
    Level { Ok = "ok", Warning = "warning", Failed = "failed" }
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
    pub(super) fn new(name: &'static str, level: Level, seen: impl Into<String>) -> Self {
        Self {
            name,
            level,
            seen: seen.into(),
            change: None,
        }
    }

    /// Returns a check that found what it should.
    pub fn ok(name: &'static str, seen: impl Into<String>) -> Self {
        Self::new(name, Level::Ok, seen)
    }

    pub(super) fn warning(name: &'static str, seen: impl Into<String>, change: impl Into<String>) -> Self {
        Self {
            change: Some(change.into()),
            ..Self::new(name, Level::Warning, seen)
        }
    }

    /// Returns a check that failed, with what to change.
    pub fn failed(name: &'static str, seen: impl Into<String>, change: impl Into<String>) -> Self {
        Self {
            change: Some(change.into()),
            ..Self::new(name, Level::Failed, seen)
        }
    }

    /// Returns the check as one line of a report.
    pub fn to_line(&self) -> String {
        let change = self
            .change
            .as_ref()
            .map(|change| format!("; to change: {change}"));
        let (level, change) = (self.level.as_str(), change.unwrap_or_default());
        format!("{level:<8} {:<24} {}{change}\n", self.name, self.seen)
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
    /// Whether something that was seen decides it; otherwise it is the value of the documentation, or the one in the
    /// object.
    pub confirmed: bool,
    /// Why.
    pub why: String,
}

impl Setting {
    pub(super) fn new(setting: &'static str, value: impl Into<String>, confirmed: bool, why: &str) -> Self {
        let (value, why) = (value.into(), why.to_owned());
        Self {
            setting,
            value,
            confirmed,
            why,
        }
    }
}
