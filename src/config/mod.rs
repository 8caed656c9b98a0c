//! What the operator wrote: `forgehand.toml`, the environment, the flags; and the tokens, which stand in none of them.
//!
//! - [`locations`]: where the file and the state directory are.
//! - [`mod@load`]: the layers become one tree, the tree becomes [`Config`]; everything that is wrong is told at once.
//! - [`agent`], [`registration`], [`docker`], [`network`], [`store`], [`remote`], [`log`]: the settings, by topic. Their types are the
//!   reference: the schema, the search for unknown keys and the reading of variables are made from them.
//! - [`units`], [`docker_values`], [`environment`]: values parsed where they enter.
//! - [`document`], [`layers`], [`unknown_keys`], [`checks`], [`error`]: what loading is made of.
//! - [`show`], [`schema`]: the configuration told back.
//! - [`edit`]: adds and removes registrations, keeping what the operator wrote around them.
//! - [`credentials`], [`system_id`], [`private_file`]: tokens and the machine's identity, in the state directory.
//! - [`migrate`]: other runners' files.
//!
//! Nothing here reaches the network, and nothing but the credentials is written without being asked for.

pub mod agent;
pub mod checks;
pub mod credentials;
pub mod docker;
pub mod docker_values;
pub mod document;
pub mod edit;
pub mod environment;
pub mod error;
pub mod exec;
pub mod layers;
pub mod load;
pub mod locations;
pub mod log;
pub mod migrate;
pub mod network;
pub mod private_file;
pub mod registration;
pub mod remote;
pub mod schema;
pub mod show;
pub mod store;
pub mod system_id;
pub mod units;
pub mod unknown_keys;

pub use agent::StateConfig;
pub use credentials::{CredentialRecord, Credentials, CredentialsError};
pub use docker::{DockerConfig, Limits, ServiceConfig};
pub use error::{ConfigError, Place, Problem};
pub use exec::{CacheServerAddress, ExecConfig};
pub use layers::Overrides;
pub use load::{Config, load};
pub use locations::Locations;
pub use log::{LogConfig, LogFormat, LogLevel};
pub use network::NetworkConfig;
pub use registration::{ExecutorKind, ForgeKind, Hardening, RegistrationConfig};
pub use remote::{RemoteConfig, RemoteUrl};
pub use store::StoreConfig;
pub use units::ByteSize;

#[cfg(test)]
mod tests;
