use super::super::report::build_report;
use super::*;

fn result(index: i32, uri: &str) -> ItemResult {
    ItemResult {
        index,
        uri: uri.to_owned(),
        score: Some("0.5".to_owned()),
        code: None,
    }
}

#[test]
fn a_report_is_limited_by_items_and_by_bytes_and_the_last_one_is_extended() {
    for (uri, least) in [("oss://pics/a.jpg".to_owned(), 500), ("k\"".repeat(520), 150)] {
        let mut reports = ReportBuffer::default();
        let mut most = -1;
        while reports.count().0 < 2 {
            most += 1;
            reports.add(result(most, &uri));
        }
        let draft = reports.take_pending(false);
        let (number, full) = draft.first().unwrap();
        assert_eq!((*number, full.len()), (0, usize::try_from(most).unwrap()));
        assert!(most >= least && most <= 500, "{most}");
        let stored = build_report("j", 0, full, 7);
        assert!(serde_json::to_string(&stored).unwrap().len() <= REPORT_BYTES);
        assert_eq!(sizes(&draft), [(0, full.len()), (1, 1)]);
        assert_eq!(
            sizes(&reports.take_pending(false)),
            sizes(&draft),
            "nothing is stored yet"
        );
        reports.persisted();
        assert_eq!(reports.take_pending(false), []);
        let mut again = ReportBuffer::default();
        assert!(again.restore_report(&stored));
        assert!(again.restore_report(&build_report("j", 1, &[result(most, &uri)], 9)));
        again.add(result(most + 1, &uri));
        assert_eq!(sizes(&again.take_pending(false)), [(1, 2)]);
        assert_eq!(again.count(), (2, usize::try_from(most).unwrap() + 2));
    }
}

fn sizes(draft: &[ReportDraft]) -> Vec<(usize, usize)> {
    draft
        .iter()
        .map(|(number, results)| (*number, results.len()))
        .collect()
}

#[test]
fn a_report_without_room_for_another_batch_is_closed_and_later_results_are_in_the_next_snapshot() {
    let mut reports = ReportBuffer::default();
    let mut index = 0;
    let mut writes = Vec::new();
    for _ in 0..10 {
        for _ in 0..98 {
            reports.add(result(index, "oss://pics/a.jpg"));
            index += 1;
        }
        writes.extend(sizes(&reports.take_pending(false)));
        reports.persisted();
    }
    let expected = [98, 196, 294, 392, 490];
    assert_eq!(writes, [0, 1].map(|n| expected.map(|len| (n, len))).concat());
    assert_eq!(
        sizes(&reports.take_pending(true)),
        [(1, 490)],
        "it still carries the reservation"
    );

    reports.add(result(index, "oss://pics/a.jpg"));
    assert_eq!(sizes(&reports.take_pending(false)), [(2, 1)]);
    for more in 1..=600 {
        reports.add(result(index + more, "oss://pics/a.jpg"));
    }
    reports.persisted();
    assert_eq!(sizes(&reports.take_pending(false)), [(2, 500), (3, 101)]);
    reports.persisted();
    assert_eq!(sizes(&reports.take_pending(false)), []);
}

#[test]
fn what_is_not_stored_is_counted() {
    let mut reports = ReportBuffer::default();
    assert_eq!(reports.unpersisted(), 0);
    assert!(!reports.can_carry_reservation());
    reports.add(result(0, "oss://pics/a.jpg"));
    assert_eq!(reports.unpersisted(), 1);
    assert!(reports.can_carry_reservation());
    reports.take_pending(false);
    reports.persisted();
    assert_eq!(reports.unpersisted(), 0);
    for _ in 0..1_000 {
        reports.add(result(1, "oss://pics/a.jpg"));
    }
    // A full report counts as a whole.
    assert_eq!(reports.unpersisted(), 1_001);
}

#[test]
fn a_draft_shares_its_results_until_others_arrive() {
    let mut reports = ReportBuffer::default();
    for index in 0..501 {
        reports.add(result(index, "oss://pics/a.jpg"));
    }
    let draft = reports.take_pending(false);
    assert!(Arc::ptr_eq(&draft[0].1, &reports.full[0].1) && Arc::ptr_eq(&draft[1].1, &reports.open));
    reports.add(result(501, "oss://pics/a.jpg"));
    assert!(Arc::ptr_eq(&draft[0].1, &reports.full[0].1));
    assert_eq!(
        (draft[1].1.len(), reports.open.len()),
        (1, 2),
        "the draft stays as it is"
    );
    reports.persisted();
    assert_eq!(sizes(&reports.take_pending(false)), [(1, 2)]);
}

#[test]
fn results_that_are_held_are_limited_and_stored_ones_make_room() {
    let long = format!("oss://pics/{}", "k".repeat(1_000));
    let size = long.len() + RESULT_MEMORY;
    let mut reports = ReportBuffer::default();
    let mut index = 0;
    let mut fill = |reports: &mut ReportBuffer| {
        let first = index;
        while !reports.is_full() {
            reports.add(result(index, &long));
            index += 1;
        }
        usize::try_from(index - first).unwrap()
    };
    assert_eq!(fill(&mut reports), MOST_HELD.div_ceil(size));
    reports.take_pending(false);
    reports.persisted();
    assert_eq!(reports.held, memory_of(&reports.open));
    // With less memory, the open report is closed: it carries the reservation until the next result frees it, and the
    // next report is as small.
    reports.limit(0);
    assert!(!reports.is_full() && reports.can_carry_reservation());
    assert_eq!(sizes(&reports.take_pending(true)), [(1, reports.open.len())]);
    reports.persisted();
    for number in [2, 3] {
        fill(&mut reports);
        assert_eq!(
            sizes(&reports.take_pending(false)),
            [(number, LEAST_HELD.div_ceil(size))]
        );
        // The next report has what arrives meanwhile.
        reports.add(result(10_000, &long));
        reports.persisted();
        assert_eq!((reports.held, reports.is_full()), (size, false));
    }
    let mut again = ReportBuffer::default();
    let results: Vec<_> = (0..200).map(|index| result(index, &long)).collect();
    assert!(again.restore_report(&build_report("j", 7, &results, 0)));
    again.limit(0);
    assert!(!again.is_full());
    again.add(result(200, &long));
    assert_eq!(sizes(&again.take_pending(false)), [(8, 1)]);
}

/// Results that fill a report to its last byte are in one report; with a byte more, the last one begins the next report.
#[test]
fn a_report_is_filled_to_its_last_byte() {
    let room = REPORT_BYTES - REPORT_OVERHEAD_BYTES;
    let long = "k".repeat(1_000);
    for (more, expected) in [(0, 1), (1, 2)] {
        let mut reports = ReportBuffer::default();
        while reports.bytes + 2 * result_bytes(&result(1, &long)) < room {
            reports.add(result(1, &long));
        }
        reports.add(result(1, ""));
        let left = room - reports.bytes - result_bytes(&result(1, ""));
        reports.add(result(1, &"k".repeat(left + more)));
        assert_eq!(reports.take_pending(false).len(), expected, "{more}");
    }
}

#[test]
fn a_report_that_is_half_full_by_its_bytes_is_closed_and_a_smaller_one_is_extended() {
    let long = "k".repeat(1_000);
    let half = REPORT_BYTES / 2 / result_bytes(&result(100, &long));
    for (results, number) in [(half - 5, 0), (half + 5, 1)] {
        let mut reports = ReportBuffer::default();
        (0..results).for_each(|_| reports.add(result(100, &long)));
        assert_eq!(sizes(&reports.take_pending(false)), [(0, results)]);
        reports.persisted();
        reports.add(result(100, &long));
        assert_eq!(reports.take_pending(false)[0].0, number, "{results}");
    }
}
