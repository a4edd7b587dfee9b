//! The state behind the port (world, ledger, faults, clock) and the processing of one call.
//! Every call is recognised, subjected to the matching faults, performed and recorded, in this order.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::SignedDuration;

use crate::answer::Answer;
use crate::clock::{Clock, http_date, iso_millis};
use crate::digest::random_hex;
use crate::fault::{FaultAnswer, FaultEffect, Faults};
use crate::hold::Holds;
use crate::hosts;
use crate::ledger::{Call, Counts, Ledger};
use crate::nonces::Nonces;
use crate::options::Options;
use crate::policy::PrincipalReading;
use crate::request::Request;
use crate::seed::{ManySeed, SeedError};
use crate::traffic::Traffic;
use crate::world::World;
use crate::world::buckets::{Bucket, many};
use crate::{imm, oss, rpc, sts};

#[derive(Debug)]
pub(crate) struct Cloud {
    world: Mutex<World>,
    pub(crate) ledger: Ledger,
    pub(crate) faults: Faults,
    pub(crate) holds: Holds,
    pub(crate) clock: Clock,
    pub(crate) nonces: Nonces,
    traffic: Traffic,
    pub(crate) options: Options,
}

/// The result that is written to the connection.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The response: whole, or cut off after the given number of body bytes.
    Answer(Answer, Option<usize>),
    /// No response: the connection is closed.
    Close,
}

/// The service that a call addresses, determined before any verification.
enum Target {
    Oss(oss::Address),
    Rpc(rpc::RpcRequest),
}

impl Cloud {
    pub(crate) fn new(world: World, options: Options) -> Self {
        let clock = Clock::new(SignedDuration::from_secs(options.clock_offset_seconds));
        Self {
            world: Mutex::new(world),
            ledger: Ledger::default(),
            faults: Faults::default(),
            holds: Holds::default(),
            clock,
            nonces: Nonces::default(),
            traffic: Traffic::default(),
            options,
        }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds many objects. They are built before the world is locked. Returns `false` if the bucket does not exist.
    pub(crate) fn put_many(&self, bucket: &str, mut seed: ManySeed) -> Result<bool, SeedError> {
        seed.fill()?;
        let mut made = many(&seed).collect();
        let mut world = self.world();
        let bucket = world.buckets.get_mut(bucket);
        Ok(bucket.map(|bucket| bucket.objects.append(&mut made)).is_some())
    }

    /// Returns how principals are read in the policy of a bucket.
    pub(crate) fn reading(&self, bucket: &Bucket) -> PrincipalReading {
        bucket.principals.or(PrincipalReading {
            session_wildcard_is_public: self.options.session_wildcard_is_public,
            account_covers_sessions: self.options.account_covers_sessions,
            role_case_is_ignored: self.options.role_case_is_ignored,
        })
    }

    /// Returns the ledger's counts together with the traffic of each project.
    pub(crate) fn counts(&self) -> Counts {
        Counts {
            projects: self.traffic.counts(),
            ..self.ledger.counts()
        }
    }

    pub(crate) fn forget_calls(&self) {
        self.ledger.clear();
        self.traffic.clear();
    }

    /// Processes one client call: faults, effect, ledger entry.
    pub(crate) async fn serve(&self, request: &Request) -> Outcome {
        let (target, mut call) = self.recognise(request);
        let route = call.project.clone().map(|project| {
            let id = call.access_key_id.as_deref().unwrap_or_default();
            let account = self.world().account_of(id).unwrap_or_default().to_owned();
            (account, project)
        });
        if let Some(route) = &route {
            self.traffic.arrive(route);
        }
        let outcome = self.answer(target, request, &mut call).await;
        if let Some(route) = &route {
            let throttled = |code: &String| code.starts_with("Throttling");
            self.traffic
                .leave(route, call.code.as_ref().is_some_and(throttled));
        }
        self.ledger.record(call);
        outcome
    }

    /// Waits for the holds and applies the faults that match the call, performs it, and returns the outcome.
    async fn answer(&self, target: Target, request: &Request, call: &mut Call) -> Outcome {
        let xml = matches!(&target, Target::Rpc(order) if order.is_answered_in_xml(request));
        self.holds.pass(call).await;
        let (delay_ms, effect) = self.faults.take(call);
        if delay_ms > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(delay_ms)).await;
        }
        let answer = match &effect {
            Some(FaultEffect::DropBefore) => {
                call.fault = Some("dropBefore".to_owned());
                return Outcome::Close;
            }
            Some(FaultEffect::Answer(wanted)) => {
                call.fault = Some("answer".to_owned());
                ordered_answer(wanted, call, request)
            }
            Some(FaultEffect::DropAfter | FaultEffect::TruncateBody(_) | FaultEffect::DelayMs(_)) | None => {
                self.perform(target, request, call).await
            }
        };
        call.status = Some(answer.status);
        call.code.clone_from(&answer.code);
        let raw = matches!(&effect, Some(FaultEffect::Answer(wanted)) if wanted.body.is_some());
        let answer = if xml && !raw {
            answer.in_xml(&call.action)
        } else {
            answer
        };
        let answer = self.finish(answer, call);
        match effect {
            Some(FaultEffect::DropAfter) => {
                call.fault = Some("dropAfter".to_owned());
                Outcome::Close
            }
            Some(FaultEffect::TruncateBody(length)) => {
                call.fault = Some("truncateBody".to_owned());
                Outcome::Answer(answer, Some(length))
            }
            Some(FaultEffect::DropBefore | FaultEffect::Answer(_) | FaultEffect::DelayMs(_)) | None => {
                Outcome::Answer(answer, None)
            }
        }
    }

    fn recognise(&self, request: &Request) -> (Target, Call) {
        let mut call = Call {
            time: iso_millis(self.clock.now()),
            request_id: random_hex(12),
            ..Call::default()
        };
        if let Some(order) = rpc::RpcRequest::read(request) {
            order.describe(request, &mut call);
            return (Target::Rpc(order), call);
        }
        let address = oss::Address::find(request, &self.options.base_names);
        oss::describe(&address, request, &mut call);
        (Target::Oss(address), call)
    }

    async fn perform(&self, target: Target, request: &Request, call: &mut Call) -> Answer {
        let host = request.host().to_owned();
        let reached = {
            let world = self.world();
            hosts::exists(&host, world.finance_regions) && hosts::is_near(&host, world.network.as_deref())
        };
        if !reached {
            return no_such_host();
        }
        match target {
            Target::Oss(address) => match oss::perform(self, &address, request, call) {
                Ok(answer) => answer,
                Err(error) => error.answer(&call.request_id, &host, request.method == "HEAD"),
            },
            Target::Rpc(order) => {
                let result = match order.service {
                    rpc::Service::Imm => imm::perform(self, &order, request, call).await,
                    rpc::Service::Sts => sts::perform(self, &order, request, call),
                };
                result.unwrap_or_else(|error| {
                    let answer = error.answer(&call.request_id, &host);
                    if error.of_gateway && self.options.gateway_errors_in_xml {
                        answer.in_xml(&order.action)
                    } else {
                        answer
                    }
                })
            }
        }
    }

    fn finish(&self, answer: Answer, call: &Call) -> Answer {
        let (server, id) = if call.service == "oss" {
            ("AliyunOSS", "x-oss-request-id")
        } else {
            ("Tengine", "x-acs-request-id")
        };
        answer
            .with("Date", http_date(self.clock.now()))
            .with("Server", server)
            .with(id, call.request_id.clone())
    }
}

/// Answers as a proxy does for a host name that does not exist.
fn no_such_host() -> Answer {
    Answer {
        code: Some("NoSuchHost".to_owned()),
        ..Answer::of(502, "text/plain", "The cloud does not have this host.")
    }
}

/// Builds the response that a fault requests, in the error format of the called service.
fn ordered_answer(wanted: &FaultAnswer, call: &Call, request: &Request) -> Answer {
    use crate::answer::{OssError, RpcError};

    let message = wanted
        .message
        .clone()
        .unwrap_or_else(|| "Ordered by a fault.".to_owned());
    let mut answer = if let Some(body) = &wanted.body {
        let kind = wanted.content_type.as_deref().unwrap_or("text/plain");
        let code = (!wanted.code.is_empty()).then(|| wanted.code.clone());
        Answer {
            status: wanted.status,
            code,
            ..Answer::of(wanted.status, kind, body.clone())
        }
    } else if call.service == "oss" {
        let error = OssError {
            ec: wanted.ec.clone(),
            ..OssError::new(wanted.status, &wanted.code, message)
        };
        error.answer(&call.request_id, request.host(), request.method == "HEAD")
    } else {
        RpcError::new(wanted.status, &wanted.code, message).answer(&call.request_id, request.host())
    };
    if let Some(millis) = wanted.retry_after_ms {
        answer.headers.push(("x-acs-retry-after", millis.to_string()));
    }
    answer
}
