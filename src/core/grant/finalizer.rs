//! When the operator's finalizer must be added again. Tools that replace a whole object, such as `kubectl replace`, drop
//! finalizers that are not in their manifest. Without the finalizer, a deletion would leave the statements in the policy.

/// What a grant shows about its finalizer and its need for one.
#[expect(clippy::struct_excessive_bools, reason = "four independent facts")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FinalizerFacts {
    /// Whether the operator's finalizer is set.
    pub present: bool,
    /// Whether the ledger has entries.
    pub owns: bool,
    /// Whether the mode is `Preview`.
    pub preview: bool,
    /// Whether the object has a deletion timestamp: the API server then accepts no new finalizer.
    pub deleting: bool,
}

impl FinalizerFacts {
    /// Returns `true` if the finalizer is missing and must be added again. `had_before` says whether the same object
    /// was seen with it. A grant without a ledger gets its first finalizer from a reconcile, and in mode `Preview` none.
    pub fn must_restore(self, had_before: bool) -> bool {
        !self.present && !self.deleting && (self.owns || (had_before && !self.preview))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_finalizer_is_restored_where_it_was_or_where_statements_are_owned() {
        let lost = FinalizerFacts::default();
        assert!(lost.must_restore(true));
        assert!(
            !lost.must_restore(false),
            "a new grant gets it from its reconcile"
        );
        let owner = FinalizerFacts { owns: true, ..lost };
        assert!(owner.must_restore(false), "also after a restart of the operator");
        let preview = FinalizerFacts {
            preview: true,
            ..lost
        };
        assert!(!preview.must_restore(true));
        assert!(
            FinalizerFacts {
                owns: true,
                ..preview
            }
            .must_restore(false)
        );
        for settled in [
            FinalizerFacts {
                present: true,
                ..owner
            },
            FinalizerFacts {
                deleting: true,
                ..owner
            },
        ] {
            assert!(!settled.must_restore(true), "{settled:?}");
        }
    }
}
