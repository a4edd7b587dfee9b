//! Histories as data: what users, tenants, other writers and the environment do, and when. Every step is possible in
//! every state (one that finds nothing to act on does nothing), so a history stays valid when steps are removed from
//! it.

use serde::{Deserialize, Serialize};

use super::super::rival::Edit;

/// A random history in a small world.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// Numbers of buckets, namespaces and identities.
    pub size: (u8, u8, u8),
    pub steps: Vec<(Pause, Act)>,
}

/// What happens before a step: an amount of time, or a number of effects of the operator. A step that waits for
/// effects lands between two of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pause {
    Effects(u8),
    Seconds(u16),
}

/// The fields of a new grant, as small numbers: equal numbers make equal statements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    pub bucket: u8,
    pub identity: u8,
    pub account: u8,
    pub prefix: u8,
    pub preset: u8,
    pub adoption: u8,
    pub deletion: u8,
    /// The manifest names the operator's finalizer.
    pub finalizer: bool,
}

/// A field of a grant's spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Field {
    Account,
    Role,
    Prefix,
    Preset,
    PassRole,
    Adoption,
    Drift,
    Interval,
    Deletion,
    Consumers,
    Identity,
}

/// What a tenant with the right to write statuses writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Forgery {
    /// Entries for what the grant renders, in each state.
    Intended,
    Applied,
    Removing,
    /// Entries for what the other grant of the bucket owns.
    OfAnother,
    /// The ledger is cleared.
    Cleared,
    /// Times ten thousand years from now.
    FarFuture,
    /// A hold on corrections, and another generation.
    Nonsense,
}

/// What a user does with the permission of an identity at a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Permission {
    All,
    ReadOnly,
    Nothing,
}

/// What happens to the credentials that an identity refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rotation {
    /// New keys, and the old ones are refused from now on.
    Replaced,
    /// The Secret or ServiceAccount is deleted.
    Deleted,
    /// The operator may no longer read it.
    Closed,
    /// It exists and may be read, with the keys it had.
    Restored,
}

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stop {
    Before,
    Lost,
    Unanswered,
    Answered,
}

/// The fields of a new job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobShape {
    pub bucket: u8,
    pub identity: u8,
    pub images: u8,
    /// Whether the source is a prefix, so that results are in reports.
    pub prefix: bool,
    /// The grant it waits for; 0 is none.
    pub grant: u8,
    /// The budget is smaller than the number of images.
    pub poor: bool,
}

/// An edit of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobEdit {
    Suspend,
    Resume,
    Cancel,
    Parallelism(u8),
    Budget(u8),
    Deadline(u8),
}

/// What somebody writes into a job's status or annotations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobForgery {
    Cleared,
    ForeignMark,
    FarFuture,
}

/// An error of the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApiError {
    Conflict,
    NotFound,
    Forbidden,
    Invalid,
    Unavailable,
}

/// An error of the cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CloudAnswer {
    AccessDenied,
    CredentialsRejected,
    CredentialsExpired,
    Throttled,
    RequestRejected,
    PolicyRejected,
    Unavailable,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Act {
    /// Creates a grant, or replaces its spec.
    Apply(u8, Shape),
    Edit(u8, Field, u8),
    /// `kubectl replace` with the same manifest: the finalizer is gone.
    Replace(u8),
    Suspend(u8, bool),
    Preview(u8, bool),
    Delete(u8),
    /// Deletes a grant and creates another one under the same name as soon as it is free.
    Recreate(u8, Shape),
    Annotate(u8, bool),
    DeleteNamespace(u8),
    /// Creates the namespace again, for somebody else.
    CreateNamespace(u8),
    Rules(u8),
    Rotate(u8, u8, Rotation),
    Permit(u8, u8, u8, Permission),
    Rival(u8, #[serde(with = "edits")] Edit),
    Forge(u8, Forgery),
    CreateJob(u8, JobShape),
    EditJob(u8, JobEdit),
    DeleteJob(u8),
    ForgeJob(u8, JobForgery),
    Crash(Stop),
    /// The process freezes in its next policy write or billed call, for this many seconds.
    Freeze(u16),
    /// The next effect is lost, or takes effect without an answer; the process continues.
    LoseAnswer(bool),
    /// The next policy write arrives after this many seconds; `true` stops its process.
    Late(u16, bool),
    /// The next policy write arrives a second time after this many seconds.
    Twice(u8),
    /// Reads of policies are this many seconds stale from now on.
    Lag(u8),
    Api(ApiError, bool),
    Cloud(CloudAnswer, bool),
    /// The clock of the operator jumps by this many seconds.
    Clock(i32),
    /// The API server is restored from a snapshot that is this many changes old.
    Restore(u8),
    /// The next list of grants is this many changes stale.
    Behind(u8),
    /// The next watch event is lost until the watch starts again.
    HideEvent,
}

impl Act {
    /// Names of the kinds, in the order of `kind`.
    pub const KINDS: [&str; 31] = [
        "apply",
        "edit",
        "replace",
        "suspend",
        "preview",
        "delete",
        "re-create",
        "annotate",
        "delete namespace",
        "create namespace",
        "rules",
        "rotate",
        "permit",
        "rival",
        "forge status",
        "create job",
        "edit job",
        "delete job",
        "forge job",
        "crash",
        "freeze",
        "lose answer",
        "late write",
        "double write",
        "lag",
        "API error",
        "cloud error",
        "clock jump",
        "restore",
        "stale list",
        "hide event",
    ];

    pub fn kind(&self) -> usize {
        match self {
            Self::Apply(..) => 0,
            Self::Edit(..) => 1,
            Self::Replace(_) => 2,
            Self::Suspend(..) => 3,
            Self::Preview(..) => 4,
            Self::Delete(_) => 5,
            Self::Recreate(..) => 6,
            Self::Annotate(..) => 7,
            Self::DeleteNamespace(_) => 8,
            Self::CreateNamespace(_) => 9,
            Self::Rules(_) => 10,
            Self::Rotate(..) => 11,
            Self::Permit(..) => 12,
            Self::Rival(..) => 13,
            Self::Forge(..) => 14,
            Self::CreateJob(..) => 15,
            Self::EditJob(..) => 16,
            Self::DeleteJob(_) => 17,
            Self::ForgeJob(..) => 18,
            Self::Crash(_) => 19,
            Self::Freeze(_) => 20,
            Self::LoseAnswer(_) => 21,
            Self::Late(..) => 22,
            Self::Twice(_) => 23,
            Self::Lag(_) => 24,
            Self::Api(..) => 25,
            Self::Cloud(..) => 26,
            Self::Clock(_) => 27,
            Self::Restore(_) => 28,
            Self::Behind(_) => 29,
            Self::HideEvent => 30,
        }
    }
}

impl History {
    /// Returns the line that replays the history.
    pub fn line(&self) -> String {
        serde_json::to_string(self).unwrap()
    }

    pub fn named(line: &str) -> Self {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }
}

/// A rival's edit by its position in `Edit::ALL`.
mod edits {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Edit;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    pub fn serialize<S: Serializer>(edit: &Edit, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format!("{edit:?}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Edit, D::Error> {
        let name = String::deserialize(from)?;
        let known = Edit::ALL.into_iter().find(|edit| format!("{edit:?}") == name);
        known.ok_or_else(|| serde::de::Error::custom(format!("no edit {name}")))
    }
}
