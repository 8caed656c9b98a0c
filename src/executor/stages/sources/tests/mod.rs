//! The stage as a whole, with real git against a real server.

mod hostile;
mod limits;
mod mirror;
mod remote;
mod secrets;
mod strategies;
mod submodules;
