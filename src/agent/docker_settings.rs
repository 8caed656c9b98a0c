//! What an operator wrote about containers, as the sandbox takes it. Nothing is decided here.

use crate::config::docker_values::{MemorySwap, NetworkMode as ConfiguredMode};
use crate::config::{self, ByteSize, DockerConfig, Hardening as ConfiguredHardening};
use crate::executor::sandbox::docker::{ConfiguredService, DockerSettings, Hardening, Limits, NetworkMode, Ulimit};

/// The settings of a registration's containers.
pub fn of(docker: &DockerConfig, hardening: ConfiguredHardening) -> DockerSettings {
    DockerSettings {
        image: docker.image.clone(),
        pull_policies: docker.pull_policy.clone(),
        allowed_pull_policies: (!docker.allowed_pull_policies.is_empty()).then(|| docker.allowed_pull_policies.clone()),
        platform: docker.platform.clone(),
        allowed_images: docker.allowed_images.clone(),
        allowed_services: docker.allowed_services.clone(),
        user: docker.user.clone(),
        allowed_users: docker.allowed_users.clone(),
        disable_entrypoint_overwrite: docker.disable_entrypoint_overwrite,
        hostname: docker.hostname.clone(),
        privileged: docker.privileged,
        services_privileged: docker.services_privileged,
        allowed_privileged_images: docker.allowed_privileged_images.clone(),
        allowed_privileged_services: docker.allowed_privileged_services.clone(),
        hardening: match hardening {
            ConfiguredHardening::Standard => Hardening::Standard,
            ConfiguredHardening::Strict => Hardening::Strict,
        },
        limits: Limits {
            shm_size: docker.shm_size.map(ByteSize::as_i64),
            ulimits: ulimits(docker),
            oom_score_adjust: docker.oom_score_adjust.map(i64::from),
            ..limits(docker.job_limits())
        },
        service_limits: limits(docker.service_limits()),
        cap_add: docker.cap_add.clone(),
        cap_drop: docker.cap_drop.clone(),
        security_opt: docker.security_opt.clone(),
        services_security_opt: docker.services_security_opt.clone(),
        group_add: docker.group_add.clone(),
        userns_mode: docker.userns.clone(),
        pid_mode: docker.pid_mode.clone(),
        ipc_mode: docker.ipc_mode.clone(),
        runtime: docker.runtime.clone(),
        devices: docker.devices.iter().map(ToString::to_string).collect(),
        device_cgroup_rules: docker.device_cgroup_rules.clone(),
        gpus: docker.gpus.clone(),
        service_gpus: docker.service_gpus.clone(),
        sysctls: docker.sysctls.clone(),
        tmpfs: docker.tmpfs.clone(),
        services_tmpfs: docker.services_tmpfs.clone(),
        dns: docker.dns.iter().map(ToString::to_string).collect(),
        dns_search: docker.dns_search.clone(),
        extra_hosts: docker.extra_hosts.clone(),
        network_mode: match &docker.network_mode {
            ConfiguredMode::Job => NetworkMode::Job,
            ConfiguredMode::None => NetworkMode::None,
            ConfiguredMode::Bridge => NetworkMode::Bridge,
            ConfiguredMode::Host => NetworkMode::Host,
            ConfiguredMode::Named(name) => NetworkMode::Named(name.clone()),
        },
        network_mtu: docker.mtu,
        enable_ipv6: docker.ipv6,
        volumes: docker.volumes.iter().map(ToString::to_string).collect(),
        container_labels: docker.container_labels.clone(),
        services: docker.services.iter().map(service).collect(),
        services_limit: docker.services_limit,
        ..DockerSettings::default()
    }
}

fn limits(of: config::Limits) -> Limits {
    Limits {
        memory: of.memory.map(ByteSize::as_i64),
        memory_swap: of.memory_swap.map(MemorySwap::for_engine),
        memory_reservation: of.memory_reservation.map(ByteSize::as_i64),
        nano_cpus: of.cpus.map(|cpus| cpus.nano()),
        cpuset_cpus: of.cpuset_cpus,
        cpuset_mems: of.cpuset_mems,
        cpu_shares: of.cpu_shares.map(i64::from),
        pids: of.pids.map_or(-1, i64::from),
        cgroup_parent: of.cgroup_parent,
        ..Limits::default()
    }
}

fn ulimits(docker: &DockerConfig) -> Vec<Ulimit> {
    let of = |(name, limit): (&String, &config::docker_values::Ulimit)| Ulimit {
        name: name.clone(),
        soft: limit.soft,
        hard: limit.hard,
    };
    docker.ulimits.iter().map(of).collect()
}

fn service(service: &config::ServiceConfig) -> ConfiguredService {
    ConfiguredService {
        name: service.name.clone(),
        alias: service.alias.join(","),
        entrypoint: service.entrypoint.clone(),
        command: service.command.clone(),
        environment: service.environment.iter().map(|(name, value)| format!("{name}={value}")).collect(),
    }
}
