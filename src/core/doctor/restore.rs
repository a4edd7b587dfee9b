//! Putting the policy of a probed bucket back: only if what is live was written by the probe.

use serde::{Deserialize, Serialize};

/// What a probe stores in a file before each write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PreImage {
    /// Name of the bucket.
    pub bucket: String,
    /// Region of the bucket.
    pub region: String,
    /// The policy before the probe; `None` if there was none.
    pub before: Option<String>,
    /// The policies that the probe has written or was about to write.
    pub written: Vec<String>,
}

/// What to do with the live policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restoration {
    /// It is the one from before.
    Nothing,
    /// It is the probe's: put the one from before back.
    PutBack,
    /// Another client wrote it: leave it alone.
    Foreign,
}

/// How putting back ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestoreOutcome {
    /// The policy is byte for byte the one from before.
    Restored,
    /// The policy is the one from before, and a write without an answer can still take effect.
    Uncertain,
    /// Another client has written a policy, which was left alone.
    Foreign {
        /// The live policy; `None` if there is none.
        live: Option<String>,
    },
    /// A call failed.
    Failed(String),
}

impl PreImage {
    /// Decides by the live policy. Only bytes that the probe has written are its own.
    pub fn restoration(&self, live: Option<&[u8]>) -> Restoration {
        if live == self.before.as_deref().map(str::as_bytes) {
            return Restoration::Nothing;
        }
        let own = live.is_some_and(|live| self.written.iter().any(|text| text.as_bytes() == live));
        if own {
            Restoration::PutBack
        } else {
            Restoration::Foreign
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_probe_wrote_is_replaced() {
        let of = |before: Option<&str>| PreImage {
            bucket: "pics".to_owned(),
            region: "cn-hangzhou".to_owned(),
            before: before.map(ToOwned::to_owned),
            written: vec!["one".to_owned(), "two".to_owned()],
        };
        for (before, live, expected) in [
            (None, None, Restoration::Nothing),
            (None, Some("two"), Restoration::PutBack),
            (None, Some("one"), Restoration::PutBack),
            (None, Some("two "), Restoration::Foreign),
            (None, Some(""), Restoration::Foreign),
            (Some("old"), Some("old"), Restoration::Nothing),
            (Some("old"), Some("two"), Restoration::PutBack),
            (Some("old"), Some("old "), Restoration::Foreign),
            (Some("old"), None, Restoration::Foreign),
        ] {
            assert_eq!(
                of(before).restoration(live.map(str::as_bytes)),
                expected,
                "{before:?} {live:?}"
            );
        }
    }
}
