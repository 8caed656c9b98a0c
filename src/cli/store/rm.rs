//! `forgehand store rm`.

use clap::Args;

use super::House;
use crate::artifact::retention::Withdrawal;
use crate::artifact::store::{Listed, StoreError};
use crate::cli::{Verdict, render};

/// Arguments of `forgehand store rm`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "All that one owner keeps under the name goes, or the tree of the id under all its names. What is pinned or held by a \
                  job is refused. The next `store gc` gives the room back. In the shared store it is no longer found; what \
                  another machine has of it stays there until it goes by that machine's rules."
)]
pub struct RmArgs {
    /// Ids, their first 8 digits or more, or names.
    #[arg(value_name = "ID|NAME", required = true)]
    what: Vec<String>,
}

pub(super) fn run(args: &RmArgs, house: &House) -> Result<Verdict, StoreError> {
    let mut verdict = Verdict::Success;
    for name in &args.what {
        let all = meant(house, name)?;
        if let Some(held) = all.iter().find(|one| one.references > 0) {
            let text = format!(
                "`{name}` stays: {} of it is pinned or held by a job; `forgehand store unpin {name}`, or wait for the job",
                held.info.content_hash
            );
            verdict = render::failed(&text, Verdict::Failed);
            continue;
        }
        for one in all {
            house.store.withdraw(&one.info, Withdrawal::ByHand, &house.interrupt)?;
        }
    }
    Ok(verdict)
}

/// What one owner keeps under the name or id.
fn meant(house: &House, name: &str) -> Result<Vec<Listed>, StoreError> {
    let found = house.find(name)?.info;
    let is_name = found.what.text() == Some(name);
    let mut all = house.store.list(Some(&found.owner))?;
    all.retain(|one| match is_name {
        true => one.info.what.text() == Some(name),
        false => one.info.content_hash == found.content_hash,
    });
    Ok(all)
}
