//! How the containers of a job are connected.
//!
//! - [`subnets`]: a range of addresses free of the machine's routes, cut into small nets. Pure.
//! - [`alone`]: no network, without the engine taking part.
//! - `common`: one network for the jobs of a local run that need no names on it.
//! - [`held`]: a network's namespace that is there before its job and after it.
//! - `gateway`: where containers reach this machine.
//! - [`files`]: hosts, name servers and host name, where a container has its own and not the engine's.
//! - [`pool`]: networks from that range, made ahead of need, one a job; `making`: how one is made and removed; `stock`: which there
//!   are, and whose. The latter pure.

pub(super) mod alone;
mod common;
pub(super) mod files;
mod gateway;
pub(super) mod held;
mod making;
pub mod pool;
mod stock;
pub mod subnets;

pub use stock::Upkeep;

use self::files::NameFiles;
use self::held::Held;
use super::container::Attachment;
use super::settings::NetworkMode;

/// The name by which the job's own container is found on its network.
pub(super) const BUILD_ALIAS: &str = "build";

/// How the job's network mode is told to the engine.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Connection {
    /// A network with names: the job's own, or one that the operator made.
    UserDefined(String),
    /// The network that the jobs of a run have in common: they are not to find each other by a name.
    Common(String),
    /// The engine's default bridge: no names, so that hosts are written into `/etc/hosts`.
    Bridge,
    /// The machine's network: everybody is at the loopback address.
    Host,
    /// No network, and the engine does not see to that, see [`alone`].
    Alone,
    /// No network, or another container's: services cannot be found by a name.
    Unnamed(String),
}

/// A connection, and what the container must know that the engine does not tell it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Connected {
    pub connection: Connection,
    /// Files of the job's own.
    pub files: Option<NameFiles>,
    /// Its host name, where that is the network's.
    pub hostname: Option<String>,
}

impl From<Connection> for Connected {
    fn from(connection: Connection) -> Self {
        let files = (connection == Connection::Alone).then(NameFiles::of_nobody_else);
        Self { connection, files, hostname: None }
    }
}

impl From<&Held> for Connected {
    fn from(held: &Held) -> Self {
        let connection = Connection::Unnamed(format!("container:{}", held.container));
        Self { connection, files: Some(held.files.clone()), hostname: Some(held.hostname.clone()) }
    }
}

impl Connection {
    /// The connection for `mode`; `own` is the job's network where the mode is [`NetworkMode::Job`].
    pub(super) fn of(mode: &NetworkMode, own: Option<&str>) -> Self {
        match mode {
            NetworkMode::Job => own.map_or_else(|| Self::Unnamed("none".into()), |own| Self::UserDefined(own.into())),
            NetworkMode::None => Self::Unnamed("none".into()),
            NetworkMode::Bridge => Self::Bridge,
            NetworkMode::Host => Self::Host,
            NetworkMode::Named(name) if name.starts_with("container:") => Self::Unnamed(name.clone()),
            NetworkMode::Named(name) => Self::UserDefined(name.clone()),
        }
    }

    /// Whether the job can reach services at all.
    pub(super) fn reaches_services(&self) -> bool {
        match self {
            Self::Alone => false,
            Self::Unnamed(mode) => mode != "none",
            Self::UserDefined(_) | Self::Common(_) | Self::Bridge | Self::Host => true,
        }
    }

    /// Whether the job's container must wait for the services' addresses.
    pub(super) fn needs_addresses(&self) -> bool {
        matches!(self, Self::Bridge)
    }

    /// How the services of a job that is connected so are connected.
    pub(super) fn of_services(&self) -> Self {
        match self {
            Self::Alone => Self::Unnamed("none".into()),
            other => other.clone(),
        }
    }

    /// How a container that is to be found as `aliases` is attached.
    pub(super) fn attach(&self, aliases: Vec<String>, hosts: Vec<String>) -> Attachment {
        match self {
            Self::UserDefined(name) => {
                Attachment { mode: name.clone(), aliases, is_user_defined: true, ..Attachment::default() }
            }
            Self::Common(name) => Attachment { mode: name.clone(), is_user_defined: true, ..Attachment::default() },
            Self::Alone => Attachment { mode: "none".into(), is_alone: true, ..Attachment::default() },
            Self::Bridge => Attachment { mode: "bridge".into(), hosts, ..Attachment::default() },
            Self::Host => Attachment { mode: "host".into(), hosts, ..Attachment::default() },
            // The engine refuses hosts where another container's network is shared.
            Self::Unnamed(mode) => Attachment { mode: mode.clone(), ..Attachment::default() },
        }
    }
}
