//! Putting the policy of a probed bucket back: only if what is live was written by the probe.

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

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
    /// Prefix of every resource that the probe writes, if nobody else can know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
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

/// How restoring ended.
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

    /// Decides by the live policy. Its own are the bytes that the probe has written, and statements below its prefix
    /// only: OSS may return an unusual policy in another form than it was written in.
    pub fn restoration(&self, live: Option<&[u8]>) -> Restoration {
        if live == self.before.as_deref().map(str::as_bytes) {
            return Restoration::Nothing;
        }
        let is_own = |live: &[u8]| {
            self.written.iter().any(|text| text.as_bytes() == live)
                || self
                    .prefix
                    .as_ref()
                    .is_some_and(|prefix| self.is_below(prefix, live))
        };
        if live.is_some_and(is_own) {
            Restoration::PutBack
        } else {
            Restoration::Foreign
        }
    }

    /// Whether all that a policy is about is below the prefix of the probe. Without a statement it is about nothing,
    /// and the probe's own only if the probe has written such a policy.
    fn is_below(&self, prefix: &str, live: &[u8]) -> bool {
        let Some(live) = statements(live) else {
            return false;
        };
        let is_empty = |text: &String| statements(text.as_bytes()).is_some_and(|all| all.is_empty());
        if live.is_empty() {
            self.written.iter().any(is_empty)
        } else {
            live.iter().all(|statement| is_about(statement, prefix))
        }
    }
}

/// Returns the statements of a policy, in a list or not, without empty ones; `None` if the text is not JSON.
fn statements(policy: &[u8]) -> Option<Vec<Value>> {
    let mut policy: Value = serde_json::from_slice(policy).ok()?;
    let mut given = policy.get_mut("Statement").map(Value::take);
    let list = given.as_mut().and_then(Value::as_array_mut).map(std::mem::take);
    let mut all: Vec<Value> = list.unwrap_or_else(|| given.into_iter().collect());
    all.retain(|one| !one.is_null() && one.as_object().is_none_or(|members| !members.is_empty()));
    Some(all)
}

/// Whether each resource of a statement is below a prefix.
fn is_about(statement: &Value, prefix: &str) -> bool {
    let resource = &statement["Resource"];
    let one = std::slice::from_ref(resource);
    let all = resource.as_array().map_or(one, Vec::as_slice);
    let is_below = |resource: &Value| {
        let path = resource.as_str().and_then(|resource| resource.split_once('/'));
        path.is_some_and(|(_, key)| key.starts_with(prefix))
    };
    !all.is_empty() && all.iter().all(is_below)
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
            prefix: None,
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

    #[test]
    fn statements_below_the_prefix_are_the_probe_s_in_any_form() {
        let statement = |more: &str, resource: &str| {
            format!(r#"{{"Effect":"Deny","Principal":["65432"],"Resource":{resource}{more}}}"#)
        };
        let below = r#""acs:oss:*:65432:pics/none-1234/sid""#;
        let (one, of_list) = (statement("", below), statement("", &format!("[{below}]")));
        let beside = statement(
            "",
            r#"["acs:oss:*:65432:pics/none-1234/a","acs:oss:*:65432:pics/b"]"#,
        );
        let policy = |statements: &str| format!(r#"{{"Version":"1","Statement":{statements}}}"#);
        let without = statement("", "null").replace(r#","Resource":null"#, "");
        let own = [
            policy(&format!("[{one}]")),
            policy(&one),
            policy(&format!("[ {one},\n {of_list} ]")),
        ];
        let foreign = [
            policy(&format!("[{one},{beside}]")),
            policy(&format!("[{one},{without}]")),
            policy(&statement("", "[]")),
            policy(&statement("", r#""*""#)),
            policy(&statement("", r#""acs:oss:*:65432:none-1234/sid""#)),
            policy(r#""none""#),
            "<Policy/>".to_owned(),
        ];
        let empty = [
            policy("[]"),
            policy("{}"),
            policy("[{}]"),
            r#"{"Version":"1"}"#.to_owned(),
        ];
        let mut image: PreImage = serde_json::from_str(
            r#"{"bucket":"pics","region":"r","before":null,"written":["{}x"],"prefix":"none-1234/"}"#,
        )
        .unwrap();
        let decide = |image: &PreImage, live: &String| image.restoration(Some(live.as_bytes()));
        for live in &own {
            assert_eq!(decide(&image, live), Restoration::PutBack, "{live}");
        }
        for live in foreign.iter().chain(&empty) {
            assert_eq!(decide(&image, live), Restoration::Foreign, "{live}");
        }
        image.written.push(policy("{}"));
        for live in &empty {
            assert_eq!(decide(&image, live), Restoration::PutBack, "{live}");
        }
        image.prefix = None;
        for live in own.iter().chain(&empty[..1]) {
            assert_eq!(decide(&image, live), Restoration::Foreign, "{live}");
        }
    }
}
