//! `forgehand store gc`.

use clap::Args;
use serde_json::json;

use super::progress::{self, Extent};
use super::{House, share};
use crate::agent::storage;
use crate::artifact::retention::Judged;
use crate::artifact::store::{Collection, StoreError};
use crate::cli::{Verdict, render};

/// Arguments of `forgehand store gc`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "The agent does this by itself every 4 hours, and more often when the store or its disk gets full. What is \
                  referenced by jobs, pinned or in its grace period never goes; then a job's `expire_in`, then \
                  `[[store.retention]]`, then age and use decide."
)]
pub struct GcArgs {
    /// Only say what would go and what would stay, and why.
    #[arg(long)]
    dry_run: bool,
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &GcArgs, house: &House) -> Result<Verdict, StoreError> {
    let (policies, cycle) = match storage::retention(&house.config.store) {
        Ok(wishes) => wishes,
        Err(error) => return Ok(render::failed(&error, Verdict::BadInput)),
    };
    let collection = Collection {
        policies: &policies,
        cycle,
        is_dry_run: args.dry_run,
        elapsed: None,
        interrupt: house.interrupt.clone(),
    };
    let collected = progress::shown(house, "collecting", Extent::Uncounted, |_| house.store.collect(&collection))?;
    let Some(collected) = collected else {
        return Ok(render::failed(&"another process is collecting; try again when it is done", Verdict::Environment));
    };
    let tidied = if args.dry_run { None } else { share::tidy(house)? };
    if collected.lost_records > 0 {
        let lost = collected.lost_records;
        eprintln!("warning: {lost} records are damaged, so nothing was removed; see `forgehand store verify`");
    }
    if let Some(jump) = &collected.plan.jump {
        eprintln!("warning: {jump}");
    }
    let plan = &collected.plan;
    if args.json {
        let decided = |judged: &Judged| {
            json!({
                "name": judged.candidate.name, "titles": judged.candidate.titles, "content_hash": judged.candidate.content, "bytes": judged.candidate.bytes,
                "deletes": judged.verdict.deletes(), "rule": judged.verdict.code(), "policy": judged.policy,
                "reason": judged.reason(),
            })
        };
        let decisions: Vec<_> = plan.deletions.iter().chain(&plan.kept).map(decided).collect();
        return Ok(render::json(&json!({
            "dry_run": args.dry_run, "deleted": collected.deleted, "freed_bytes": collected.freed, "put_off": collected.is_put_off,
            "pressure": format!("{:?}", plan.pressure()).to_lowercase(), "decisions": decisions,
            "shared": tidied.map(|did| json!({ "records": did.records, "packs": did.packs, "freed_bytes": did.bytes })),
        })));
    }
    if args.dry_run {
        let lines: String = plan.deletions.iter().chain(&plan.kept).map(|judged| format!("{judged}\n")).collect();
        return Ok(render::result(&lines));
    }
    let freed = render::size(collected.freed);
    let mut text =
        format!("removed {} of {}, {freed} given back\n", collected.deleted, plan.deletions.len() + plan.kept.len());
    if let Some(did) = tidied {
        let (level, freed) = (house.store.second_title().unwrap_or_default(), render::size(did.bytes));
        text.push_str(&format!("{level}: removed {}, {freed} in {} packs given back\n", did.records, did.packs));
    }
    Ok(render::result(&text))
}
