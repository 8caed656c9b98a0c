//! What containers may not do, seen from inside.

use super::fixtures::{House, container_of};
use crate::executor::sandbox::docker::{Hardening, NetworkMode};

const STATUS: &str = "grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status";
const NET_RAW: u64 = 1 << 13;
const MKNOD: u64 = 1 << 27;

/// Capabilities, whether new privileges are out of reach, whether there is a seccomp profile.
fn status(output: &str) -> (u64, bool, bool) {
    let field = |name: &str| {
        output.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {output}")).trim()
    };
    (u64::from_str_radix(field("CapEff:"), 16).unwrap(), field("NoNewPrivs:") == "1", field("Seccomp:") == "2")
}

#[tokio::test]
async fn containers_have_docker_s_defaults_and_less_where_hardened() {
    let house = House::new().await;
    let run = async |hardening, network_mode| {
        let mut case = house.case(STATUS);
        case.settings.hardening = hardening;
        case.settings.network_mode = network_mode;
        status(&house.run(&case).await.1)
    };
    let (caps, no_new_privileges, seccomp) = run(Hardening::Standard, NetworkMode::None).await;
    assert_eq!((caps & (NET_RAW | MKNOD), no_new_privileges, seccomp), (NET_RAW | MKNOD, false, true));
    let (caps, ..) = run(Hardening::Standard, NetworkMode::Bridge).await;
    assert_eq!(caps & (NET_RAW | MKNOD), MKNOD, "no raw sockets on a shared network");
    let (caps, no_new_privileges, seccomp) = run(Hardening::Strict, NetworkMode::None).await;
    assert_eq!((caps & (NET_RAW | MKNOD), no_new_privileges, seccomp), (0, true, true));
    house.leave().await;
}

#[tokio::test]
async fn an_image_that_is_not_on_the_list_runs_unprivileged_and_the_user_is_told() {
    const SYS_ADMIN: u64 = 1 << 21;
    let house = House::new().await;
    let mut case = house.case(STATUS);
    case.settings.privileged = true;
    case.settings.allowed_privileged_images = vec!["docker:*".into()];
    let (caps, _, seccomp) = status(&house.run(&case).await.1);
    assert_eq!((caps & SYS_ADMIN, seccomp), (0, true));
    assert!(house.log.text().contains("allowed_privileged_images"));
    house.leave().await;
}

#[tokio::test]
async fn the_memory_limit_ends_what_goes_over_it_and_is_told() {
    let house = House::new().await;
    // The shell's child is what the kernel ends; its variable grows in memory, swap included.
    let mut case = house.case("sh -c 'x=0123456789abcdef; while :; do x=$x$x; done'; echo ended-with-$?");
    case.settings.limits.memory = Some(32 << 20);
    case.settings.limits.memory_swap = Some(32 << 20);
    let prepared = house.start(&case).await.unwrap();
    let (_, output) = house.end_of(&prepared.record).await;
    // The shell's own word about it comes by the other stream, before or after.
    assert!(output.lines().any(|line| line == "ended-with-137"), "{output}");
    assert!(house.docker.end_state(&prepared.record).await.unwrap().unwrap().oom_killed);
    house.docker.remove(&prepared.record).await.unwrap();
    house.leave().await;
}

#[tokio::test]
async fn processes_are_limited_even_when_nothing_is_configured() {
    let house = House::new().await;
    let read = "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null";
    assert_eq!(house.run(&house.case(read)).await.1, "4096");
    let mut case = house.case("for i in 1 2 3 4 5 6 7 8 9; do sleep 5 & done; echo not-reached");
    case.settings.limits.pids = 5;
    let (_, output) = house.run(&case).await;
    assert!(output.contains("can't fork") && !output.contains("not-reached"), "{output}");
    house.leave().await;
}

#[tokio::test]
async fn cpu_ulimits_shm_and_sysctls_reach_the_container() {
    let house = House::new().await;
    let mut case =
        house.case("ulimit -n; df -k /dev/shm | tail -1 | awk '{print $2}'; cat /proc/sys/net/ipv4/ip_default_ttl");
    case.settings.limits.ulimits =
        vec![crate::executor::sandbox::docker::Ulimit { name: "nofile".into(), soft: 123, hard: 456 }];
    case.settings.limits.shm_size = Some(8 << 20);
    case.settings.limits.nano_cpus = Some(1_500_000_000);
    case.settings.sysctls.insert("net.ipv4.ip_default_ttl".into(), "77".into());
    let prepared = house.start(&case).await.unwrap();
    assert_eq!(house.end_of(&prepared.record).await.1, "123\n8192\n77");
    let inspect = house.docker.engine().inspect(container_of(&prepared.record)).await.unwrap().unwrap();
    assert_eq!(inspect.host_config.unwrap().nano_cpus, Some(1_500_000_000));
    house.docker.remove(&prepared.record).await.unwrap();
    house.leave().await;
}

#[tokio::test]
async fn devices_memory_files_and_processors_are_the_operator_s() {
    let house = House::new().await;
    let mut case = house.case(
        "test -c /dev/given && echo given; df -k /scratch | tail -1 | awk '{print $2}'; \
         grep Cpus_allowed_list /proc/self/status | cut -f2; id -G",
    );
    case.settings.devices = vec!["/dev/null:/dev/given:rw".into()];
    case.settings.tmpfs.insert("/scratch".into(), "size=1m".into());
    case.settings.limits.cpuset_cpus = Some("0".into());
    case.settings.group_add = vec!["4242".into()];
    case.settings.limits.memory = Some(64 << 20);
    case.settings.limits.memory_swap = Some(96 << 20);
    case.settings.limits.memory_reservation = Some(32 << 20);
    case.settings.limits.cpu_shares = Some(512);
    let prepared = house.start(&case).await.unwrap();
    let output = house.end_of(&prepared.record).await.1;
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines[..3], ["given", "1024", "0"], "{output}");
    assert!(lines[3].split(' ').any(|group| group == "4242"), "{output}");
    let inspect = house.docker.engine().inspect(container_of(&prepared.record)).await.unwrap().unwrap();
    let host = inspect.host_config.unwrap();
    assert_eq!((host.memory, host.memory_swap), (Some(64 << 20), Some(96 << 20)));
    assert_eq!((host.memory_reservation, host.cpu_shares), (Some(32 << 20), Some(512)));
    house.docker.remove(&prepared.record).await.unwrap();
    house.leave().await;
}

#[tokio::test]
async fn capabilities_and_security_options_are_the_operator_s() {
    const SYS_TIME: u64 = 1 << 25;
    const CHOWN: u64 = 1;
    let house = House::new().await;
    let mut case = house.case(&format!("{STATUS}; mkdir /made 2>/dev/null || echo refused"));
    case.settings.cap_add = vec!["SYS_TIME".into()];
    case.settings.cap_drop = vec!["CHOWN".into()];
    let profile = house.folder.path().join("profile.json");
    let text =
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}"#;
    std::fs::write(&profile, text).unwrap();
    case.settings.security_opt = vec![format!("seccomp={}", profile.display()), "no-new-privileges".into()];
    let output = house.run(&case).await.1;
    let (caps, no_new_privileges, seccomp) = status(&output);
    assert_eq!((caps & (SYS_TIME | CHOWN), no_new_privileges, seccomp), (SYS_TIME, true, true), "{output}");
    assert!(output.ends_with("refused"), "{output}");
    case.settings.security_opt = vec!["seccomp=unconfined".into()];
    assert!(!status(&house.run(&case).await.1).2);
    house.leave().await;
}

#[tokio::test]
async fn names_are_found_as_the_operator_says() {
    let house = House::new().await;
    let mut case = house.case("grep -E '^(nameserver|search)' /etc/resolv.conf; grep 192.0.2.7 /etc/hosts; hostname");
    case.settings.network_mode = NetworkMode::Bridge;
    case.settings.dns = vec!["192.0.2.1".into()];
    case.settings.dns_search = vec!["example.test".into()];
    case.settings.extra_hosts = vec!["db:192.0.2.7".into()];
    case.settings.hostname = Some("of-the-operator".into());
    let output = house.run(&case).await.1;
    let words: Vec<&str> = output.split_whitespace().collect();
    for (name, value) in [("nameserver", "192.0.2.1"), ("search", "example.test"), ("192.0.2.7", "db")] {
        assert!(words.windows(2).any(|pair| pair == [name, value]), "{name} {value}: {output}");
    }
    assert_eq!(words.last(), Some(&"of-the-operator"));
    house.leave().await;
}

#[tokio::test]
async fn namespaces_runtime_and_rules_are_the_operator_s() {
    let house = House::new().await;
    let mut case = house.case("readlink /proc/self/ns/pid; cat /proc/1/comm; cat /proc/self/oom_score_adj");
    case.settings.ipc_mode = Some("shareable".into());
    case.settings.runtime = Some("runc".into());
    case.settings.device_cgroup_rules = vec!["c 42:* rmw".into()];
    case.settings.limits.oom_score_adjust = Some(321);
    case.settings.init = true;
    let prepared = house.start(&case).await.unwrap();
    let output = house.end_of(&prepared.record).await.1;
    let lines: Vec<&str> = output.lines().collect();
    let ours = std::fs::read_link("/proc/self/ns/pid").unwrap();
    assert_ne!(Some(lines[0]), ours.to_str(), "a namespace of its own");
    assert_eq!(lines[1..], ["docker-init", "321"], "{output}");
    let inspect = house.docker.engine().inspect(container_of(&prepared.record)).await.unwrap().unwrap();
    let host = inspect.host_config.unwrap();
    assert_eq!((host.ipc_mode.as_deref(), host.runtime.as_deref()), (Some("shareable"), Some("runc")));
    assert_eq!(host.device_cgroup_rules, Some(vec!["c 42:* rmw".to_owned()]));
    house.docker.remove(&prepared.record).await.unwrap();
    case.settings.pid_mode = Some("host".into());
    case.settings.init = false;
    let output = house.run(&case).await.1;
    assert_eq!(output.lines().next(), ours.to_str(), "the machine's, where the operator says so");
    house.leave().await;
}
