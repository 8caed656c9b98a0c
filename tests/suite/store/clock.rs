//! A clock that jumps: nothing goes by what it says before it is believed.

use super::aged::{DAY, age, decided, names, put, removed, shift_time};
use super::{House, seen};
use crate::support::agent::said;

#[test]
fn a_clock_that_jumps_by_more_than_a_day_stops_deletions_until_a_cycle_agrees() {
    // How far the clock was ahead at the last collection, each time, and whether the next one may remove something.
    let cases: [&[(i64, bool)]; 7] = [
        &[(-20, true)],
        &[(20, true)],
        &[(-40, false), (0, true)],
        &[(40, false), (0, true)],
        // Collected once a week.
        &[(-24 * 7, false), (-24 * 7, true)],
        // Neither of these agrees with the one before.
        &[(-24 * 400, false), (40, false), (0, true)],
        &[(24 * 400, false), (-40, false), (0, true)],
    ];
    for case in cases {
        let house = House::with("[store]\ngrace = \"0s\"\n");
        put(&house, "old", 3000, &[]);
        put(&house, "new", 3000, &[]);
        age(&house, &[("old", (40 * DAY, 40 * DAY))]);
        for (hours, removes) in case {
            shift_time(&house, *hours);
            let told = said(&house.ends_with(0, &["gc", "--dry-run"]));
            assert_eq!(told.contains("clock"), !removes, "{case:?}: {told}");
            let (policy, rule, goes) = decided(&house, &["gc"])["old"].clone();
            let expected = if *removes { "old" } else { "clock_in_doubt" };
            assert_eq!((policy, rule.as_str(), goes), (None, expected, *removes), "{case:?}");
            assert_eq!(
                (names(&house).contains("old"), removed(&house).len()),
                (!removes, usize::from(*removes)),
                "{case:?}"
            );
            if !removes {
                assert_eq!(house.got("new"), seen(&house.path("new")), "{case:?}");
            }
        }
        house.ends_with(0, &["verify"]);
    }
}
