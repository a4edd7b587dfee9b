//! The steps of the probe of other ways to access.

use super::*;
use crate::api::{ChainLink, PrincipalForm};

fn grantee() -> Grantee {
    Grantee {
        account_uid: "12345".to_owned(),
        role_name: "Reader".to_owned(),
        principal: PrincipalForm::ServiceRole,
        session_name: None,
    }
}

fn chain(types: &[RoleType]) -> RoleChain {
    let link = |role_type: &RoleType| ChainLink {
        role: "reader".to_owned(),
        role_type: *role_type,
        assume_role_for: "65432".to_owned(),
    };
    RoleChain {
        service_role: "first".to_owned(),
        chain: types.iter().map(link).collect(),
    }
}

fn denied() -> CloudError {
    CloudError::new(CloudErrorKind::AccessDenied, "AccessDenied")
}

/// A cloud of which one type of roles is trusted, and that enforces the statement with conditions after a time, if at
/// all.
struct ScriptedWays {
    trusted: Option<RoleType>,
    lag: Option<u64>,
    write: Result<Option<bool>, CloudErrorKind>,
}

impl ScriptedWays {
    fn run(&self, chain: Option<&RoleChain>, most_billed: u32) -> WaysFindings {
        let mut probe = WaysProbe::new(&grantee(), Some("reader"), chain, most_billed);
        let (mut written, mut clock) = (false, Duration::ZERO);
        for _ in 0..1000 {
            let answer = match probe.step().clone() {
                ProbeStep::Finish => return probe.findings().clone(),
                ProbeStep::WriteWithConditions(grantee) => {
                    assert_eq!(grantee.role_name, "reader");
                    (written, clock) = (true, Duration::ZERO);
                    match self.write {
                        Ok(policy_is_public) => ProbeAnswer::Written {
                            session_wildcard_is_public: None,
                            policy_is_public,
                            by_block: false,
                        },
                        Err(kind) => ProbeAnswer::WriteFailed(CloudError::new(kind, "Code")),
                    }
                }
                ProbeStep::Pause(pause) => {
                    clock += pause;
                    ProbeAnswer::Paused
                }
                ProbeStep::ScoreByChain(chain) => {
                    let types = chain.chain.iter().map(|link| Some(link.role_type));
                    if types.into_iter().all(|kind| kind == self.trusted) {
                        ProbeAnswer::Scored(clock)
                    } else {
                        ProbeAnswer::ScoreFailed(denied(), clock)
                    }
                }
                ProbeStep::Score => {
                    let lag = self.lag.map(Duration::from_secs);
                    if written && lag.is_some_and(|lag| clock >= lag) {
                        ProbeAnswer::Scored(clock)
                    } else {
                        ProbeAnswer::ScoreFailed(denied(), clock)
                    }
                }
                ProbeStep::Write(_)
                | ProbeStep::WriteWithPassRole(_)
                | ProbeStep::WriteWithDeny(..)
                | ProbeStep::Put(_)
                | ProbeStep::ReadBack
                | ProbeStep::Remove
                | ProbeStep::Try(_)
                | ProbeStep::Burst { .. }
                | ProbeStep::ProjectBurst { .. } => panic!("no step of this probe"),
            };
            probe.take(answer);
        }
        panic!("no end");
    }
}

#[test]
fn each_type_of_the_roles_is_asked_once_and_that_of_the_job_first() {
    let cloud = ScriptedWays {
        trusted: Some(RoleType::Service),
        lag: None,
        write: Err(CloudErrorKind::PublicAccessBlocked),
    };
    let (user, service) = (RoleType::User, RoleType::Service);
    for (given, asked) in [
        (vec![user], vec![(vec![user], false), (vec![service], true)]),
        (vec![service], vec![(vec![service], true), (vec![user], false)]),
        (
            vec![user, service],
            vec![
                (vec![user, service], false),
                (vec![user, user], false),
                (vec![service, service], true),
            ],
        ),
    ] {
        let found = cloud.run(Some(&chain(&given)), 60);
        let answers = found.chains.iter();
        let answers: Vec<_> = answers
            .map(|answer| (answer.role_types.clone(), answer.is_scored))
            .collect();
        assert_eq!(answers, asked);
        let conditions = found.conditions.unwrap();
        assert_eq!((conditions.is_public, conditions.by_block), (Some(true), true));
        assert_eq!(found.billed, 1 + u32::try_from(asked.len()).unwrap());
    }
    let without = cloud.run(None, 60);
    assert!(without.chains.is_empty() && !without.has_chain);
}

#[test]
fn the_statement_with_conditions_takes_few_calls() {
    for (lag, write, public, access, billed) in [
        (Some(0), Ok(Some(false)), Some(false), Some(true), 2),
        (Some(30), Ok(None), None, Some(true), 5),
        (None, Ok(Some(true)), Some(true), Some(false), 8),
        (None, Err(CloudErrorKind::PolicyRejected), None, None, 1),
    ] {
        let cloud = ScriptedWays {
            trusted: None,
            lag,
            write,
        };
        let found = cloud.run(None, 60);
        let conditions = found.conditions.clone().unwrap();
        assert_eq!((conditions.is_public, conditions.gives_access), (public, access));
        assert_eq!(conditions.rejected_with.is_some(), write.is_err());
        assert_eq!((found.billed, &found.stopped), (billed, &None), "{found:?}");
    }
}

#[test]
fn no_call_is_made_beyond_the_limit() {
    let cloud = ScriptedWays {
        trusted: None,
        lag: None,
        write: Ok(Some(false)),
    };
    let all = cloud.run(Some(&chain(&[RoleType::User])), 60);
    assert_eq!((all.billed, &all.stopped), (10, &None));
    for most in 1..10 {
        let found = cloud.run(Some(&chain(&[RoleType::User])), most);
        assert_eq!(found.billed, most);
        assert!(found.stopped.unwrap().contains("--max-billed"));
        // No policy is written that no call could judge.
        assert_eq!(found.conditions.is_some(), most > 3, "{most}");
    }
}

#[test]
fn a_score_without_a_statement_ends_it_before_a_write() {
    let mut probe = WaysProbe::new(&grantee(), None, None, 60);
    let planned = probe.planned_calls();
    let unavailable = CloudError::new(CloudErrorKind::Unavailable, "Busy");
    probe.take(ProbeAnswer::ScoreFailed(unavailable, Duration::ZERO));
    assert_eq!(probe.step(), &ProbeStep::Pause(RETRY_PAUSE));
    probe.take(ProbeAnswer::Paused);
    assert_eq!(probe.step(), &ProbeStep::Score);
    probe.take(ProbeAnswer::Scored(Duration::ZERO));
    assert_eq!(probe.step(), &ProbeStep::Finish);
    let found = probe.findings();
    assert!(found.billed == 2 && found.billed <= planned && found.conditions.is_none());
    assert!(found.stopped.as_ref().unwrap().contains("before the probe wrote"));
}

#[test]
fn a_chain_without_an_answer_is_no_refused_chain() {
    for (kind, tries) in [
        (CloudErrorKind::Unanswered, MOST_TRIES),
        (CloudErrorKind::Throttled, MOST_TRIES),
        (CloudErrorKind::CredentialsExpired, 1),
    ] {
        let mut probe = WaysProbe::new(&grantee(), None, Some(&chain(&[RoleType::Service])), 60);
        probe.take(ProbeAnswer::ScoreFailed(denied(), Duration::ZERO));
        for _ in 0..tries {
            assert!(matches!(probe.step(), ProbeStep::ScoreByChain(_)));
            let lost = CloudError::new(kind, "Lost");
            probe.take(ProbeAnswer::ScoreFailed(lost, Duration::ZERO));
            if *probe.step() == ProbeStep::Pause(RETRY_PAUSE) {
                probe.take(ProbeAnswer::Paused);
            }
        }
        assert_eq!(probe.step(), &ProbeStep::Finish, "{kind:?}");
        let found = probe.findings();
        assert_eq!((found.chains.len(), found.billed), (0, tries + 1));
        let stopped = found.stopped.as_ref().unwrap();
        assert!(stopped.contains("role chain (Lost"), "{stopped}");
    }
}
