//! Clouds that read policies in different ways, and what must be concluded about each.

/// A cloud, and what must be concluded about it.
#[derive(Clone, Copy)]
pub(super) struct Case {
    pub(super) name: &'static str,
    /// Switches of the buckets and of the project, as members of a seed.
    pub(super) bucket: &'static str,
    pub(super) project: &'static str,
    /// More flags of the command.
    pub(super) flags: &'static [&'static str],
    /// The settings that differ from those of the other cases.
    pub(super) expected: &'static [(&'static str, &'static str)],
}

/// A cloud that works as documented.
const CASE: Case = Case {
    name: "documented",
    bucket: "",
    project: "",
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
        expected: &[("grantee.principal", "Account")],
        ..CASE
    },
    Case {
        name: "beside",
        bucket: "policy: '{\"Version\":\"1\", \"Statement\":[{\"Effect\":\"Deny\",\"Principal\":[\"27490\"],\"Action\":[\"oss:DeleteObject\"],\"Resource\":[\"*\"]}]}'",
        flags: &["--with-policy"],
        ..CASE
    },
    Case {
        name: "locked",
        bucket: "settingsLockMs: 300",
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
        flags: &["--own-identity", "ecs"],
        ..CASE
    },
];
