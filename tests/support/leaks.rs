//! P10: one word is in every secret of every test. Whatever the operator wrote, and whatever a user can see without
//! the right to read Secrets, is searched for it at the end of each test program.

use super::Stage;

/// Part of every invented secret.
pub const CANARY: &str = "canary";

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
        if let Some(line) = text.lines().find(|line| line.contains(CANARY)) {
            return Err(format!("a secret is in {place}: {line}"));
        }
    }
    Ok(())
}
