//! Checks of the endpoints: name, connection, encryption, clock, and which of the names of OSS serve objects.

use k8s_openapi::jiff::SignedDuration;

use super::signature_answers::DATE_TOLERANCE;
use super::{Check, EndpointFacts, Reachability, Service, TlsFault, VariantFacts};
use crate::core::endpoints::is_this_machine;
use crate::core::error::{CloudError, CloudErrorKind};
use crate::core::refusal::RefusedBy;

/// Offset of the clocks that is worth a warning.
const NOTABLE_OFFSET: SignedDuration = SignedDuration::from_secs(60);

/// The host and the port of a URL. The name and the password in the URL of a proxy are left out.
pub(super) fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default()
}

/// Four checks for each endpoint of OSS, IMM and STS that every run uses. `imm` is the offset of the clock from which
/// IMM was seen to reject calls.
pub(super) fn endpoint_checks(endpoints: &[EndpointFacts], imm: Option<SignedDuration>) -> Vec<Check> {
    let main = endpoints.iter().filter(|endpoint| !endpoint.service.is_further());
    let checks = main.flat_map(|endpoint| {
        let seen = imm.filter(|_| endpoint.service == Service::Imm);
        checks_of(endpoint, seen.unwrap_or(DATE_TOLERANCE))
    });
    checks.collect()
}

/// The checks of an endpoint up to the first stage that fails. Its service rejects calls whose dates are `tolerance` off.
pub(super) fn checks_of(endpoint: &EndpointFacts, tolerance: SignedDuration) -> Vec<Check> {
    let host = host_of(&endpoint.url);
    let next = endpoint.proxy.as_deref().map_or_else(
        || host.to_owned(),
        |proxy| format!("proxy {} for {host}", host_of(proxy)),
    );
    let service = endpoint.service.name();
    let instead = instead(endpoint);
    if endpoint.reached == Reachability::NoName {
        return vec![Check::failed(
            "endpoint-dns",
            format!("{service}: {next} has no address"),
            instead
                .unwrap_or_else(|| format!("check the DNS of this machine and {}", endpoint.service.flag())),
        )];
    }
    let first = endpoint
        .reached
        .addresses()
        .first()
        .map(ToString::to_string)
        .unwrap_or_default();
    let mut found = vec![Check::ok("endpoint-dns", format!("{service}: {next} is {first}"))];
    if matches!(endpoint.reached, Reachability::NoConnection { .. }) {
        found.push(Check::failed(
            "endpoint-tcp",
            format!("{service}: {next} does not accept a connection"),
            instead
                .unwrap_or_else(|| "open the firewall or security group for it, or set a proxy".to_owned()),
        ));
        return found;
    }
    found.push(Check::ok(
        "endpoint-tcp",
        format!("{service}: {next} accepts connections"),
    ));
    match &endpoint.reached {
        Reachability::NoName | Reachability::NoConnection { .. } => {}
        Reachability::NoTls { fault, .. } => {
            let (seen, change) = tls_advice(*fault);
            found.push(Check::failed(
                "endpoint-tls",
                format!("{service}: {host}: {seen}"),
                change,
            ));
        }
        Reachability::NoAnswer { .. } => found.push(Check::failed(
            "endpoint-tls",
            format!("{service}: {host} does not answer a request"),
            "check any proxy and firewall on the way".to_owned(),
        )),
        Reachability::Answered {
            encrypted, offset, ..
        } => {
            found.push(encryption_check(service, host, *encrypted));
            found.push(clock_check(service, host, *offset, tolerance));
        }
    }
    found
}

/// Which other name to use instead.
fn instead(endpoint: &EndpointFacts) -> Option<String> {
    let url = endpoint.answering.first()?;
    Some(format!(
        "set {} {}, which answers from here",
        endpoint.service.flag(),
        value_for(endpoint.service, &endpoint.region, url)
    ))
}

/// The value of an endpoint flag for a name that answers.
pub(super) fn value_for(service: Service, region: &str, url: &str) -> String {
    match service {
        Service::Sts | Service::Metadata | Service::CredentialsUri => url.to_owned(),
        Service::Oss | Service::OssAccount | Service::Imm => format!("{region}={url}"),
    }
}

fn tls_advice(fault: TlsFault) -> (&'static str, &'static str) {
    match fault {
        TlsFault::UnknownIssuer => (
            "its certificate is of an unknown authority",
            "trust the authority (SSL_CERT_FILE), or take this host out of a proxy that decrypts",
        ),
        TlsFault::OtherName => (
            "its certificate is for another name",
            "correct the endpoint, or the DNS entry that leads to another server",
        ),
        TlsFault::OutOfTime => (
            "its certificate is not valid at this time",
            "correct the clock of this machine, or renew the certificate of the proxy",
        ),
        TlsFault::Handshake => (
            "the TLS handshake fails",
            "check that the port speaks TLS, and any proxy on the way",
        ),
    }
}

fn encryption_check(service: &str, host: &str, encrypted: bool) -> Check {
    let name = "endpoint-tls";
    let bare = host.rsplit_once(':').map_or(host, |(bare, _)| bare);
    if encrypted {
        Check::ok(
            name,
            format!("{service}: {host} is encrypted and its certificate is valid"),
        )
    } else if is_this_machine(bare) {
        Check::ok(
            name,
            format!("{service}: {host} is on this machine and not encrypted"),
        )
    } else {
        Check::warning(
            name,
            format!("{service}: {host} is not encrypted"),
            "use https, as requests and images travel in plain text",
        )
    }
}

fn clock_check(
    service: &str,
    host: &str,
    offset: Option<SignedDuration>,
    tolerance: SignedDuration,
) -> Check {
    let name = "endpoint-clock";
    let Some(offset) = offset else {
        return Check::warning(
            name,
            format!("{service}: {host} does not say its time"),
            "check any proxy on the way, which should pass the header Date",
        );
    };
    let seconds = offset.as_secs();
    let seen = match seconds {
        0 => format!("{service}: the clocks of {host} and this machine agree"),
        1.. => format!("{service}: the clock of this machine is {seconds} s behind {host}"),
        _ => format!(
            "{service}: the clock of this machine is {} s ahead of {host}",
            seconds.abs()
        ),
    };
    let change = "synchronize the clock of this machine (NTP)";
    if offset.abs() >= tolerance {
        Check::failed(name, format!("{seen}, so requests are rejected"), change)
    } else if offset.abs() >= NOTABLE_OFFSET {
        Check::warning(name, seen, change)
    } else {
        Check::ok(name, seen)
    }
}

/// Whether a name of OSS refuses the objects of the bucket because of the name.
pub(super) fn is_closed(variant: &VariantFacts) -> bool {
    matches!(&variant.objects, Err(error) if error.refusal.by == Some(RefusedBy::PublicEndpoint))
}

/// Whether a name of OSS answers a request for objects, whatever the caller's permissions.
pub(super) fn answers(variant: &VariantFacts) -> bool {
    match &variant.objects {
        Ok(()) => true,
        Err(error) => error.kind != CloudErrorKind::Unanswered && !is_closed(variant),
    }
}

/// Returns the first name that serves objects, else the first that refuses them to the caller, if the one in use does not
/// answer. An error that may pass tells nothing about a name.
pub(super) fn better_variant(variants: &[VariantFacts]) -> Option<&VariantFacts> {
    let used = variants.iter().find(|variant| variant.in_use)?;
    if answers(used) {
        return None;
    }
    let serving = variants.iter().find(|variant| variant.objects.is_ok());
    let may_pass = |variant: &VariantFacts| variant.objects.as_ref().is_err_and(CloudError::is_transient);
    let answering = || {
        variants
            .iter()
            .find(|variant| answers(variant) && !may_pass(variant))
    };
    serving.or_else(answering)
}

/// The check of all names of OSS.
pub(super) fn variant_check(variants: &[VariantFacts]) -> Option<Check> {
    let name = "oss-endpoint-variants";
    let used = variants.iter().find(|variant| variant.in_use)?;
    let shown: Vec<String> = variants
        .iter()
        .map(|variant| {
            let answer = match &variant.objects {
                Ok(()) => "serves objects".to_owned(),
                Err(_) if is_closed(variant) => "does not serve objects of this bucket".to_owned(),
                Err(error) if error.kind == CloudErrorKind::Unanswered => {
                    "does not answer from here".to_owned()
                }
                Err(error) => format!("answers ({})", error.code),
            };
            let mark = if variant.in_use { ", in use" } else { "" };
            format!("{}{mark}: {answer}", variant.kind)
        })
        .collect();
    let seen = shown.join("; ");
    if answers(used) {
        return Some(Check::ok(name, seen));
    }
    Some(match better_variant(variants) {
        Some(better) => Check::warning(
            name,
            seen,
            format!(
                "set {} {}",
                Service::Oss.flag(),
                value_for(Service::Oss, &better.region, &better.url)
            ),
        ),
        None => Check::warning(
            name,
            seen,
            "run this command in a Pod of the cluster, where the internal name may answer",
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::doctor::Level;

    fn endpoint(reached: Reachability) -> EndpointFacts {
        EndpointFacts {
            service: Service::Imm,
            region: "cn-hangzhou".to_owned(),
            url: "https://imm.cn-hangzhou.aliyuncs.com/".to_owned(),
            proxy: None,
            reached,
            answering: Vec::new(),
        }
    }

    fn clock_of(endpoint: EndpointFacts, imm: Option<SignedDuration>) -> Check {
        let mut checks = endpoint_checks(&[endpoint], imm).into_iter();
        checks.find(|check| check.name == "endpoint-clock").unwrap()
    }

    fn answered(seconds: i64) -> Reachability {
        Reachability::Answered {
            addresses: vec!["203.0.113.7".parse().unwrap()],
            encrypted: true,
            offset: Some(SignedDuration::from_secs(seconds)),
        }
    }

    #[test]
    fn the_clock_is_judged_by_what_the_services_accept() {
        for (seconds, level, part) in [
            (0, Level::Ok, "agree"),
            (59, Level::Ok, "59 s behind"),
            (-61, Level::Warning, "61 s ahead"),
            (899, Level::Warning, "899 s behind"),
            (900, Level::Failed, "rejected"),
            (-4000, Level::Failed, "4000 s ahead"),
        ] {
            let clock = clock_of(endpoint(answered(seconds)), None);
            assert_eq!(clock.level, level, "{seconds}");
            assert!(clock.seen.contains(part), "{}", clock.seen);
        }
        for (seconds, minutes, imm, oss) in [
            (839, 14, Level::Warning, Level::Warning),
            (840, 14, Level::Failed, Level::Warning),
            (959, 16, Level::Warning, Level::Failed),
            (960, 16, Level::Failed, Level::Failed),
        ] {
            let of_oss = EndpointFacts {
                service: Service::Oss,
                ..endpoint(answered(seconds))
            };
            let seen = Some(SignedDuration::from_mins(minutes));
            assert_eq!(
                clock_of(endpoint(answered(seconds)), seen).level,
                imm,
                "{seconds}"
            );
            assert_eq!(clock_of(of_oss, seen).level, oss, "{seconds}");
        }
    }

    #[test]
    fn a_connection_that_ends_early_has_one_failed_check_with_the_way_round() {
        let addresses = vec!["203.0.113.7".parse().unwrap()];
        let fault = TlsFault::UnknownIssuer;
        for (reached, failed, count) in [
            (Reachability::NoName, "endpoint-dns", 1),
            (
                Reachability::NoConnection {
                    addresses: addresses.clone(),
                },
                "endpoint-tcp",
                2,
            ),
            (
                Reachability::NoTls {
                    addresses: addresses.clone(),
                    fault,
                },
                "endpoint-tls",
                3,
            ),
            (Reachability::NoAnswer { addresses }, "endpoint-tls", 3),
        ] {
            let checks = checks_of(&endpoint(reached), DATE_TOLERANCE);
            assert_eq!(checks.len(), count);
            let last = checks.last().unwrap();
            assert_eq!((last.name, last.level), (failed, Level::Failed));
        }
        let facts = EndpointFacts {
            answering: vec!["https://imm-vpc.cn-hangzhou.aliyuncs.com".to_owned()],
            ..endpoint(Reachability::NoName)
        };
        let change = checks_of(&facts, DATE_TOLERANCE).pop().unwrap().change.unwrap();
        assert!(
            change.contains("--imm-endpoint cn-hangzhou=https://imm-vpc.cn-hangzhou.aliyuncs.com"),
            "{change}"
        );
    }

    #[test]
    fn another_name_is_preferred_if_it_serves_objects_and_an_error_that_passes_tells_nothing() {
        let error = |kind| Err(CloudError::new(kind, "Code"));
        let variant = |url: &str, objects| VariantFacts {
            kind: "internal",
            url: url.to_owned(),
            region: "cn-hangzhou".to_owned(),
            in_use: url == "used",
            objects,
        };
        let silent = || variant("used", error(CloudErrorKind::Unanswered));
        let failing = || variant("failing", error(CloudErrorKind::Unavailable));
        let refusing = || variant("refusing", error(CloudErrorKind::AccessDenied));
        for (variants, better) in [
            (vec![silent(), failing()], None),
            (vec![silent(), failing(), refusing()], Some("refusing")),
            (
                vec![silent(), refusing(), variant("serving", Ok(()))],
                Some("serving"),
            ),
            (vec![variant("used", Ok(())), variant("serving", Ok(()))], None),
        ] {
            let found = better_variant(&variants).map(|variant| variant.url.as_str());
            assert_eq!(found, better);
        }
    }
}
