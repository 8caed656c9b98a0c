//! What can be wrong while a configuration is put together.

use crate::parser::diagnostics::Code;

/// The file cannot be read: it does not exist, or it is not text in UTF-8.
pub const FILE: Code = Code("gitlab/file");

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

/// Documents that GitLab does not read: only a `spec:` header may stand before `---`, and nothing behind the second document.
pub const DOCUMENTS: Code = Code("gitlab/documents");

/// A limit is exceeded: one that GitLab's administrators can set (then it is a warning, unless it is configured), or one of
/// ours against configurations that grow without end.
pub const LIMIT: Code = Code("gitlab/limit");

/// An `include` that GitLab does not understand: no or more than one of its keywords, or a value of the wrong kind.
pub const INCLUDE: Code = Code("gitlab/include");

/// A key that `include` does not know; GitLab ignores it.
pub const INCLUDE_KEY: Code = Code("gitlab/include-unknown-key");

/// An included file does not exist, or may not be read. Paths are relative to the project's root, not to the including file.
pub const INCLUDE_MISSING: Code = Code("gitlab/include-missing");

/// An included file could not be had, because nothing may be fetched from its host or the network does not give it. What it
/// defines is unknown. `--include-from HOST` allows a host.
pub const INCLUDE_UNAVAILABLE: Code = Code("gitlab/include-unavailable");

/// A file includes itself, directly or through others.
pub const INCLUDE_CYCLE: Code = Code("gitlab/include-cycle");

/// An `include:rules` that GitLab refuses: `if`, `exists`, `changes` and `when: always|never` are what it knows.
pub const INCLUDE_RULES: Code = Code("gitlab/include-rules");

/// A pattern of `include:local` that no file matches: nothing is included.
pub const INCLUDE_NOTHING: Code = Code("gitlab/include-matches-nothing");

/// The bytes of a remote file are not what its `integrity` says. Somebody changed it, or the digest is of another version.
pub const INTEGRITY: Code = Code("gitlab/include-integrity");

/// A `spec:` header that GitLab refuses.
pub const SPEC: Code = Code("gitlab/spec");

/// The declaration of an input that GitLab refuses: an unknown type or key, a default of another type or outside the options.
pub const INPUT_SPEC: Code = Code("gitlab/input-spec");

/// The value of an input that GitLab refuses: of another type, outside the options, not matching the pattern, or missing.
pub const INPUT_VALUE: Code = Code("gitlab/input-value");

/// A value for an input that the file does not declare.
pub const INPUT_UNKNOWN: Code = Code("gitlab/input-unknown");

/// A `$[[ ]]` block that cannot be replaced: an input that is not declared, an unknown function, too many of them.
pub const INTERPOLATION: Code = Code("gitlab/interpolation");

/// An `extends` that is neither a name nor a list of names, or names what is not a mapping.
pub const EXTENDS: Code = Code("gitlab/extends");

/// An `extends` that names a job that does not exist.
pub const EXTENDS_UNKNOWN: Code = Code("gitlab/extends-unknown");

/// Jobs that extend each other in a circle.
pub const EXTENDS_CYCLE: Code = Code("gitlab/extends-cycle");

/// A chain of `extends` of more than eleven jobs.
pub const EXTENDS_DEPTH: Code = Code("gitlab/extends-depth");

/// A `!reference` that is not a list of texts.
pub const REFERENCE: Code = Code("gitlab/reference");

/// A `!reference` to what does not exist.
pub const REFERENCE_UNKNOWN: Code = Code("gitlab/reference-unknown");

/// A `!reference` that leads back to itself.
pub const REFERENCE_CYCLE: Code = Code("gitlab/reference-cycle");
