//! The calls before the first score of a job. If the service refuses each of them with the same code, the cause is the
//! request and not the image, and every further call would be billed for nothing.

/// Equal refusals in a row after which a job without a score makes no further call.
const LIMIT: usize = 5;
/// The same for objects that IMM does not find although they were listed before: some may be deleted by now.
const LIMIT_NOT_FOUND: usize = 20;

/// The refusals in a row with the same code, before the first score.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FirstCalls {
    code: String,
    refused: usize,
}

impl FirstCalls {
    /// Records a refusal with a code that no failure rule names. `listed` says that OSS has listed the object.
    pub(super) fn record_refusal(&mut self, code: &str, listed: bool) {
        if is_item_code(code) && !(listed && is_not_found(code)) {
            *self = Self::default();
        } else if self.code == code {
            self.refused += 1;
        } else {
            code.clone_into(&mut self.code);
            self.refused = 1;
        }
    }

    /// Whether the last call was refused.
    pub(super) fn is_refused(&self) -> bool {
        self.refused > 0
    }

    /// Returns the number of refusals and their code once they prove that further calls would be refused too.
    pub(super) fn proof(&self) -> Option<(usize, &str)> {
        (self.refused >= self.limit()).then_some((self.refused, self.code.as_str()))
    }

    /// Returns which of the next `open` items to send: the calls are spread, because neighbouring images can have the
    /// same fault.
    pub(super) fn position(&self, open: usize) -> usize {
        (self.refused * open / self.limit()).min(open.saturating_sub(1))
    }

    fn limit(&self) -> usize {
        if is_not_found(&self.code) {
            LIMIT_NOT_FOUND
        } else {
            LIMIT
        }
    }
}

/// Whether a code says that the image does not exist.
fn is_not_found(code: &str) -> bool {
    ["ResourceNotFound", "NoSuchKey"]
        .iter()
        .any(|prefix| code.starts_with(prefix))
}

/// Whether a code concerns a single image: of IMM, of OSS where IMM passes it on, or of an item that was not called.
pub fn is_item_code(code: &str) -> bool {
    const PREFIXES: [&str; 6] = [
        "ResourceNotFound",
        "NoSuchKey",
        "InvalidObjectState",
        "ImageTooLarge",
        "InvalidImage",
        "UnsupportedImage",
    ];
    const OWN: [&str; 8] = [
        "Archived",
        "Empty",
        "ExplicitDeny",
        "KeyNotUtf8",
        "LineNotUtf8",
        "NotAnImageUri",
        "ScoreOutOfRange",
        "TooLarge",
    ];
    OWN.contains(&code) || PREFIXES.iter().any(|prefix| code.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_equal_refusals_in_a_row_that_concern_no_single_image_are_a_proof() {
        let proof_of = |codes: &[&str], listed| {
            let mut calls = FirstCalls::default();
            for code in codes {
                calls.record_refusal(code, listed);
            }
            calls.proof().map(|(count, code)| (count, code.to_owned()))
        };
        let missing = ["ResourceNotFound.Object"; 20];
        assert_eq!(proof_of(&missing, false), None);
        assert_eq!(proof_of(&missing[1..], true), None);
        assert_eq!(proof_of(&missing, true), Some((20, missing[0].to_owned())));
        for (codes, proof) in [
            (["New", "New", "New", "New", "New"].as_slice(), Some((5, "New"))),
            (&["New", "New", "New", "New"], None),
            (&["New", "New", "Other", "New", "New", "New"], None),
            (
                &["New", "New", "New", "New", "ResourceNotFound.Object", "New"],
                None,
            ),
            (&["UnsupportedImageFormat"; 9], None),
            (&["Empty"; 9], None),
        ] {
            let proof = proof.map(|(count, code): (usize, &str)| (count, code.to_owned()));
            assert_eq!(proof_of(codes, false), proof, "{codes:?}");
        }
    }

    #[test]
    fn the_calls_are_spread_over_the_items_that_are_read() {
        let mut calls = FirstCalls::default();
        let mut positions = Vec::new();
        for open in (246..=250).rev() {
            positions.push(calls.position(open));
            calls.record_refusal("New", false);
        }
        assert_eq!(positions, [0, 49, 99, 148, 196]);
        assert_eq!([calls.position(1), calls.position(0)], [0, 0]);
    }
}
