//! The calls before the first score of a job over a prefix.

use imm_operator::api::JobStatus;
use imm_operator::core::error::CloudErrorKind;
use imm_operator::core::job::{SourceItem, Step, add_items, apply_response, resume_progress};
use serde_json::json;

use super::{answered, now, reserve, spec};

#[test]
fn refusals_with_one_unknown_code_cost_five_calls_that_are_spread_over_the_first_page() {
    let source = json!({"prefix": {"bucket": "pics", "prefix": "photos/"}});
    // Codes of the answers in turn, and the images that were called.
    for (codes, called) in [
        (["Unforeseen.Code"; 2], vec![0, 200, 401, 601, 800]),
        // A code of a single image proves nothing.
        (["InvalidImage.Format"; 2], (0..20).collect()),
        // Nor does one that IMM does not find, but OSS has listed it: twenty of them do.
        (
            ["ResourceNotFound.Object"; 2],
            vec![
                0, 50, 101, 152, 203, 253, 304, 354, 404, 454, 505, 554, 604, 654, 704, 753, 803, 852, 901,
                950,
            ],
        ),
    ] {
        let mut progress = resume_progress(
            &spec(&source),
            &JobStatus::default(),
            (10_000, false),
            now(),
            "uid",
        );
        let (mut read, mut sent) = (0, Vec::new());
        while sent.len() < 20 && progress.first_calls_refused().is_none() {
            match progress.next_step(now(), 100, None) {
                Step::Read => {
                    let found = (read..read + 250).map(|number| SourceItem {
                        uri: format!("oss://pics/photos/{number:05}.jpg"),
                        resume_after: None,
                        reject_code: None,
                    });
                    assert!(add_items(&mut progress, found.collect(), false));
                    read += 250;
                }
                Step::Reserve => reserve(&mut progress, 98, None),
                Step::Send => {
                    let item = progress.take_next(now()).unwrap();
                    let code = codes[sent.len() % codes.len()];
                    sent.push(item.index);
                    let refused = answered(CloudErrorKind::RequestRejected, Some(400), code);
                    apply_response(&mut progress, item.index, Err(refused), now());
                }
                step @ (Step::Wait(_) | Step::OutOfBudget | Step::Finished) => panic!("{step:?}"),
            }
        }
        assert_eq!(sent, called, "{codes:?}");
        assert!(read <= 1250, "{read}");
        let requests = progress.requests();
        assert_eq!(
            usize::try_from(requests.estimated_billable).unwrap(),
            called.len()
        );
    }
}
