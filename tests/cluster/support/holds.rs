//! Waits for calls that the emulator holds.

use imm_emulator::Hold;
use imm_harness::until;

use super::PATIENCE;

/// Waits until a hold has held `count` calls.
pub async fn until_held(hold: &Hold, count: usize) {
    let enough = || async {
        let seen = hold.held();
        if seen >= count { Ok(()) } else { Err(seen) }
    };
    until(&format!("{count} held calls"), PATIENCE, enough)
        .await
        .unwrap();
}
