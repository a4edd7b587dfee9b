//! Clouds that read policies in different ways, and what must be concluded about each.

/// A cloud, and what must be concluded about it.
#[derive(Clone, Copy)]
pub(super) struct Case {
    pub(super) name: &'static str,
    /// Switches of the buckets and of the project, as members of a seed.
    pub(super) bucket: &'static str,
    pub(super) project: &'static str,
    /// The policy that the buckets have before, if any.
    pub(super) policy: Option<&'static str>,
    /// The source of the operator's own identity, if the objects use that and no Secret.
    pub(super) own: Option<Own>,
    /// More flags of the command.
    pub(super) flags: &'static [&'static str],
    /// The settings that differ from those of the other cases.
    pub(super) expected: &'static [(&'static str, &'static str)],
}

/// The only source of credentials of an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Own {
    /// The metadata service of the machine.
    Machine,
    /// A token of the operator's ServiceAccount (RRSA).
    Token,
}

impl Own {
    /// The value of `--own-identity`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Machine => "ecs",
            Self::Token => "rrsa",
        }
    }
}

/// A policy with a statement about another account.
const FOREIGN: &str = r#"{"Version":"1", "Statement":[{"Effect":"Deny","Principal":["27490"],"Action":["oss:DeleteObject"],"Resource":["*"]}]}"#;
/// The same in a form that no console writes: white space, the order of the members, escapes, and Chinese characters.
const ODD: &str = " \r\n{\t\"Statement\" :[{\"Resource\":\"acs:oss:*:*:*\\/\\u56fe\\u7247/*\",\r\n  \"Condition\" : {\"StringLike\":{\"acs:UserAgent\": [\"浏览器/*\", \"\\u6D4F*\"]}},\n\t\"Effect\":\"Deny\", \"Principal\":[ \"27490\" ], \"Action\":\"oss:PutObject\"} ,\r\n\t{\"Action\" : [\"oss:DeleteObject\"],\"Principal\":\"27491\" ,\"Effect\":\"Deny\",\"Resource\":[\"*\"]} ] ,\n\"Version\":\"1\"\n}\n\n";

/// A cloud that works as documented.
const CASE: Case = Case {
    name: "documented",
    bucket: "",
    project: "",
    policy: None,
    own: None,
    flags: &[],
    expected: &[
        ("grantee.principal", "ServiceRole"),
        ("grantee.roleName", "AliyunIMMDefaultRole"),
        ("access.passRoleStatement", "Omit"),
        ("grantWait.settleSeconds", "10"),
    ],
};

/// An operator without more flags scores, and no access is denied before.
pub(super) const CASES: &[Case] = &[
    CASE,
    Case {
        name: "slow",
        bucket: "policyEnforcementMs: 20000",
        expected: &[("grantee.principal", "ServiceRole")],
        ..CASE
    },
    Case {
        name: "any-case",
        bucket: "principals: { roleCaseIsIgnored: true }",
        project: "principalRole: aliyunimmdefaultrole",
        policy: Some(ODD),
        expected: &[("grantee.roleName", "AliyunIMMDefaultRole")],
        ..CASE
    },
    Case {
        name: "open",
        bucket: "blockPublicAccess: false, principals: { sessionWildcardIsPublic: true }",
        ..CASE
    },
    Case {
        name: "account",
        bucket: "principals: { sessionWildcardIsPublic: true, accountCoversSessions: true }",
        policy: Some(ODD),
        expected: &[("grantee.principal", "Account")],
        ..CASE
    },
    Case {
        name: "beside",
        policy: Some(FOREIGN),
        ..CASE
    },
    Case {
        name: "locked",
        bucket: "settingsLockMs: 300",
        policy: Some(ODD),
        ..CASE
    },
];

/// Access that is denied at first: the command waits four minutes before it tries the next form.
pub(super) const DENIED_AT_FIRST: &[Case] = &[
    Case {
        name: "very-slow",
        bucket: "policyEnforcementMs: 90000",
        expected: &[("grantee.principal", "ServiceRole")],
        ..CASE
    },
    Case {
        name: "lower-case",
        project: "principalRole: aliyunimmdefaultrole",
        policy: Some(FOREIGN),
        expected: &[("grantee.roleName", "aliyunimmdefaultrole")],
        ..CASE
    },
    Case {
        name: "chained",
        bucket: "principals: { sessionWildcardIsPublic: true }",
        expected: &[(
            "grantee.principal",
            "none: access.mode RoleChain of the job instead of a grant",
        )],
        ..CASE
    },
    Case {
        name: "pass-role",
        bucket: "blockPublicAccess: false",
        project: "passRoleRequired: true",
        flags: &["--allow-public"],
        expected: &[("access.passRoleStatement", "Include")],
        ..CASE
    },
];

/// An operator with the flags of the conclusion scores.
pub(super) const WITH_FLAGS: &[Case] = &[
    Case {
        name: "internal",
        bucket: "publicEndpointForbidden: true",
        expected: &[(
            "--oss-endpoint",
            "cn-hangzhou=https://oss-cn-hangzhou-internal.aliyuncs.com",
        )],
        ..CASE
    },
    Case {
        name: "machine",
        own: Some(Own::Machine),
        ..CASE
    },
    Case {
        name: "token",
        // IMM requires ram:PassRole of the session, on the role of the project too.
        project: "callerPasses: everyRole",
        own: Some(Own::Token),
        ..CASE
    },
];
