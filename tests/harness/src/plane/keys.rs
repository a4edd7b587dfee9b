//! Keys, certificates and tokens of one control plane, generated for each: a token of one control plane is not valid
//! for another, and none of them is stored in the repository.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_RSA_SHA256,
};

use super::kubeconfig::write_private;
use crate::error::{HarnessError, Result};

/// The files and tokens that the API server and its clients need.
pub(super) struct Keys {
    pub(super) authority: PathBuf,
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    pub(super) account_key: PathBuf,
    pub(super) account_public_key: PathBuf,
    pub(super) tokens: PathBuf,
    pub(super) admin: String,
    pub(super) controller_manager: String,
    pub(super) scheduler: String,
}

impl Keys {
    /// Generates everything and writes the files below `folder`. Fails if a key cannot be generated or written.
    pub(super) fn make(folder: &Path) -> Result<Self> {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        authority
            .distinguished_name
            .push(DnType::CommonName, "imm-harness");
        let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

        let names = ["127.0.0.1", "localhost", "kubernetes.default.svc", "10.0.0.1"].map(str::to_owned);
        let mut server = CertificateParams::new(names)?;
        server
            .distinguished_name
            .push(DnType::CommonName, "kube-apiserver");
        let server_key = KeyPair::generate()?;
        let certificate = server.signed_by(&server_key, &issuer)?;
        // Clusters sign ServiceAccount tokens with RSA, and clouds that verify them expect it.
        let account_key = KeyPair::generate_for(&PKCS_RSA_SHA256)?;

        let keys = Self {
            authority: folder.join("ca.crt"),
            certificate: folder.join("apiserver.crt"),
            key: folder.join("apiserver.key"),
            account_key: folder.join("sa.key"),
            account_public_key: folder.join("sa.pub"),
            tokens: folder.join("tokens.csv"),
            admin: token()?,
            controller_manager: token()?,
            scheduler: token()?,
        };
        write_private(&keys.authority, &issuer.pem())?;
        write_private(&keys.certificate, &certificate.pem())?;
        write_private(&keys.key, &server_key.serialize_pem())?;
        write_private(&keys.account_key, &account_key.serialize_pem())?;
        write_private(&keys.account_public_key, &account_key.public_key_pem())?;
        write_private(&keys.tokens, &keys.token_file())?;
        Ok(keys)
    }

    fn token_file(&self) -> String {
        let Self {
            admin,
            controller_manager,
            scheduler,
            ..
        } = self;
        format!(
            "{admin},admin,admin,\"system:masters\"\n\
             {controller_manager},system:kube-controller-manager,kcm\n\
             {scheduler},system:kube-scheduler,scheduler\n"
        )
    }
}

/// Returns a token of 128 random bits.
fn token() -> Result<String> {
    let mut bytes = [0_u8; 16];
    let read = File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes));
    read.map_err(HarnessError::io("reading random bytes"))?;
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    }))
}
