//! Checks of the endpoints beside those of OSS, IMM and STS that every run uses: one line for each that works, so
//! that the report stays short.

use super::network::{checks_of, host_of};
use super::signature_answers::DATE_TOLERANCE;
use super::{Check, EndpointFacts, Level, Service};

/// The checks of all further endpoints: one line each, or what is wrong.
pub(super) fn further_checks(endpoints: &[EndpointFacts]) -> Vec<Check> {
    let further = endpoints.iter().filter(|endpoint| endpoint.service.is_further());
    further.flat_map(further_check).collect()
}

fn further_check(endpoint: &EndpointFacts) -> Vec<Check> {
    // The machine's own services answer in plain text on this machine or one hop away, and may not say their time.
    let least = match endpoint.service {
        Service::Metadata | Service::CredentialsUri => Level::Failed,
        Service::Oss | Service::OssAccount | Service::Imm | Service::Sts => Level::Warning,
    };
    let faults: Vec<Check> = checks_of(endpoint, DATE_TOLERANCE)
        .into_iter()
        .filter(|check| check.level >= least)
        // Nothing is signed for a service of the machine.
        .filter(|check| !(least == Level::Failed && check.name == "endpoint-clock"))
        .map(|check| with_advice(endpoint.service, check))
        .collect();
    if faults.is_empty() {
        let seen = format!(
            "{}: {} answers, and no fault was seen",
            endpoint.service.name(),
            host_of(&endpoint.url)
        );
        return vec![Check::ok("endpoint-further", seen)];
    }
    faults
}

/// Replaces the advice about a service of the cloud by that about a service of the machine.
fn with_advice(service: Service, check: Check) -> Check {
    let change = match service {
        Service::Metadata => {
            "run this command on the ECS instance, or in a Pod that reaches the metadata service of its node"
        }
        Service::CredentialsUri => {
            "start the service that ALIBABA_CLOUD_CREDENTIALS_URI names, or correct the variable"
        }
        Service::Oss | Service::OssAccount | Service::Imm | Service::Sts => return check,
    };
    if matches!(check.name, "endpoint-dns" | "endpoint-tcp") {
        Check {
            change: Some(change.to_owned()),
            ..check
        }
    } else {
        check
    }
}
