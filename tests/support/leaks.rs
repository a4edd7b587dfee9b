//! P10: one word is in every secret of every test, and what clouds and clusters give out for a while is known by how it
//! begins. Whatever the operator wrote, and whatever a user can see without
//! the right to read Secrets, is searched for it at the end of each test program.

use super::Stage;

/// Part of every invented secret.
pub const CANARY: &str = "canary";

/// How tokens of a ServiceAccount and signed headers begin.
const MARKS: [&str; 4] = [CANARY, "eyJhbGciOi", "OSS4-HMAC-SHA256", "ACS3-HMAC-SHA256"];

/// Whether a line holds a secret, a token, or a signed header.
fn tells(line: &str) -> bool {
    // Tokens of STS begin with four letters that may stand in any certificate, and are long.
    let session = |word: &str| word.starts_with("CAIS") && word.len() > 60;
    MARKS.iter().any(|mark| line.contains(mark)) || line.split(|c: char| !c.is_alphanumeric()).any(session)
}

/// Says where the word was found, if it was.
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
        // A program asked for one test may have no object to describe; the others are never empty.
        if text.is_empty() && *place != "kubectl describe" {
            return Err(format!("{place}: nothing to search"));
        }
        if let Some(line) = text.lines().find(|line| tells(line)) {
            return Err(format!("a secret is in {place}: {line}"));
        }
    }
    Ok(())
}
