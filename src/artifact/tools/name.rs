//! What a tool is called.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What the names of tools begin with in the store.
const PREFIX: &str = "tools/";

/// Bytes of each part of a name.
const MAX_PART: usize = 100;

/// What the file that says that a tool is whole adds to the name of its folder.
pub(super) const COMPLETE: &str = ".complete";

/// A tool's name, its version and the architecture that it is for. Each is a plain name of a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ToolName {
    tool: String,
    version: String,
    arch: String,
}

impl ToolName {
    /// The tool of these names. `None`: they are no names for folders that every job may be shown.
    pub fn new(tool: &str, version: &str, arch: &str) -> Option<Self> {
        // A folder of that name would lie where the file of another tool lies.
        let is_tool = [tool, version, arch].into_iter().all(is_plain) && !arch.ends_with(COMPLETE);
        is_tool.then(|| Self { tool: tool.to_owned(), version: version.to_owned(), arch: arch.to_owned() })
    }

    /// The tool that something in the store is named after.
    pub(super) fn from_stored(name: &str) -> Option<Self> {
        Self::parse(name.strip_prefix(PREFIX)?)
    }

    /// Its name in the store.
    pub(super) fn stored(&self) -> String {
        format!("{PREFIX}{self}")
    }

    /// The folder that its folder lies in.
    pub(super) fn above(&self) -> PathBuf {
        [&self.tool, &self.version].iter().collect()
    }

    /// The last part, which its folder is called by.
    pub(super) fn arch(&self) -> &str {
        &self.arch
    }

    /// The file beside its folder that says that it is whole.
    pub(super) fn marker(&self) -> String {
        format!("{}{COMPLETE}", self.arch)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let name = Self::new(parts.next()?, parts.next()?, parts.next()?)?;
        parts.next().is_none().then_some(name)
    }
}

/// Whether it is a name that needs no care anywhere: in paths, logs and shells.
fn is_plain(part: &str) -> bool {
    let is_length_fit = (1..=MAX_PART).contains(&part.len());
    is_length_fit
        && !part.starts_with(['.', '-'])
        && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-+@~".contains(&b))
}

impl fmt::Display for ToolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.tool, self.version, self.arch)
    }
}

impl From<ToolName> for String {
    fn from(name: ToolName) -> Self {
        name.to_string()
    }
}

impl TryFrom<String> for ToolName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("`{text}` is no tool: TOOL/VERSION/ARCH"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_setup_actions_are_names_and_paths_are_not() {
        for (tool, version, arch) in
            [("node", "20.11.1", "x64"), ("Java_Temurin-Hotspot_jdk", "17.0.9-9", "arm64"), ("go", "1.22.0+x", "x64")]
        {
            let name = ToolName::new(tool, version, arch).unwrap();
            assert_eq!(ToolName::from_stored(&name.stored()), Some(name));
        }
        let long = "x".repeat(101);
        for part in ["", ".", "..", ".hidden", "-rf", "a/b", "a b", "a\nb", "é", "a\\b", "a:b", &long] {
            assert_eq!(ToolName::new(part, "1", "x64"), None, "{part:?}");
            assert_eq!(ToolName::new("node", part, "x64"), None, "{part:?}");
            assert_eq!(ToolName::new("node", "1", part), None, "{part:?}");
        }
        assert_eq!(ToolName::new("node", "1", "x64.complete"), None, "it would lie where the file of another lies");
        for text in ["tools/node/1", "tools/node/1/x64/y", "node/1/x64"] {
            assert_eq!(ToolName::from_stored(text), None, "{text}");
        }
    }
}
