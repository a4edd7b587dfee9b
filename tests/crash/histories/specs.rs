//! The specs and the tenancy rules of a history, from small numbers.

use imm_operator::api::{
    Access, AdoptionPolicy, AllowedConsumers, BucketRef, Credentials, DeletionPolicy, DriftPolicy, GrantSpec,
    OssAction, PassRoleStatement, Preset,
};
use imm_operator::core::tenancy::{TenancyRules, check_rules};
use serde_json::{from_value, json};

use super::super::jobs::ACCOUNT;
use super::step::{Field, Shape};
use super::world::World;

pub const OWNER: &str = "6543210987654321";
pub const ROLE_ARN: &str = "acs:ram::6543210987654321:role/policy-admin";
const REGION: &str = "cn-hangzhou";

const ACCOUNTS: [&str; 2] = [ACCOUNT, "9876543210"];
const PREFIXES: [&[&str]; 4] = [&[], &["p/"], &["q/"], &["p/", "q/"]];
const PRESETS: [Preset; 3] = [Preset::Documented, Preset::Minimal, Preset::Custom];
const ADOPTIONS: [AdoptionPolicy; 3] = [
    AdoptionPolicy::Adopt,
    AdoptionPolicy::TakeOwnership,
    AdoptionPolicy::Fail,
];

fn pick<T: Copy>(from: &[T], number: u8) -> T {
    from[usize::from(number) % from.len()]
}

fn access(prefix: u8, preset: u8) -> Access {
    let preset = pick(&PRESETS, preset);
    let actions = if preset == Preset::Custom {
        vec![OssAction::GetObject, OssAction::ListObjects]
    } else {
        Vec::new()
    };
    Access {
        preset,
        actions,
        prefixes: pick(&PREFIXES, prefix).iter().map(|p| (*p).to_owned()).collect(),
        ..Access::default()
    }
}

/// Returns tenancy rules: none; the operator's identity for all, or for one namespace; strict; strict without a rule;
/// taking ownership.
pub fn tenancy(number: u8) -> TenancyRules {
    let rule = |names: &str, take: bool, sources: &[&str]| {
        json!({"namespaces": {"names": [names]}, "kinds": ["ImmBucketGrant", "ImageScoreJob"], "credentialSources": sources, "ownerUIDs": [OWNER],
            "buckets": ["*"], "granteeUIDs": ACCOUNTS, "projects": ["*"], "takeOwnership": take,
            "assumeRoleARNs": [ROLE_ARN]})
    };
    let (strict, rules) = match number {
        0 => (false, vec![]),
        1 => (false, vec![rule("*", false, &["Operator"])]),
        2 => (false, vec![rule("ns-0", false, &["Operator"])]),
        3 => (
            true,
            vec![rule("ns-0", false, &["Secret", "ServiceAccount", "Operator"])],
        ),
        4 => (true, vec![]),
        _ => (
            false,
            vec![rule("*", true, &["Secret", "ServiceAccount", "Operator"])],
        ),
    };
    let rules: TenancyRules = from_value(json!({"strict": strict, "rules": rules})).unwrap();
    check_rules(&rules).unwrap();
    rules
}

pub fn bucket_name(index: u8) -> String {
    format!("bucket-{}", char::from(b'a' + index))
}

pub fn bucket_ref(index: u8) -> BucketRef {
    BucketRef {
        name: bucket_name(index),
        region: REGION.to_owned(),
        owner_uid: OWNER.to_owned(),
    }
}

/// Returns the credentials with a number: a Secret, a ServiceAccount, or the operator's own identity through a role.
pub fn credentials(number: u8) -> Credentials {
    let value = match number {
        0 => json!({"source": "Secret", "secretRef": {"name": "keys"}}),
        1 => json!({"source": "ServiceAccount", "serviceAccount": {"name": "writer", "roleARN": ROLE_ARN,
            "oidcProviderARN": "acs:ram::6543210987654321:oidc-provider/cluster"}}),
        _ => json!({"source": "Operator", "assumeRole": {"roleARN": ROLE_ARN}}),
    };
    from_value(value).unwrap()
}

impl World {
    /// Gives a spec the fields of a shape.
    pub fn shape(&self, spec: &mut GrantSpec, shape: Shape) {
        pick(&ACCOUNTS, shape.account).clone_into(&mut spec.grantee.account_uid);
        spec.access = access(shape.prefix, shape.preset);
        spec.adoption_policy = pick(&ADOPTIONS, shape.adoption);
        spec.deletion_policy = pick(&[DeletionPolicy::Delete, DeletionPolicy::Retain], shape.deletion);
        spec.credentials = credentials(shape.identity % self.size.2);
    }

    /// Changes a field of a spec.
    pub fn edit_field(&self, spec: &mut GrantSpec, field: Field, number: u8) {
        match field {
            Field::Account => pick(&ACCOUNTS, number).clone_into(&mut spec.grantee.account_uid),
            Field::Role => {
                pick(&["AliyunIMMDefaultRole", "Other"], number).clone_into(&mut spec.grantee.role_name);
            }
            Field::Prefix => spec.access.prefixes = access(number, 0).prefixes,
            Field::Preset => {
                let new = access(0, number);
                (spec.access.preset, spec.access.actions) = (new.preset, new.actions);
            }
            Field::PassRole => {
                let all = [
                    PassRoleStatement::Auto,
                    PassRoleStatement::Omit,
                    PassRoleStatement::Include,
                ];
                spec.access.pass_role_statement = pick(&all, number);
            }
            Field::Adoption => spec.adoption_policy = pick(&ADOPTIONS, number),
            Field::Drift => spec.drift_policy = pick(&[DriftPolicy::Correct, DriftPolicy::Report], number),
            Field::Interval => spec.drift_interval_seconds = pick(&[600, 60, 86_400], number),
            Field::Deletion => {
                spec.deletion_policy = pick(&[DeletionPolicy::Delete, DeletionPolicy::Retain], number);
            }
            Field::Consumers => {
                spec.allowed_consumers = (number > 0).then(|| AllowedConsumers {
                    namespaces: vec!["ns-0".to_owned(), "ns-1".to_owned()],
                });
            }
            Field::Identity => spec.credentials = credentials(number % self.size.2),
        }
    }
}
