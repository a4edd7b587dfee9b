//! The forms of the principal: what is rendered, what a ledger entry proves, and which copies are removed.

use imm_operator::api::{EntryState, Grantee, OssAction};
use imm_operator::core::grant::{GrantOutcome, Removal, plan};
use imm_operator::core::policy::{
    Statement, access_statement, is_plausible, names_grantee, pass_role_statement, readers,
};
use serde_json::{Value, json};

use super::build::*;

const BUCKET: &str = "test-bucket-2024";
const ROLE: &str = "arn:sts::1234567890123456:assumed-role/AliyunIMMDefaultRole";

fn form(members: &Value) -> Grantee {
    let mut grantee = json!({"accountUID": "1234567890123456"});
    let members = members.as_object().unwrap().clone();
    grantee.as_object_mut().unwrap().extend(members);
    serde_json::from_value(grantee).unwrap()
}

fn forms() -> [(Grantee, String); 3] {
    [
        (form(&json!({})), format!("{ROLE}/*")),
        (
            form(&json!({"principal": "ServiceRoleSession", "sessionName": "imm.one@x"})),
            format!("{ROLE}/imm.one@x"),
        ),
        (
            form(&json!({"principal": "Account"})),
            "1234567890123456".to_owned(),
        ),
    ]
}

fn minimal(grantee: &Grantee) -> Statement {
    access_statement(BUCKET, "6543210987654321", grantee, &[OssAction::GetObject], &[])
}

#[test]
fn the_form_shapes_the_principal_of_the_access_statement_only() {
    for (grantee, principal) in forms() {
        let expected = format!(
            r#"{{"Effect":"Allow","Action":["oss:GetObject"],"Principal":["{principal}"],"Resource":["acs:oss:*:6543210987654321:{BUCKET}/*"]}}"#
        );
        assert_eq!(minimal(&grantee).text, expected);
        let role = pass_role_statement(&grantee);
        assert!(
            role.text
                .contains(&format!(r#""Principal":[],"Resource":["{ROLE}/*"]"#))
        );
        for ours in [minimal(&grantee), role] {
            assert!(
                is_plausible(BUCKET, &ours.text, &ours.fingerprint),
                "{}",
                ours.text
            );
        }
    }
    let lower = form(&json!({"roleName": "aliyunimmdefaultrole"}));
    assert_ne!(minimal(&lower).fingerprint, minimal(&forms()[0].0).fingerprint);
}

#[test]
fn only_the_exact_bytes_of_a_rendering_are_plausible() {
    let ours = minimal(&forms()[1].0).text;
    for forged in [
        ours.replace("imm.one@x", "imm*"),
        ours.replace("imm.one@x", "i"),
        ours.replace("imm.one@x", "imm/one"),
        ours.replace(&format!("{ROLE}/imm.one@x"), "*"),
        ours.replace(&format!("{ROLE}/imm.one@x"), "acs:ram::1:user/u"),
        ours.replace(r#"["oss:GetObject"]"#, r#""oss:GetObject""#),
        ours.replace(r#"["oss:GetObject"]"#, r#"["oss:PutObject"]"#),
        ours.replace("/*\"]}", "/**\"]}"),
        ours.replace(',', ", "),
        ours.replace("6543210987654321", "*"),
        ours.replace("Allow", "Deny"),
        ours.replace('}', r#","Condition":{}}"#),
    ] {
        assert_ne!(forged, ours);
        let claimed = imm_operator::core::policy::fingerprint(&forged).unwrap();
        assert!(!is_plausible(BUCKET, &forged, &claimed), "{forged}");
    }
}

/// People write statements for one session or an account by hand, so only what has our bytes is ours.
#[test]
fn of_an_account_or_a_session_only_a_copy_with_the_same_bytes_is_removed() {
    for ((grantee, principal), removed) in forms().into_iter().zip([true, false, false]) {
        let ours = minimal(&grantee);
        let scalar = ours
            .text
            .replace(&format!(r#"["{principal}"]"#), &format!(r#""{principal}""#));
        for (live, gone) in [(&ours.text, true), (&scalar, removed)] {
            let text = format!(r#"{{"Version":"1","Statement":[{live}]}}"#);
            let mut grants = [member("a", wants(&[]), vec![entry(&ours, EntryState::Applied)])];
            leave(&mut grants, Removal::Delete);
            let seen = document(&text);
            let outcome = plan(scene(Some(&seen)), &grants).grants[0].outcome.clone();
            let released = outcome == GrantOutcome::Released { residual: 1 };
            assert_eq!(released, !gone, "{outcome:?} {live}");
            let left = apply_plans(Some(&text), &mut grants);
            assert_eq!(left.is_none(), gone, "{live}");
            assert!(grants[0].ledger.is_empty());
        }
    }
}

#[test]
fn a_change_of_the_form_replaces_the_statement() {
    let statements: Vec<Statement> = forms().iter().map(|(grantee, _)| minimal(grantee)).collect();
    let mut grants = [active("a", &statements[..1])];
    let mut text = apply_plans(None, &mut grants);
    for next in [1, 2, 0] {
        grants[0].disposition = wants(&statements[next..=next]);
        text = apply_plans(text.as_deref(), &mut grants);
        let expected = format!(r#"{{"Version":"1","Statement":[{}]}}"#, statements[next].text);
        assert_eq!(text.as_deref(), Some(expected.as_str()));
    }
}

#[test]
fn the_principal_of_a_statement_is_a_text_or_a_list_of_texts() {
    for (principal, names) in [
        (json!("1"), vec!["1"]),
        (json!(["1", 7, "2"]), vec!["1", "2"]),
        (json!({"RAM": "1"}), vec![]),
    ] {
        let text = json!({"Statement": [{"Principal": principal}]}).to_string();
        assert_eq!(document(&text).statements()[0].principals, names, "{principal}");
    }
}

#[test]
fn overlaps_are_judged_for_the_sessions_that_read() {
    let [all, one, account] = forms().map(|(grantee, _)| grantee);
    assert_eq!(readers(&account), readers(&all));
    for (name, expected) in [
        (format!("{ROLE}/*"), [true, true, true]),
        (format!("{ROLE}/imm.one@x"), [true, true, true]),
        (format!("{ROLE}/another"), [true, false, true]),
        (format!("{ROLE}/*").to_ascii_lowercase(), [true, true, true]),
        ("1234567890123456".to_owned(), [true, true, true]),
        ("999".to_owned(), [false; 3]),
        ("*".to_owned(), [false; 3]),
        (ROLE.replace("Default", "Other") + "/*", [false; 3]),
    ] {
        let found = [&all, &one, &account].map(|grantee| names_grantee(grantee, std::slice::from_ref(&name)));
        assert_eq!(found, expected, "{name}");
    }
}
