//! `include`: other files, merged below the one that names them.
//!
//! - [`entry`]: what one include says. [`rules`]: whether it counts. [`pattern`]: which files a pattern names.
//! - [`place`]: where a file lies, and so what a local include in it means. [`fetch`]: its bytes. [`expand`]: all of it, nested.

mod component;
mod entry;
mod expand;
mod fetch;
mod pattern;
mod place;
mod rules;
mod spec;

pub(super) use expand::Work;
