//! What `forgehand exec` runs with, beside the defaults of registrations.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[exec]`: pipelines of a checkout.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExecConfig {
    /// The image of jobs that name none. `--image` wins over it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The image that stands for a label of `runs-on`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The hosts that included files may be fetched from, beside those of `--include-from`; `lint`, `plan`, `expand` and `graph` take
    /// them, too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub include_from: Vec<String>,
}
