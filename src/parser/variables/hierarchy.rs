//! Where values come from.

use std::collections::HashMap;
use std::sync::Arc;

use smol_str::SmolStr;

/// A source of values, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// Given with the run: `--var`.
    Runtime,
    /// `environment` of the step.
    Step,
    /// `environment` of the job.
    Job,
    /// `global_env`.
    Global,
    /// Of the machine: `CI`, `BUILD_NUMBER`, `BRANCH_NAME`.
    System,
    /// `default` of a declared variable.
    Default,
}

/// All sources. The first that has a name wins. A copy shares them until one is changed.
#[derive(Clone, Debug, Default)]
pub struct Hierarchy {
    layers: [Arc<HashMap<SmolStr, SmolStr>>; 6],
}

impl Hierarchy {
    /// Without values.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives a source a value.
    pub fn set(&mut self, source: Source, name: impl Into<SmolStr>, value: impl Into<SmolStr>) {
        if let Some(layer) = self.layers.get_mut(source as usize) {
            Arc::make_mut(layer).insert(name.into(), value.into());
        }
    }

    /// Takes all values of a source away.
    pub fn clear(&mut self, source: Source) {
        if let Some(layer) = self.layers.get_mut(source as usize) {
            *layer = Arc::default();
        }
    }

    /// The value of a name as it is written, and the place of its source.
    pub(super) fn find(&self, name: &str, from: usize) -> Option<(usize, &SmolStr)> {
        self.layers.iter().enumerate().skip(from).find_map(|(at, layer)| Some((at, layer.get(name)?)))
    }

    /// Whether a source has a value for a name that is not empty.
    pub fn has(&self, source: Source, name: &str) -> bool {
        self.layers.get(source as usize).and_then(|layer| layer.get(name)).is_some_and(|value| !value.is_empty())
    }

    /// Whether a source weaker than `source` has a name.
    pub fn has_below(&self, name: &str, source: Source) -> bool {
        self.find(name, source as usize + 1).is_some()
    }

    /// The value of a name as it is written.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.find(name, 0).map(|(_, value)| value.as_str())
    }

    /// All names, each once, sorted.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.layers.iter().flat_map(|layer| layer.keys()).map(SmolStr::as_str).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}
