//! The token of a kubeconfig's user in a file, which is read again once a minute.

use std::path::PathBuf;
use std::time::Duration;

use http::header::InvalidHeaderValue;
use http::{HeaderValue, Request, header};
use kube::client::Body;
use kube::config::AuthInfo;
use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

/// How long a token is used before its file is read again, as in kubectl.
const TOKEN_TTL: Duration = Duration::from_secs(60);

/// What is wrong with a token.
const UNUSABLE: &str = "has characters that a token cannot have";

/// A file with a token, and the token to use if the file cannot be read.
pub(super) type TokenSource = (PathBuf, Option<SecretString>);

/// Takes the token file of a user, unless a name and a password take precedence. Like kubectl, an empty value is no value,
/// and the file takes precedence over a token beside it. The tokens that stay are trimmed, as that of a file is.
///
/// # Errors
/// Returns what is wrong with a token that no header can have, with which kube would panic.
pub(super) fn token_source(user: &mut AuthInfo) -> Result<Option<TokenSource>, String> {
    user.token = user.token.take().and_then(|token| trimmed(&token));
    // The folder of the kubeconfig stands before each name, also before an empty one.
    let is_file = |file: &String| !file.is_empty() && !file.ends_with('/');
    user.token_file = user.token_file.take().filter(is_file);
    let of_provider = user.auth_provider.iter_mut().flat_map(|p| &mut p.config);
    for (_, token) in of_provider.filter(|(name, _)| matches!(name.as_str(), "id-token" | "access-token")) {
        let kept: SecretString = token.trim().into();
        bearer(&kept).map_err(|_| format!("its auth-provider {UNUSABLE}"))?;
        kept.expose_secret().clone_into(token);
    }
    if user.username.is_some() && user.password.is_some() {
        return Ok(None);
    }
    let Some(file) = user.token_file.take() else {
        let sent = user.token.as_ref().map(bearer).transpose();
        return sent.map(|_| None).map_err(|_| format!("its token {UNUSABLE}"));
    };
    Ok(Some((file.into(), user.token.take())))
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
    pub(super) fn new(file: PathBuf, other: Option<&SecretString>) -> Result<Self, String> {
        let other = |why: String| other.and_then(|token| bearer(token).ok()).ok_or(why);
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
fn read_token(file: &PathBuf) -> Result<HeaderValue, String> {
    let unusable = |why: &dyn std::fmt::Display| format!("token file {} {why}", file.display());
    let text =
        std::fs::read_to_string(file).map_err(|error| unusable(&format!("cannot be read: {error}")))?;
    let token = trimmed(&text.into()).ok_or_else(|| unusable(&"is empty"))?;
    bearer(&token).map_err(|_| unusable(&UNUSABLE))
}

fn bearer(token: &SecretString) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut header = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()))?;
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
