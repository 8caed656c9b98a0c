//! A rich `config.toml`, migrated and loaded again.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::plan::{Applied, Migration, Mode};
use super::{MigrationError, gitlab_runner};
use crate::config::docker_values::{MemorySwap, NetworkMode};
use crate::config::remote::RemoteEncryption;
use crate::config::{ByteSize, Config, Credentials, ExecutorKind, Locations, LogFormat, LogLevel, Overrides, load};
use crate::pipeline::definition::PullPolicy;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/config/gitlab-runner/config.toml")
}

struct House {
    _dir: tempfile::TempDir,
    locations: Locations,
}

impl House {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let locations =
            Locations { config_file: dir.path().join("etc/forgehand.toml"), state_dir: dir.path().join("state") };
        Self { _dir: dir, locations }
    }

    fn migrate(&self, file: &Path, mode: Mode) -> (Migration, Applied) {
        let migration = gitlab_runner::read(file, |_| None).unwrap();
        let applied = migration.apply(&self.locations, mode, Timestamp::UNIX_EPOCH).unwrap();
        (migration, applied)
    }

    fn migrate_text(&self, text: &str) -> (Migration, Applied) {
        let file = self._dir.path().join("config.toml");
        std::fs::write(&file, text).unwrap();
        self.migrate(&file, Mode::Write)
    }

    fn config(&self) -> Config {
        load(&self.locations.config_file, &Overrides::none()).unwrap()
    }
}

#[test]
fn a_migrated_file_loads_and_jobs_meet_what_they_met_before() {
    let house = House::new();
    let (_, applied) = house.migrate(&fixture(), Mode::Write);
    assert_eq!(applied.added, ["docker on build-1", "shell on build-1", "docker on build-1-2"]);
    let config = house.config();
    assert_eq!((config.concurrent, config.shutdown_timeout), (10, Duration::from_secs(60)));
    assert_eq!((config.log.level, config.log.format), (LogLevel::Warn, LogFormat::Json));

    let first = config.registration("docker on build-1").unwrap();
    assert_eq!((first.limit, first.request_concurrency, first.output_limit), (6, 2, ByteSize::mib(16)));
    assert_eq!(first.environment[2], ("GREETING".to_owned(), "a=b".to_owned()));
    assert_eq!(first.network.ca_files, [PathBuf::from("/etc/gitlab-runner/certs/ca.crt")]);
    assert_eq!(first.get_sources_timeout, Some(Duration::from_secs(900)));
    assert_eq!(first.feature_flags.get("FF_TIMESTAMPS"), Some(&false));
    let docker = &first.docker;
    assert_eq!(
        (&docker.pull_policy[..], &docker.allowed_pull_policies[..]),
        (&[PullPolicy::Always][..], &[PullPolicy::Always][..])
    );
    assert_eq!(
        (docker.memory, docker.memory_swap),
        (Some(ByteSize::mib(2048)), Some(MemorySwap::Total(ByteSize::mib(4096))))
    );
    assert_eq!(docker.cpus.unwrap().nano(), 1_500_000_000);
    assert_eq!((docker.pids_limit, docker.service_pids_limit), (0, 0), "no limit where there was none");
    assert_eq!(docker.network_mode, NetworkMode::Bridge);
    assert_eq!(docker.cap_add, ["NET_RAW"], "ping worked before");
    assert_eq!((docker.mtu, docker.shm_size), (Some(1450), Some(ByteSize::mib(256))));
    assert_eq!(
        docker.volumes.iter().map(ToString::to_string).collect::<Vec<_>>()[..2],
        ["/cache", "/srv/ccache:/ccache:rw"]
    );
    assert_eq!(docker.wait_for_services_timeout, Duration::ZERO);
    assert_eq!(docker.services[0].alias, ["mirror", "hub"]);
    assert_eq!(docker.ulimits["nofile"].hard, 4096);

    let shell = config.registration("shell on build-1").unwrap();
    assert_eq!((shell.executor, shell.builds_dir.as_deref()), (ExecutorKind::Host, Some("/srv/builds")));

    let second = config.registration("docker on build-1-2").unwrap();
    assert_eq!(second.docker.network_mode, NetworkMode::Job, "it had networks of its own already");
    assert_eq!(second.docker.allowed_pull_policies.len(), 3);
    assert!(second.docker.volumes.is_empty() && second.docker.memory_swap.is_none());
}

#[test]
fn tokens_go_into_the_credentials_and_nowhere_else() {
    let house = House::new();
    let (_, applied) = house.migrate(&fixture(), Mode::Write);
    let text = std::fs::read_to_string(&house.locations.config_file).unwrap();
    assert_eq!(text, applied.text);
    for secret in ["FIXTUREdocker", "FIXTUREshell", "FIXTURElegacy", "fixture-secret-key"] {
        assert!(!text.contains(secret), "{text}");
    }
    let credentials = Credentials::open(&house.locations.state_dir).unwrap();
    let first = credentials.get("docker on build-1").unwrap().unwrap();
    assert_eq!(first.token.expose(), "glrt-t1_FIXTUREdocker00000001");
    assert_eq!((first.runner_id, first.expires_at), (Some(4711), None));
    assert_eq!(first.system_id, "s_fedcba987654", "the forge sees the machine that it knows");
    assert_eq!(first.obtained_at, "2025-03-01T08:30:00Z".parse().unwrap());
    assert_eq!(credentials.system_id().unwrap(), "s_fedcba987654");
    let shell = credentials.get("shell on build-1").unwrap().unwrap();
    assert_eq!(shell.expires_at, Some("2027-05-01T00:00:00Z".parse().unwrap()));
}

#[test]
fn everything_that_stays_behind_is_named_with_its_reason() {
    let house = House::new();
    let (migration, applied) = house.migrate(&fixture(), Mode::Write);
    let refused: Vec<_> = migration.refused.iter().map(|note| (note.runner.as_deref().unwrap(), &*note.key)).collect();
    assert_eq!(refused, [("k8s", "executor"), ("remote engine", "docker.host")]);
    assert!(migration.refused[0].reason.contains("kubernetes") && migration.refused[1].reason.contains("tcp"));
    let noted: Vec<&str> = migration.notes.iter().chain(&applied.notes).map(|note| note.key.as_str()).collect();
    for key in [
        "listen_address",
        "session_server",
        "connection_max_age",
        "pre_clone_script",
        "unhealthy_interval",
        "cache.MaxUploadedArchiveSize",
        "docker.oom_kill_disable",
        "docker.helper_image",
        "docker.links",
        "docker.memory_swap",
        "docker.volumes[0]",
        "docker.disable_cache",
    ] {
        assert!(noted.contains(&key), "{key} in {noted:?}");
    }
    for silent in ["docker.tls_verify", "custom_build_dir", "docker.disable_entrypoint_overwrite"] {
        assert!(!noted.contains(&silent), "{silent} says nothing: {noted:?}");
    }
    let safer = migration.safer.join("\n");
    for word in
        ["pids_limit", "pull_policy", "network_mode", "allowed_privileged_images", "socket", "strict", "environment"]
    {
        assert!(safer.contains(word), "{word} in {safer}");
    }
}

#[test]
fn a_fleet_finds_its_caches_where_they_were() {
    let house = House::new();
    house.migrate(&fixture(), Mode::Write);
    let config = house.config();
    let cache = config.registration("docker on build-1").unwrap().runner_cache.as_ref().unwrap();
    assert_eq!((cache.path.as_str(), cache.shared), ("prefix", true));
    assert_eq!(cache.remote.url.to_string(), "s3://cache");
    assert_eq!(cache.remote.endpoint.as_ref().unwrap().as_str(), "https://s3.example.com/");
    assert!(cache.remote.path_style && !cache.remote.allow_http);
    assert_eq!(cache.remote.access_key_id.as_deref(), Some("AKIAFIXTURE"));
    let file = cache.remote.secret_access_key_file.as_deref().unwrap();
    assert!(file.starts_with(&house.locations.state_dir), "{}", file.display());
    assert_eq!(std::fs::read_to_string(file).unwrap(), "fixture-secret-key");
    assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(config.registration("shell on build-1").unwrap().runner_cache.is_none());
}

/// The cache of a runner whose file says this in `[runners.cache]`, and the keys that stayed behind.
fn cache_of(cache: &str) -> (Option<crate::config::registration::RunnerCacheConfig>, Vec<String>) {
    let house = House::new();
    let (migration, applied) = house.migrate_text(&format!(
        "[[runners]]\nname = \"m\"\nurl = \"https://g.example.com\"\ntoken = \"t\"\nexecutor = \"shell\"\n[runners.cache]\n{cache}"
    ));
    assert_eq!(applied.added, ["m"], "a cache is no reason to leave a runner behind");
    let noted = migration.notes.iter().chain(&applied.notes).map(|note| note.key.clone()).collect();
    (house.config().registrations[0].runner_cache.clone(), noted)
}

#[test]
fn buckets_of_all_kinds_are_reached_as_before() {
    let (amazon, noted) = cache_of(
        "Type = \"s3\"\n[runners.cache.s3]\nServerAddress = \"s3.amazonaws.com\"\nBucketName = \"b.example\"\n\
         BucketLocation = \"eu-central-1\"\nServerSideEncryption = \"KMS\"\nServerSideEncryptionKeyID = \"alias/k\"\nDualStack = true\n",
    );
    let amazon = amazon.unwrap().remote;
    assert_eq!((amazon.endpoint, amazon.region.as_deref(), amazon.path_style), (None, Some("eu-central-1"), false));
    assert_eq!((amazon.encryption, amazon.kms_key_id.as_deref()), (RemoteEncryption::Kms, Some("alias/k")));
    assert_eq!((amazon.access_key_id, amazon.secret_access_key_file), (None, None), "the machine's role");
    assert_eq!(noted, ["cache.s3.dualstack"]);

    let (open, noted) = cache_of(
        "Type = \"s3\"\nShared = true\n[runners.cache.s3]\nServerAddress = \"minio:9000\"\nBucketName = \"b\"\nInsecure = true\n\
         AccessKey = \"id\"\nSecretKey = \"s\"\nAuthenticationType = \"iam\"\n",
    );
    let open = open.unwrap().remote;
    assert_eq!(open.endpoint.unwrap().as_str(), "http://minio:9000/");
    assert!(open.allow_http && open.path_style);
    assert_eq!((open.access_key_id, noted), (None, Vec::new()), "keys are not used with a role");
}

#[test]
fn a_bucket_that_cannot_be_taken_over_is_told_and_the_runner_comes_without() {
    for (cache, key) in [
        ("Type = \"gcs\"\n[runners.cache.gcs]\nBucketName = \"b\"\n", "cache.Type"),
        ("Type = \"s3\"\n[runners.cache.s3]\nServerAddress = \"s3.example.com\"\n", "cache.s3.BucketName"),
        ("Type = \"s3\"\n[runners.cache.s3]\nBucketName = \"a/../b c\"\n", "cache.s3.BucketName"),
        ("Type = \"s3\"\n[runners.cache.s3]\nBucketName = \"b\"\nServerAddress = \"a b\"\n", "cache.s3.ServerAddress"),
    ] {
        let (taken, noted) = cache_of(cache);
        assert_eq!((taken, noted), (None, vec![key.to_owned()]), "{cache}");
    }
    let (taken, noted) = cache_of(
        "Type = \"s3\"\n[runners.cache.s3]\nBucketName = \"b\"\nAccessKey = \"id\"\nSecretKey = \"s\"\nSessionToken = \"t\"\n",
    );
    assert_eq!((taken.unwrap().remote.access_key_id, noted), (None, vec!["cache.s3.SessionToken".to_owned()]));
}

#[test]
fn a_dry_run_writes_nothing() {
    let house = House::new();
    let (_, applied) = house.migrate(&fixture(), Mode::DryRun);
    assert!(applied.text.contains("[[registration]]"));
    assert!(!house.locations.config_file.exists() && !house.locations.state_dir.exists());
    assert!(!house.locations.config_file.parent().unwrap().exists());
}

#[test]
fn what_is_there_stays_and_a_second_migration_adds_nothing() {
    let house = House::new();
    let ours = "# mine\nconcurrent = 2\n\n[[registration]]\nname = \"shell on build-1\" # another one\nurl = \"https://x.example.com\"\n";
    std::fs::create_dir_all(house.locations.config_file.parent().unwrap()).unwrap();
    std::fs::write(&house.locations.config_file, ours).unwrap();
    let (_, first) = house.migrate(&fixture(), Mode::Write);
    assert!(first.text.contains("# mine\nconcurrent = 2\n") && first.text.contains("# another one"), "{}", first.text);
    assert!(first.added.contains(&"shell on build-1-2".to_owned()), "{:?}", first.added);
    assert!(first.notes.iter().any(|note| note.key == "concurrent" && note.reason.contains('2')));
    let (_, again) = house.migrate(&fixture(), Mode::Write);
    assert_eq!((again.added.len(), again.already_there.len()), (0, 3));
    assert_eq!(again.text, first.text);
}

#[test]
fn a_minimal_file_keeps_the_defaults_of_the_other_runner() {
    let house = House::new();
    let (_, applied) = house.migrate_text(
        "[[runners]]\nname = \"m\"\nurl = \"$URL_OF_FORGE\"\ntoken = \"t\"\nexecutor = \"docker\"\n\
         [[runners]]\nurl = \"https://g.example.com\"\nexecutor = \"docker\"\n[runners.docker]\nimage = 7\n",
    );
    assert_eq!((applied.added, applied.without_token), (vec!["runner-2".to_owned()], vec!["runner-2".to_owned()]));
    let config = house.config();
    assert_eq!(config.concurrent, 1, "theirs, not ours");
    assert_eq!(config.registrations[0].docker.pull_policy, [PullPolicy::Always]);
    assert_eq!(config.registrations[0].docker.image, None);
}

#[test]
fn a_runner_whose_url_cannot_be_used_stays_behind_and_the_others_go_on() {
    let house = House::new();
    let (_, applied) = house.migrate_text(
        "[[runners]]\nname = \"a\"\nurl = \"https://u:p@g.example.com\"\ntoken = \"t\"\nexecutor = \"shell\"\n\
         [[runners]]\nname = \"b\"\nurl = \"https://g.example.com\"\ntoken = \"t2\"\nexecutor = \"shell\"\n",
    );
    assert_eq!(applied.added, ["b"]);
    assert!(applied.notes.iter().any(|note| note.key == "url" && note.runner.as_deref() == Some("a")));
    assert_eq!(house.config().registrations.len(), 1);
}

#[test]
fn file_and_state_may_share_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let locations = Locations { config_file: dir.path().join("forgehand.toml"), state_dir: dir.path().to_owned() };
    let migration = gitlab_runner::read(&fixture(), |_| None).unwrap();
    assert_eq!(migration.apply(&locations, Mode::Write, Timestamp::UNIX_EPOCH).unwrap().added.len(), 3);
}

#[test]
fn variables_in_urls_and_tokens_are_replaced() {
    let house = House::new();
    let file = house._dir.path().join("config.toml");
    let text = "[[runners]]\nname=\"v\"\nurl=\"https://${HOST}/\"\ntoken=\"$TOKEN\"\nexecutor=\"shell\"\n";
    std::fs::write(&file, text).unwrap();
    let look = |name: &str| match name {
        "HOST" => Some("g.example.com".to_owned()),
        "TOKEN" => Some("glrt-x".to_owned()),
        _ => None,
    };
    let migration = gitlab_runner::read(&file, look).unwrap();
    assert_eq!(migration.registrations[0].table["url"].as_str(), Some("https://g.example.com/"));
    assert_eq!(migration.registrations[0].token.as_ref().unwrap().token.expose(), "glrt-x");
}

#[test]
fn an_unreadable_file_is_an_error_without_its_secrets() {
    let house = House::new();
    let file = house._dir.path().join("config.toml");
    assert!(matches!(gitlab_runner::read(&file, |_| None), Err(MigrationError::Source { .. })));
    std::fs::write(&file, "[[runners]]\ntoken = \"glrt-hidden\" x\n").unwrap();
    let error = gitlab_runner::read(&file, |_| None).unwrap_err().to_string();
    assert!(error.contains("TOML") && !error.contains("glrt-hidden"), "{error}");
}
