//! For each message of a rule of the schemas, a change of an accepted object that breaks the rule.

use serde_json::{Value, json};

use crate::support::ACCOUNT_A;

/// The one message that is about the value, and what it is for the value below.
pub const ABOUT_THE_VALUE: (&str, &str) = (
    "write the region without oss-, for example cn-hangzhou",
    "write cn-hangzhou, without oss-",
);

const PROVIDER: &str = "acs:ram::6543210987654321:oidc-provider/p";
pub const ROLE: &str = "acs:ram::6543210987654321:role/r";

pub fn service_account() -> Value {
    json!({"source": "ServiceAccount", "secretRef": null, "assumeRole": null,
        "serviceAccount": {"name": "a", "roleARN": ROLE, "oidcProviderARN": PROVIDER}})
}

/// Each message of a rule, and a change of the member that has the rule, which breaks it.
pub fn cases() -> Vec<(&'static str, Value)> {
    let long = format!("oss://photos/{}", "k".repeat(1_024));
    let many: Vec<String> = (0..132).map(|n| format!("oss://photos/{n:0>1000}")).collect();
    let chain = json!({"serviceRole": "a", "chain": [{"role": "b", "assumeRoleFor": ACCOUNT_A}]});
    let chained = json!({"mode": "RoleChain", "passedRole": null, "roleChain": chain});
    vec![
        // Values.
        (
            "must be the UID of an account: 5 to 20 digits in quotes, for example \"1234567890123456\"",
            json!("6543-2109"),
        ),
        (
            "write the name of the bucket alone, without oss:// and without a host",
            json!("oss://my-photos"),
        ),
        (
            "must be the name of a bucket: lower-case letters, digits and hyphens, without a hyphen at either end",
            json!("My_Photos"),
        ),
        (ABOUT_THE_VALUE.0, json!("oss-cn-hangzhou")),
        (
            "write the region without -internal, for example cn-hangzhou",
            json!("cn-hangzhou-internal"),
        ),
        (
            "IMM is not available in finance regions, and OSS has other endpoints there: use a bucket and a project of another region",
            json!("cn-shanghai-finance-1"),
        ),
        (
            "must be the ID of a region, for example cn-hangzhou",
            json!("Hangzhou"),
        ),
        (
            "write the name of the role alone, without acs:ram::UID:role/",
            json!(ROLE),
        ),
        (
            "must be the name of a RAM role: letters, digits, ., _ and -",
            json!("my role"),
        ),
        (
            "write the name of one session; principal: ServiceRole is for all sessions",
            json!("imm*"),
        ),
        (
            "write the name of the session alone, without arn:sts::UID:assumed-role/NAME/",
            json!("arn:sts::1:assumed-role/r/s"),
        ),
        (
            "must be the name of a role session: 2 to 64 letters, digits, ., @, _ and -",
            json!("my session"),
        ),
        (
            "must be the ARN of a RAM role, acs:ram::UID:role/NAME: copy it from the RAM console",
            json!("reader"),
        ),
        (
            "must be the ARN of an OIDC provider, acs:ram::UID:oidc-provider/NAME: copy it from the RAM console",
            json!("provider"),
        ),
        (
            "write the name alone: the object is in this namespace",
            json!("other/owner"),
        ),
        (
            "must be the name of an object in this namespace: lower-case letters, digits, - and .",
            json!("Owner"),
        ),
        (
            "write the name alone, and the namespace in the field namespace",
            json!("other/open"),
        ),
        (
            "must be the name of an object: lower-case letters, digits, - and .",
            json!("Open"),
        ),
        (
            "write the name of each namespace: wildcards are not supported",
            json!("team-*"),
        ),
        (
            "must be the name of a namespace: lower-case letters, digits and -",
            json!("A B"),
        ),
        (
            "must be the name of an IMM project: letters, digits, _ and -, starting with a letter or _",
            json!("1st project"),
        ),
        (
            "write oss://BUCKET/KEY, not the https:// address or the path of the object",
            json!("https://b.oss-cn-hangzhou.aliyuncs.com/a.jpg"),
        ),
        (
            "must be oss://BUCKET/KEY, with the name of a bucket and a key",
            json!("oss://B_/a.jpg"),
        ),
        (
            "a key must not start with / or a backslash: object keys have no leading slash",
            json!("oss://photos//a.jpg"),
        ),
        (
            "a prefix must not start with / or a backslash: object keys have no leading slash",
            json!("/a"),
        ),
        (
            "must not have control characters",
            json!("oss://photos/a\u{85}.jpg"),
        ),
        (
            "must be a time such as 2026-01-31T00:00:00Z, with a capital T, and Z or an offset such as +08:00",
            json!("2020-01-01t00:00:00z"),
        ),
        ("must be a day that exists", json!("2020-02-30T00:00:00Z")),
        (
            "must be a decimal from 0 to 1 with at most six places, in quotes, for example \"0.60\"",
            json!("60%"),
        ),
        (
            "must be an error code such as ResourceNotFound: letters, digits, ., _ and -",
            json!("not found"),
        ),
        // Credentials.
        (
            "secretRef is required with source: Secret, and not allowed otherwise: set secretRef, or remove it",
            json!({"secretRef": null}),
        ),
        (
            "serviceAccount is required with source: ServiceAccount, and not allowed otherwise: set serviceAccount, or remove it",
            json!({"source": "ServiceAccount"}),
        ),
        (
            "assumeRole requires source Secret or Operator: with ServiceAccount, set serviceAccount.roleARN instead",
            json!({"source": "ServiceAccount"}),
        ),
        // Grants.
        (
            "bucket is immutable: create another ImmBucketGrant for another bucket",
            json!({"bucket": {"region": "cn-beijing"}}),
        ),
        (
            "sessionName is allowed with principal: ServiceRoleSession only: remove it, or change principal",
            json!({"principal": "Account"}),
        ),
        (
            "principal: ServiceRoleSession requires sessionName: add the name of the session as which IMM reads",
            json!({"sessionName": null}),
        ),
        (
            "preset: Custom requires at least one action, and other presets allow none: list actions, or change the preset",
            json!({"preset": "Custom"}),
        ),
        (
            "a prefix must not contain * or ?: the operator appends the trailing *",
            json!({"prefixes": ["a/*"]}),
        ),
        (
            "a prefix must not contain $, {, } or a backslash",
            json!({"prefixes": ["${a}"]}),
        ),
        (
            "a prefix must not start with /: object keys have no leading slash",
            json!({"prefixes": ["/a"]}),
        ),
        (
            "a prefix must not contain control or invisible formatting characters",
            json!({"prefixes": ["a\u{202e}"]}),
        ),
        // Jobs.
        (
            "project is immutable: create another ImageScoreJob",
            json!({"project": {"name": "other"}}),
        ),
        (
            "source is immutable: create another ImageScoreJob",
            json!({"source": {"uris": ["oss://photos/b.jpg"]}}),
        ),
        (
            "credentials is immutable: create another ImageScoreJob",
            json!({"credentials": {"secretRef": {"name": "other"}}}),
        ),
        (
            "grantRef is immutable and can be neither added nor removed: create another ImageScoreJob",
            json!({"grantRef": null}),
        ),
        (
            "access is immutable: create another ImageScoreJob",
            json!({"access": {"passedRole": "other"}}),
        ),
        (
            "failureRules is immutable: create another ImageScoreJob",
            json!({"failureRules": null}),
        ),
        (
            "thresholds is immutable: create another ImageScoreJob",
            json!({"thresholds": {"minScore": "0.5"}}),
        ),
        (
            "results.select is immutable: create another ImageScoreJob",
            json!({"results": {"select": "All"}}),
        ),
        (
            "backoffLimitPerItem is immutable: create another ImageScoreJob",
            json!({"backoffLimitPerItem": 5}),
        ),
        (
            "grantRef requires access.mode: BucketPolicy: a role chain needs no grant",
            json!({ "access": chained }),
        ),
        (
            "roleChain is required with mode: RoleChain, and not allowed otherwise: set roleChain, or remove it",
            json!({ "roleChain": chain }),
        ),
        (
            "passedRole is allowed with mode: BucketPolicy only: remove it, because the serviceRole of a chain may be passed anyway",
            json!({"mode": "RoleChain", "roleChain": chain}),
        ),
        (
            "budget.maxRequests is required with a prefix or a manifest: set it to limit the cost",
            json!({"budget": null, "source": {"uris": null, "prefix": {"bucket": "photos"}}}),
        ),
        (
            "results.select: BelowThreshold requires thresholds.minScore: set minScore, or select All or Failed",
            json!({"results": {"select": "BelowThreshold"}, "thresholds": null}),
        ),
        (
            "maxFailedItems must be a count such as 3 (0 or more, without quotes), or a percentage such as \"10%\" (0% to 100%)",
            json!({"maxFailedItems": "many"}),
        ),
        (
            "thresholds.maxBelow must be a count such as 3 (0 or more, without quotes), or a percentage such as \"5%\" (0% to 100%)",
            json!({"thresholds": {"maxBelow": -1}}),
        ),
        (
            "exactly one of uris, prefix and manifest is required: set one, remove the others",
            json!({"prefix": {"bucket": "photos"}}),
        ),
        (
            "a key in uris exceeds 1,023 bytes, the maximum of OSS: rename the object",
            json!({"uris": [long]}),
        ),
        (
            "uris exceed 128 KiB in total: use a manifest, or split them over several jobs",
            json!({ "uris": many }),
        ),
        (
            "the key exceeds 1,023 bytes, the maximum of OSS: rename the object",
            json!({"uris": null, "manifest": {"uri": long}}),
        ),
        (
            "must not contain the path segments . or ..",
            json!({"uris": null, "manifest": {"uri": "oss://photos/../list"}}),
        ),
    ]
}
