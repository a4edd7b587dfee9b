//! Runtime options of the emulator, apart from the seed.
//! The defaults make Alibaba Cloud's cross-account procedure work.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// PEM files of the TLS certificate and key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// The emulator's options.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an independent switch of the command line"
)]
pub struct Options {
    /// The address to listen on. With port 0 the system chooses the port.
    pub listen: SocketAddr,
    /// Whether `*` as the session of an assumed role makes a policy public.
    pub session_wildcard_is_public: bool,
    /// Whether the UID of an account names the sessions of its roles too.
    pub account_covers_sessions: bool,
    /// Whether the case of a role in a principal is ignored.
    pub role_case_is_ignored: bool,
    /// The offset of the cloud's clock from the machine's clock, in seconds.
    pub clock_offset_seconds: i64,
    /// Base host names (the label in front names the bucket), in addition to the cloud's own and `localhost`.
    pub base_names: Vec<String>,
    /// The HTTP status of IMM's `Throttling.User`.
    pub throttle_status: u16,
    /// Sent as `x-acs-retry-after` with `Throttling.User`, in milliseconds.
    pub throttle_retry_after_ms: Option<u64>,
    /// Whether IMM and STS answer a call that they cannot authenticate in XML.
    pub gateway_errors_in_xml: bool,
    /// Makes the same port also serve TLS, to clients that start with a handshake.
    pub tls: Option<TlsFiles>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            session_wildcard_is_public: false,
            account_covers_sessions: false,
            role_case_is_ignored: false,
            clock_offset_seconds: 0,
            base_names: Vec::new(),
            throttle_status: 400,
            throttle_retry_after_ms: None,
            gateway_errors_in_xml: false,
            tls: None,
        }
    }
}
