//! Messages that print commands: the commands run in a shell unchanged, with the control plane's kubectl.

use super::Stage;

/// Runs the two kubectl commands at the end of a condition's message.
pub async fn run_printed(stage: &Stage, message: &str) {
    let (_, lines) = message.split_once(", run ").unwrap();
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
