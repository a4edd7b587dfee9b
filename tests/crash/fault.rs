//! Faults of a single effect, and plans made of them. Each plan has a name that replays it.

use std::fmt;

use imm_operator::ports::{CloudError, CloudErrorKind, CredentialsError, KubeError};

use super::rival::Edit;
use super::scenario::{SCENARIOS, Scenario};

/// Whether a failed call had its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    None,
    Done,
}

/// A fault of one effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process is stopped just before the call is sent.
    Before,
    /// The call is lost; the process receives an error and is stopped at its next effect.
    Lost,
    /// The call takes effect; the process receives an error and is stopped at its next effect.
    Unanswered,
    /// The call takes effect and is answered; the process is stopped at its next effect.
    Answered,
    /// The call is lost; the process receives an error and continues.
    LostOnly,
    /// The call takes effect; the process receives an error and continues.
    UnansweredOnly,
    /// A policy write takes effect only after this many seconds, regardless of which process runs by then; the process
    /// receives an error and is stopped at its next effect.
    Late(u64),
    /// Like `Late`, but the process continues.
    LateOnly(u64),
    /// A policy write takes effect and is answered, and arrives a second time after this many seconds.
    Twice(u64),
    /// The process freezes in the middle of a call. Another process starts when the lease has expired. This many seconds
    /// after the freeze the first process resumes, sends the call, and exits when it finds that it has lost the lease.
    Frozen(u64),
    /// The API server returns this error.
    Kube(KubeError, Effect),
    /// The API server rejects one write of a job; the next write takes effect, but the process receives an error.
    RefusedThenUnanswered,
    /// The credentials are not available.
    Keys(NoKeys),
    /// The cloud returns this error.
    Cloud(CloudErrorKind, Effect),
    /// A list of grants or a read of a job is this many changes stale.
    Behind(usize),
    /// The watch event with this number is dropped: the number counts watch events, not effects.
    Hidden,
    /// Another writer changes the policy just before the effect.
    Rival(Edit),
    /// A user annotates all grants just before the effect, so that their statuses cannot be stored with the versions
    /// read.
    Edited,
}

/// Why credentials are not available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoKeys {
    Missing,
    Invalid,
    Denied,
    Unreachable,
}

pub const CRASHES: [Fault; 4] = [Fault::Before, Fault::Lost, Fault::Unanswered, Fault::Answered];
pub const HICCUPS: [Fault; 2] = [Fault::LostOnly, Fault::UnansweredOnly];
/// Within the window of stale reads, beyond it, and near the end of the time in which a write can still arrive.
pub const LATE: [Fault; 4] = [
    Fault::Late(3),
    Fault::Late(60),
    Fault::Late(290),
    Fault::LateOnly(100),
];
/// Immediately: no proxy repeats a request long after it was answered.
pub const TWICE: [Fault; 2] = [Fault::Twice(0), Fault::Twice(1)];
/// Duration of a lease in seconds.
pub const LEASE: u64 = 40;
/// Just as the next process starts, in the middle of its work, much later, at the end of the time in which a write can
/// arrive, and beyond that.
pub const FROZEN: [Fault; 5] = [
    Fault::Frozen(LEASE + 1),
    Fault::Frozen(LEASE + 2),
    Fault::Frozen(3 * LEASE),
    Fault::Frozen(290),
    Fault::Frozen(400),
];
/// When frozen writes and calls of a job resume: before the next process reads the job, in the middle of its run, and at
/// the end of it.
pub const FROZEN_JOBS: [Fault; 5] = [
    Fault::Frozen(LEASE),
    Fault::Frozen(LEASE + 1),
    Fault::Frozen(LEASE + 2),
    Fault::Frozen(LEASE + 3),
    Fault::Frozen(LEASE + 20),
];
pub const BEHIND: [Fault; 3] = [Fault::Behind(1), Fault::Behind(2), Fault::Behind(3)];
const KUBE: [KubeError; 5] = [
    KubeError::Conflict,
    KubeError::NotFound,
    KubeError::Forbidden,
    KubeError::Invalid,
    KubeError::Unavailable,
];
const NO_KEYS: [NoKeys; 4] = [
    NoKeys::Missing,
    NoKeys::Invalid,
    NoKeys::Denied,
    NoKeys::Unreachable,
];
/// Errors of any call to OSS; errors that only IMM returns are not listed.
const OSS: [CloudErrorKind; 9] = [
    CloudErrorKind::AccessDenied,
    CloudErrorKind::NoSuchBucket,
    CloudErrorKind::WrongRegion,
    CloudErrorKind::CredentialsRejected,
    CloudErrorKind::CredentialsExpired,
    CloudErrorKind::Throttled,
    CloudErrorKind::RequestRejected,
    CloudErrorKind::Unavailable,
    CloudErrorKind::Unanswered,
];
/// Errors of policy writes only.
const OF_WRITES: [CloudErrorKind; 3] = [
    CloudErrorKind::BucketLocked,
    CloudErrorKind::PublicAccessBlocked,
    CloudErrorKind::PolicyRejected,
];

/// Returns each error of the API server with and without the effect.
pub fn kube_failures() -> impl Iterator<Item = Fault> {
    let both = |kind| [Fault::Kube(kind, Effect::None), Fault::Kube(kind, Effect::Done)];
    KUBE.into_iter().flat_map(both)
}

pub fn no_keys() -> impl Iterator<Item = Fault> {
    NO_KEYS.into_iter().map(Fault::Keys)
}

/// Returns each error of OSS with and without the effect; `writes` adds the errors of policy writes.
pub fn cloud_failures(writes: bool) -> impl Iterator<Item = Fault> {
    let both = |kind| [Fault::Cloud(kind, Effect::None), Fault::Cloud(kind, Effect::Done)];
    let of_writes = OF_WRITES.into_iter().filter(move |_| writes);
    OSS.into_iter().chain(of_writes).flat_map(both)
}

impl Fault {
    fn all() -> impl Iterator<Item = Self> {
        let lists = [
            &CRASHES[..],
            &HICCUPS,
            &LATE,
            &TWICE,
            &FROZEN,
            &FROZEN_JOBS,
            &BEHIND,
            &[Self::Hidden, Self::RefusedThenUnanswered, Self::Edited],
        ];
        let lists = lists.into_iter().flatten().copied().collect::<Vec<_>>();
        let edits = Edit::ALL.into_iter().map(Self::Rival);
        lists
            .into_iter()
            .chain(kube_failures())
            .chain(no_keys())
            .chain(cloud_failures(true))
            .chain([Self::Cloud(CloudErrorKind::NoSuchProject, Effect::None)])
            .chain(edits)
    }

    /// Returns whether the process is stopped at its next effect.
    pub fn stops(self) -> bool {
        CRASHES.contains(&self) || matches!(self, Self::Late(_))
    }

    /// Returns `None` if the process receives no error, else whether the call takes effect nevertheless.
    pub fn error(self) -> Option<Effect> {
        match self {
            Self::Lost | Self::LostOnly | Self::Late(_) | Self::LateOnly(_) | Self::Keys(_) => {
                Some(Effect::None)
            }
            Self::RefusedThenUnanswered => Some(Effect::None),
            Self::Unanswered | Self::UnansweredOnly => Some(Effect::Done),
            Self::Kube(_, effect) | Self::Cloud(_, effect) => Some(effect),
            Self::Before
            | Self::Answered
            | Self::Twice(_)
            | Self::Frozen(_)
            | Self::Behind(_)
            | Self::Hidden
            | Self::Edited
            | Self::Rival(_) => None,
        }
    }
}

/// An error type that faults can produce.
pub trait Refusal: Sized {
    fn of(fault: Fault) -> Option<Self>;
    /// The kind of call that this error type belongs to.
    const CALL: Call;
}

/// Kinds of effects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    List,
    Kube,
    Keys,
    Cloud,
    Write,
    /// A read of a job.
    GetJob,
    /// A write of a job's report or status.
    Store,
    /// A paid call.
    Score,
    /// A call whose failure the operator ignores.
    BestEffort,
}

impl Refusal for KubeError {
    const CALL: Call = Call::Kube;
    fn of(fault: Fault) -> Option<Self> {
        if let Fault::Kube(error, _) = fault {
            return Some(error);
        }
        (fault == Fault::RefusedThenUnanswered).then_some(Self::Forbidden)
    }
}

impl Refusal for CredentialsError {
    const CALL: Call = Call::Keys;
    fn of(fault: Fault) -> Option<Self> {
        let Fault::Keys(why) = fault else { return None };
        match why {
            NoKeys::Missing => Some(Self::NotFound),
            NoKeys::Invalid => Some(Self::Invalid("accessKeyId")),
            NoKeys::Denied => Some(Self::SecretAccessDenied { account: None }),
            NoKeys::Unreachable => None,
        }
    }
}

impl Refusal for CloudError {
    const CALL: Call = Call::Cloud;
    fn of(fault: Fault) -> Option<Self> {
        let Fault::Cloud(kind, effect) = fault else {
            return None;
        };
        let mut error = refused(kind);
        if effect == Effect::Done {
            // An error can follow a call that took effect only if the answer comes from a proxy, not from the service.
            "OSSHttp403".clone_into(&mut error.code);
        }
        Some(error)
    }
}

impl Refusal for () {
    const CALL: Call = Call::BestEffort;
    fn of(_: Fault) -> Option<Self> {
        None
    }
}

pub fn refused(kind: CloudErrorKind) -> CloudError {
    let answered = if kind == CloudErrorKind::Unavailable {
        503
    } else {
        403
    };
    CloudError {
        kind,
        status: (kind != CloudErrorKind::Unanswered).then_some(answered),
        code: format!("{kind:?}"),
        request_id: None,
        retry_after: None,
        refusal: imm_operator::core::refusal::Refusal::default(),
    }
}

/// Returns the scenarios of grants, followed by those of jobs.
pub fn scenarios() -> impl Iterator<Item = &'static Scenario> {
    SCENARIOS.iter().chain(super::jobs::SCENARIOS)
}

/// A scenario and the faults of its effects: each fault applies to the process that runs after the previous faults.
#[derive(Clone, PartialEq, Eq)]
pub struct Plan {
    pub scenario: usize,
    pub faults: Vec<(usize, Fault)>,
}

impl Plan {
    pub fn new(scenario: usize, faults: &[(usize, Fault)]) -> Self {
        Self {
            scenario,
            faults: faults.to_vec(),
        }
    }

    pub fn scenario(&self) -> &'static Scenario {
        scenarios().nth(self.scenario).unwrap()
    }

    /// Returns the plan with a name, in the form that a failing plan prints.
    pub fn named(name: &str) -> Self {
        let mut parts = name.split_whitespace();
        let tag = parts.next().unwrap();
        let scenario = scenarios().position(|s| s.tag() == tag);
        let fault = |part: &str| {
            let (at, name) = part.split_once('=').unwrap();
            let fault = Fault::all().find(|fault| fault.to_string() == name);
            (
                at.parse().unwrap(),
                fault.unwrap_or_else(|| panic!("no fault {name}")),
            )
        };
        Self {
            scenario: scenario.unwrap_or_else(|| panic!("no scenario {tag}")),
            faults: parts.map(fault).collect(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").replace(' ', ""))
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.scenario().tag())?;
        self.faults
            .iter()
            .try_for_each(|(at, fault)| write!(f, " {at}={fault}"))
    }
}
