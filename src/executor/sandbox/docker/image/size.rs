//! How much a pull brings, as far as the engine tells: it asks for a few layers at a time, and knows a layer's size once it has asked
//! for it.

use std::collections::HashMap;

use bollard::models::CreateImageInfo;

/// What is known of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layer {
    /// The engine asks for it now.
    Asked,
    /// It will ask for it later.
    Waiting,
    /// It comes, with so many bytes.
    Sized(u64),
    /// It came too quickly for its size to be told.
    Small,
}

/// The layers of one pull that are not on the machine.
#[derive(Debug, Default)]
pub(super) struct PullSize {
    layers: HashMap<String, Layer>,
    is_told: bool,
}

impl PullSize {
    /// Takes a sign of life of the pull. Gives the size, once, as soon as there is something to tell.
    pub(super) fn take(&mut self, progress: CreateImageInfo) -> Option<String> {
        let (id, status) = (progress.id?, progress.status?);
        let known = self.layers.get(&id).copied();
        let total = progress.progress_detail.and_then(|detail| u64::try_from(detail.total?).ok());
        let now = match (status.as_str(), known, total) {
            ("Pulling fs layer", None, _) => Layer::Asked,
            ("Waiting", Some(Layer::Asked), _) => Layer::Waiting,
            ("Downloading", Some(_), Some(total)) => Layer::Sized(total),
            ("Verifying Checksum" | "Download complete", Some(Layer::Asked | Layer::Waiting), _) => Layer::Small,
            _ => return None,
        };
        self.layers.insert(id, now);
        let words = (!self.is_told).then(|| self.words()).flatten();
        self.is_told |= words.is_some();
        words
    }

    /// Nothing as long as an answer is awaited.
    fn words(&self) -> Option<String> {
        let count = |is: Layer| self.layers.values().filter(|layer| **layer == is).count();
        let bytes: u64 =
            self.layers.values().map(|layer| if let Layer::Sized(bytes) = layer { *bytes } else { 0 }).sum();
        if bytes == 0 || count(Layer::Asked) > 0 {
            return None;
        }
        let (all, later) = (self.layers.len(), count(Layer::Waiting));
        let layers = if all == 1 { "layer" } else { "layers" };
        Some(match later {
            0 => format!("{} in {all} {layers}", in_units(bytes)),
            _ => format!("more than {}: that is {} of {all} layers", in_units(bytes), all - later),
        })
    }
}

#[allow(clippy::cast_precision_loss, reason = "it is rounded to a digit")]
fn in_units(bytes: u64) -> String {
    match bytes {
        0..0x10_0000 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1024.0 / 1024.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::ProgressDetail;

    fn event(id: &str, status: &str, total: Option<i64>) -> CreateImageInfo {
        let progress_detail = Some(ProgressDetail { current: total.map(|_| 1), total });
        CreateImageInfo {
            id: Some(id.into()),
            status: Some(status.into()),
            progress_detail,
            ..CreateImageInfo::default()
        }
    }

    /// What is told, with the number of the event that brought it.
    fn told(events: &[(&str, &str, Option<i64>)]) -> Vec<(usize, String)> {
        let mut size = PullSize::default();
        let words = events.iter().map(|(id, status, total)| size.take(event(id, status, *total)));
        words.enumerate().filter_map(|(at, words)| Some((at, words?))).collect()
    }

    #[test]
    fn a_pull_of_few_layers_is_told_as_soon_as_all_have_answered() {
        let events = [
            ("1", "Pulling from team/sh", None),
            ("a", "Already exists", None),
            ("b", "Pulling fs layer", None),
            ("c", "Pulling fs layer", None),
            ("c", "Download complete", None),
            ("b", "Downloading", Some(3 << 20)),
            ("b", "Downloading", Some(3 << 20)),
            ("b", "Extracting", Some(3 << 20)),
        ];
        assert_eq!(told(&events), [(5, "3.0 MiB in 2 layers".to_owned())]);
    }

    #[test]
    fn layers_that_are_not_asked_for_yet_make_it_a_least() {
        let events = [
            ("a", "Pulling fs layer", None),
            ("b", "Pulling fs layer", None),
            ("c", "Pulling fs layer", None),
            ("c", "Waiting", None),
            ("a", "Downloading", Some(1 << 20)),
            ("b", "Downloading", Some(1 << 19)),
            ("c", "Downloading", Some(9 << 20)),
        ];
        assert_eq!(told(&events), [(5, "more than 1.5 MiB: that is 2 of 3 layers".to_owned())]);
    }

    #[test]
    fn of_what_is_here_already_and_of_strange_answers_nothing_is_told() {
        assert_eq!(told(&[("a", "Already exists", None), ("b", "Downloading", Some(5)), ("c", "", Some(-1))]), []);
        assert_eq!(PullSize::default().take(CreateImageInfo::default()), None);
    }
}
