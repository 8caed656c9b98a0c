//! What may stand where in a workflow.
//!
//! - [`definition`]: what a definition is. [`workflow`], [`events`]: the definitions. [`scope`]: what expressions may use in a place.
//! - [`read`](reader): a document to tokens, with every violation; its [`jobs`]; [`seen`]: keys that came already.
//!
//! The rules are those of GitHub's parser (actions/languageservices, `workflow-v1.0.json` and `template-reader.ts`), its messages too.

pub mod definition;
mod events;
mod expressions;
pub mod jobs;
pub mod reader;
pub mod scope;
mod seen;
mod tags;
pub mod workflow;

pub use events::{event_names, is_event};
