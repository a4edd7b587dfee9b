//! Why a TLS handshake failed, by the words of the TLS library, which never contain text of the server beyond the
//! names of its certificate.

use crate::core::doctor::TlsFault;
use crate::core::error::{
    CERTIFICATE_EXPIRED, CERTIFICATE_FOR_OTHER_NAME, CERTIFICATE_NOT_YET_VALID, CERTIFICATE_UNKNOWN_ISSUER,
};

/// Returns the code of a certificate that was not accepted; `None` if the handshake failed for another reason, or
/// there was none. `chain` has the texts of an error and its causes.
pub(super) fn certificate_code(chain: &str) -> Option<&'static str> {
    // What stands before can be anything, such as the name of a host.
    let (_, fault) = chain.split_once("invalid peer certificate: ")?;
    let begins = |parts: &[&str]| parts.iter().any(|part| fault.starts_with(part));
    let is_ca = begins(&["Other("]) && fault.contains("CaUsedAsEndEntity");
    if is_ca || begins(&["UnknownIssuer", "BadSignature"]) {
        Some(CERTIFICATE_UNKNOWN_ISSUER)
    } else if begins(&["NotValidForName", "certificate not valid for name"]) {
        Some(CERTIFICATE_FOR_OTHER_NAME)
    } else if begins(&["Expired", "certificate expired"]) {
        Some(CERTIFICATE_EXPIRED)
    } else if begins(&["NotValidYet", "certificate not valid yet"]) {
        Some(CERTIFICATE_NOT_YET_VALID)
    } else {
        None
    }
}

/// Classifies the failure of a handshake.
pub(super) fn tls_fault(chain: &str) -> TlsFault {
    match certificate_code(chain) {
        Some(CERTIFICATE_UNKNOWN_ISSUER) => TlsFault::UnknownIssuer,
        Some(CERTIFICATE_FOR_OTHER_NAME) => TlsFault::OtherName,
        Some(_) => TlsFault::OutOfTime,
        None => TlsFault::Handshake,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustls::pki_types::{ServerName, UnixTime};
    use rustls::{CertificateError, Error, InvalidMessage};

    use super::*;

    #[test]
    fn a_failed_handshake_has_one_of_four_causes() {
        let (early, late) = (Duration::from_secs(1), Duration::from_secs(2));
        let at = UnixTime::since_unix_epoch;
        for (error, fault, code) in [
            (
                Error::InvalidCertificate(CertificateError::UnknownIssuer),
                TlsFault::UnknownIssuer,
                Some("CertificateUnknownIssuer"),
            ),
            (
                Error::InvalidCertificate(CertificateError::NotValidForNameContext {
                    expected: ServerName::try_from("Expired.example.com").unwrap(),
                    presented: Vec::new(),
                }),
                TlsFault::OtherName,
                Some("CertificateForOtherName"),
            ),
            (
                Error::InvalidCertificate(CertificateError::ExpiredContext {
                    time: at(late),
                    not_after: at(early),
                }),
                TlsFault::OutOfTime,
                Some("CertificateExpired"),
            ),
            (
                Error::InvalidCertificate(CertificateError::NotValidYetContext {
                    time: at(early),
                    not_before: at(late),
                }),
                TlsFault::OutOfTime,
                Some("CertificateNotYetValid"),
            ),
            (
                Error::InvalidMessage(InvalidMessage::InvalidContentType),
                TlsFault::Handshake,
                None,
            ),
        ] {
            let chain = format!("error sending request: client error (Connect): {error}");
            assert_eq!(tls_fault(&chain), fault, "{chain}");
            assert_eq!(certificate_code(&chain), code, "{chain}");
        }
    }
}
