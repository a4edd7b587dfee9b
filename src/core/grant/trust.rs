//! What is known about an identity's reads of a bucket. Anybody can name any bucket in a grant, so an unknown
//! identity must not occupy the worker of a bucket.

use crate::api::{EntryState, LedgerEntry};
use crate::core::error::CloudErrorKind;

/// What is known about an identity's reads of a bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// No read in this process. An identity with statements in the policy has read it in an earlier process.
    #[default]
    Unknown,
    /// The last read was answered.
    Proven,
    /// The last call was not answered.
    Doubtful,
}

impl Trust {
    /// Whether the worker of the bucket may make calls for grants whose ledgers have these entries.
    pub fn admits<'a>(self, mut entries: impl Iterator<Item = &'a LedgerEntry>) -> bool {
        match self {
            Self::Proven => true,
            Self::Unknown => entries.any(|entry| entry.state == EntryState::Applied),
            Self::Doubtful => false,
        }
    }

    /// Returns what is known after a policy read or another call. One that is not answered could occupy the worker
    /// again, and one that is refused disproves a ledger that claims statements of an identity that has not read the
    /// policy yet.
    #[must_use]
    pub fn after(self, error: Option<CloudErrorKind>) -> Self {
        match (error, self) {
            (None, _) => Self::Proven,
            (Some(CloudErrorKind::Unanswered), _) | (Some(_), Self::Unknown) => Self::Doubtful,
            (Some(_), known) => known,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::grant::entry_of;

    #[test]
    fn a_refused_read_disproves_a_ledger_and_does_not_disprove_an_earlier_read() {
        let (refused, unanswered) = (CloudErrorKind::AccessDenied, CloudErrorKind::Unanswered);
        let mut trust = Trust::default();
        for (answer, known) in [
            (Some(refused), Trust::Doubtful),
            (Some(refused), Trust::Doubtful),
            (None, Trust::Proven),
            (Some(refused), Trust::Proven),
            (Some(unanswered), Trust::Doubtful),
        ] {
            trust = trust.after(answer);
            assert_eq!(trust, known, "{answer:?}");
        }
    }

    #[test]
    fn an_unknown_identity_is_admitted_if_it_has_statements() {
        for (state, unknown) in [
            (None, false),
            (Some(EntryState::Intended), false),
            (Some(EntryState::Applied), true),
        ] {
            let ledger: Vec<_> = state
                .map(|state| entry_of("sha256:1", state))
                .into_iter()
                .collect();
            let admitted =
                [Trust::Unknown, Trust::Proven, Trust::Doubtful].map(|trust| trust.admits(ledger.iter()));
            assert_eq!(admitted, [unknown, true, false], "{state:?}");
        }
    }
}
