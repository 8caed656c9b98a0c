//! The store that machines share, from the command line: told of what is kept, and tidied up.

use std::time::{Duration, Instant};

use super::House;
use super::progress::{self, Extent};
use crate::artifact::store::{Offered, Offering, StoreError, Tidied};
use crate::artifact::{Interrupt, in_full};
use crate::cli::render;

/// How long a command waits for the shared store to take what it kept. Later, the agent or the next command tells it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at the clock.
const STEP: Duration = Duration::from_millis(50);

/// Tells the shared store of what is kept, unless an agent is at it. What was kept is kept whatever comes of it.
pub(super) fn tell(house: &House) {
    if house.store.second_title().is_none() {
        return;
    }
    let until = Instant::now() + PATIENCE;
    let interrupt = house.interrupt.clone();
    let ended = interrupt_at(until, &interrupt);
    let how = Offering { until: Some(until), interrupt: ended };
    let offered = progress::shown(house, "sharing", Extent::Unknown, |progress| house.store.offer(&how, progress));
    let why = match offered {
        Ok(Some(Offered { trouble: Some(trouble), .. })) => in_full(&trouble),
        // What is left then is told already, and looked at once more later.
        Ok(_) if Instant::now() < until => return,
        Ok(Some(offered)) if offered.waiting > 0 => too_slow(),
        Ok(_) => return,
        Err(StoreError::Interrupted) => too_slow(),
        Err(error) => in_full(&error),
    };
    eprintln!("warning: kept on this machine; other machines find it later: {}", render::plain(&why));
}

fn too_slow() -> String {
    format!("it took longer than {} s", PATIENCE.as_secs())
}

/// Raised at a time, or as soon as `interrupt` is.
fn interrupt_at(until: Instant, interrupt: &Interrupt) -> Interrupt {
    let (ended, raised) = (Interrupt::default(), interrupt.clone());
    let watched = ended.clone();
    // It ends with the program, if nothing else ends it.
    std::thread::spawn(move || {
        while Instant::now() < until && !raised.is_raised() {
            std::thread::sleep(STEP);
        }
        watched.raise();
    });
    ended
}

/// Removes what nobody needs any more from the shared store, where it is this machine's turn.
pub(super) fn tidy(house: &House) -> Result<Option<Tidied>, StoreError> {
    let tidied = progress::shown(house, "tidying up the shared store", Extent::Uncounted, |_| {
        house.store.tidy_second(&house.interrupt)
    });
    match tidied {
        Err(StoreError::Second(error)) => {
            eprintln!("warning: the shared store was not tidied up: {}", render::plain(&in_full(&error)));
            Ok(None)
        }
        done => done,
    }
}
