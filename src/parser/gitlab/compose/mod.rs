//! From the text of `.gitlab-ci.yml` to one tree, as GitLab's server makes it.
//!
//! The order is the server's: YAML, inputs (`spec:`, `$[[ ]]`), includes, `extends`, `!reference`, stages. Every node of the
//! tree keeps the place it came from, in whichever file. What is not touched is shared, not copied.
//!
//! - [`compose`]: all of it. [`Composed`]: the tree. [`ComposeContext`]: what the text can ask for.
//! - [`remote`]: files that are not in the checkout; [`component`]: which release of one. [`codes`]: what can be wrong.

pub mod codes;
pub mod component;
pub mod context;
pub mod remote;

mod ahead;
mod condition;
mod extends;
mod include;
mod inputs;
mod load;
mod merge;
mod reference;
mod stages;
mod tidy;
mod unresolved;
mod variables;

use std::borrow::Cow;
use std::sync::Arc;

use super::super::diagnostics::{Checked, Code, Diagnostic};
use super::super::document::{FileId, Files, Node, Span};

pub use ahead::ReadAhead;
pub use context::{ComposeContext, Event, ForgeLimits, Given, IncludeVariable, Unavailable};
pub use load::utf16_text;
pub use remote::{Fetched, Offline, Remote, RemoteError, RemoteFile};
pub use stages::EDGES;

/// A configuration of one piece.
#[derive(Clone, Debug)]
pub struct Composed {
    /// The tree: includes merged (`include` is gone), `extends` applied (the key stays), `!reference` resolved, `.pre` and
    /// `.post` around `stages` where it is there. Hidden jobs are still in it. Always a mapping.
    pub root: Node,
    /// The files that were included, in the order in which they were merged.
    pub includes: Vec<Included>,
    /// Whether an include is not in it, which could not be had ([`Unavailable::Note`]) or whose rules are for other events
    /// ([`Event::Any`]): what is not defined here may be defined there.
    pub incomplete: bool,
    /// Whether a reference could not be resolved, and stands in it.
    pub unresolved: bool,
}

impl Composed {
    /// The tree to be checked: without references that could not be resolved, which were complained about.
    pub fn known(&self) -> Cow<'_, Node> {
        match self.unresolved {
            true => Cow::Owned(unresolved::without(&self.root)),
            false => Cow::Borrowed(&self.root),
        }
    }
}

/// A file that was included.
#[derive(Clone, Debug)]
pub struct Included {
    /// What the include says.
    pub name: Arc<str>,
    /// Where it says it.
    pub span: Span,
    /// Its text; `None` where it could not be had.
    pub file: Option<FileId>,
}

/// The configuration of the file at `path`, which lies in `files`.
pub fn compose(path: &str, files: &dyn Files, remote: &dyn Remote, context: &ComposeContext) -> Checked<Composed> {
    let problem = match files.read(path) {
        Ok(Some(bytes)) => return compose_bytes(path, &bytes, files, remote, context),
        Ok(None) => "the file does not exist".to_owned(),
        Err(error) => format!("the file cannot be read: {}", error.problem),
    };
    let mut work = include::Work::new(files, remote, context);
    let file = work.sources.add(path, "");
    work.diagnostics.push(Diagnostic::error(codes::FILE, Span::start_of(file), problem));
    Checked { value: None, diagnostics: work.diagnostics, sources: work.sources }
}

/// The configuration of a text that people call `name`; what it includes lies in `files`.
pub fn compose_bytes(
    name: &str,
    bytes: &[u8],
    files: &dyn Files,
    remote: &dyn Remote,
    context: &ComposeContext,
) -> Checked<Composed> {
    let mut work = include::Work::new(files, remote, context);
    let given = given(context);
    let root = work.root(name, bytes, &given).map(|root| {
        let root = extends::apply(root, work.incomplete, &mut work.diagnostics);
        let (root, unresolved) = match work.has_references {
            true => reference::resolve(root, work.incomplete, &mut work.diagnostics),
            false => (root, false),
        };
        (stages::inject(root), unresolved)
    });
    let (includes, incomplete) = (work.included, work.incomplete);
    let value = root.map(|(root, unresolved)| Composed { root, includes, incomplete, unresolved });
    Checked { value, diagnostics: work.diagnostics, sources: work.sources }
}

/// The inputs of the root file, which have no place of their own.
fn given(context: &ComposeContext) -> inputs::Arguments {
    let nowhere = Span::start_of(FileId(0));
    let node = |value: &Given| match value {
        Given::Text(text) => Node::text(text.as_str(), nowhere),
        Given::Value(value) => inputs::value::from_json(value, nowhere),
    };
    context.inputs.iter().map(|(name, value)| (Node::text(name.as_str(), nowhere), node(value))).collect()
}

/// The finding that a name does not exist: a note where it may be in an include that is left out.
fn missing(code: Code, span: Span, message: String, incomplete: bool) -> Diagnostic {
    match incomplete {
        false => Diagnostic::error(code, span, message),
        true => Diagnostic::note(code, span, format!("{message} here; it may be in an include that is left out")),
    }
}

#[cfg(test)]
mod tests;
