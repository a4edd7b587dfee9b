//! Putting the policy of a probed bucket back: only if what is live was written by the probe.

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::core::time;

/// How long after a write began it can take effect or not show yet: as long as OSS accepts its signature.
const UNCERTAIN_FOR: SignedDuration = SignedDuration::from_mins(15);

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
    /// When the last of these writes began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_at: Option<Timestamp>,
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
    /// The policy reads as before, and a write of the probe can still take effect, or has and does not show yet.
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
    /// Whether a write can be in effect although the policy reads as before.
    pub fn may_be_unseen(&self, now: Timestamp) -> bool {
        self.written_at
            .is_some_and(|at| now < time::after(at, UNCERTAIN_FOR))
    }

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
    fn a_write_can_be_unseen_for_a_quarter_of_an_hour() {
        let at = Timestamp::UNIX_EPOCH;
        let mut image: PreImage =
            serde_json::from_str(r#"{"bucket":"pics","region":"r","before":null,"written":["one"]}"#)
                .unwrap();
        assert!(!image.may_be_unseen(at), "a file without the time");
        image.written_at = Some(at);
        for (minutes, unseen) in [(0, true), (14, true), (15, false)] {
            let now = time::after(at, SignedDuration::from_mins(minutes));
            assert_eq!(image.may_be_unseen(now), unseen, "{minutes}");
        }
    }

    #[test]
    fn only_what_the_probe_wrote_is_replaced() {
        let of = |before: Option<&str>| PreImage {
            bucket: "pics".to_owned(),
            region: "cn-hangzhou".to_owned(),
            before: before.map(ToOwned::to_owned),
            written: vec!["one".to_owned(), "two".to_owned()],
            written_at: None,
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
