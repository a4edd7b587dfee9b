//! Waits for calls that the emulator holds.

use imm_emulator::Hold;
use imm_harness::until;

use super::PATIENCE;

/// Waits until a hold has held `count` calls.
pub async fn until_held(hold: &Hold, count: usize) {
    let held = || async {
        let held = hold.held();
        if held >= count { Ok(()) } else { Err(held) }
    };
    until(&format!("{count} held calls"), PATIENCE, held)
        .await
        .unwrap();
}
