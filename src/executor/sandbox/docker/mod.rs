//! Containers of a Docker engine on this machine.

mod engine;
mod error;
pub mod image;
mod labels;
mod names;
mod settings;

pub use engine::Engine;
pub use error::EngineError;
pub use settings::{ConfiguredService, DockerSettings, Hardening, Limits, NetworkMode, Ulimit};
