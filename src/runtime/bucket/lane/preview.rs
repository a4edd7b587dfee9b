//! Whose plan is shown in status: a grant in preview, and one whose statements are gone and not put back.

use super::Passenger;
use crate::core::grant::{Stance, Wanted};

impl Passenger {
    /// What it would want if it were enforced, when that is to be shown.
    pub(super) fn shown(&self, missing: bool) -> Option<Wanted> {
        match &self.member.stance {
            Stance::Active(wanted) if missing => Some(wanted.clone()),
            Stance::Active(_) | Stance::Frozen | Stance::Leaving(_) => self.preview.clone(),
        }
    }
}
