//! The generator. `proptest-state-machine` would generate each step from a model of the state; here every step is
//! possible in every state, so a vector of steps is enough, and proptest shrinks it by leaving steps out and making
//! numbers smaller.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::super::rival::Edit;
use super::step::{
    Act, ApiError, CloudAnswer, Field, Forgery, History, JobEdit, JobForgery, JobShape, Pause, Permission,
    Rotation, Shape, Stop,
};

/// Longest history.
const STEPS: usize = 20;

fn slot() -> impl Strategy<Value = u8> {
    0..8_u8
}

/// A small number, mostly 0: grants that ask for the same are the interesting ones.
fn few(below: u8) -> impl Strategy<Value = u8> {
    prop_oneof![3 => Just(0), 2 => 0..below]
}

fn rarely() -> impl Strategy<Value = bool> {
    prop::bool::weighted(0.15)
}

fn shape() -> impl Strategy<Value = Shape> {
    let numbers = (few(3), 0..3_u8, few(2), few(4), few(3), few(3), few(2));
    (numbers, rarely()).prop_map(|(n, finalizer)| Shape {
        bucket: n.0,
        identity: n.1,
        account: n.2,
        prefix: n.3,
        preset: n.4,
        adoption: n.5,
        deletion: n.6,
        finalizer,
    })
}

fn job_shape() -> impl Strategy<Value = JobShape> {
    (few(3), 0..2_u8, 1..8_u8, rarely(), few(9), rarely()).prop_map(
        |(bucket, identity, images, prefix, grant, poor)| JobShape {
            bucket,
            identity,
            images,
            prefix,
            grant,
            poor,
        },
    )
}

const FIELDS: [Field; 11] = [
    Field::Account,
    Field::Role,
    Field::Prefix,
    Field::Preset,
    Field::PassRole,
    Field::Adoption,
    Field::Drift,
    Field::Interval,
    Field::Deletion,
    Field::Consumers,
    Field::Identity,
];
const FORGERIES: [Forgery; 9] = [
    Forgery::Intended,
    Forgery::Intended,
    Forgery::Intended,
    Forgery::Applied,
    Forgery::Removing,
    Forgery::OfAnother,
    Forgery::Cleared,
    Forgery::FarFuture,
    Forgery::Nonsense,
];
const PERMISSIONS: [Permission; 4] = [
    Permission::ReadOnly,
    Permission::Nothing,
    Permission::All,
    Permission::ReadOnly,
];
const ROTATIONS: [Rotation; 4] = [
    Rotation::Replaced,
    Rotation::Deleted,
    Rotation::Closed,
    Rotation::Restored,
];
const STOPS: [Stop; 4] = [Stop::Before, Stop::Lost, Stop::Unanswered, Stop::Answered];
const API_ERRORS: [ApiError; 5] = [
    ApiError::Conflict,
    ApiError::NotFound,
    ApiError::Forbidden,
    ApiError::Invalid,
    ApiError::Unavailable,
];
const CLOUD_ANSWERS: [CloudAnswer; 7] = [
    CloudAnswer::AccessDenied,
    CloudAnswer::CredentialsRejected,
    CloudAnswer::CredentialsExpired,
    CloudAnswer::Throttled,
    CloudAnswer::RequestRejected,
    CloudAnswer::PolicyRejected,
    CloudAnswer::Unavailable,
];
/// An hour and ten years, both ways.
const JUMPS: [i32; 4] = [3_600, -3_600, 315_360_000, -315_360_000];

fn job_edit() -> impl Strategy<Value = JobEdit> {
    prop_oneof![
        Just(JobEdit::Suspend),
        Just(JobEdit::Resume),
        Just(JobEdit::Cancel),
        (1..4_u8).prop_map(JobEdit::Parallelism),
        (1..9_u8).prop_map(JobEdit::Budget),
        (1..9_u8).prop_map(JobEdit::Deadline),
    ]
}

/// What users and tenants do.
fn of_users() -> BoxedStrategy<Act> {
    prop_oneof![
        8 => (slot(), shape()).prop_map(|(at, shape)| Act::Apply(at, shape)),
        5 => (slot(), select(&FIELDS[..]), 0..4_u8).prop_map(|(at, field, n)| Act::Edit(at, field, n)),
        4 => slot().prop_map(Act::Replace),
        4 => (slot(), prop::bool::weighted(0.6)).prop_map(|(at, on)| Act::Suspend(at, on)),
        4 => (slot(), prop::bool::weighted(0.6)).prop_map(|(at, on)| Act::Preview(at, on)),
        5 => slot().prop_map(Act::Delete),
        3 => (slot(), shape()).prop_map(|(at, shape)| Act::Recreate(at, shape)),
        2 => (slot(), rarely()).prop_map(|(at, abandon)| Act::Annotate(at, abandon)),
        2 => (0..4_u8).prop_map(Act::DeleteNamespace),
        3 => (0..4_u8).prop_map(Act::CreateNamespace),
        3 => (0..6_u8).prop_map(Act::Rules),
        3 => (slot(), 0..3_u8, select(&ROTATIONS[..])).prop_map(|(at, who, how)| Act::Rotate(at, who, how)),
        3 => (slot(), 0..3_u8, few(3), select(&PERMISSIONS[..]))
            .prop_map(|(at, who, bucket, level)| Act::Permit(at, who, bucket, level)),
        5 => (few(3), select(&Edit::ALL[..])).prop_map(|(bucket, edit)| Act::Rival(bucket, edit)),
        4 => (slot(), select(&FORGERIES[..])).prop_map(|(at, what)| Act::Forge(at, what)),
    ]
    .boxed()
}

fn of_jobs() -> BoxedStrategy<Act> {
    prop_oneof![
        4 => (0..4_u8, job_shape()).prop_map(|(at, shape)| Act::CreateJob(at, shape)),
        6 => (0..4_u8, job_edit()).prop_map(|(at, edit)| Act::EditJob(at, edit)),
        3 => (0..4_u8).prop_map(Act::DeleteJob),
        6 => (0..4_u8, select(&[JobForgery::Cleared, JobForgery::ForeignMark, JobForgery::FarFuture][..]))
            .prop_map(|(at, what)| Act::ForgeJob(at, what)),
    ]
    .boxed()
}

/// What the environment does to the operator.
fn of_environment() -> BoxedStrategy<Act> {
    prop_oneof![
        3 => select(&STOPS[..]).prop_map(Act::Crash),
        2 => select(&[41_u16, 42, 120, 290, 400][..]).prop_map(Act::Freeze),
        2 => any::<bool>().prop_map(Act::LoseAnswer),
        2 => (select(&[3_u16, 60, 100, 290][..]), any::<bool>()).prop_map(|(after, stop)| Act::Late(after, stop)),
        2 => (0..2_u8).prop_map(Act::Twice),
        2 => select(&[0_u8, 8, 20][..]).prop_map(Act::Lag),
        3 => (select(&API_ERRORS[..]), any::<bool>()).prop_map(|(error, done)| Act::Api(error, done)),
        3 => (select(&CLOUD_ANSWERS[..]), any::<bool>()).prop_map(|(answer, done)| Act::Cloud(answer, done)),
        2 => select(&JUMPS[..]).prop_map(Act::Clock),
        2 => (1..9_u8).prop_map(Act::Restore),
        2 => (1..4_u8).prop_map(Act::Behind),
        2 => Just(Act::HideEvent),
    ]
    .boxed()
}

fn pause() -> impl Strategy<Value = Pause> {
    prop_oneof![
        5 => (0..12_u8).prop_map(Pause::Effects),
        3 => select(&[2_u16, 20, 60][..]).prop_map(Pause::Seconds),
        1 => select(&[400_u16, 900][..]).prop_map(Pause::Seconds),
    ]
}

/// Returns the strategy for whole histories.
pub fn histories() -> impl Strategy<Value = History> {
    let act = prop_oneof![11 => of_users(), 3 => of_jobs(), 6 => of_environment()];
    let size = (
        prop_oneof![2 => Just(1_u8), 1 => Just(2), 1 => Just(3)],
        1..5_u8,
        1..4_u8,
    );
    let now = |act| (Pause::Effects(0), act);
    let grants = vec(
        (slot(), shape()).prop_map(move |(at, shape)| now(Act::Apply(at, shape))),
        1..6,
    );
    let jobs = vec(
        (0..4_u8, job_shape()).prop_map(move |(at, shape)| now(Act::CreateJob(at, shape))),
        0..3,
    );
    (size, grants, jobs, vec((pause(), act), 3..STEPS)).prop_map(|(size, grants, jobs, steps)| History {
        size,
        steps: [grants, jobs, steps].concat(),
    })
}
