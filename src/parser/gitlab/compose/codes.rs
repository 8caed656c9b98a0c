//! What can be wrong while a configuration is put together.

use crate::parser::diagnostics::Code;

/// The text is not YAML, or too much of it. The message is libyaml's; mend the text where the caret stands.
pub const YAML: Code = Code("gitlab/yaml");

/// The file has no content. GitLab refuses an empty configuration: give it a job.
pub const EMPTY: Code = Code("gitlab/empty");

/// The configuration, or an included file, is not a mapping of keywords and jobs.
pub const NOT_A_MAPPING: Code = Code("gitlab/not-a-mapping");

/// A key stands twice in one mapping; GitLab takes the last in silence. Remove one of them.
pub const DUPLICATE_KEY: Code = Code("gitlab/duplicate-key");

/// A `<<` whose value is neither a mapping nor a list of mappings. Give it `*anchor` of a mapping.
pub const MERGE_KEY: Code = Code("gitlab/merge-key");

/// A tag that GitLab does not know. `!reference` is the only one of its own.
pub const UNKNOWN_TAG: Code = Code("gitlab/unknown-tag");

/// More than one document without a `spec:` header in the first. Only a header may stand before `---`.
pub const DOCUMENTS: Code = Code("gitlab/documents");

/// A limit that GitLab's administrators can set is exceeded; with its default the server refuses the configuration.
pub const LIMIT: Code = Code("gitlab/limit");
