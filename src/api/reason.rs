//! Every reason that a condition or an event can carry: one enum for each kind and one for events, each reason with its
//! meaning and the action that it requires. docs/src/reference/reasons.md is generated from these enums, and a test compares the two.

/// Defines an enum whose values have names. The derives must include `Serialize` or `Deserialize`.
macro_rules! names {
    ($(#[$attribute:meta])* $type:ident { $($variant:ident = $name:literal),+ $(,)? }) => {
        $(#[$attribute])*
        #[expect(missing_docs, reason = "each value is what its name says")]
        pub enum $type { $(#[serde(rename = $name)] $variant),+ }

        impl $type {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name of the value.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}
pub(crate) use names;

/// Defines a closed set of names together with their meanings, so that no name exists without one.
macro_rules! documented_names {
    ($(#[$doc:meta])* $name:ident { $($variant:ident : $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $(#[doc = $text] $variant),+ }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl $name {
            /// Every value, in the order of the reference.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Each name with what it means and, where one is required, which action it requires.
            pub const MEANINGS: &'static [(&'static str, &'static str)] = &[$((stringify!($variant), $text)),+];

            /// The name as it is written in conditions and events.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant)),+ }
            }
        }
    };
}

pub(super) use documented_names;

/// Defines the reasons of a kind: its own, and those that both kinds have.
macro_rules! kind_reasons {
    ($(#[$doc:meta])* $name:ident { $($own:tt)+ }) => {
        documented_names! {
            $(#[$doc])*
            $name {
                $($own)+
                Authenticated: "The last call to the cloud was authenticated. No action needed.",
                SecretMissing: "The Secret or the ServiceAccount does not exist in the namespace of the object. Create it.",
                SecretInvalid: "The Secret lacks accessKeyId or accessKeySecret, or a value is not printable text. Correct the Secret.",
                SecretAccessDenied: "The operator has no permission to read the Secret. Create the Role and the RoleBinding that the message prints.",
                CredentialsRejected: "The cloud rejected the AccessKey pair: unknown, disabled, or a wrong secret. Provide a valid AccessKey pair.",
                CredentialsExpired: "The temporary credentials have expired. Provide new ones.",
                EndpointForbidden: "The public endpoint of OSS does not serve this bucket. Ask the cluster operator to set Helm value network to internal and region to the operator's region, or endpoints.oss to an address that serves it.",
                InvalidSpec: "The object does not follow the schema of this version. Correct the field that the message names.",
                Permitted: "The tenancy rules allow the object. No action needed.",
                TenancyDenied: "No tenancy rule allows the object, so the operator makes no call for it. Ask the cluster operator for a rule (Helm value tenancy.rules).",
                TokenRequestDenied: "The operator has no permission to request a token of the ServiceAccount. Create the Role and the RoleBinding that the message prints.",
                AssumeRoleDenied: "STS rejected the role assumption. Check the ARN of the role, its trust policy and the external ID.",
                OwnIdentityMissing: "The operator has no identity of its own. Ask the cluster operator for one, or use another source of credentials.",
                OtherAccount: "The credentials belong to another account than the object names. Use credentials of that account.",
            }
        }
    };
}

kind_reasons! {
    /// Reasons of an `ImmBucketGrant`'s conditions.
    GrantReason {
        Applied: "All statements are present in the policy. No action needed.",
        Preview: "spec.mode is Preview: the policy is not written, and status.plan shows what Enforce would change. No action needed.",
        Suspended: "spec.suspend is true: statements are neither added, restored nor removed. Set spec.suspend to false to resume.",
        Reconciling: "A reconcile is in progress. No action needed.",
        Pending: "The statements have not been seen in the policy yet. No action needed.",
        Propagating: "OSS has not returned the last write yet, or an unanswered write can still take effect. The operator checks again automatically. No action needed.",
        Missing: "At least one statement is not in the policy. The Ready condition says whether the operator restores it.",
        Released: "The grant is being deleted and owns no statement anymore. No action needed.",
        Unknown: "The policy could not be read or written, so the presence of the statements is unknown. See the Ready condition.",
        CredentialsUnavailable: "The credentials of the object cannot be used. If CredentialsValid is False, its message names the fix; otherwise see the Ready condition.",
        AccessDenied: "The credentials are valid but lack a permission. Allow oss:GetBucketPolicy, oss:PutBucketPolicy and oss:DeleteBucketPolicy on the bucket (deploy/ram/owner-policy.json).",
        BucketNotFound: "The bucket does not exist. Create the bucket, or delete the grant.",
        OwnerMismatch: "The bucket belongs to another account than spec.bucket.ownerUID. Delete the grant and create it with the correct owner.",
        RegionMismatch: "The bucket is in another region than spec.bucket.region. Delete the grant and create it with the correct region.",
        PublicAccessBlocked: "Block Public Access forbids the ram:PassRole statement or rejects the policy. Set access.passRoleStatement to Auto or Omit; if the policy is still rejected, set grantee.principal to ServiceRoleSession or Account, let jobs use access.mode RoleChain, or ask the owner of the bucket to remove its public statements.",
        PolicyTooLarge: "With the statements of the grant, the policy would exceed 16,384 bytes, or one statement would exceed 4,095 bytes. Shorten spec.access.prefixes, or remove other statements.",
        PolicyUnreadable: "The policy is not a document that can be edited safely, so the operator does not change it. Correct the policy at OSS.",
        ForeignStatementRejected: "OSS rejects the policy because of its content, although the statements of the grant are valid. Check the unmanaged statements and correct them at OSS.",
        ExistingStatement: "An equal statement exists already and adoptionPolicy is Fail. Set adoptionPolicy to Adopt, or remove the statement.",
        LedgerFull: "The grant owns 12 statements, the maximum. If some of them are still being removed, the operator continues when these have left the policy. If the grant is stalled, a later version of the operator wrote entries of status.owned that this version cannot verify: use that version, or remove these entries.",
        RateLimited: "OSS throttles the requests. The operator retries automatically. No action needed.",
        CloudUnavailable: "OSS did not answer, returned a server error (5xx), rejected the time of the request, or rejected a change of the policy because another request changes the settings of the bucket. The operator retries automatically. If it persists, check the network and the clock of the operator's node.",
        RequestRejected: "OSS rejected the request with a code that a retry does not change. The operator retries at each drift check. If it repeats, report the code.",
        WriteConflict: "Another writer changed the policy between each read and write. The operator retries automatically. No action needed unless it persists.",
        InvalidPlan: "The change that the operator planned failed the check before the write, so the policy was not written. The operator retries automatically. Report the bug with the log of the operator.",
        OwnerUnverified: "The operator uses its own identity only for buckets whose owner it can verify. Allow oss:GetBucketInfo for that identity.",
        DriftReported: "Statements are missing from the policy and driftPolicy is Report. status.plan shows them. Set driftPolicy to Correct to restore them.",
        RepeatedDrift: "Another writer removed the statements three times within an hour, so they are restored with exponential backoff. Find that writer (ActionTrail: PutBucketPolicy; often Terraform's alicloud_oss_bucket).",
        NoDeny: "No Deny in the same policy covers the granted access. No action needed.",
        ExplicitDeny: "A Deny in the same policy covers all of the granted access, so access fails. Remove that Deny at OSS, unless it was created by Alibaba Cloud Security: then the owner of the bucket settles the cause with Alibaba Cloud first.",
        PartialDeny: "A Deny in the same policy covers a part of the granted access: some objects or some sessions. Check that Deny.",
        ConditionalDeny: "A Deny with a Condition, which the operator does not evaluate, may cover the granted access. Check that Deny.",
        NotEvaluated: "A Deny in the same policy may cover the granted access, and uses elements that the operator does not evaluate: NotPrincipal, NotAction, NotResource, the UID of the grantee account, a role in another spelling, a region, ? in a pattern, or an unusual spelling. Check that Deny.",
        Residual: "Unmanaged statements still name this grantee, so access remains. Remove them at OSS if that is not intended.",
    }
}

kind_reasons! {
    /// Reasons of an `ImageScoreJob`'s conditions.
    JobReason {
        Completed: "All items are done, no more of them failed than maxFailedItems allows, and the results are stored. No action needed.",
        CompletedWithFailures: "All items are done, and some of them failed, no more than maxFailedItems allows. See status.failures.",
        Scoring: "Calls to IMM are in progress. No action needed.",
        Pending: "The job has not started. No action needed.",
        Suspended: "spec.suspend is true: the job makes no calls. Set spec.suspend to false to resume.",
        CountingItems: "The items of the source are being counted, before the first billed call. No action needed.",
        Counted: "The items of the source have been counted. No action needed.",
        SourceUnreadable: "The prefix cannot be listed, or the manifest cannot be read. Allow oss:ListObjects on the bucket, or oss:GetObject on the manifest, for the credentials of the source or of the job.",
        WithinThreshold: "No more scores are below the threshold than thresholds.maxBelow allows. No action needed.",
        ResultsExpired: "The results were removed after results.ttlSecondsAfterFinished. The summary remains. No action needed.",
        WaitingForGrant: "The grant named in grantRef is not live, is still propagating, or cannot be referenced from this namespace. The job makes no calls until the grant is ready.",
        Live: "The grant is live and covers every item. No action needed.",
        Stored: "Every counted result is stored in status or in reports; after the job has finished, the results that results.select keeps. No action needed.",
        ReportRejected: "The API server rejects the results, which are kept in memory meanwhile. The message names what to check.",
        CredentialsUnavailable: "The credentials of the job cannot be used. If CredentialsValid is False, its message names the fix; otherwise see the Ready condition.",
        BudgetExceeded: "The job has used up budget.maxRequests. Raise it to resume; with onExceeded: Fail, create another job.",
        RestoredFromBackup: "Annotation immops.dev/started belongs to another object, or the status with the request counts is lost: the object was restored from a backup, or its status was removed. Remove the annotation to score, and be billed for, all items again.",
        StatusUnreadable: "A part of the status cannot be decoded, so the operator does not know which items were billed. It replaces nothing. Repair the part of status that the message names.",
        ResultsUnreadable: "The reports of the job cannot be read, so the operator does not know which items were billed. The message names what to check.",
        NotStarted: "The API server rejects the annotation that the operator sets before the first call, so no call is made. The message names what to check.",
        ResultsMissing: "Reports of the job, with results that were billed, are missing. Restore the reports, or cancel the job and create another one.",
        BackoffLimitExceeded: "More items failed than maxFailedItems allows, each of them after its last retry. IMM may have an outage: see status.failures, then create another job.",
        MaxFailedItems: "More items failed than maxFailedItems allows. See status.failures, then create another job without those images, or with a higher maxFailedItems.",
        FirstCallsRefused: "IMM refused the first five calls, spread over the first images, with the same code, and no image has a score. The code does not name a single image, so the remaining images would be billed and refused too. Correct what the code names, or list it in failureRules, then create another job.",
        PermissionDenied: "The caller lacks imm:DetectImageScore, or the service role lacks oss:GetObject. Check deploy/ram/imm-side-policy.json and the grant, then create another job.",
        ProjectNotFound: "The project does not exist in this region and account. Create the project, then create another job.",
        RegionMismatch: "The bucket is in another region than the project, and IMM reads only buckets in the region of the project. Use a project in the region of the bucket.",
        GrantMismatch: "The grant does not cover the account, bucket, object keys or service role of the job. Correct the grant, then create another job.",
        SourceTooLarge: "The source has more items than the job may have, or its results would exceed 64 MiB. No billed call was made. Create another job with a higher maxObjects (at most 250,000), or split the source.",
        SourceChanged: "The manifest was replaced while the job ran, or the source has more items than were counted. The results so far are kept. Create another job.",
        DeadlineExceeded: "The job did not finish within activeDeadlineSeconds. The results so far are kept. Create another job with more time.",
        BelowThreshold: "More scores are below thresholds.minScore than thresholds.maxBelow allows. Check those images, or create another job with other thresholds.",
        Cancelled: "spec.cancel is true. The results so far are kept. Create another job to score the remaining items.",
        FailureRule: "An item failed with a code for which a failure rule fails the job. See status.failures, then create another job.",
        GrantTimeout: "The grant was not live for grantWait.timeoutSeconds without interruption. No call was made meanwhile. Repair the grant, then create another job.",
    }
}

documented_names! {
    /// Reasons of events, besides the reasons of the Ready condition: each change to Stalled is a Warning event with the
    /// reason of the Ready condition.
    EventReason {
        StatementAdded: "Statements of the grant were added to the policy.",
        StatementRemoved: "Statements of the grant were removed from the policy.",
        DriftDetected: "Statements of the grant were missing from the policy.",
        DriftCorrected: "Missing statements were restored.",
        ForeignOverlap: "An unmanaged statement names the same service role.",
        PolicyBackedUp: "A copy of the policy was stored before the policy was written.",
        ResidualAccess: "Access remains through statements that are unmanaged or that a grant with other credentials owns.",
        DeletionBlocked: "The grant cannot remove its statements; the Ready condition names the cause.",
        Abandoned: "The grant was released without removing its statements, because annotation immops.dev/abandon is true.",
        Retained: "The grant was deleted, and its statements remain, because deletionPolicy is Retain.",
        BucketGone: "The bucket no longer exists, so no statement has to be removed.",
        WaitingForGrant: "The job waits for its grant and makes no calls.",
        Started: "The job is about to make its first call.",
        Throttled: "IMM throttles the requests of the job.",
        BudgetExceeded: "The job has used up its budget.",
        Suspended: "The job is suspended.",
        Resumed: "The job resumes.",
        ResultsExpired: "The results of a finished job were removed after results.ttlSecondsAfterFinished.",
        Completed: "The job is complete.",
        Failed: "The job has failed.",
    }
}
