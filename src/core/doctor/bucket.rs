//! Checks of a grant and its bucket.

use k8s_openapi::jiff::Timestamp;

use super::advice::{call_failed, credentials_check};
use super::public_policy::{JudgedPolicy, policy_view, public_check, wildcard_check};
use super::{BucketFacts, Check, GrantFacts, ProbeFacts};
use crate::api::GrantSpec;
use crate::core::error::CloudError;
use crate::core::grant::{GrantOutcome, PublicAccessBlock, denies_of, parse_spec, planned_change_alone};
use crate::core::policy::{DenyVerdict, Document, POLICY_LIMIT};
use crate::core::text::counted;

/// All checks of a grant.
pub(super) fn grant_checks(grant: &GrantFacts, probe: Option<&ProbeFacts>, now: Timestamp) -> Vec<Check> {
    let mut checks = vec![credentials_check("grant-credentials", &grant.credentials)];
    let Some(bucket) = &grant.bucket else {
        return checks;
    };
    checks.push(account_check(&grant.spec, bucket));
    checks.extend(info_checks(&grant.spec, bucket));
    checks.push(block_check(&bucket.block));
    let bytes = match &bucket.policy {
        Ok(bytes) => bytes.as_deref(),
        Err(error) => {
            checks.push(call_failed("policy-readable", "reading the policy", error));
            return checks;
        }
    };
    let document = match bytes.map(Document::parse).transpose() {
        Ok(document) => document,
        Err(error) => {
            checks.push(Check::failed(
                "policy-readable",
                format!("the operator would not write this policy because {error}"),
                "correct the policy document",
            ));
            return checks;
        }
    };
    let statements = document
        .as_ref()
        .map_or(0, |document| document.statements().len());
    let size = bytes.map_or(0, <[u8]>::len);
    checks.push(Check::ok(
        "policy-readable",
        match document {
            Some(_) => format!(
                "{}, {size} of {POLICY_LIMIT} bytes",
                counted(statements, "statement")
            ),
            None => "the bucket has no policy".to_owned(),
        },
    ));
    let view = policy_view(grant, probe);
    checks.push(plan_check(grant, document.as_ref(), &view, now));
    checks.push(public_check(&grant.spec, &view));
    checks.extend(wildcard_check(&view));
    checks.push(deny_check(&grant.spec, document.as_ref()));
    checks
}

fn account_check(spec: &GrantSpec, bucket: &BucketFacts) -> Check {
    let name = "grant-caller-account";
    let wanted = &spec.bucket.owner_uid;
    match &bucket.account {
        Ok(account) if account == wanted => Check::ok(
            name,
            format!("the credentials belong to account {account}, the owner of the bucket"),
        ),
        Ok(account) => {
            let seen =
                format!("the credentials belong to account {account}, and spec.bucket.ownerUID is {wanted}");
            let change = "use credentials of the account that owns the bucket";
            if bucket.policy.is_ok() {
                Check::warning(name, seen, change)
            } else {
                Check::failed(name, seen, change)
            }
        }
        Err(error) => call_failed(name, "GetCallerIdentity", error),
    }
}

fn info_checks(spec: &GrantSpec, bucket: &BucketFacts) -> Vec<Check> {
    let info = match &bucket.info {
        Ok(info) => info,
        Err(error) => return vec![call_failed("bucket-owner", "GetBucketInfo", error)],
    };
    let unread = |name| {
        Check::warning(
            name,
            "not readable with these credentials",
            "allow oss:GetBucketInfo, so that a wrong bucket is found before the first write",
        )
    };
    let owner = match &info.owner_uid {
        Some(owner) if *owner == spec.bucket.owner_uid => {
            Check::ok("bucket-owner", format!("the bucket belongs to account {owner}"))
        }
        Some(owner) => Check::failed(
            "bucket-owner",
            format!(
                "the bucket belongs to account {owner}, and spec.bucket.ownerUID is {}",
                spec.bucket.owner_uid
            ),
            "correct ownerUID, or the name of the bucket",
        ),
        None => unread("bucket-owner"),
    };
    let region = match &info.region {
        Some(region) if *region == spec.bucket.region => {
            Check::ok("bucket-region", format!("the bucket is in {region}"))
        }
        Some(region) => Check::failed(
            "bucket-region",
            format!(
                "the bucket is in {region}, and spec.bucket.region is {}",
                spec.bucket.region
            ),
            "create another grant with the region of the bucket",
        ),
        None => unread("bucket-region"),
    };
    vec![owner, region]
}

fn block_check(block: &Result<PublicAccessBlock, CloudError>) -> Check {
    let name = "public-access-block";
    match block {
        Ok(PublicAccessBlock::Off) => Check::ok(name, "off for the bucket and its account"),
        Ok(PublicAccessBlock::OnForBucket) => Check::ok(
            name,
            "on for the bucket: OSS rejects a policy that counts as public",
        ),
        Ok(PublicAccessBlock::OnForAccount | PublicAccessBlock::RefusedByOss) => Check::ok(
            name,
            "on for the account: OSS rejects a policy that counts as public",
        ),
        Ok(PublicAccessBlock::Unreadable) => Check::warning(
            name,
            "not readable with these credentials",
            "allow oss:GetBucketPublicAccessBlock on the bucket and oss:GetPublicAccessBlock on *",
        ),
        Err(error) => call_failed(name, "reading Block Public Access", error),
    }
}

fn plan_check(grant: &GrantFacts, document: Option<&Document>, view: &JudgedPolicy, now: Timestamp) -> Check {
    let name = "policy-plan";
    let wanted = match parse_spec(&grant.spec, view.pass_role) {
        Ok(wanted) => wanted,
        Err(error) => return Check::failed(name, error.to_string(), "correct the grant"),
    };
    match planned_change_alone(document, &wanted, grant.ledger.clone(), now) {
        Ok(change) if change.add.is_empty() && change.remove.is_empty() => {
            Check::ok(name, "nothing would change: all statements are in the policy")
        }
        Ok(change) => Check::ok(
            name,
            format!(
                "{} would be added and {} removed; the policy would have {} of {POLICY_LIMIT} bytes",
                counted(change.add.len(), "statement"),
                change.remove.len(),
                change.resulting_bytes
            ),
        ),
        Err(GrantOutcome::ExistingStatement) => Check::failed(
            name,
            "an equal statement is already in the policy and adoptionPolicy is Fail",
            "set adoptionPolicy to Adopt, or remove the statement",
        ),
        Err(GrantOutcome::TooLarge { needed, free }) => Check::failed(
            name,
            format!(
                "the statements need {needed} bytes, and {free} of {POLICY_LIMIT} are free in the policy"
            ),
            "use fewer prefixes, or remove other statements",
        ),
        Err(_) => Check::failed(
            name,
            "the statements do not fit into one statement, or the grant would own too many",
            "use fewer prefixes, or split the grant",
        ),
    }
}

fn deny_check(spec: &GrantSpec, document: Option<&Document>) -> Check {
    let name = "policy-deny";
    let denies = denies_of(spec, document);
    let by = if denies.by_alibaba_cloud {
        ", which Alibaba Cloud added: ask the owner of the bucket to settle the cause with them"
    } else {
        ": remove or narrow it"
    };
    match denies.verdict {
        DenyVerdict::NoDeny => Check::ok(name, "no Deny of the live policy covers the grant"),
        DenyVerdict::ExplicitDeny => Check::failed(
            name,
            "a Deny of the live policy covers all of the granted access",
            format!("find the Deny{by}"),
        ),
        DenyVerdict::PartialDeny => Check::warning(
            name,
            "a Deny of the live policy covers a part of the granted access",
            format!("find the Deny{by}"),
        ),
        DenyVerdict::ConditionalDeny | DenyVerdict::NotEvaluated => Check::warning(
            name,
            "a Deny of the live policy may cover the grant, and is not evaluated",
            format!("read the Deny{by}"),
        ),
    }
}
