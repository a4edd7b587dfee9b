//! Specs of grants, for scenarios and histories.

use imm_operator::api::{
    Access, AdoptionPolicy, AssumeRole, BucketRef, CredentialSource, Credentials, DeletionPolicy,
    DriftPolicy, GrantSpec, Grantee, Mode, PassRoleStatement, Preset, PrincipalForm, SecretRef,
};

pub const BUCKET: &str = "test-bucket-2024";

/// Account that owns the bucket.
pub const OWNER: &str = "6543210987654321";

/// Returns a grant for an account, with all prefixes and actions.
pub fn grant(account: &str) -> GrantSpec {
    GrantSpec {
        bucket: BucketRef {
            name: BUCKET.to_owned(),
            region: "cn-hangzhou".to_owned(),
            owner_uid: OWNER.to_owned(),
        },
        grantee: Grantee {
            account_uid: account.to_owned(),
            role_name: "AliyunIMMDefaultRole".to_owned(),
            principal: PrincipalForm::ServiceRole,
            session_name: None,
        },
        access: Access {
            preset: Preset::Documented,
            prefixes: Vec::new(),
            ..Access::default()
        },
        mode: Mode::Enforce,
        suspend: false,
        adoption_policy: AdoptionPolicy::Adopt,
        drift_policy: DriftPolicy::Correct,
        drift_interval_seconds: 600,
        deletion_policy: DeletionPolicy::Delete,
        allowed_consumers: None,
        credentials: Credentials {
            source: CredentialSource::Secret,
            secret_ref: Some(SecretRef {
                name: "oss-policy-admin".to_owned(),
            }),
            service_account: None,
            assume_role: None,
        },
    }
}

pub fn on(mut grant: GrantSpec, prefixes: &[&str]) -> GrantSpec {
    grant.access.prefixes = prefixes.iter().map(|p| (*p).to_owned()).collect();
    grant
}

pub fn minimal(mut grant: GrantSpec) -> GrantSpec {
    grant.access.preset = Preset::Minimal;
    grant
}

pub fn suspended(mut grant: GrantSpec) -> GrantSpec {
    grant.suspend = true;
    grant
}

pub fn with_keys(mut grant: GrantSpec, secret: &str) -> GrantSpec {
    grant.credentials.secret_ref = Some(SecretRef {
        name: secret.to_owned(),
    });
    grant
}

pub fn through_a_role(mut grant: GrantSpec) -> GrantSpec {
    grant.credentials.assume_role = Some(AssumeRole {
        role_arn: "acs:ram::6543210987654321:role/policy-admin".to_owned(),
        external_id: None,
    });
    grant
}

/// The statements stay when the grant is deleted.
pub fn retained(mut grant: GrantSpec) -> GrantSpec {
    grant.deletion_policy = DeletionPolicy::Retain;
    grant
}

pub fn without_pass_role(mut grant: GrantSpec) -> GrantSpec {
    grant.access.pass_role_statement = PassRoleStatement::Omit;
    grant
}
