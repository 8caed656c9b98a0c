//! `forgehand store ls`, `info`, `pin`, `unpin`, `stats`.

use clap::Args;
use serde_json::json;

use super::{House, metrics};
use crate::artifact::retention::Expiry;
use crate::artifact::store::{Listed, StoreError, Verification, What};
use crate::cli::{Verdict, render};

/// Arguments of `forgehand store ls`.
#[derive(Clone, Debug, Args)]
pub struct LsArgs {
    /// Only what is called like this, or begins with it.
    name: Option<String>,
    /// Print a JSON array.
    #[arg(long)]
    json: bool,
}

/// Arguments of `forgehand store info`.
#[derive(Clone, Debug, Args)]
pub struct InfoArgs {
    /// The id, its first 8 digits or more, or the name.
    #[arg(value_name = "ID|NAME")]
    what: String,
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
}

/// Arguments of `forgehand store pin` and `unpin`.
#[derive(Clone, Debug, Args)]
pub struct PinArgs {
    /// The id, its first 8 digits or more, or the name.
    #[arg(value_name = "ID|NAME")]
    what: String,
}

/// Arguments of `forgehand store stats`.
#[derive(Clone, Debug, Args)]
pub struct StatsArgs {
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
    /// Print figures for Prometheus, as node_exporter's textfile collector takes them.
    #[arg(long, conflicts_with = "json")]
    metrics: bool,
}

pub(super) fn ls(args: &LsArgs, house: &House) -> Result<Verdict, StoreError> {
    let mut listed = house.store.list(None)?;
    if let Some(name) = &args.name {
        listed.retain(|one| one.info.what.text().is_some_and(|text| text.starts_with(name.as_str())));
    }
    if args.json {
        let verifications = house.store.verifications()?;
        let all = listed.iter().map(|one| printed(one, &verifications.of(&one.info)));
        return Ok(render::json(&all.collect::<Vec<_>>()));
    }
    let now = jiff::Timestamp::now();
    let rows: Vec<Vec<String>> = listed.iter().map(|one| row(one, now)).collect();
    Ok(render::result(&render::table(&["ID", "NAME", "KIND", "OWNER", "SIZE", "NEW", "AGE", "USED", "KEPT"], &rows)))
}

fn row(one: &Listed, now: jiff::Timestamp) -> Vec<String> {
    let info = &one.info;
    let kind = match info.what {
        What::Artifact { .. } => "artifact",
        What::Cache { .. } => "cache",
    };
    let kept = match info.expires {
        _ if one.references > 0 => "held".to_owned(),
        Expiry::None => "-".to_owned(),
        Expiry::At(at) => format!("until {}", at.strftime("%Y-%m-%d")),
        Expiry::Never => "for ever".to_owned(),
    };
    vec![
        info.content_hash.to_string().chars().take(12).collect(),
        render::plain(info.what.text().unwrap_or("-")),
        kind.to_owned(),
        render::plain(&format!("{} ({})", info.owner.project.as_str(), info.owner.trust)),
        render::size(info.size),
        render::size(info.stored_size),
        render::since(info.named_at(), now),
        render::since(one.last_accessed, now),
        kept,
    ]
}

/// One thing that is kept, as `--json` prints it.
fn printed(one: &Listed, verification: &Verification) -> serde_json::Value {
    let info = &one.info;
    let expires_at = match info.expires {
        Expiry::At(at) => Some(at),
        Expiry::None | Expiry::Never => None,
    };
    let kind = match info.what {
        What::Artifact { .. } => "artifact",
        What::Cache { .. } => "cache",
    };
    json!({
        "content_hash": info.content_hash,
        "content_id": info.content_id,
        "name": info.what.text(),
        "kind": kind,
        "forge": info.owner.forge,
        "project": info.owner.project,
        "trust": info.owner.trust,
        "job": info.job,
        "pipeline": info.pipeline,
        "title": info.origin.as_ref().and_then(|origin| origin.title.as_ref()),
        "pipeline_of": info.origin.as_ref().map(|origin| &origin.pipeline),
        "size": info.size,
        "stored_size": info.stored_size,
        "entries": info.entries,
        "mime_type": info.mime_type,
        "created_at": info.created_at,
        "newest_since": info.named_at(),
        "last_accessed": one.last_accessed,
        "expires_at": expires_at,
        "kept_for_ever": info.expires == Expiry::Never,
        "reference_count": one.references,
        "metadata": info.metadata,
        "lineage": { "producer": info.producer, "consumers": one.consumers },
        "verification": verification,
    })
}

/// What is known about whether it is whole, in a line.
fn said_of(verification: &Verification) -> String {
    let mut said = verification.result.to_string();
    if let Some(at) = verification.verified_at {
        said.push_str(&format!(", at {at}"));
    }
    if verification.retry_count > 0 {
        said.push_str(&format!(", fetched again {} times in vain", verification.retry_count));
    }
    if let Some(error) = &verification.error {
        said.push_str(&format!(": {error}"));
    }
    said
}

pub(super) fn info(args: &InfoArgs, house: &House) -> Result<Verdict, StoreError> {
    let found = house.find(&args.what)?;
    let verification = house.store.verifications()?.of(&found.info);
    let compression = house.store.compression(&found.info)?;
    if args.json {
        let mut printed = printed(&found, &verification);
        printed["compression"] = json!(compression);
        return Ok(render::json(&printed));
    }
    let info = &found.info;
    let mut lines = vec![
        ("id", info.content_hash.to_string()),
        ("content id", info.content_id.to_string()),
        ("name", info.what.text().unwrap_or("-").to_owned()),
        ("owner", format!("{} at {} ({})", info.owner.project.as_str(), info.owner.forge.as_str(), info.owner.trust)),
        ("content", format!("{} in {} files and folders", render::size(info.size), info.entries)),
        ("new on disk", render::size(info.stored_size)),
        ("stored as", compression.map_or("-".to_owned(), |compression| compression.to_string())),
        ("type", info.mime_type.clone()),
        ("kept since", info.created_at.to_string()),
        ("last used", found.last_accessed.to_string()),
        ("references", found.references.to_string()),
        ("verified", said_of(&verification)),
    ];
    let by = [("job", &info.job), ("pipeline", &info.pipeline)];
    lines.extend(by.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))));
    match info.expires {
        Expiry::None => {}
        Expiry::At(at) => lines.push(("kept until", at.to_string())),
        Expiry::Never => lines.push(("kept until", "unpinned by hand: for ever".to_owned())),
    }
    if !found.consumers.is_empty() {
        lines.push(("used by", found.consumers.join(", ")));
    }
    lines.extend(info.metadata.iter().map(|(key, value)| (key.as_str(), value.clone())));
    let text: String =
        lines.iter().map(|(name, value)| format!("{:<12} {}\n", render::plain(name), render::plain(value))).collect();
    Ok(render::result(&text))
}

pub(super) fn pin(args: &PinArgs, house: &House) -> Result<Verdict, StoreError> {
    let found = house.find(&args.what)?;
    house.store.pin(&found.info.owner, found.info.content_hash)?;
    // It may have been removed just before it was pinned.
    if let Err(error) = house.find(&found.info.content_hash.to_string()) {
        house.store.unpin(&found.info.owner, &found.info.content_hash)?;
        return Err(error);
    }
    Ok(Verdict::Success)
}

pub(super) fn unpin(args: &PinArgs, house: &House) -> Result<Verdict, StoreError> {
    let found = house.find(&args.what)?;
    let was_pinned = house.store.unpin(&found.info.owner, &found.info.content_hash)?;
    let was_endless = house.store.let_expire(&found.info)?;
    if !was_pinned && !was_endless {
        eprintln!("note: `{}` was not pinned", args.what);
    }
    Ok(Verdict::Success)
}

pub(super) fn stats(args: &StatsArgs, house: &House) -> Result<Verdict, StoreError> {
    let stats = house.store.stats()?;
    if args.metrics {
        return Ok(render::result(&metrics::of(house, &stats)?));
    }
    let shared = match house.store.second_title() {
        Some(level) => Some((level, house.store.waiting_for_second()?)),
        None => None,
    };
    let ratio = stats.content_bytes as f64 / stats.stored_bytes.max(1) as f64;
    let usage = |usage: Option<crate::artifact::retention::Usage>| {
        usage.map(|usage| json!({ "used": usage.used, "capacity": usage.capacity }))
    };
    if args.json {
        return Ok(render::json(&json!({
            "artifacts": stats.artifacts,
            "caches": stats.caches,
            "owners": stats.owners,
            "packs": stats.packs,
            "objects": stats.objects,
            "content_bytes": stats.content_bytes,
            "total_bytes": stats.stored_bytes,
            "quota_used_percent": stats.quota_used_percent(),
            "disk": usage(stats.room.disk),
            "quota": usage(stats.room.quota),
            "shared": shared.map(|(level, waiting)| json!({ "store": level, "waiting": waiting })),
        })));
    }
    let of = |usage: Option<crate::artifact::retention::Usage>| {
        usage.map_or("no limit".to_owned(), |usage| {
            format!("{} of {}", render::size(usage.used), render::size(usage.capacity))
        })
    };
    let lines = [
        ("artifacts", stats.artifacts.to_string()),
        ("caches", stats.caches.to_string()),
        ("owners", stats.owners.to_string()),
        ("content", format!("{} ({ratio:.1} x what it takes)", render::size(stats.content_bytes))),
        ("on disk", format!("{} in {} packs", render::size(stats.stored_bytes), stats.packs)),
        ("objects", stats.objects.to_string()),
        ("quota", of(stats.room.quota)),
        ("disk", of(stats.room.disk)),
    ];
    let shared = shared.map(|(level, waiting)| ("shared", format!("{level}, to be told of {waiting} more")));
    let lines = lines.into_iter().chain(shared);
    Ok(render::result(&lines.map(|(name, value)| format!("{name:<10} {value}\n")).collect::<String>()))
}
