//! Each cell of the matrix, at its edges and at each pressure.

use super::*;

/// Age, unused, and whether it goes at (less than 80 %, 80 %, 90 %).
const CELLS: &[(i64, i64, [bool; 3])] = &[
    // Younger than 7 days: kept at any pressure below 95 %.
    (7 * DAY - 1, 7 * DAY - 1, [false, false, false]),
    (5 * DAY, 5 * DAY, [false, false, false]),
    // 7 to 30 days: 72 h unused, then 54 h, then 36 h.
    (7 * DAY, 7 * DAY, [true, true, true]),
    (7 * DAY, 72 * HOUR + 1, [true, true, true]),
    (7 * DAY, 72 * HOUR, [false, true, true]),
    (7 * DAY, 54 * HOUR + 1, [false, true, true]),
    (7 * DAY, 54 * HOUR, [false, false, true]),
    (7 * DAY, 36 * HOUR + 1, [false, false, true]),
    (7 * DAY, 36 * HOUR, [false, false, false]),
    (7 * DAY, 24 * HOUR, [false, false, false]),
    (30 * DAY, 72 * HOUR + 1, [true, true, true]),
    (30 * DAY, 72 * HOUR, [false, true, true]),
    (30 * DAY, 36 * HOUR + 1, [false, false, true]),
    (30 * DAY, 36 * HOUR, [false, false, false]),
    // Over 30 days: 7 days unused.
    (30 * DAY + 1, 7 * DAY + 1, [true, true, true]),
    (30 * DAY + 1, 7 * DAY, [false, true, true]),
    (30 * DAY + 1, 72 * HOUR + 1, [false, false, false]),
    (300 * DAY, 7 * DAY + 1, [true, true, true]),
    // 5.25 days from 80 %, 3.5 days from 90 %.
    (40 * DAY, 7 * DAY, [false, true, true]),
    (40 * DAY, 126 * HOUR + 1, [false, true, true]),
    (40 * DAY, 126 * HOUR, [false, false, true]),
    (40 * DAY, 84 * HOUR + 1, [false, false, true]),
    (40 * DAY, 84 * HOUR, [false, false, false]),
    // 30 days stay 30 days.
    (30 * DAY + 1, 54 * HOUR + 1, [false, false, false]),
    (30 * DAY + 1, 36 * HOUR + 1, [false, false, false]),
    (25 * DAY, 80 * HOUR, [true, true, true]),
];

#[test]
fn each_cell_at_its_edges() {
    for (age, unused, goes) in CELLS {
        for (per_cent, goes) in [79, 80, 90].into_iter().zip(goes) {
            let verdict = verdict(&[], &full(per_cent), entry("e", *age, *unused));
            let by_period = matches!(verdict.code(), "aging" | "old");
            assert_eq!(by_period, *goes, "{age} s old, {unused} s unused, {per_cent} %: {verdict}");
            // What the periods keep at 90 %, size evicts unless it is young.
            let by_size = per_cent == 90 && !goes && *age >= 7 * DAY;
            assert_eq!(verdict.code() == "size", by_size, "{age} s old, {unused} s unused, {per_cent} %: {verdict}");
            assert_eq!(verdict.deletes(), *goes || by_size, "{verdict}");
        }
    }
}

#[test]
fn a_reference_keeps_in_every_row() {
    for (age, unused, _) in CELLS {
        for per_cent in [0, 80, 90, 95, 98, 100] {
            let references = References { queued: 1, running: 0 };
            let verdict = verdict(&[], &full(per_cent), Candidate { references, ..entry("e", *age, *unused) });
            assert_eq!(verdict.code(), "referenced", "{age} s old, {unused} s unused, {per_cent} %");
        }
    }
}

#[test]
fn from_95_per_cent_all_goes_but_grace() {
    for per_cent in [95, 98, 100, 120] {
        for (age, unused) in
            [(25 * HOUR, 24 * HOUR), (7 * DAY - 1, 24 * HOUR), (40 * DAY, 24 * HOUR), (8 * DAY, 30 * HOUR)]
        {
            let verdict = verdict(&[], &full(per_cent), entry("e", age, unused));
            assert!(verdict.deletes(), "{age} s old, {unused} s unused, {per_cent} %: {verdict}");
        }
        for age in [24 * HOUR - 1, 24 * HOUR, 400 * DAY] {
            let verdict = verdict(&[], &full(per_cent), entry("e", age, 24 * HOUR - 1));
            assert_eq!(verdict.code(), "grace", "{age} s old, {per_cent} %");
        }
    }
}

#[test]
fn being_put_is_a_use() {
    let never_read = Candidate { last_accessed: ago(400 * DAY), ..entry("e", HOUR, 0) };
    assert_eq!(verdict(&[], &full(99), never_read).code(), "grace");
}

proptest::proptest! {
    #[test]
    fn more_pressure_never_keeps_what_less_lets_go(age in 0..100 * DAY, unused in 0..100 * DAY, lower in 0u64..110, higher in 0u64..110) {
        let (lower, higher) = (lower.min(higher), lower.max(higher));
        let goes = |per_cent| verdict(&[], &full(per_cent), entry("e", age, unused)).deletes();
        proptest::prop_assert!(!goes(lower) || goes(higher));
    }

    #[test]
    fn what_is_longer_unused_never_stays_in_place_of_the_other(age in 0..100 * DAY, one in 0..100 * DAY, other in 0..100 * DAY, per_cent in 0u64..110) {
        let (shorter, longer) = (one.min(other).min(age), one.max(other).min(age));
        let goes = |unused| verdict(&[], &full(per_cent), entry("e", age, unused)).deletes();
        proptest::prop_assert!(!goes(shorter) || goes(longer));
    }
}
