//! Messages that print commands: they are pasted into a shell as they stand, with the plane's own kubectl.

use super::Stage;

/// Runs the two kubectl lines that a condition's message ends with.
pub async fn paste(stage: &Stage, message: &str) {
    let (_, lines) = message.split_once("open it with: ").unwrap();
    let lines = lines.split(" (docs/").next().unwrap();
    assert_eq!(lines.matches("kubectl create").count(), 2, "{lines}");
    let kubectl = imm_harness::tools::Tool::Kubectl.path().unwrap();
    let output = tokio::process::Command::new("/bin/sh")
        .args([
            "-c",
            &format!("PATH={}:$PATH; {lines}", kubectl.parent().unwrap().display()),
        ])
        .env("KUBECONFIG", stage.plane.kubeconfig())
        .output()
        .await
        .unwrap();
    assert!(
        output.status.success(),
        "{lines}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
