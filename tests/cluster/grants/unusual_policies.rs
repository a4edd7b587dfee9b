//! Unusual foreign policies: each is carried byte for byte, or left alone with a reason.

use std::sync::Arc;

use imm_emulator::BucketSeed;
use serde_json::json;

use crate::support::tenant::GRANT;
use crate::support::{Stage, Tenant, condition};

const STATEMENT: &str = r#"{"Effect":"Deny","Principal":["27490"],"Action":["oss:PutObject"],"Resource":["acs:oss:*:6543210987654321:b/*"]}"#;

/// Applies one grant on a bucket of its own for each policy, all at once.
async fn apply_all(stage: &Arc<Stage>, name: &str, policies: &[Vec<u8>]) -> Tenant {
    let tenant = Tenant::new(stage, name).await;
    let mut manifests = Vec::new();
    for (index, policy) in policies.iter().enumerate() {
        let bucket = format!("{name}-{index}");
        let seed = BucketSeed {
            name: bucket.clone(),
            region: crate::support::REGION.to_owned(),
            owner: crate::support::ACCOUNT_B.to_owned(),
            block_public_access: true,
            ..BucketSeed::default()
        };
        stage.cloud.add_bucket(seed).unwrap();
        assert!(stage.cloud.set_policy_bytes(&bucket, Some(policy.clone().into())));
        manifests.push(tenant.grant(&format!("case-{index}"), &json!({"bucket": {"name": bucket}})));
    }
    tenant.apply(&manifests.join("\n---\n")).await;
    tenant
}

// D1: a policy that does not parse, or has not exactly one list of statements, is reported and never written.
pub async fn a_policy_that_cannot_be_edited_safely_is_never_written(stage: Arc<Stage>) {
    let document = format!(r#"{{"Version":"1","Statement":[{STATEMENT}]}}"#);
    let text = |text: &str| text.as_bytes().to_vec();
    let cases = [
        (text(r#"{"Version":"1"}"#), "it has no member Statement"),
        (
            text(&format!(
                r#"{{"Statement":[],"Version":"1","Statement":[{STATEMENT}]}}"#
            )),
            "occurs more than once",
        ),
        (
            text(&format!(
                r#"{{"Statement":[],"Version":"1","\u0053tatement":[{STATEMENT}]}}"#
            )),
            "occurs more than once",
        ),
        (
            text(&format!(r#"{{"Version":"1","Statement":{STATEMENT}}}"#)),
            "Statement is not an array",
        ),
        (
            text(r#"{"Version":"1","Statement":null}"#),
            "Statement is not an array",
        ),
        (text(&format!("\u{feff}{document}")), "byte order mark"),
        ([document.as_bytes(), b"\xff"].concat(), "not UTF-8"),
        (document.replace("27490", "\u{1}").into_bytes(), "not JSON"),
        (text(&document[..document.len() - 1]), "not JSON"),
        (text(&format!("{document},")), "not JSON"),
        (text("[]"), "not a JSON object"),
        (text(""), "not JSON"),
    ];
    let policies: Vec<Vec<u8>> = cases.iter().map(|(policy, _)| policy.clone()).collect();
    let tenant = apply_all(&stage, "untouchable", &policies).await;
    for (index, (policy, why)) in cases.iter().enumerate() {
        let (name, bucket) = (format!("case-{index}"), format!("untouchable-{index}"));
        let grant = tenant.until_reason(GRANT, &name, "PolicyUnreadable").await;
        let [_, _, message] = condition(&grant, "Ready");
        let shown = String::from_utf8_lossy(policy);
        assert!(message.contains(why), "{shown}: {message}");
        assert_eq!(
            [condition(&grant, "Stalled")[0], condition(&grant, "Granted")[0]],
            ["True", "Unknown"]
        );
        tenant.reconcile(&name).await;
        assert!(stage.calls(&bucket, "PutBucketPolicy").is_empty(), "{shown}");
        assert_eq!(stage.cloud.policy(&bucket).unwrap(), shown);
    }

    // Nothing was ever written for these grants, so they can be deleted.
    tenant.delete(GRANT, "case-1").await;
    tenant.until_deleted(GRANT, "case-1").await;

    // Once the policy is corrected at OSS, the grant recovers automatically.
    assert!(stage.cloud.set_policy("untouchable-0", Some(&document)));
    assert_eq!(
        condition(&tenant.reconcile("case-0").await, "Ready")[1],
        "Applied"
    );
}

// D1: every other policy is carried byte for byte, and is restored when the grant is deleted.
pub async fn an_unusual_policy_is_preserved_byte_for_byte(stage: Arc<Stage>) {
    let with = |more: &str| format!(r#"{{"Version":"1","Statement":[{STATEMENT}],{more}}}"#);
    let inside = |more: &str| {
        let statement = STATEMENT.replacen('{', &format!("{{{more},"), 1);
        format!(r#"{{"Version":"1","Statement":[{statement}]}}"#)
    };
    let accepted = [
        inside(r#""Effect":"Deny""#),
        inside(r#""Note":1000000000000000000"#),
        inside(r#""Note":0.10000000000000000000001e-7"#),
        with(&format!(r#""X":{}{}"#, "[".repeat(100), "]".repeat(100))),
        with(r#""Name":"Zürich 杭州 \u0041\ud83d\ude00 😀""#),
        with(r#""Version":"1""#),
        format!("{{\r\n\t\"Version\" : \"1\",\r\n\"Statement\" : [\r\n{STATEMENT}\r\n]\r\n}}\r\n"),
        format!(r#"{{"Statement":[{STATEMENT},{STATEMENT}],"Version":"1"}}"#),
        r#"{"Version":"1","Statement":[]}"#.to_owned(),
        r#" {"Version":"1","Statement": [ ] } "#.to_owned(),
    ];
    // Like many JSON parsers, the emulator rejects such numbers and such depth.
    let refused = [
        inside(r#""Note":1e400"#),
        with(r#""Note":-1e400"#),
        with(&format!(r#""X":{}{}"#, "[".repeat(300), "]".repeat(300))),
    ];
    let cases = [&accepted[..], &refused[..]].concat();
    let policies: Vec<Vec<u8>> = cases.iter().map(|policy| policy.clone().into_bytes()).collect();
    let tenant = apply_all(&stage, "odd", &policies).await;
    for (index, before) in cases.iter().enumerate() {
        let (name, bucket) = (format!("case-{index}"), format!("odd-{index}"));
        let expected = if index < accepted.len() {
            "Applied"
        } else {
            "ForeignStatementRejected"
        };
        tenant.until_reason(GRANT, &name, expected).await;
        let now = stage.cloud.policy(&bucket).unwrap();
        let puts = stage.calls(&bucket, "PutBucketPolicy");
        assert_eq!(puts.len(), 1, "{before}");
        assert!(carries(puts[0].body.as_ref().unwrap(), before), "{before}");
        if index >= accepted.len() {
            assert_eq!(now, *before);
            continue;
        }
        assert!(carries(&now, before), "{before}\n{now}");
        tenant.delete(GRANT, &name).await;
        tenant.until_deleted(GRANT, &name).await;
        let last = stage.cloud.policy(&bucket);
        // A document without foreign statements is deleted, because OSS may not accept an empty list.
        let expected = (!before.contains(": [ ]") && !before.contains(":[]")).then_some(before.as_str());
        assert_eq!(last.as_deref(), expected, "{before}");
    }
}

/// Returns whether `after` is `before` with an insertion at one position.
fn carries(after: &str, before: &str) -> bool {
    let same_head = after
        .bytes()
        .zip(before.bytes())
        .take_while(|(one, other)| one == other)
        .count();
    let same_tail = after
        .bytes()
        .rev()
        .zip(before.bytes().rev())
        .take_while(|(one, other)| one == other)
        .count();
    same_head + same_tail >= before.len() && after.len() > before.len()
}
