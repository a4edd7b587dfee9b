//! A web server for the files of a folder, which records what it does not have.

use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::error::{HarnessError, Result};

/// A request head is never longer.
const LONGEST_HEAD: usize = 16 * 1024;

/// The running server. It ends with this value.
pub(super) struct Site {
    address: String,
    missing: Arc<Mutex<Vec<String>>>,
    server: JoinHandle<()>,
}

impl Site {
    /// Starts a server on a port of loopback that the system chooses.
    pub(super) async fn start(folder: &Path) -> Result<Self> {
        let doing = || HarnessError::io("starting a web server");
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(doing())?;
        let address = format!("http://{}", listener.local_addr().map_err(doing())?);
        let missing = Arc::new(Mutex::new(Vec::new()));
        let (folder, recorded) = (folder.to_path_buf(), Arc::clone(&missing));
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, folder.clone(), Arc::clone(&recorded)));
            }
        });
        Ok(Self {
            address,
            missing,
            server,
        })
    }

    /// Returns the address of the folder.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Returns the paths that were requested and do not exist.
    pub(super) fn missing(&self) -> Vec<String> {
        self.missing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Answers the only request of a connection.
async fn answer(mut stream: TcpStream, folder: PathBuf, missing: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.windows(4).any(|part| part == b"\r\n\r\n") && head.len() < LONGEST_HEAD {
        if !stream.read_buf(&mut head).await.is_ok_and(|read| read > 0) {
            return;
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = path(&head).to_owned();
    let content = file(&folder, &path).and_then(|file| std::fs::read(file).ok());
    let status = if content.is_some() {
        "200 OK"
    } else {
        "404 Not Found"
    };
    if content.is_none() {
        let mut missing = missing.lock().unwrap_or_else(PoisonError::into_inner);
        missing.push(path.clone());
    }
    let content = content.unwrap_or_default();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        media_type(&path),
        content.len()
    );
    let whole = [head.as_bytes(), &content].concat();
    // A browser that no longer wants the answer closes the connection.
    let _ = stream.write_all(&whole).await;
}

/// Returns the path in the head of a request, without the query.
fn path(head: &str) -> &str {
    let target = head.split(' ').nth(1).unwrap_or_default();
    target.split('?').next().unwrap_or_default()
}

/// Returns the file of a path, unless the path leaves the folder.
fn file(folder: &Path, path: &str) -> Option<PathBuf> {
    let inside = Path::new(path.strip_prefix('/')?);
    let normal = |part: Component<'_>| matches!(part, Component::Normal(_));
    inside.components().all(normal).then(|| folder.join(inside))
}

fn media_type(path: &str) -> &'static str {
    let types = [
        (".html", "text/html; charset=utf-8"),
        (".js", "text/javascript; charset=utf-8"),
        (".css", "text/css; charset=utf-8"),
        (".svg", "image/svg+xml"),
        (".png", "image/png"),
        (".woff2", "font/woff2"),
    ];
    let known = types.into_iter().find(|(ending, _)| path.ends_with(ending));
    known.map_or("application/octet-stream", |(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_missing_file_is_recorded_and_no_path_leaves_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.html"), "content").unwrap();
        let site = Site::start(folder.path()).await.unwrap();
        let place = site.address().strip_prefix("http://").unwrap().to_owned();
        let mut answers = Vec::new();
        for target in ["/a.html?search=x", "/b.html", "/../a.html"] {
            let mut stream = TcpStream::connect(&place).await.unwrap();
            let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answers.push(answer);
        }
        assert!(
            answers[0].starts_with("HTTP/1.1 200 ") && answers[0].ends_with("\r\n\r\ncontent"),
            "{answers:?}"
        );
        assert!(
            answers[1..]
                .iter()
                .all(|answer| answer.starts_with("HTTP/1.1 404 ")),
            "{answers:?}"
        );
        assert_eq!(site.missing(), ["/b.html", "/../a.html"]);
    }
}
