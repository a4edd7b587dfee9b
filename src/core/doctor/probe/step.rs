//! The steps of probes and their results.

use std::time::Duration;

use serde::Serialize;

use crate::api::{Grantee, RoleChain};
use crate::core::doctor::answer_head::Answered;
use crate::core::doctor::read_back::ReadBack;
use crate::core::error::CloudError;

/// A bucket that does not exist.
const MISSING_BUCKET: &str = "imm-operator-doctor-no-such-bucket";
/// What follows the key of the image in the key of an object that does not exist. The statement is about both.
const MISSING_OBJECT: &str = ".no-such-object";

/// A scoring call of which the answer is known from the documentation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum LimitCase {
    /// The project does not exist.
    MissingProject,
    /// The bucket does not exist.
    MissingBucket,
    /// The call names a role that does not exist.
    MissingRole,
    /// The session of the caller may not score.
    NarrowSession,
    /// The bucket is in another region than the project.
    OtherRegion,
    /// No statement of the policy is about the image.
    NoStatement,
    /// The image of the probe.
    Image,
    /// The object does not exist.
    MissingObject,
    /// Another object of the bucket, by its key.
    Object(String),
}

impl LimitCase {
    /// Returns the URI of the object to score, for an image in a bucket, and a bucket in another region.
    pub fn uri(&self, bucket: &str, other_bucket: Option<&str>, key: &str) -> String {
        match self {
            Self::MissingBucket => format!("oss://{MISSING_BUCKET}/{key}"),
            Self::MissingObject => format!("oss://{bucket}/{key}{MISSING_OBJECT}"),
            Self::Object(other) => format!("oss://{bucket}/{other}"),
            Self::OtherRegion => format!("oss://{}/{key}", other_bucket.unwrap_or(bucket)),
            Self::MissingProject
            | Self::MissingRole
            | Self::NarrowSession
            | Self::NoStatement
            | Self::Image => format!("oss://{bucket}/{key}"),
        }
    }
}

/// The next step.
#[derive(Clone, Debug, PartialEq)]
pub enum ProbeStep {
    /// Write the statement of a grantee, in place of the one before.
    Write(Grantee),
    /// Write the same statement and the `ram:PassRole` statement of the grantee.
    WriteWithPassRole(Grantee),
    /// Write the same statement and a Deny of an action, of the same objects to the same readers.
    WriteWithDeny(Grantee, &'static str),
    /// Write the same statement with conditions on the network.
    WriteWithConditions(Grantee),
    /// Write policies whose answers are looked at.
    Put(PutStep),
    /// Read the policy back until it is stable.
    ReadBack,
    /// Restore the earlier policy while the probe continues.
    Remove,
    /// Score the image once.
    Score,
    /// Score the image once, through a role chain.
    ScoreByChain(RoleChain),
    /// Make the scoring call of a case once.
    Try(LimitCase),
    /// Score the image often.
    Burst {
        /// Number of calls.
        calls: u32,
        /// Time between two of them.
        spacing: Duration,
    },
    /// Ask for the project often.
    ProjectBurst {
        /// Number of calls.
        calls: u32,
        /// Time between two of them.
        spacing: Duration,
    },
    /// Wait.
    Pause(Duration),
    /// End.
    Finish,
}

/// Policies that are written to see the answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutStep {
    /// One, with the credentials of the owner.
    One(String),
    /// One, with the credentials of another account.
    ByOther(String),
    /// Two at once, with the credentials of the owner.
    Two([String; 2]),
}

/// The answers to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutResult {
    /// To one.
    One(Answered),
    /// To two at once.
    Two {
        /// The answers, in the order in which they were sent.
        answers: Box<[Answered; 2]>,
        /// Which of them is live afterwards, if reads in a row showed one.
        live: Option<usize>,
    },
}

/// The result of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeAnswer {
    /// OSS accepted the write. Whether it counts the wildcard for sessions as public, if that follows.
    Written {
        /// See [`crate::core::policy::PolicyPublicity::session_wildcard_is_public`].
        session_wildcard_is_public: Option<bool>,
        /// Whether OSS counts the policy as public, if it says so.
        policy_is_public: Option<bool>,
        /// Whether both follow from Block Public Access, which is on, and not from what OSS says about the policy.
        by_block: bool,
    },
    /// A write failed.
    WriteFailed(CloudError),
    /// The image was scored, this long after the write.
    Scored(Duration),
    /// A scoring call failed, this long after the write.
    ScoreFailed(CloudError, Duration),
    /// The answers of all calls that were sent.
    Burst(Vec<Result<(), CloudError>>),
    /// What reads of the policy showed.
    ReadBack(ReadBack),
    /// The answers to policies that were written for them.
    Put(PutResult),
    /// The pause is over.
    Paused,
}

/// Decides the steps of a probe.
pub trait ProbePlan: Send {
    /// Returns the next step.
    fn step(&self) -> &ProbeStep;

    /// Takes the result of a step, and decides the next one.
    fn take(&mut self, answer: ProbeAnswer);

    /// Ends early.
    fn stop(&mut self, why: &str);

    /// Returns the account that the statements name.
    fn account(&self) -> &str;

    /// Returns why the bucket must have no policy; `None` if it may have one.
    fn refuses_policy(&self) -> Option<&'static str> {
        None
    }

    /// Returns the prefix of every resource that it writes, if nobody else can know it.
    fn own_prefix(&self) -> Option<&str> {
        None
    }
}
