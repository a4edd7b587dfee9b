//! What RAM lets a key or a role do: patterns of actions. Resources and conditions are not modelled.

use super::matches_ignoring_case;

/// The actions that RAM allows and denies. A Deny wins.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rights {
    /// Absent means all.
    allow: Option<Vec<String>>,
    deny: Vec<String>,
    /// Those that a control policy of the resource directory denies.
    outside: Vec<String>,
}

impl Rights {
    pub(crate) fn new(allow: Option<Vec<String>>, deny: Vec<String>) -> Self {
        Self {
            allow,
            deny,
            outside: Vec::new(),
        }
    }

    /// Sets the actions that a control policy of the resource directory denies.
    pub(crate) fn controlled(self, outside: Vec<String>) -> Self {
        Self { outside, ..self }
    }

    /// Returns whether an action is allowed and not denied.
    pub(crate) fn allow(&self, action: &str) -> bool {
        let allowed = |patterns: &Vec<String>| is_named(patterns, action);
        self.allow.as_ref().is_none_or(allowed) && !self.deny(action) && !self.control(action)
    }

    /// Returns whether a control policy denies an action.
    pub(crate) fn control(&self, action: &str) -> bool {
        is_named(&self.outside, action)
    }

    /// Returns whether an action is denied.
    pub(crate) fn deny(&self, action: &str) -> bool {
        is_named(&self.deny, action)
    }
}

fn is_named(patterns: &[String], action: &str) -> bool {
    patterns
        .iter()
        .any(|pattern| matches_ignoring_case(pattern, action))
}
