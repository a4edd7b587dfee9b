//! What `imm-operator doctor` says about an installation: from what was seen to one line for each check, and to the
//! values to set. Nothing here calls anything.

mod access_log;
mod advice;
mod answer_head;
mod assumptions;
mod bucket;
mod check;
mod conclusion;
mod deny_spelling;
mod facts;
mod forms;
mod further_endpoints;
mod job;
mod limits;
mod listed_keys;
mod mask;
mod name_answers;
mod network;
mod own_policy;
mod pass_role;
mod probe;
mod public_policy;
mod questions;
mod read_back;
mod report;
mod restore;
mod revocation;
mod session_dates;
mod short_names;
mod signature_answers;
mod waiting;
mod ways;

pub use access_log::AccessLog;
pub use access_log::reader::parse_access_log;
pub use advice::missing_credentials;
pub use answer_head::{AnswerFormat, AnswerHead, Answered};
pub use assumptions::WrongAssumption;
pub use check::{Check, Level, Setting};
pub use deny_spelling::DenyFindings;
pub use facts::{
    AccessLogFacts, BucketFacts, CredentialFacts, EndpointFacts, Facts, FormsFacts, GrantFacts, JobFacts,
    LimitsFacts, ListingFacts, ProbeFacts, Reachability, Service, TlsFault, VariantFacts, WaysFacts,
};
pub use forms::policy_form::{FormPlace, PolicyForm};
pub use forms::{FormsFindings, FormsProbe, PairAnswers, PutAnswer};
pub use limits::{BurstAnswers, CaseAnswer, LimitsFindings, LimitsProbe};
pub use listed_keys::{KeyComparison, ListedKeys};
pub use mask::Mask;
pub use name_answers::NameAnswers;
pub use own_policy::{PolicyVariant, own_policy};
pub use probe::Probe;
pub use probe::findings::{PassRoleFindings, ProbeFindings, RevocationLag};
pub use probe::sequence::{FurtherQuestions, ProbeSequence};
pub use probe::step::{LimitCase, ProbeAnswer, ProbePlan, ProbeStep, PutResult, PutStep};
pub use public_policy::is_open;
pub use questions::{OtherAccount, OtherRegion, QuestionFacts};
pub use read_back::{ReadBack, TwoReads};
pub use report::DoctorReport;
pub use restore::{PreImage, Restoration, RestoreOutcome};
pub use session_dates::{SESSION_DATES, SessionDates};
pub use signature_answers::{CALL_DATES, SignatureAnswers};
pub use ways::WaysProbe;
pub use ways::findings::{ChainAnswer, ConditionFindings, WaysFindings};
