//! Every reason that a condition or an event can carry, one enum a kind, each with its meaning and who must act.
//! docs/reasons.md is generated from here; a test compares.

/// Defines a closed set of reasons with their texts, so that no reason exists without an explanation.
macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($variant:ident : $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $(#[doc = $text] $variant),+ }

        impl $name {
            /// Every reason, in the order of the reference.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word as users see it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant)),+ }
            }

            /// What it means, and who must act.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

reasons! {
    /// Reasons of an `ImmBucketGrant`'s conditions.
    GrantReason {
        Applied: "The statements are in the policy. Nobody must act.",
        Preview: "spec.mode is Preview: nothing is written; status.plan shows what Enforce would do. Nobody must act.",
        Retained: "The grant is being deleted and its statements stay, as deletionPolicy: Retain asks. Nobody must act.",
        Suspended: "spec.suspend is true: nothing is added, corrected or removed. Set it to false to go on.",
        Reconciling: "Work is under way. Nobody must act.",
        Pending: "The statements were not yet seen in the policy. Nobody must act.",
        Settling: "OSS has not yet shown the last write, or an earlier request may still arrive; the operator looks again by itself.",
        Removed: "The statements are no longer in the policy. The operator puts them back by itself.",
        Unknown: "The policy could not be read, so it is not known whether the statements are in it. See the Ready condition.",
        CredentialsUnavailable: "The object's credentials cannot be used. See the CredentialsValid condition for the cure.",
        Authenticated: "The last call to the cloud was authenticated. Nobody must act.",
        NotChecked: "No call was made yet with these credentials.",
        SecretMissing: "The Secret does not exist in the object's namespace. Create it.",
        SecretInvalid: "The Secret lacks the key accessKeyId or accessKeySecret, or a value is not printable text. Correct it.",
        SecretAccessDenied: "The operator may not read the Secret. Open that one Secret with the Role and RoleBinding that the message prints.",
        Rejected: "The cloud refused the keys (unknown, disabled, or a wrong secret). Put valid keys into the Secret.",
        Expired: "The temporary credentials have expired. Put fresh ones into the Secret.",
        AccessDenied: "The credentials are valid but lack a permission. Grant oss:GetBucketPolicy, oss:PutBucketPolicy and oss:DeleteBucketPolicy on the bucket (deploy/ram/owner-policy.json).",
        BucketNotFound: "The bucket does not exist. Create it, or delete the grant.",
        OwnerMismatch: "The bucket belongs to another account than spec.bucket.ownerUID says. Correct the grant.",
        RegionMismatch: "The bucket is in another region than spec.bucket.region says. Correct the grant.",
        PublicAccessBlocked: "Block Public Access refuses the policy. Set access.passRoleStatement: Omit, or have account B decide about Block Public Access.",
        PolicyTooLarge: "The policy with our statements would exceed 16,384 bytes, or one statement 4,095. Shorten the list of prefixes, or remove other statements.",
        PolicyUnreadable: "The policy is not a document that can be edited safely, so it is left alone. Correct it at OSS.",
        ForeignStatementRejected: "OSS refuses the policy because of its content, although our statements are valid; a statement of somebody else is the likely cause. Correct it at OSS.",
        ExistingStatement: "An equal statement is there already and adoptionPolicy is Fail. Choose Adopt, or remove the statement.",
        LedgerFull: "The grant already owns 12 statements, some still waiting to leave. The operator goes on when they have left.",
        RateLimited: "OSS asks to slow down. The operator tries again by itself.",
        CloudUnavailable: "OSS could not be reached or failed. The operator tries again by itself.",
        Contended: "Others keep changing the policy between reading and writing. The operator tries again by itself.",
        InvalidSpec: "The object does not follow the schema of this version. Correct the field that the message names.",
        Permitted: "The tenancy rules permit this object. Nobody must act.",
        TenancyDenied: "No tenancy rule permits this object. Ask whoever runs the operator for a rule (Helm value tenancy.rules); no call is made.",
        OwnerUnverified: "The operator's own identity is used only on buckets whose owner it could verify. Grant it oss:GetBucketInfo.",
        DriftReported: "Statements are gone from the policy and driftPolicy is Report. status.plan shows them; set driftPolicy to Correct to have them put back.",
        Contested: "Somebody has removed the statements three times within an hour, so they are put back ever more seldom. Find out who (Terraform's alicloud_oss_bucket is known for it) and stop them.",
        NoDeny: "No Deny of the same policy covers what is granted. Nobody must act.",
        ExplicitDeny: "A Deny of the same policy covers what is granted, so the access does not work. Remove that Deny at OSS.",
        ConditionalDeny: "A Deny of the same policy covers what is granted under a condition that the operator does not evaluate.",
        NotEvaluated: "A Deny of the same policy is written in a way that the operator does not evaluate.",
        TokenRequestDenied: "The operator may not mint a token of the ServiceAccount. Open that one ServiceAccount with the Role and RoleBinding that the message prints.",
        AssumeRoleDenied: "STS refused the role. Check its ARN, its trust policy and the external id.",
        OwnIdentityMissing: "The operator has no identity of its own. Ask whoever runs it, or use another source of credentials.",
        OtherAccount: "The credentials belong to another account than the object names. Use credentials of that account.",
        Residual: "Statements of others still name this grantee, so access remains. Remove them at OSS if that is not wanted.",
    }
}

reasons! {
    /// Reasons of an `ImageScoreJob`'s conditions.
    JobReason {
        Complete: "All items are done, no more failed than maxFailedItems allows, and the results are stored. Nobody must act.",
        Completed: "No item failed; ignored and skipped ones are no failures. Nobody must act.",
        CompletedWithFailures: "All items are done; some failed, no more than maxFailedItems allows. See status.failures.",
        Scoring: "Calls are under way. Nobody must act.",
        Pending: "The job has not started yet. Nobody must act.",
        Suspended: "spec.suspend is true: no call is made. Set it to false to go on from here.",
        CountingItems: "The items of the source are being counted; no paid call is made before. Nobody must act.",
        Counted: "The items of the source are counted. Nobody must act.",
        SourceUnreadable: "The prefix cannot be listed, or the manifest cannot be read. Give oss:ListObjects on the bucket or oss:GetObject on the manifest to the source's credentials, or to the job's.",
        WithinThreshold: "No more scores are below the threshold than it allows. Nobody must act.",
        Pruned: "The results were removed when their time was over; the summary stays. Nobody must act.",
        WaitingForGrant: "The grant named in grantRef is not live yet, is settling, or cannot be named from here. No call is made until it is.",
        Live: "The grant is live and covers every item. Nobody must act.",
        Stored: "Every counted result is in status or in reports; of an ended job, those that results.select asks for. Nobody must act.",
        Storing: "The API server refuses to store results; they are kept in memory meanwhile. The message says what to look at.",
        CredentialsUnavailable: "The job's credentials cannot be used. See the CredentialsValid condition for the cure.",
        Authenticated: "The last call to the cloud was authenticated. Nobody must act.",
        SecretMissing: "The Secret does not exist in the object's namespace. Create it.",
        SecretInvalid: "The Secret lacks the key accessKeyId or accessKeySecret, or a value is not printable text. Correct it.",
        SecretAccessDenied: "The operator may not read the Secret. Open that one Secret with the Role and RoleBinding that the message prints.",
        Rejected: "The cloud refused the keys (unknown, disabled, or a wrong secret). Put valid keys into the Secret.",
        Expired: "The temporary credentials have expired. Put fresh ones into the Secret.",
        Permitted: "The tenancy rules permit this object. Nobody must act.",
        TenancyDenied: "No tenancy rule permits this object. Ask whoever runs the operator for a rule (Helm value tenancy.rules); no call is made.",
        TokenRequestDenied: "The operator may not mint a token of the ServiceAccount. Open that one ServiceAccount with the Role and RoleBinding that the message prints.",
        AssumeRoleDenied: "STS refused the role. Check its ARN, its trust policy and the external id.",
        OwnIdentityMissing: "The operator has no identity of its own. Ask whoever runs it, or use another source of credentials.",
        OtherAccount: "The credentials belong to another account than the object names. Use credentials of that account.",
        BudgetExceeded: "budget.maxRequests is used up. Raise it to go on; with onExceeded: Fail create another job.",
        RestoredWithoutStatus: "The object carries the started mark of another object: it was restored from a backup without its results. Remove the annotation immops.dev/started to pay for all items again.",
        ResultsUnreadable: "The reports of the job cannot be read, so that it is not known what was paid for. The message says what to look at.",
        NotStarted: "The API server refuses the annotation that goes before the first call, so none is made. The message says what to look at.",
        ResultsMissing: "Reports of the job are gone, and with them results that were paid for. Restore them, or cancel the job and create another one.",
        InvalidSpec: "The object does not follow the schema of this version. Correct the field that the message names.",
        BackoffLimitExceeded: "More items failed than maxFailedItems allows, all of them because their retries ran out. IMM may be failing: see status.failures, then create another job.",
        MaxFailedItems: "More items failed than maxFailedItems allows. See status.failures, then create another job without those images, or with a higher maxFailedItems.",
        PermissionDenied: "IMM may not be called with these credentials, or may not read the images. Check deploy/ram/imm-side-policy.json and the grant, then create the job again.",
        ProjectNotFound: "The project does not exist in this region and account. Create it, then create the job again.",
        RegionMismatch: "The bucket is in another region than the project. IMM reaches buckets of its own region only: use a project there.",
        GrantMismatch: "The grant does not cover the job's account, bucket or keys. Correct the grant, or create another job. No call was made after that was seen.",
        SourceTooLarge: "The source holds more items, or more bytes of results, than the job may have. Create another job with a higher maxObjects (at most 250,000), or split it; no paid call was made.",
        SourceChanged: "The manifest was replaced while the job ran. Create the job again for the new one.",
        DeadlineExceeded: "The job did not end within activeDeadlineSeconds. Its results so far are kept; create another job with more time.",
        BelowThreshold: "More scores are below thresholds.minScore than thresholds.maxBelow allows. Look at those images, or create another job with a lower minScore or a higher maxBelow.",
        Cancelled: "spec.cancel was set. The results so far are kept; create another job to score the rest.",
        FailureRule: "An item failed with a code for which a failure rule fails the job. See status.failures, then create another job.",
        GrantTimeout: "The grant was not live for grantWait.timeoutSeconds at a stretch. No call was made meanwhile. Repair the grant, then create the job again.",
    }
}

reasons! {
    /// Reasons of events.
    EventReason {
        StatementAdded: "Statements of the grant were added to the policy.",
        StatementRemoved: "Statements of the grant were taken out of the policy.",
        DriftDetected: "Statements of the grant were gone from the policy.",
        DriftCorrected: "Statements that were gone are back.",
        Contested: "Somebody keeps removing the statements.",
        ForeignOverlap: "A statement of somebody else names the same service role.",
        PolicyBackedUp: "A copy of the policy was kept before it was written.",
        TenancyDenied: "No tenancy rule permits the object.",
        AccessDenied: "A permission is missing.",
        CredentialsUnavailable: "The credentials cannot be used.",
        ResidualAccess: "Access remains through statements of others.",
        DeletionBlocked: "The grant cannot take its statements out; the Ready condition says why.",
        Abandoned: "The grant was released without taking its statements out, as annotation immops.dev/abandon asks.",
        Retained: "The grant was deleted and its statements stay.",
        BucketGone: "The bucket no longer exists, so nothing is left to take out.",
        WaitingForGrant: "The job waits for its grant; no call is made.",
        Started: "The job made its first call.",
        Throttled: "IMM asks to slow down.",
        BudgetExceeded: "The job has used up its budget.",
        Suspended: "The job is paused.",
        Resumed: "The job goes on.",
        ResultsPruned: "The results of an ended job were removed when their time was over.",
        Completed: "The job is complete.",
        Failed: "The job has failed.",
    }
}
