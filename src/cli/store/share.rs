//! The store that machines share, from the command line: told of what is kept, and tidied up.

use std::time::{Duration, Instant};

use super::House;
use crate::artifact::in_full;
use crate::artifact::store::{Offering, StoreError, Tidied};
use crate::cli::render;

/// How long a command waits for the shared store to take what it kept. Later, the agent or the next command tells it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Tells the shared store of what is kept, unless an agent is at it.
pub(super) fn tell(house: &House) -> Result<(), StoreError> {
    let how = Offering { until: Some(Instant::now() + PATIENCE), interrupt: house.interrupt.clone() };
    let Some(offered) = house.store.offer(&how)? else { return Ok(()) };
    if let Some(trouble) = &offered.trouble {
        let trouble = render::plain(&in_full(trouble));
        eprintln!("warning: kept on this machine; other machines find it later: {trouble}");
    }
    Ok(())
}

/// Removes what nobody needs any more from the shared store, where it is this machine's turn.
pub(super) fn tidy(house: &House) -> Result<Option<Tidied>, StoreError> {
    match house.store.tidy_second(&house.interrupt) {
        Err(StoreError::Second(error)) => {
            eprintln!("warning: the shared store was not tidied up: {}", render::plain(&in_full(&error)));
            Ok(None)
        }
        done => done,
    }
}
