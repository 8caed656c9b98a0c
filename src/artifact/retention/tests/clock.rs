//! Wrong clocks, at both edges of what counts as a jump.

use std::time::Duration;

use super::*;
use crate::artifact::retention::ClockJump;

fn at(seconds: i64) -> Timestamp {
    ago(-seconds)
}

fn hours(count: i64) -> Duration {
    Duration::from_secs((count * HOUR).unsigned_abs())
}

/// A record whose last cycle, and highest time, is now.
fn record() -> ClockRecord {
    ClockRecord::first(None, now())
}

#[test]
fn a_jump_is_more_than_24_hours_beyond_the_time_that_passed() {
    for (elapsed, wall, jump) in [
        // The process counted 4 h.
        (Some(4), 28 * HOUR, None),
        (Some(4), 28 * HOUR + 1, Some(ClockJump::Forward(hours(24) + Duration::from_secs(1)))),
        (Some(4), -20 * HOUR, None),
        (Some(4), -20 * HOUR - 1, Some(ClockJump::Back(hours(24) + Duration::from_secs(1)))),
        // It slept for ten days between cycles and knows.
        (Some(240), 240 * HOUR, None),
        (Some(240), 4 * HOUR, Some(ClockJump::Back(hours(236)))),
        // Another process: anything from no time to 4 h is as expected.
        (None, 28 * HOUR, None),
        (None, 28 * HOUR + 1, Some(ClockJump::Forward(hours(24) + Duration::from_secs(1)))),
        (None, -24 * HOUR, None),
        (None, -24 * HOUR - 1, Some(ClockJump::Back(hours(24) + Duration::from_secs(1)))),
    ] {
        let reading = record().read(at(wall), elapsed.map(hours), []);
        assert_eq!(reading.jump, jump, "{elapsed:?} h passed, the clock moved {wall} s");
    }
}

#[test]
fn ages_count_to_the_later_of_both_clocks() {
    assert_eq!(record().read(at(-10 * HOUR), None, []).now, now());
    assert_eq!(record().read(at(10 * HOUR), None, []).now, at(10 * HOUR));
    let back = record().read(at(-10 * HOUR), None, []).record;
    assert_eq!(
        back.stamp(at(-9 * HOUR)),
        now(),
        "what is recorded meanwhile is not older than what was recorded before"
    );
}

#[test]
fn the_next_cycle_that_agrees_goes_on() {
    let seen = record().read(at(90 * DAY), None, []);
    assert!(seen.jump.is_some());
    let agreed = seen.record.read(at(90 * DAY + 4 * HOUR), None, []);
    assert_eq!((agreed.jump, agreed.now), (None, at(90 * DAY + 4 * HOUR)));
}

#[test]
fn a_store_that_is_seldom_collected_pauses_once() {
    let days_later = |last: ClockRecord, from: i64, days: i64| {
        let reading = last.read(at((from + days) * DAY), None, []);
        (reading.jump.is_some(), reading.record)
    };
    let (first, last) = days_later(record(), 0, 7);
    let (second, last) = days_later(last, 7, 7);
    let (third, last) = days_later(last, 14, 8);
    assert_eq!([first, second, third], [true, false, false], "once a week");
    let (longer, last) = days_later(last, 22, 10);
    let (after, last) = days_later(last, 32, 3);
    let (shorter, _) = days_later(last, 35, 5);
    assert_eq!([longer, after, shorter], [true, false, true], "what is more than a day longer than before");
}

#[test]
fn a_clock_that_is_wrong_by_years_twice_is_not_believed() {
    let wrong = record().read(at(3650 * DAY), None, []).record;
    assert!(wrong.read(at((3650 + 1800) * DAY), None, []).jump.is_some(), "years further");
    // Behind at the start of the machine, then right again, then wrong.
    let behind = record().read(at(-20_000 * DAY), None, []).record;
    let right = behind.read(at(DAY), None, []).record;
    assert!(right.read(at(400 * DAY), None, []).jump.is_some());
}

#[test]
fn one_wrong_reading_leaves_no_trace() {
    let wrong = record().read(at(400 * DAY), None, []).record;
    let corrected = wrong.read(at(8 * HOUR), None, []);
    assert!(corrected.jump.is_some(), "that is a jump back, and again nothing is deleted");
    let agreed = corrected.record.read(at(12 * HOUR), None, []);
    assert_eq!((agreed.jump, agreed.now), (None, at(12 * HOUR)));
}

#[test]
fn a_clock_that_wanders_never_agrees() {
    let mut last = record();
    for days in [90, 10, 50, 300, 200] {
        let reading = last.read(at(days * DAY), None, []);
        assert!(reading.jump.is_some(), "{days} days");
        last = reading.record;
    }
}

#[test]
fn time_goes_on_behind_a_clock_that_was_set_back() {
    let mut last = record().read(at(-60 * DAY), None, []).record;
    for cycle in 1..=10 {
        let reading = last.read(at(-60 * DAY + cycle * 4 * HOUR), None, []);
        assert_eq!((reading.jump, reading.now), (None, at(cycle * 4 * HOUR)), "cycle {cycle}");
        last = reading.record;
    }
    assert_eq!(last.stamp(at(-60 * DAY + 41 * HOUR)), at(41 * HOUR));
    // Set right again: one more pause, and the wall clock is believed as it is.
    let right = last.read(at(44 * HOUR), None, []);
    assert!(right.jump.is_some());
    assert_eq!(right.record.read(at(48 * HOUR), None, []).now, at(48 * HOUR));
    assert_eq!(right.record.read(at(48 * HOUR), None, []).record.stamp(at(49 * HOUR)), at(49 * HOUR));
}

#[test]
fn a_jump_forward_adds_nothing_to_grace() {
    // Used an hour before the last cycle; then the clock jumps 90 days, and 4 h later a cycle agrees.
    let last = ClockRecord::first(None, ago(90 * DAY + 4 * HOUR));
    let clock = Some(last.read(ago(4 * HOUR), None, []).record);
    let used = |id: &str, before: i64| entry(id, 90 * DAY + 4 * HOUR + before, 90 * DAY + 4 * HOUR + before);
    let candidates =
        vec![used("hour", HOUR), used("19", 20 * HOUR - 1), used("20", 20 * HOUR), entry("since", 5 * HOUR, 5 * HOUR)];
    let plan = plan(&[], &Situation { clock, ..full(99) }, candidates);
    assert_eq!(plan.jump, None);
    assert_eq!(gone(&plan), ["20"], "20 h before the jump and 4 h after it are over");
    assert_eq!(plan.kept[0].reason(), "used 5h ago, 1d after use are grace");
}

#[test]
fn grace_is_not_cut_by_a_clock_that_was_behind_while_jobs_ran() {
    // A machine starts 3 days after its last cycle with a clock from years ago, runs a job, and gets the time 4 h
    // later.
    let last = ClockRecord::first(None, ago(3 * DAY + 8 * HOUR));
    let behind = last.read(ago(900 * DAY), None, []).record;
    let stamp = behind.stamp(ago(900 * DAY - HOUR));
    let right = behind.read(ago(4 * HOUR), None, []).record;
    let used = Candidate { created_at: stamp, last_accessed: stamp, ..entry("e", 0, 0) };
    let plan = plan(&[], &Situation { clock: Some(right), ..full(99) }, vec![used]);
    assert_eq!((plan.jump, code(&plan, "e")), (None, "grace"));
}

#[test]
fn a_store_without_cycles_for_long_does_not_take_all_of_it_for_a_jump() {
    // Used every day by hand, but no cycle for 90 days: the first one pauses, the second finds grace as it should be.
    let uses: Vec<_> = (0..90).map(|day| entry(&day.to_string(), day * DAY + 5 * HOUR, day * DAY + 5 * HOUR)).collect();
    let seen =
        plan(&[], &Situation { clock: Some(ClockRecord::first(None, ago(90 * DAY))), ..full(150) }, uses.clone());
    assert!(seen.jump.is_some() && seen.deletions.is_empty());
    let agreed = plan(&[], &Situation { clock: Some(seen.clock), ..full(150) }, uses);
    assert_eq!(gone(&agreed).len(), 89, "all but the one that was used 5 h ago");
}

#[test]
fn a_clock_that_swings_does_not_run_away() {
    let mut last = record();
    for cycle in 1..=100 {
        let swing = if cycle % 2 == 0 { 0 } else { 10 * HOUR };
        last = last.read(at(cycle * HOUR + swing), None, []).record;
    }
    assert!(last.read(at(101 * HOUR), None, []).now <= at(101 * HOUR + 10 * HOUR));
}

#[test]
fn without_a_record_the_newest_entry_tells_the_time() {
    let of = |age| vec![entry("e", age, age)];
    let plan_without = |candidates| plan(&[], &Situation { clock: None, ..full(0) }, candidates);
    assert_eq!(gone(&plan_without([of(40 * DAY), vec![entry("new", HOUR, HOUR)]].concat())), ["e"]);
    let doubtful = plan_without(of(40 * DAY));
    assert!(doubtful.deletions.is_empty() && doubtful.jump.is_some());
    assert!(plan_without(Vec::new()).jump.is_none());
    // Entries of a year that is yet to come do not make the others old.
    let clock = plan_without(of(-400 * DAY)).clock;
    assert_eq!(clock.read(at(HOUR), None, []).now, at(HOUR));
}

#[test]
fn a_jump_pauses_deletion_and_says_so() {
    let due = vec![entry("due", 20 * DAY, 20 * DAY), entry("fine", DAY, DAY)];
    let jumped = Situation { clock: Some(ClockRecord::first(None, ago(90 * DAY))), ..full(99) };
    let paused = plan(&[], &jumped, due.clone());
    assert!(paused.deletions.is_empty());
    assert_eq!(
        paused.jump.unwrap().to_string(),
        "the clock is 2156h0m0s ahead of where the last cycle lets expect it: nothing is deleted until the next cycle \
         agrees; set the clock (`timedatectl`) if it is wrong"
    );
    assert_eq!(
        paused.kept[0].to_string(),
        "keep    due (100 B): the clock jumped, so nothing is deleted (older than 7d and unused for 20d, 3d are kept at its age)"
    );
    let next = plan(&[], &Situation { clock: Some(paused.clock), ..full(0) }, due);
    assert_eq!(gone(&next), ["due"]);
}

#[test]
fn times_from_the_future_are_told_when_the_clock_is_agreed_on() {
    let candidates = vec![entry("wrong", -25 * HOUR, -25 * HOUR), entry("skewed", -24 * HOUR, -24 * HOUR)];
    let agreed = plan(&[], &full(99), candidates.clone());
    assert_eq!(agreed.ahead, [EntryId::new("wrong")]);
    assert_eq!((code(&agreed, "wrong"), code(&agreed, "skewed")), ("grace", "grace"));
    let jumped = Situation { clock: Some(ClockRecord::first(None, ago(90 * DAY))), ..full(99) };
    assert!(plan(&[], &jumped, candidates).ahead.is_empty());
}

#[test]
fn a_store_forgets_a_wrong_clock_with_its_record() {
    // Two cycles believed a clock 60 days ahead; it is right again, and the record was taken away.
    let candidates =
        vec![entry("from-then", -60 * DAY, -60 * DAY), entry("old", 20 * DAY, 20 * DAY), entry("young", DAY, DAY)];
    let first = plan(&[], &Situation { clock: None, ..full(0) }, candidates.clone());
    assert!(first.jump.is_some() && first.deletions.is_empty());
    let second = plan(&[], &Situation { clock: Some(first.clock), ..full(0) }, candidates);
    assert_eq!((second.jump, second.now), (None, now()));
    assert_eq!(gone(&second), ["old"]);
    assert_eq!(second.ahead, [EntryId::new("from-then")]);
}

#[test]
fn the_record_survives_the_disk() {
    let record = record().read(at(-60 * DAY), None, []).record.read(at(-60 * DAY + HOUR), None, []).record;
    let text = serde_json::to_string(&record).unwrap();
    assert_eq!(serde_json::from_str::<ClockRecord>(&text).unwrap(), record);
}

proptest::proptest! {
    #[test]
    fn no_clock_makes_it_panic_or_go_back(walls: Vec<i64>, elapsed: Option<u64>) {
        let mut last = record();
        for wall in walls {
            let wall = Timestamp::from_second(wall % 253_402_207_200).unwrap();
            let reading = last.read(wall, elapsed.map(Duration::from_secs), []);
            proptest::prop_assert!(reading.now >= wall);
            proptest::prop_assert!(reading.record.stamp(Timestamp::MIN) >= last.stamp(Timestamp::MIN));
            let _ = reading.record.stamp(Timestamp::MAX);
            last = reading.record;
        }
    }
}
