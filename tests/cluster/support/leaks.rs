//! P10: at the end of each test program, the operator's log and metrics, and every object that a user can read without
//! permission to read Secrets, are searched for a word that every test secret contains, and for the prefixes of tokens
//! and signed headers.

use super::Stage;

/// Part of every test secret.
pub const CANARY: &str = "canary";

/// Prefixes of ServiceAccount tokens and signed headers, beside the word.
const MARKS: [&str; 4] = [CANARY, "eyJhbGciOi", "OSS4-HMAC-SHA256", "ACS3-HMAC-SHA256"];

/// Returns whether a line contains a secret, a token, or a signed header.
fn contains_secret(line: &str) -> bool {
    // STS tokens start with four letters that any certificate may contain, but are long.
    let session = |word: &str| word.starts_with("CAIS") && word.len() > 60;
    MARKS.iter().any(|mark| line.contains(mark)) || line.split(|c: char| !c.is_alphanumeric()).any(session)
}

/// Returns an error with the place of the first secret found.
pub async fn search(stage: &Stage) -> Result<(), String> {
    let kinds = stage
        .kubectl(&["api-resources", "--verbs=list", "-o", "name"])
        .await;
    let kinds: Vec<&str> = kinds.lines().filter(|kind| *kind != "secrets").collect();
    let kinds = kinds.join(",");
    let mut places = vec![
        ("the operator's log", stage.log()),
        (
            "an object",
            stage
                .kubectl(&["get", &kinds, "-A", "-o", "yaml", "--show-managed-fields"])
                .await,
        ),
        (
            "kubectl describe",
            stage.kubectl(&["describe", "imm,events", "-A"]).await,
        ),
    ];
    if stage.running().await {
        places.push(("the metrics", stage.page("/metrics").await.1));
    }
    for (place, text) in &places {
        // A program that runs only one test may have no object to describe; the other texts are never empty.
        if text.is_empty() && *place != "kubectl describe" {
            return Err(format!("{place}: nothing to search"));
        }
        if let Some(line) = text.lines().find(|line| contains_secret(line)) {
            return Err(format!("a secret is in {place}: {line}"));
        }
    }
    Ok(())
}
