//! Levels at their edges, what is refused, what goes in which order and where it stops.

use std::time::Duration;

use super::*;
use crate::artifact::retention::pressure::{Limit, project_of};

fn usage(used: u64, capacity: u64) -> Usage {
    Usage { used, capacity }
}

#[test]
fn levels_begin_exactly_at_their_threshold() {
    use Pressure::{Critical, Low, Orange, Red, Yellow};
    for (used, level) in [
        (0, Low),
        (7_999, Low),
        (8_000, Yellow),
        (8_999, Yellow),
        (9_000, Orange),
        (9_499, Orange),
        (9_500, Red),
        (9_799, Red),
        (9_800, Critical),
        (10_000, Critical),
        (20_000, Critical),
    ] {
        assert_eq!(usage(used, 10_000).pressure(), level, "{used}");
    }
    assert_eq!(usage(u64::MAX / 100 * 79, u64::MAX).pressure(), Low);
    assert_eq!(usage(u64::MAX, u64::MAX).pressure(), Critical);
    assert_eq!(usage(0, 0).pressure(), Critical, "no room at all is full");
}

#[test]
fn the_fullest_limit_counts() {
    let member = owner("p", Trust::Member);
    let room = Room {
        disk: Some(usage(85, 100)),
        quota: Some(usage(10, 100)),
        owners: [(member.clone(), usage(96, 100))].into(),
        ..Room::default()
    };
    assert_eq!(room.pressure(), Pressure::Yellow);
    assert_eq!(room.pressure_for(&member), Pressure::Red);
    assert_eq!(room.pressure_for(&owner("q", Trust::Member)), Pressure::Yellow);
    assert_eq!(room.highest(), Some((Limit::OwnerQuota, usage(96, 100))));
    assert_eq!(Room::default().pressure(), Pressure::Low);

    let full = Room { projects: [(project_of(&member), usage(91, 100))].into(), ..Room::default() };
    assert_eq!(full.pressure_for(&owner("p", Trust::Fork)), Pressure::Orange, "whatever the trust");
    assert_eq!(full.pressure_for(&owner("q", Trust::Fork)), Pressure::Low);
    assert_eq!(full.highest(), Some((Limit::ProjectQuota, usage(91, 100))));
    assert_eq!(full.admit(&member, 10).unwrap_err().limit, Limit::ProjectQuota);
    let mut freed = full.clone();
    freed.free(&owner("p", Trust::Protected), 50);
    assert_eq!(freed.pressure_for(&member), Pressure::Low);
}

#[test]
fn a_quota_is_kept_by_refusing() {
    let member = owner("p", Trust::Member);
    let room = |used| Room { quota: Some(usage(used, 1000)), ..Room::default() };
    assert!(room(979).admit(&member, 21).is_ok(), "up to the last byte while it is less than 98 % full");
    assert!(room(979).admit(&member, 22).is_err());
    assert!(room(980).admit(&member, 0).is_err());
    assert!(room(0).admit(&member, u64::MAX).is_err());
    assert!(Room::default().admit(&member, u64::MAX).is_ok());
}

#[test]
fn what_is_only_convenient_leaves_room_for_the_rest() {
    let member = owner("p", Trust::Member);
    let room = Room { quota: Some(usage(800, 1000)), ..Room::default() };
    assert!(room.has_plenty(&member, 99));
    assert!(!room.has_plenty(&member, 100), "90 % are in use with it");
    assert!(!room.has_plenty(&member, u64::MAX));
    let room = Room { owners: [(member.clone(), usage(95, 100))].into(), ..room };
    assert!(!room.has_plenty(&member, 0));
    assert!(room.has_plenty(&owner("q", Trust::Member), 50));
}

#[test]
fn the_refusal_says_what_is_full_and_what_to_do() {
    let member = owner("p", Trust::Member);
    let gib = 1 << 30;
    let room = Room { quota: Some(usage(99 * gib, 100 * gib)), disk: Some(usage(1, 10 * gib)), ..Room::default() };
    assert_eq!(
        room.admit(&member, 2 * gib).unwrap_err().to_string(),
        "2.00 GiB new bytes are refused: the quota of the store is 99.0 % full (99.00 GiB of 100.00 GiB); see what is kept \
         and why with `forgehand store gc --dry-run`, unpin what is no longer needed, or raise `store.max_size` in \
         forgehand.toml"
    );
    let room = Room { disk: Some(usage(99, 100)), ..Room::default() };
    assert_eq!(room.admit(&member, 0).unwrap_err().limit, Limit::Disk);
    let room = Room { owners: [(member.clone(), usage(99, 100))].into(), ..Room::default() };
    assert_eq!(room.admit(&member, 0).unwrap_err().limit, Limit::OwnerQuota);
    assert!(room.admit(&owner("q", Trust::Member), 50).is_ok());
}

#[test]
fn cycles_come_more_often_under_pressure() {
    let minutes = |level: Pressure, more| level.next_cycle(more).as_secs() / 60;
    assert_eq!(Pressure::ALL.map(|level| minutes(level, false)), [240, 60, 15, 5, 5]);
    assert_eq!(Pressure::ALL.map(|level| minutes(level, true)), [60, 60, 15, 1, 1]);
    let idle = plan(&[], &full(10), Vec::new());
    assert_eq!(idle.next_cycle(), Duration::from_secs(4 * 3600));
}

/// Bytes in use of 100,000.
fn used(bytes: u64) -> Situation {
    let quota = Some(usage(bytes, 100_000));
    Situation { room: Room { quota, ..Room::default() }, ..full(0) }
}

fn sized(id: &str, age: i64, unused: i64, bytes: u64) -> Candidate {
    Candidate { bytes, ..entry(id, age, unused) }
}

#[test]
fn what_shorter_periods_let_go_stops_below_the_threshold() {
    // All unused for more than 54 h and less than 72 h.
    let candidates = vec![
        sized("second", 8 * DAY, 60 * HOUR, 600),
        sized("third", 8 * DAY, 58 * HOUR, 600),
        sized("first", 8 * DAY, 70 * HOUR, 600),
    ];
    let plan = plan(&[], &used(81_000), candidates);
    assert_eq!(gone(&plan), ["first", "second"], "79,800 of 100,000 are below 80 %");
    assert_eq!(code(&plan, "third"), "relieved");
    assert_eq!(
        plan.kept[0].reason(),
        "enough space was freed before its turn came (older than 7d and unused for 2d10h, 2d6h are kept at its age; the store is 80 % full or more)"
    );
    assert_eq!((plan.freed(), plan.after.pressure()), (1_200, Pressure::Low));
}

#[test]
fn what_is_due_anyway_goes_first_and_does_not_stop() {
    let candidates = vec![
        sized("pressed", 8 * DAY, 70 * HOUR, 100),
        sized("due-1", 8 * DAY, 80 * HOUR, 9_000),
        sized("due-2", 8 * DAY, 90 * HOUR, 9_000),
    ];
    let plan = plan(&[], &used(85_000), candidates);
    assert_eq!(gone(&plan), ["due-2", "due-1"]);
    assert_eq!(code(&plan, "pressed"), "relieved");
}

#[test]
fn from_90_per_cent_the_largest_go_until_it_is_less() {
    // None of them is beyond half of its period.
    let candidates = vec![
        sized("small", 8 * DAY, 30 * HOUR, 500),
        sized("large", 8 * DAY, 25 * HOUR, 900),
        sized("huge-but-young", 7 * DAY - 1, 30 * HOUR, 50_000),
        sized("medium-stale", 9 * DAY, 35 * HOUR, 700),
        sized("medium", 9 * DAY, 30 * HOUR, 700),
    ];
    let plan = plan(&[], &used(91_500), candidates);
    assert_eq!(gone(&plan), ["large", "medium-stale"], "89,900 of 100,000 are below 90 %");
    assert_eq!(code(&plan, "medium"), "relieved");
    assert_eq!(code(&plan, "huge-but-young"), "recent");
}

#[test]
fn size_spares_what_a_policy_or_a_job_keeps() {
    let policies = [policy("keep", "^keep")];
    let wish = Candidate { expiry: Expiry::At(ago(-DAY)), ..entry("wish", 20 * DAY, 20 * DAY) };
    let plan = plan(&policies, &full(94), vec![entry("keep", 20 * DAY, 20 * DAY), wish]);
    assert_eq!((code(&plan, "keep"), code(&plan, "wish")), ("within_policy", "expires_later"));
}

#[test]
fn in_an_emergency_the_weakest_backing_goes_first() {
    let policies = [policy("keep", "^keep")];
    let candidates = vec![
        Candidate { expiry: Expiry::At(ago(-DAY)), ..sized("wish", 3 * DAY, 3 * DAY, 1_000) },
        sized("keep", 40 * DAY, 40 * DAY, 1_000),
        sized("recent", 2 * DAY, 2 * DAY, 1_000),
        sized("staler", 3 * DAY, 3 * DAY, 1_000),
        sized("grace", 3 * DAY, HOUR, 1_000),
    ];
    let all = plan(&policies, &used(99_500), candidates.clone());
    assert_eq!(gone(&all), ["staler", "recent", "keep", "wish"]);
    assert_eq!(code(&all, "grace"), "grace");
    let enough = plan(&policies, &used(96_500), candidates);
    assert_eq!(gone(&enough), ["staler", "recent"], "94,500 of 100,000 are below 95 %");
    assert_eq!((code(&enough, "keep"), code(&enough, "wish")), ("relieved", "relieved"));
}

#[test]
fn forks_go_before_the_project_whatever_they_wish() {
    let fork = Candidate {
        owner: owner("p", Trust::Fork),
        expiry: Expiry::At(ago(-900 * DAY)),
        ..sized("fork", 2 * DAY, 25 * HOUR, 100)
    };
    let plan = plan(&[], &full(99), vec![entry("own", 6 * DAY, 6 * DAY), fork]);
    assert_eq!(gone(&plan), ["fork", "own"]);
}

#[test]
fn an_owner_over_its_quota_makes_room_with_its_own() {
    let (full_owner, other) = (owner("p", Trust::Member), owner("q", Trust::Member));
    let room = Room { owners: [(full_owner, usage(960, 1_000))].into(), ..Room::default() };
    let theirs = Candidate { owner: other, ..entry("theirs", 6 * DAY, 6 * DAY) };
    let candidates = vec![theirs, entry("a", 3 * DAY, 3 * DAY), entry("b", 2 * DAY, 2 * DAY)];
    let plan = plan(&[], &Situation { room, ..full(0) }, candidates);
    assert_eq!(gone(&plan), ["a"], "860 of 1,000 are below 95 %");
    assert_eq!((code(&plan, "b"), code(&plan, "theirs")), ("relieved", "recent"));
}
