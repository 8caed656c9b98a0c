//! `forgehand store verify`.

use clap::Args;
use serde_json::json;

use super::House;
use super::progress::{self, Extent};
use crate::artifact::store::{StoreError, VerificationResult, Verifying};
use crate::cli::{Verdict, render};
use crate::config::ByteSize;

/// Arguments of `forgehand store verify`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Exit code 1 when something is damaged, each time until it is mended: by putting the same content again."
)]
pub struct VerifyArgs {
    /// The id, its first 8 digits or more, or the name; without one, everything.
    #[arg(value_name = "ID|NAME")]
    what: Option<String>,
    /// Read so much a second at most: `20MiB`.
    #[arg(long, value_name = "SIZE")]
    rate: Option<ByteSize>,
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &VerifyArgs, house: &House) -> Result<Verdict, StoreError> {
    let only = match &args.what {
        None => None,
        Some(what) => Some(house.find(what)?.info.content_hash),
    };
    let how = Verifying { only, rate: args.rate.map(ByteSize::as_u64), interrupt: house.interrupt.clone() };
    let verified = progress::shown(house, "verifying", Extent::Unknown, |progress| house.store.verify(&how, progress))?;
    let verdict = if verified.is_sound() { Verdict::Success } else { Verdict::Failed };
    if args.json {
        let kept: Vec<_> = verified
            .kept
            .iter()
            .map(|(owner, name, verification)| {
                json!({ "name": name, "project": owner.project, "forge": owner.forge, "verification": verification })
            })
            .collect();
        let lost_records: Vec<_> = verified.lost_records.iter().map(|path| path.to_string_lossy()).collect();
        let printed = render::json(&json!({
            "sound": verified.is_sound(), "objects": verified.objects, "bytes": verified.bytes,
            "damaged_packs": verified.damaged_packs, "lost_records": lost_records, "kept": kept,
        }));
        return Ok(if printed == Verdict::Success { verdict } else { printed });
    }
    for pack in &verified.damaged_packs {
        eprintln!("damaged: the pack {pack}; what is whole in it was saved, it was put aside");
    }
    for record in &verified.lost_records {
        eprintln!(
            "damaged: a record, which names what is kept and is nowhere else; nothing of its owner is removed until the same is kept again, or you \
             remove `{}`",
            record.display()
        );
    }
    let bad = verified.kept.iter().filter(|(.., one)| one.result != VerificationResult::Valid);
    for (_, name, verification) in bad {
        let name = render::plain(name.as_deref().unwrap_or("-"));
        let error = render::plain(verification.error.as_deref().unwrap_or("-"));
        eprintln!("{}: {} ({name}): {error}", verification.result, verification.expected);
    }
    let text = format!(
        "{} things kept, {} objects read, {}\n",
        verified.kept.len(),
        verified.objects,
        if verified.is_sound() { "all sound" } else { "some damaged" }
    );
    let printed = render::result(&text);
    Ok(if printed == Verdict::Success { verdict } else { printed })
}
