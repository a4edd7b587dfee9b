//! The token of a kubeconfig's user in a file, which is read again once a minute.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{HeaderValue, Request, header};
use kube::client::Body;
use kube::config::{AuthInfo, AuthProviderConfig};
use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use super::connect::error::PartError;

/// How long a token is used before its file is read again, as in kubectl.
const TOKEN_TTL: Duration = Duration::from_secs(60);

/// A file with a token, and the token to use if the file cannot be read.
pub(super) type TokenSource = (PathBuf, Option<SecretString>);

/// Takes the token file of a user, unless a name and a password take precedence. Like kubectl, an empty value is no
/// value, and the file takes precedence over a token beside it. The tokens that stay are trimmed, as that of a file
/// is.
///
/// # Errors
/// A token is used that no header can have: kube would panic with it.
pub(super) fn token_source(user: &mut AuthInfo) -> Result<Option<TokenSource>, PartError> {
    user.token = user.token.take().and_then(|token| trimmed(&token));
    // The folder of the kubeconfig stands before each name, also before an empty one.
    let is_file = |file: &String| !file.is_empty() && !file.ends_with('/');
    user.token_file = user.token_file.take().filter(is_file);
    if let Some(token) = user.auth_provider.as_mut().and_then(used_token) {
        let kept: SecretString = token.trim().into();
        bearer(&kept, || "its auth-provider".to_owned())?;
        kept.expose_secret().clone_into(token);
    }
    if user.username.is_some() && user.password.is_some() {
        return Ok(None);
    }
    let Some(file) = user.token_file.take() else {
        if let Some(token) = &user.token {
            bearer(token, || "its token".to_owned())?;
        }
        return Ok(None);
    };
    Ok(Some((file.into(), user.token.take())))
}

/// Returns the token of an auth-provider that kube uses, as far as it is in the kubeconfig.
fn used_token(provider: &mut AuthProviderConfig) -> Option<&mut String> {
    let name = match provider.name.as_str() {
        "oidc" => "id-token",
        "gcp" if provider.config.contains_key("id-token") => "id-token",
        // Without its time, kube runs the command instead.
        "gcp" if provider.config.contains_key("expiry") => "access-token",
        _ => return None,
    };
    provider.config.get_mut(name)
}

/// Returns a token without the line break that `echo` and most editors end a text with; `None` if nothing is left.
fn trimmed(token: &SecretString) -> Option<SecretString> {
    let text = token.expose_secret().trim();
    (!text.is_empty()).then(|| text.into())
}

/// A token that is read from a file again once a minute.
pub(super) struct TokenFile {
    file: PathBuf,
    header: Mutex<(HeaderValue, Instant)>,
}

impl TokenFile {
    /// Reads the file, and uses another token if it cannot be used.
    ///
    /// # Errors
    /// What is wrong with the file, if there is no other token.
    pub(super) fn new(file: PathBuf, other: Option<&SecretString>) -> Result<Self, PartError> {
        let other = |why| other.and_then(|token| bearer(token, String::new).ok()).ok_or(why);
        let header = read_token(&file).or_else(other)?;
        Ok(Self {
            header: Mutex::new((header, Instant::now())),
            file,
        })
    }

    pub(super) fn authorize(&self, mut request: Request<Body>) -> Request<Body> {
        let mut header = self.header.lock();
        if header.1.elapsed() >= TOKEN_TTL {
            // A file that cannot be read now is read again with the next minute; the last token may still work.
            let fresh = read_token(&self.file).unwrap_or_else(|_| header.0.clone());
            *header = (fresh, Instant::now());
        }
        request
            .headers_mut()
            .insert(header::AUTHORIZATION, header.0.clone());
        request
    }
}

/// Reads a token.
fn read_token(file: &Path) -> Result<HeaderValue, PartError> {
    let text = std::fs::read_to_string(file).map_err(|source| PartError::TokenFile {
        file: file.to_owned(),
        source,
    })?;
    let token = trimmed(&text.into()).ok_or_else(|| PartError::EmptyTokenFile(file.to_owned()))?;
    bearer(&token, || format!("token file {}", file.display()))
}

/// Returns the header with a token.
fn bearer(token: &SecretString, whose: impl FnOnce() -> String) -> Result<HeaderValue, PartError> {
    let header = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()));
    let mut header = header.map_err(|source| PartError::Token {
        whose: whose(),
        source,
    })?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_token_file_may_end_in_a_line_break_and_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "first\r\n").unwrap();
        let token = TokenFile::new(path.clone(), None).unwrap();
        let sent = || {
            let request = token.authorize(Request::new(Body::empty()));
            request.headers()["authorization"].to_str().unwrap().to_owned()
        };
        assert_eq!(sent(), "Bearer first");
        std::fs::write(&path, "second\n").unwrap();
        assert_eq!(sent(), "Bearer first");
        tokio::time::advance(TOKEN_TTL).await;
        assert_eq!(sent(), "Bearer second");
        std::fs::remove_file(&path).unwrap();
        tokio::time::advance(TOKEN_TTL).await;
        assert_eq!(sent(), "Bearer second");
    }
}
