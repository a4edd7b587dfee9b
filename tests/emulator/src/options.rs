//! How the emulator is run, apart from what exists in it.
//! The defaults are those that the documented recipe needs to work.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Certificate and key of the TLS side, PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// The switches of an emulator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where to listen; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Whether `*` as the session of an assumed role makes a policy public.
    pub session_wildcard_is_public: bool,
    /// Seconds the cloud's clock is ahead of the machine's.
    pub clock_offset_seconds: i64,
    /// Host names in front of which a label is a bucket, besides the cloud's own and `localhost`.
    pub base_names: Vec<String>,
    /// The status of IMM's `Throttling.User`.
    pub throttle_status: u16,
    /// Sent as `x-acs-retry-after` with `Throttling.User`, in milliseconds.
    pub throttle_retry_after_ms: Option<u64>,
    /// Lets the same port speak TLS too, to clients that begin with it.
    pub tls: Option<TlsFiles>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            session_wildcard_is_public: false,
            clock_offset_seconds: 0,
            base_names: Vec::new(),
            throttle_status: 400,
            throttle_retry_after_ms: None,
            tls: None,
        }
    }
}
