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

/// A file with a token, and the token to use if the file cannot be read.
pub(super) type TokenSource = (PathBuf, Option<SecretString>);

/// Takes the token file of a user, unless a name and a password take precedence. Like kubectl, an empty value is no value,
/// and the file takes precedence over a token beside it.
pub(super) fn token_source(user: &mut AuthInfo) -> Option<TokenSource> {
    user.token = user
        .token
        .take()
        .filter(|token| !token.expose_secret().is_empty());
    // The folder of the kubeconfig stands before each name, also before an empty one.
    let is_file = |file: &String| !file.is_empty() && !file.ends_with('/');
    user.token_file = user.token_file.take().filter(is_file);
    if user.username.is_some() && user.password.is_some() {
        return None;
    }
    let file = user.token_file.take()?;
    Some((file.into(), user.token.take()))
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

/// Reads a token. Most editors and `echo` end a file with a line break, which is not part of the token.
fn read_token(file: &PathBuf) -> Result<HeaderValue, String> {
    let unusable = |why: &dyn std::fmt::Display| format!("token file {}: {why}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| unusable(&error))?;
    let token = SecretString::from(text.trim());
    if token.expose_secret().is_empty() {
        return Err(unusable(&"it is empty"));
    }
    bearer(&token).map_err(|_| unusable(&"it has characters that a token cannot have"))
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
