//! Limits of a container in the engine's words.

use bollard::models::{HostConfig, ResourcesUlimits};

use crate::executor::sandbox::docker::settings::Limits;

/// A host configuration that holds the limits and nothing else.
pub(in crate::executor::sandbox::docker) fn host_config(limits: &Limits) -> HostConfig {
    let ulimits: Vec<ResourcesUlimits> = limits
        .ulimits
        .iter()
        .map(|limit| ResourcesUlimits {
            name: Some(limit.name.clone()),
            soft: Some(limit.soft),
            hard: Some(limit.hard),
        })
        .collect();
    HostConfig {
        memory: limits.memory,
        memory_swap: limits.memory_swap,
        memory_reservation: limits.memory_reservation,
        nano_cpus: limits.nano_cpus,
        cpuset_cpus: limits.cpuset_cpus.clone(),
        cpuset_mems: limits.cpuset_mems.clone(),
        cpu_shares: limits.cpu_shares,
        pids_limit: Some(if limits.pids > 0 { limits.pids } else { -1 }),
        shm_size: limits.shm_size,
        ulimits: (!ulimits.is_empty()).then_some(ulimits),
        cgroup_parent: limits.cgroup_parent.clone(),
        oom_kill_disable: limits.oom_kill_disable,
        oom_score_adj: limits.oom_score_adjust,
        ..HostConfig::default()
    }
}
