//! A container without a network. The engine need not take part: the runtime makes a network namespace with nothing but the
//! loopback interface by itself, while the engine would start a program of its own for each container to enter it into
//! its books, which costs as much as the rest of the container.

use super::files;
use crate::executor::sandbox::docker::caps::EngineCaps;
use crate::executor::sandbox::docker::settings::{DockerSettings, NetworkMode};
use crate::pipeline::definition::ContainerOptions;

/// Whether the job's container is made so.
pub(in crate::executor::sandbox::docker) fn suits(
    caps: &EngineCaps,
    settings: &DockerSettings,
    options: Option<&ContainerOptions>,
) -> bool {
    settings.network_mode == NetworkMode::None && files::suit(caps, settings, options)
}

#[cfg(test)]
mod tests {
    use super::files::tests::caps;
    use super::*;

    #[test]
    fn the_engine_sees_to_every_other_network() {
        let settings = |network_mode| DockerSettings { network_mode, ..DockerSettings::default() };
        assert!(suits(&caps(), &settings(NetworkMode::None), None));
        assert!(!suits(&caps(), &settings(NetworkMode::Job), None));
        let wants_names = ContainerOptions { hosts: vec!["db:10.0.0.1".into()], ..ContainerOptions::default() };
        assert!(!suits(&caps(), &settings(NetworkMode::None), Some(&wants_names)));
    }
}
