//! `forgehand store rm`.

use clap::Args;

use super::House;
use crate::artifact::retention::{Expiry, Withdrawal};
use crate::artifact::store::{Listed, StoreError, What};
use crate::cli::{Verdict, render};

/// Arguments of `forgehand store rm`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "All artifacts that one owner keeps under the name go, or the tree of the id under all its names, as a cache too. What is \
                  pinned or held by a job is refused. The next `store gc` gives the room back, unless a pack is full of what is \
                  needed. In the shared store it is no longer found; what \
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
        let all = match meant(house, name) {
            Err(error @ StoreError::Unknown { .. }) => {
                verdict = render::failed(&error, Verdict::Failed);
                continue;
            }
            all => all?,
        };
        if let Some(held) = all.iter().find(|one| one.references > 0 || one.info.expires == Expiry::Never) {
            let id = held.info.content_hash;
            let text = format!(
                "`{name}` stays: {id} is pinned, or held by a job; `forgehand store unpin {id}`, or wait for the job"
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
    let named = What::Artifact { name: Some(name.to_owned()) };
    let mut all = house.store.list(Some(&found.owner))?;
    all.retain(|one| match found.what == named {
        true => one.info.what == named,
        false => one.info.content_hash == found.content_hash,
    });
    Ok(all)
}
