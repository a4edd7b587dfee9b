//! What can befall one effect, and the plans that are made of it: each has a name that replays it.

use std::fmt;

use imm_operator::ports::{CloudError, CloudErrorKind, CredentialsError, KubeError};

use super::rival::Edit;
use super::scenario::{SCENARIOS, Scenario};

/// Whether the effect of a failed call came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    None,
    Done,
}

/// What befalls one effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process is stopped just before it is sent.
    Before,
    /// It is lost; the process hears of a failure and is stopped at its next effect.
    Lost,
    /// It is done; the process hears of a failure and is stopped at its next effect.
    Unanswered,
    /// It is done and answered; the process is stopped at its next effect.
    Answered,
    /// It is lost, and the process goes on.
    LostOnly,
    /// It is done, the process hears of a failure and goes on.
    UnansweredOnly,
    /// A policy write is done only so many seconds later, whoever runs then; the process hears of a failure and is stopped
    /// at its next effect.
    Late(u64),
    /// Likewise, and the process goes on.
    LateOnly(u64),
    /// A policy write is done and answered, and arrives once more so many seconds later.
    Twice(u64),
    /// The process freezes in the middle of a policy write. Another takes over when the lease has run out; so many seconds
    /// after the beginning the first wakes up, sends the write, and ends when it sees that it has lost the lease.
    Frozen(u64),
    /// The API server answers with this failure.
    Kube(KubeError, Effect),
    /// The API server refuses a write of a job; it does the next one, and the process hears of a failure.
    RefusedThenUnanswered,
    /// The keys cannot be had.
    Keys(NoKeys),
    /// The cloud answers with this failure.
    Cloud(CloudErrorKind, Effect),
    /// The list of grants is so many changes behind.
    Behind(usize),
    /// The mark of that number is swallowed: counted over marks, not over effects.
    Hidden,
    /// Somebody else changes the policy just before.
    Rival(Edit),
}

/// Why keys cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoKeys {
    Missing,
    Invalid,
    Denied,
    Unreachable,
}

pub const CRASHES: [Fault; 4] = [Fault::Before, Fault::Lost, Fault::Unanswered, Fault::Answered];
pub const HICCUPS: [Fault; 2] = [Fault::LostOnly, Fault::UnansweredOnly];
/// Within the lag window, beyond it, and at nearly the end of a write's life.
pub const LATE: [Fault; 4] = [
    Fault::Late(3),
    Fault::Late(60),
    Fault::Late(290),
    Fault::LateOnly(100),
];
/// At once: nothing on the way repeats a request long after it was answered.
pub const TWICE: [Fault; 2] = [Fault::Twice(0), Fault::Twice(1)];
/// How long a lease lasts.
pub const LEASE: u64 = 40;
/// Just when the next one starts, in the middle of its work, much later, at the end of the write's life, and beyond.
pub const FROZEN: [Fault; 5] = [
    Fault::Frozen(LEASE + 1),
    Fault::Frozen(LEASE + 2),
    Fault::Frozen(3 * LEASE),
    Fault::Frozen(290),
    Fault::Frozen(400),
];
/// When a job's writes and calls wake up: before the next process has looked at the job, in the middle of its run, and at
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
/// Failures of any call to OSS; IMM's own are missing.
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
/// Failures of a policy write alone.
const OF_WRITES: [CloudErrorKind; 2] = [
    CloudErrorKind::PublicAccessBlocked,
    CloudErrorKind::PolicyRejected,
];

/// Failures of the API server, each with and without the effect.
pub fn kube_failures() -> impl Iterator<Item = Fault> {
    let both = |kind| [Fault::Kube(kind, Effect::None), Fault::Kube(kind, Effect::Done)];
    KUBE.into_iter().flat_map(both)
}

pub fn no_keys() -> impl Iterator<Item = Fault> {
    NO_KEYS.into_iter().map(Fault::Keys)
}

/// Failures of OSS, each with and without the effect.
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
            &[Self::Hidden, Self::RefusedThenUnanswered],
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

    /// Whether the process is stopped at its next effect.
    pub fn stops(self) -> bool {
        CRASHES.contains(&self) || matches!(self, Self::Late(_))
    }

    /// Whether the process hears of a failure, and whether the effect comes about.
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
            | Self::Rival(_) => None,
        }
    }
}

/// How a failure looks to whoever made the call; `None` when the fault is not about such calls.
pub trait Refusal: Sized {
    fn of(fault: Fault) -> Option<Self>;
    /// What kind of call it is.
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
    /// A look at a job.
    Look,
    /// A write of a job's report or status.
    Store,
    /// A paid call.
    Score,
    /// Its failure is told to nobody.
    Unheard,
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
            // Only an answer that is not the service's own can come although the effect was done.
            "OSSHttp403".clone_into(&mut error.code);
        }
        Some(error)
    }
}

impl Refusal for () {
    const CALL: Call = Call::Unheard;
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
    }
}

/// Those of grants, and after them those of jobs.
pub fn scenarios() -> impl Iterator<Item = &'static Scenario> {
    SCENARIOS.iter().chain(super::jobs::SCENARIOS)
}

/// A scenario and what befalls its effects: each fault concerns the process that runs when those before it have struck.
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

    /// The plan of a name, as a failure prints it.
    pub fn named(name: &str) -> Self {
        let mut words = name.split_whitespace();
        let tag = words.next().unwrap();
        let scenario = scenarios().position(|s| s.tag() == tag);
        let fault = |word: &str| {
            let (at, name) = word.split_once('=').unwrap();
            let fault = Fault::all().find(|fault| fault.to_string() == name);
            (
                at.parse().unwrap(),
                fault.unwrap_or_else(|| panic!("no fault {name}")),
            )
        };
        Self {
            scenario: scenario.unwrap_or_else(|| panic!("no scenario {tag}")),
            faults: words.map(fault).collect(),
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
