//! The faults that steps arm, and the calls that they strike.

use imm_operator::ports::{CloudErrorKind, KubeError};

use super::super::fault::{Call, Effect, Fault};
use super::step::{Act, ApiError, CloudAnswer, Stop};

/// Returns the fault that a step arms.
#[expect(clippy::wildcard_enum_match_arm, reason = "most steps arm nothing")]
pub fn fault(act: Act) -> Fault {
    let effect = |done: bool| if done { Effect::Done } else { Effect::None };
    match act {
        Act::Crash(Stop::Before) => Fault::Before,
        Act::Crash(Stop::Lost) => Fault::Lost,
        Act::Crash(Stop::Unanswered) => Fault::Unanswered,
        Act::Freeze(seconds) => Fault::Frozen(seconds.into()),
        Act::LoseAnswer(true) => Fault::UnansweredOnly,
        Act::LoseAnswer(false) => Fault::LostOnly,
        Act::Late(seconds, true) => Fault::Late(seconds.into()),
        Act::Late(seconds, false) => Fault::LateOnly(seconds.into()),
        Act::Twice(seconds) => Fault::Twice(seconds.into()),
        Act::Api(error, done) => {
            let error = match error {
                ApiError::Conflict => KubeError::Conflict,
                ApiError::NotFound => KubeError::NotFound,
                ApiError::Forbidden => KubeError::Forbidden,
                ApiError::Invalid => KubeError::Invalid,
                ApiError::Unavailable => KubeError::Unavailable,
            };
            Fault::Kube(error, effect(done))
        }
        Act::Cloud(answer, done) => {
            let kind = match answer {
                CloudAnswer::AccessDenied => CloudErrorKind::AccessDenied,
                CloudAnswer::CredentialsRejected => CloudErrorKind::CredentialsRejected,
                CloudAnswer::CredentialsExpired => CloudErrorKind::CredentialsExpired,
                CloudAnswer::Throttled => CloudErrorKind::Throttled,
                CloudAnswer::RequestRejected => CloudErrorKind::RequestRejected,
                CloudAnswer::PolicyRejected => CloudErrorKind::PolicyRejected,
                CloudAnswer::Unavailable => CloudErrorKind::Unavailable,
            };
            Fault::Cloud(kind, effect(done))
        }
        // A stop after an answer, and the steps that arm nothing.
        other => {
            assert!(other == Act::Crash(Stop::Answered), "{other:?} arms no fault");
            Fault::Answered
        }
    }
}

/// Whether a fault can strike a call.
#[expect(clippy::wildcard_enum_match_arm, reason = "all other faults fit every call")]
pub fn fits(fault: Fault, call: Call) -> bool {
    match fault {
        Fault::Late(_) | Fault::LateOnly(_) | Fault::Twice(_) => call == Call::Write,
        Fault::Frozen(_) => matches!(call, Call::Write | Call::Score),
        // A job is really gone when the API server says so.
        Fault::Kube(KubeError::NotFound, _) => matches!(call, Call::List | Call::Kube),
        Fault::Kube(..) => matches!(call, Call::List | Call::Kube | Call::GetJob | Call::Store),
        Fault::Cloud(CloudErrorKind::PolicyRejected, _) => call == Call::Write,
        Fault::Cloud(..) => matches!(call, Call::Cloud | Call::Write | Call::Score),
        _ => true,
    }
}
