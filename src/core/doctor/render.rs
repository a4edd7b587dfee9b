//! The report as text, JSON and Markdown.

use std::fmt::Write;

use super::{Mask, Report};

impl Report {
    /// Returns one line for each check and each value of the conclusion.
    pub fn to_text(&self) -> String {
        // Writing to a String cannot fail.
        let mut text = String::new();
        for check in &self.checks {
            let change = check
                .change
                .as_ref()
                .map(|change| format!("; to change: {change}"));
            let _ = writeln!(
                text,
                "{:<8} {:<24} {}{}",
                check.level.as_str(),
                check.name,
                check.seen,
                change.unwrap_or_default()
            );
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
        text
    }
}
