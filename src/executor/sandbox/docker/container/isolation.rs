//! What a container may do: Docker's default capabilities and seccomp profile, less what hardening and network mode take
//! away, and what the operator, never the job, adds.

use bollard::models::{DeviceMapping, DeviceRequest};

use super::Role;
use crate::executor::sandbox::docker::image::allow;
use crate::executor::sandbox::docker::settings::{DockerSettings, Hardening, NetworkMode};
use crate::pipeline::JobFailure;

/// What `hardening = "strict"` takes away: raw sockets, device files, records in the audit log, file capabilities, and
/// changing the root folder. Builds as root (chown, su to a user, port 80) still work.
const STRICT_DROPS: [&str; 5] = ["NET_RAW", "MKNOD", "AUDIT_WRITE", "SETFCAP", "SYS_CHROOT"];
/// Largest seccomp profile that is read, bytes.
const LARGEST_PROFILE: u64 = 1 << 20;

/// Capabilities added to and taken from the engine's default.
#[derive(Debug, Default, PartialEq)]
pub(in crate::executor::sandbox::docker) struct Capabilities {
    pub add: Vec<String>,
    pub drop: Vec<String>,
}

/// Whether the operator lets a container of this image be privileged.
pub(in crate::executor::sandbox::docker) fn is_privileged(
    settings: &DockerSettings,
    role: Role,
    image_name: &str,
) -> bool {
    let (wanted, patterns) = match role {
        Role::Job => (settings.privileged, &settings.allowed_privileged_images),
        Role::Service => {
            (settings.services_privileged.unwrap_or(settings.privileged), &settings.allowed_privileged_services)
        }
    };
    wanted && (patterns.is_empty() || allow::matches_any(patterns, image_name))
}

/// The capabilities of a container. A privileged one has all.
pub(super) fn capabilities(settings: &DockerSettings, privileged: bool) -> Capabilities {
    if privileged {
        return Capabilities::default();
    }
    let add: Vec<String> = settings.cap_add.iter().map(|name| normalised(name)).collect();
    let mut drop: Vec<String> = settings.cap_drop.iter().map(|name| normalised(name)).collect();
    let mut also: Vec<&str> = Vec::new();
    if settings.hardening == Hardening::Strict {
        also.extend(STRICT_DROPS);
    }
    // On a network shared with others, raw sockets forge other containers' packets.
    if matches!(settings.network_mode, NetworkMode::Host | NetworkMode::Bridge) {
        also.push("NET_RAW");
    }
    for name in also {
        let is_added = add.iter().any(|added| added == name || added == "ALL");
        if !is_added && !drop.iter().any(|dropped| dropped == name) {
            drop.push(name.to_owned());
        }
    }
    Capabilities { add, drop }
}

pub(super) fn normalised(name: &str) -> String {
    let name = name.trim().to_ascii_uppercase();
    name.strip_prefix("CAP_").map(str::to_owned).unwrap_or(name)
}

/// The security options of a container, seccomp profiles named by path read in (the engine takes their text only).
pub(in crate::executor::sandbox::docker) async fn security_options(
    settings: &DockerSettings,
    role: Role,
) -> Result<Vec<String>, JobFailure> {
    let configured = match role {
        Role::Job => &settings.security_opt,
        Role::Service => &settings.services_security_opt,
    };
    let mut options = Vec::with_capacity(configured.len() + 1);
    for option in configured {
        options.push(with_profile(option).await?);
    }
    let decided = configured.iter().any(|option| option.starts_with("no-new-privileges"));
    if settings.hardening == Hardening::Strict && !decided {
        options.push("no-new-privileges:true".to_owned());
    }
    Ok(options)
}

async fn with_profile(option: &str) -> Result<String, JobFailure> {
    let value = option.strip_prefix("seccomp=").or_else(|| option.strip_prefix("seccomp:"));
    let Some(path) = value.filter(|value| value.starts_with('/')) else { return Ok(option.to_owned()) };
    let unreadable = |why: String| {
        JobFailure::configuration(format!("the seccomp profile {path} (`docker.security_opt`) cannot be read: {why}"))
    };
    let size = tokio::fs::metadata(path).await.map_err(|error| unreadable(error.to_string()))?.len();
    if size > LARGEST_PROFILE {
        return Err(unreadable("it is larger than 1 MiB".into()));
    }
    let text = tokio::fs::read_to_string(path).await.map_err(|error| unreadable(error.to_string()))?;
    let profile: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| unreadable(format!("it is no JSON: {error}")))?;
    Ok(format!("seccomp={profile}"))
}

/// The devices of a container.
pub(super) fn devices(
    settings: &DockerSettings,
    role: Role,
    image_name: &str,
) -> Result<Vec<DeviceMapping>, JobFailure> {
    let wanted: Vec<&String> = match role {
        Role::Job => settings.devices.iter().collect(),
        Role::Service => settings
            .services_devices
            .iter()
            .filter(|(pattern, _)| allow::matches(pattern, image_name))
            .flat_map(|(_, devices)| devices)
            .collect(),
    };
    wanted.into_iter().map(|device| parse_device(device)).collect()
}

/// `host[:container[:rwm]]`; as `docker run --device`, the second part may be the permissions.
fn parse_device(text: &str) -> Result<DeviceMapping, JobFailure> {
    let is_permissions = |text: &str| !text.is_empty() && text.chars().all(|c| "rwm".contains(c));
    let parts: Vec<&str> = text.split(':').collect();
    let (host, container, permissions) = match parts[..] {
        [host] => (host, host, "rwm"),
        [host, permissions] if is_permissions(permissions) => (host, host, permissions),
        [host, container] => (host, container, "rwm"),
        [host, container, permissions] if is_permissions(permissions) => (host, container, permissions),
        _ => {
            let words = format!("`{text}` in `docker.devices` is not `host[:container[:rwm]]`");
            return Err(JobFailure::configuration(words));
        }
    };
    Ok(DeviceMapping {
        path_on_host: Some(host.to_owned()),
        path_in_container: Some(container.to_owned()),
        cgroup_permissions: Some(permissions.to_owned()),
    })
}

/// `--gpus` of `docker run`: `all`, a count, or `device=ID,…`; empty is none.
pub(super) fn gpu_request(text: &str) -> Result<Option<DeviceRequest>, JobFailure> {
    let text = text.trim().trim_matches('"');
    let (count, ids) = match text {
        "" => return Ok(None),
        "all" => (Some(-1), None),
        _ => match (text.parse::<i64>(), text.strip_prefix("device=")) {
            (Ok(count), _) => (Some(count), None),
            (Err(_), Some(ids)) => (None, Some(ids.split(',').map(str::to_owned).collect())),
            (Err(_), None) => {
                let words = format!("`{text}` in `docker.gpus` is not `all`, a number, or `device=ID,…`");
                return Err(JobFailure::configuration(words));
            }
        },
    };
    Ok(Some(DeviceRequest {
        count,
        device_ids: ids,
        capabilities: Some(vec![vec!["gpu".into()]]),
        ..DeviceRequest::default()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> DockerSettings {
        DockerSettings::default()
    }

    #[test]
    fn nothing_is_taken_from_docker_s_default_in_a_network_of_its_own() {
        assert_eq!(capabilities(&settings(), false), Capabilities::default());
    }

    #[test]
    fn raw_sockets_are_taken_on_shared_networks_unless_added() {
        let shared = DockerSettings { network_mode: NetworkMode::Bridge, ..settings() };
        assert_eq!(capabilities(&shared, false).drop, ["NET_RAW"]);
        let added = DockerSettings { cap_add: vec!["cap_net_raw".into()], ..shared };
        assert!(capabilities(&added, false).drop.is_empty());
    }

    #[tokio::test]
    async fn strict_takes_more_and_forbids_new_privileges() {
        let strict = DockerSettings { hardening: Hardening::Strict, cap_add: vec!["MKNOD".into()], ..settings() };
        let drop = capabilities(&strict, false).drop;
        assert!(drop.contains(&"NET_RAW".into()) && !drop.contains(&"MKNOD".into()), "{drop:?}");
        assert_eq!(security_options(&strict, Role::Job).await.unwrap(), ["no-new-privileges:true"]);
        assert!(security_options(&settings(), Role::Job).await.unwrap().is_empty());
    }

    #[test]
    fn only_images_on_the_operator_s_list_are_privileged() {
        let listed =
            DockerSettings { privileged: true, allowed_privileged_images: vec!["builder:*".into()], ..settings() };
        assert!(is_privileged(&listed, Role::Job, "builder:1"));
        assert!(!is_privileged(&listed, Role::Job, "alpine:1"));
        assert!(is_privileged(&listed, Role::Service, "alpine:1"), "services have a list of their own");
        assert!(!is_privileged(&settings(), Role::Job, "builder:1"));
    }

    #[test]
    fn devices_and_gpus_as_docker_run_takes_them() {
        let device = parse_device("/dev/kvm:r").unwrap();
        assert_eq!(device.path_in_container.as_deref(), Some("/dev/kvm"));
        assert_eq!(device.cgroup_permissions.as_deref(), Some("r"));
        assert!(parse_device("a:b:c:d").is_err() && parse_device("/a:/b:x").is_err());
        assert_eq!(gpu_request("all").unwrap().unwrap().count, Some(-1));
        assert_eq!(gpu_request("device=0,1").unwrap().unwrap().device_ids.unwrap(), ["0", "1"]);
        assert!(gpu_request("some").is_err());
    }

    #[tokio::test]
    async fn a_seccomp_profile_is_read_from_its_path() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "{ \"defaultAction\": \"SCMP_ACT_ALLOW\" }").unwrap();
        let by_path = DockerSettings { security_opt: vec![format!("seccomp={}", file.path().display())], ..settings() };
        let options = security_options(&by_path, Role::Job).await.unwrap();
        assert_eq!(options, ["seccomp={\"defaultAction\":\"SCMP_ACT_ALLOW\"}"]);
        let missing = DockerSettings { security_opt: vec!["seccomp=/nonexistent".into()], ..settings() };
        assert!(security_options(&missing, Role::Job).await.unwrap_err().message.contains("/nonexistent"));
    }
}
