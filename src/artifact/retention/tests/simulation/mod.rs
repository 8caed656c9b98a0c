//! A year of pipelines on a virtual clock, in a store in memory that does what the engine says. The store keeps its own
//! books of who needs what, by the true time, and holds the engine to them after every cycle.

mod life;
mod store;

use std::collections::BTreeSet;

use life::Life;
use store::Store;

use super::*;

/// Seconds between moments at which something happens.
const TICK: i64 = 15 * 60;

/// Lets the machine live so many days, and returns what it has seen.
fn live(seed: u64, days: i64) -> (Life, Store) {
    let mut life = Life::new(seed);
    let mut store = Store::new();
    while store.truth < days * DAY {
        store.truth += TICK;
        life.happens(&mut store);
        if store.cycle_is_due() {
            store.cycle(&mut life);
        }
    }
    (life, store)
}

#[test]
fn a_year_keeps_the_quota_and_everything_that_is_needed() {
    let (life, store) = live(20_260_301, 365);
    // Nothing was tested where nothing happened: every reason to go and to stay came up, at every level.
    let went = ["expired", "max_age", "max_unused", "max_count", "max_total", "aging", "old", "size", "emergency"];
    assert_eq!(store.went.iter().copied().collect::<Vec<_>>(), BTreeSet::from(went).into_iter().collect::<Vec<_>>());
    let stayed = [
        "referenced",
        "pinned",
        "never_expires",
        "leased",
        "grace",
        "expires_later",
        "within_policy",
        "recent",
        "in_use",
        "relieved",
        "cycle_full",
        "clock_in_doubt",
    ];
    assert_eq!(
        store.stayed.iter().copied().collect::<Vec<_>>(),
        BTreeSet::from(stayed).into_iter().collect::<Vec<_>>()
    );
    assert_eq!(store.levels.iter().copied().collect::<Vec<_>>(), Pressure::ALL);
    assert_eq!(store.licences.iter().copied().collect::<Vec<_>>(), Pressure::ALL[..4]);
    assert!(store.deleted.len() > 5_000, "{} deletions", store.deleted.len());
    assert!(store.cycles > 6 * 365, "{} cycles", store.cycles);
    assert!(store.refused > 100, "{} puts refused", store.refused);
    assert!(store.claimed_in_time > 10, "{} saved by the last look", store.claimed_in_time);
    assert!(store.paused >= 8, "{} cycles paused", store.paused);
    assert!(
        life.failed > 500 && life.cancelled > 500,
        "{} jobs failed, {} were cancelled",
        life.failed,
        life.cancelled
    );
}

#[test]
fn other_lives_keep_it_too() {
    for seed in 0..2 {
        live(seed, 60);
    }
}
