//! Unit tests of the tenancy rules.

use serde_json::{Value, json};

use super::*;

#[test]
fn a_star_matches_any_text_and_all_other_characters_are_literal() {
    for (pattern, value, fits) in [
        ("test-bucket-*", "test-bucket-2024", true),
        ("test-bucket-*", "test-bucket", false),
        ("*", "", true),
        ("a*b*c", "a-b-b-c", true),
        ("a*b*c", "a-c-b", false),
        ("abc", "abcd", false),
        ("a*a", "a", false),
        ("a.c", "abc", false),
    ] {
        assert_eq!(pattern_matches(pattern, value), fits, "{pattern} {value}");
    }
}

fn rules(rule: &Value) -> TenancyRules {
    serde_json::from_value(json!({"strict": true, "rules": [rule]})).unwrap()
}

fn tenant(labels: &[(&str, &str)]) -> Tenant {
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    Tenant {
        name: "media".to_owned(),
        labels: labels.iter().map(own).collect(),
    }
}

/// Checks a rule that allows the object, and the same rule with one member changed at a time, which must deny it.
fn judge(fitting: &Value, unfit: &[(&str, Value)], allows: impl Fn(&TenancyRules) -> bool) {
    assert!(allows(&rules(fitting)), "{fitting}");
    for (member, value) in unfit {
        let mut rule = fitting.clone();
        rule[*member] = value.clone();
        assert!(!allows(&rules(&rule)), "{member}: {value}");
    }
}

#[test]
fn each_member_of_a_rule_can_deny_a_grant() {
    let spec: GrantSpec = serde_json::from_value(json!({
        "bucket": {"name": "pics-1", "region": "cn-hangzhou", "ownerUID": "65432"},
        "grantee": {"accountUID": "12345", "roleName": "R"},
        "access": {"preset": "Minimal"}, "adoptionPolicy": "TakeOwnership",
        "credentials": {"source": "Operator", "assumeRole": {"roleARN": "acs:ram::65432:role/w"}},
    }))
    .unwrap();
    let fitting = json!({"namespaces": {"names": ["med*"]}, "kinds": ["ImmBucketGrant"], "credentialSources": ["Operator"],
        "ownerUIDs": ["65432"],
        "buckets": ["pics-*"], "granteeUIDs": ["12345"], "roleNames": ["R"], "presets": ["Minimal"],
        "takeOwnership": true, "assumeRoleARNs": ["acs:ram::65432:role/w"]});
    let unfit = [
        ("namespaces", json!({})),
        ("namespaces", json!({"names": ["press"]})),
        ("kinds", json!([])),
        ("kinds", json!(["ImageScoreJob"])),
        ("credentialSources", json!([])),
        ("credentialSources", json!(["Secret"])),
        ("ownerUIDs", json!([])),
        ("ownerUIDs", json!(["1"])),
        ("buckets", json!(["docs-*"])),
        ("granteeUIDs", json!(["1"])),
        ("roleNames", json!(["S"])),
        ("principals", json!(["ServiceRoleSession", "Account"])),
        ("presets", json!(["Documented"])),
        ("takeOwnership", json!(false)),
        ("assumeRoleARNs", json!([])),
        ("assumeRoleARNs", json!(["*"])),
    ];
    judge(&fitting, &unfit, |rules| {
        rules.allow_grant(&tenant(&[]), &spec).is_ok()
    });
}

#[test]
fn a_whole_account_needs_a_rule_that_lists_it_also_with_own_credentials() {
    let spec = |principal: &str, role: &str| -> GrantSpec {
        serde_json::from_value(json!({
            "bucket": {"name": "pics-1", "region": "cn-hangzhou", "ownerUID": "65432"},
            "grantee": {"accountUID": "12345", "roleName": role, "principal": principal, "sessionName": "one"},
            "credentials": {"source": "Secret", "secretRef": {"name": "keys"}},
        }))
        .unwrap()
    };
    let everywhere = json!({"namespaces": {"names": ["*"]}});
    for (rule, principal, allowed) in [
        (
            json!({"namespaces": {"names": ["press"]}}),
            "ServiceRoleSession",
            true,
        ),
        (everywhere.clone(), "Account", false),
        (
            json!({"namespaces": {"names": ["*"]}, "principals": ["ServiceRole"]}),
            "Account",
            false,
        ),
        (
            json!({"namespaces": {"names": ["*"]}, "principals": ["Account"]}),
            "Account",
            true,
        ),
    ] {
        let rules: TenancyRules = serde_json::from_value(json!({"rules": [rule]})).unwrap();
        let verdict = rules.allow_grant(&tenant(&[]), &spec(principal, "R"));
        assert_eq!(verdict.is_ok(), allowed, "{rule} {principal}");
        assert!(verdict.err().is_none_or(|m| m.contains("principals: [Account]")));
    }
    // Both spellings of a role are one role.
    let rules = rules(&json!({"namespaces": {"names": ["*"]}, "roleNames": ["AliyunIMMDefaultRole"]}));
    for (role, allowed) in [("aliyunimmdefaultrole", true), ("another", false)] {
        let verdict = rules.allow_grant(&tenant(&[]), &spec("ServiceRole", role));
        assert_eq!(verdict.is_ok(), allowed, "{role}");
    }
}

#[test]
fn each_member_of_a_rule_can_deny_a_job() {
    let spec: JobSpec = serde_json::from_value(json!({
        "project": {"name": "scores", "region": "cn-hangzhou", "accountUID": "12345"},
        "credentials": {"source": "Secret", "secretRef": {"name": "keys"}},
        "source": {"uris": ["oss://pics-1/a.jpg"]},
    }))
    .unwrap();
    let images = ["pics-1"];
    let fitting = json!({"namespaces": {"matchLabels": {"team": "media", "site": "north"}}, "buckets": ["pics-*"],
        "projects": ["sc*"], "granteeUIDs": ["12345"]});
    let unfit = [
        (
            "namespaces",
            json!({"matchLabels": {"team": "media", "site": "south"}}),
        ),
        (
            "namespaces",
            json!({"matchLabels": {"team": "media", "floor": "1"}}),
        ),
        ("kinds", json!(["ImmBucketGrant"])),
        ("credentialSources", json!(["ServiceAccount"])),
        ("buckets", json!(["docs-*"])),
        ("projects", json!(["other"])),
        ("granteeUIDs", json!(["1"])),
    ];
    judge(&fitting, &unfit, |rules| {
        rules
            .allow_job(&tenant(&[("team", "media"), ("site", "north")]), &spec, &images)
            .is_ok()
    });
}

#[test]
fn namespaces_are_read_only_for_a_rule_that_selects_by_labels() {
    for (namespaces, needed) in [
        (json!({"names": ["media"]}), false),
        (json!({"matchLabels": {"team": "media"}}), true),
    ] {
        let rules = rules(&json!({"namespaces": namespaces}));
        assert_eq!(rules.needs_namespace_labels(), needed, "{namespaces}");
    }
}

const ROLE: &str = "acs:ram::12345:role/scorer";

/// A job that lists a bucket and scores with the operator's own identity, through a chain of roles.
fn operators_job(credentials: &Value) -> JobSpec {
    serde_json::from_value(json!({
        "project": {"name": "scores", "region": "cn-hangzhou", "accountUID": "12345"},
        "credentials": credentials,
        "source": {"prefix": {"bucket": "pics-1"}},
        "access": {"mode": "RoleChain", "roleChain": {"serviceRole": "start",
            "chain": [{"role": "reader", "assumeRoleFor": "65432"}]}},
    }))
    .unwrap()
}

fn job_rule() -> Value {
    json!({"namespaces": {"names": ["media"]}, "kinds": ["ImageScoreJob"], "credentialSources": ["Operator"],
        "projects": ["scores"], "buckets": ["pics-*"], "granteeUIDs": ["12345"],
        "chainRoleARNs": ["acs:ram::12345:role/start", "acs:ram::65432:role/reader"]})
}

#[test]
fn an_empty_list_gives_a_job_nothing_of_the_operators_identity() {
    let spec = operators_job(&json!({"source": "Operator"}));
    let unfit = [
        ("kinds", json!([])),
        ("kinds", json!(["ImmBucketGrant"])),
        ("projects", json!([])),
        ("buckets", json!([])),
        ("granteeUIDs", json!([])),
        ("chainRoleARNs", json!([])),
        ("chainRoleARNs", json!(["acs:ram::65432:role/reader"])),
        ("assumeRoleARNs", json!([ROLE])),
    ];
    let allows = |rules: &TenancyRules| rules.allow_job(&tenant(&[]), &spec, &["pics-1"]).is_ok();
    judge(&job_rule(), &unfit, allows);
    let mut any = job_rule();
    for field in ["projects", "buckets", "granteeUIDs", "chainRoleARNs"] {
        any[field] = json!(["*"]);
        assert!(allows(&rules(&any)), "{any}");
    }
}

#[test]
fn a_rule_with_roles_demands_one_of_them() {
    let allows = |rule: &Value, credentials: Value| {
        let spec = operators_job(&credentials);
        rules(rule).allow_job(&tenant(&[]), &spec, &["pics-1"]).is_ok()
    };
    let mut rule = job_rule();
    rule["credentialSources"] = json!(["Operator", "Secret"]);
    let assume = |source: &str, role: &str| json!({"source": source, "secretRef": {"name": "k"}, "assumeRole": {"roleARN": role}});
    let plain = |source: &str| json!({"source": source, "secretRef": {"name": "k"}});
    assert!(allows(&rule, plain("Operator")) && !allows(&rule, assume("Operator", ROLE)));
    assert!(allows(&rule, plain("Secret")) && allows(&rule, assume("Secret", ROLE)));
    rule["assumeRoleARNs"] = json!([ROLE]);
    for source in ["Operator", "Secret"] {
        assert!(allows(&rule, assume(source, ROLE)), "{source}");
        assert!(
            !allows(&rule, assume(source, "acs:ram::12345:role/other")),
            "{source}"
        );
        assert!(!allows(&rule, plain(source)), "{source}");
    }
}

#[test]
fn the_owner_of_a_bucket_that_the_operator_reads_is_in_the_rule_or_owns_the_project() {
    let spec = operators_job(&json!({"source": "Operator"}));
    let allows = |rule: &Value, owner: &str| {
        let rules = rules(rule);
        rules
            .allow_source_owner(&tenant(&[]), &spec, "pics-1", owner)
            .is_ok()
    };
    let mut rule = job_rule();
    assert!(allows(&rule, "12345") && !allows(&rule, "65432"));
    rule["ownerUIDs"] = json!(["65432"]);
    assert!(allows(&rule, "65432") && !allows(&rule, "12345"));
    rule["ownerUIDs"] = json!(["*"]);
    assert!(allows(&rule, "99999"));
    rule["buckets"] = json!(["docs-*"]);
    assert!(!allows(&rule, "99999"), "one rule has to allow all of it");
}
