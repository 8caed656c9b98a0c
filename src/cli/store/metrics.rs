//! `forgehand store stats --metrics`: figures for Prometheus, in its text format (version 0.0.4).

use std::fmt::Write as _;

use super::House;
use crate::artifact::retention::Usage;
use crate::artifact::store::{Stats, StoreError};

/// The figures of a store, as node_exporter's textfile collector takes them.
pub(super) fn of(house: &House, stats: &Stats) -> Result<String, StoreError> {
    let mut text = Text(String::new());
    text.gauge("artifacts", "Artifacts that are kept under a name or an id.", stats.artifacts);
    text.gauge("caches", "Caches that are kept.", stats.caches);
    text.gauge("owners", "Owners of what is kept: forge, project and trust.", stats.owners);
    text.gauge("packs", "Files that objects lie in.", stats.packs);
    text.gauge("objects", "Objects, each counted once for an owner.", stats.objects);
    text.gauge("content_bytes", "Content of all that is kept, that of each name counted.", stats.content_bytes);
    text.gauge("stored_bytes", "What it takes on disk.", stats.stored_bytes);
    if let Some(Usage { used, capacity }) = stats.room.quota {
        text.gauge("quota_bytes", "What it may take on disk (store.max_size).", capacity);
        text.gauge("quota_used_bytes", "What it takes of that.", used);
    }
    if let Some(Usage { used, capacity }) = stats.room.disk {
        text.gauge("disk_bytes", "The disk that the store lies on.", capacity);
        text.gauge("disk_used_bytes", "What is used of that disk, by whomever.", used);
    }
    if house.store.second_title().is_some() {
        let waiting = house.store.waiting_for_second()?;
        text.gauge("shared_waiting", "What the shared store is still to be told of.", waiting);
    }
    text.head("owner_used_bytes", "What an owner's things take on disk.");
    for (owner, usage) in &stats.room.owners {
        let labels =
            [("forge", owner.forge.as_str()), ("project", owner.project.as_str()), ("trust", &owner.trust.to_string())];
        text.value("owner_used_bytes", &labels, usage.used);
    }
    Ok(text.0)
}

struct Text(String);

impl Text {
    fn head(&mut self, name: &str, help: &str) {
        // Writing to a String does not fail.
        let _ = write!(self.0, "# HELP forgehand_store_{name} {help}\n# TYPE forgehand_store_{name} gauge\n");
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, help);
        self.value(name, &[], value);
    }

    fn value(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "forgehand_store_{name}{labels} {value}");
    }
}

/// A label's value: backslash, quote and newline are escaped.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_cannot_write_lines_of_its_own() {
        let mut text = Text(String::new());
        text.value("owner_used_bytes", &[("project", "a\"} 1\nb\\")], 7);
        assert_eq!(text.0, "forgehand_store_owner_used_bytes{project=\"a\\\"} 1\\nb\\\\\"} 7\n");
    }
}
