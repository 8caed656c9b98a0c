//! The layers and what is said when one of them is wrong.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use super::docker_values::NetworkMode;
use super::document::ConfigDocument;
use super::load::{load_with, resolve};
use super::*;
use crate::pipeline::definition::PullPolicy;

const TWO: &str = r#"
output_limit = "1MiB"
[docker]
image = "debian:13"
memory = "1GiB"
[[registration]]
name = "one"
url = "https://gitlab.example.com"
[[registration]]
name = "two"
url = "https://gitlab.example.com/sub"
output_limit = 2048
[registration.docker]
memory = "2GiB"
network_mode = "none"
"#;

fn load_text(text: &str, environment: &[(&str, &str)], flags: &Overrides) -> Result<Config, ConfigError> {
    let document = ConfigDocument::parse(Path::new("forgehand.toml"), text.to_owned())?;
    let pairs: Vec<_> = environment.iter().map(|(key, value)| (OsString::from(key), OsString::from(value))).collect();
    resolve(&document, pairs.into_iter(), flags)
}

fn ok(text: &str, environment: &[(&str, &str)]) -> Config {
    load_text(text, environment, &Overrides::none()).unwrap_or_else(|error| panic!("{error}"))
}

fn problems(text: &str, environment: &[(&str, &str)]) -> String {
    load_text(text, environment, &Overrides::none()).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn nothing_said_means_the_defaults() {
    let config = ok("", &[]);
    assert_eq!((config.concurrent, config.check_interval), (4, Duration::from_secs(3)));
    let bare = config.bare_registration("x", "https://g.example.com".parse().unwrap());
    assert_eq!((bare.name.as_str(), bare.output_limit), ("x", ByteSize::mib(4)));
    assert_eq!(bare.docker.pull_policy, [PullPolicy::IfNotPresent]);
    assert_eq!(bare.docker.network_mode, NetworkMode::Job);
}

#[test]
fn a_file_that_does_not_exist_is_empty_and_one_that_cannot_be_read_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let none = std::iter::empty();
    assert!(load_with(&dir.path().join("none.toml"), none, &Overrides::none()).is_ok());
    let error = load_with(dir.path(), std::iter::empty(), &Overrides::none()).unwrap_err();
    assert!(matches!(error, ConfigError::Unreadable { .. }), "{error}");
    std::fs::write(dir.path().join("x"), [0xff, 0xfe]).unwrap();
    let error = load_with(&dir.path().join("x"), std::iter::empty(), &Overrides::none()).unwrap_err();
    assert!(error.to_string().contains("UTF-8"), "{error}");
}

#[test]
fn the_environment_wins_over_the_file_and_a_flag_over_both() {
    let env = [("FORGEHAND_CONCURRENT", "7"), ("FORGEHAND_LOG__LEVEL", "debug")];
    assert_eq!(ok("concurrent = 2", &env).concurrent, 7);
    let flags = Overrides::none().set("--max-jobs", "concurrent", 9).set("--log-format", "log.format", "json");
    let config = load_text("concurrent = 2", &env, &flags).unwrap();
    assert_eq!((config.concurrent, config.log.level, config.log.format), (9, LogLevel::Debug, LogFormat::Json));
    assert_eq!(config.origin("concurrent"), Place::Flag("--max-jobs".to_owned()));
}

#[test]
fn the_top_level_is_the_default_of_every_registration_and_its_own_word_wins() {
    let config = ok(TWO, &[]);
    let [one, two] = &config.registrations[..] else { panic!("{config:?}") };
    assert_eq!((one.output_limit, two.output_limit), (ByteSize::mib(1), ByteSize::kib(2)));
    assert_eq!((one.docker.memory, two.docker.memory), (Some(ByteSize::mib(1024)), Some(ByteSize::mib(2048))));
    assert_eq!((one.docker.image.as_deref(), two.docker.image.as_deref()), (Some("debian:13"), Some("debian:13")));
}

#[test]
fn the_environment_is_such_a_default() {
    let env = [
        ("FORGEHAND_OUTPUT_LIMIT", "64KiB"),
        ("FORGEHAND_DOCKER__NETWORK_MODE", "host"),
        ("FORGEHAND_DOCKER__PULL_POLICY", "always, never"),
        ("FORGEHAND_ENVIRONMENT", "A=1,B=x=y"),
        ("FORGEHAND_FEATURE_FLAGS__FF_TIMESTAMPS", "false"),
        ("FORGEHAND_DOCKER__PRIVILEGED", "true"),
        ("FORGEHAND_DOCKER__CPUS", "2"),
        ("FORGEHAND_DOCKER__SERVICES", "[{ name = \"redis\" }]"),
        ("FORGEHAND_CONFIG", "/no/key"),
        ("FORGEHAND_STATE_DIR", "/no/key"),
        ("UNRELATED", "x"),
    ];
    let config = ok(TWO, &env);
    let [one, two] = &config.registrations[..] else { panic!("{config:?}") };
    assert_eq!((one.output_limit, two.output_limit), (ByteSize::kib(64), ByteSize::kib(2)));
    assert_eq!((&one.docker.network_mode, &two.docker.network_mode), (&NetworkMode::Host, &NetworkMode::None));
    assert_eq!(one.docker.pull_policy, [PullPolicy::Always, PullPolicy::Never]);
    assert_eq!(one.environment[1], ("B".to_owned(), "x=y".to_owned()));
    assert_eq!(one.feature_flags.get("FF_TIMESTAMPS"), Some(&false));
    assert!(one.docker.privileged && one.docker.services[0].name == "redis");
    assert_eq!(
        ok("", &[("FORGEHAND_OUTPUT_LIMIT", "100")]).bare_registration("x", one.url.clone()).output_limit,
        ByteSize::bytes(100)
    );
    assert!(config.remarks.is_empty(), "{:?}", config.remarks);
}

#[test]
fn an_unknown_key_is_told_with_its_line_and_the_one_that_was_meant() {
    let text = "concurent = 3\n\n[docker]\nmemroy = \"1GiB\"\n\n[[registration]]\nname = \"x\"\nurl = \"https://g.example.com\"\nlog_level = \"debug\"\n[registration.docker]\nlevel = 3\nservices = [{ name = \"a\", aliaz = \"b\" }]\n";
    let told = problems(text, &[]);
    for line in [
        "forgehand.toml:1: `concurent`: unknown key; did you mean `concurrent`?",
        "forgehand.toml:4: `docker.memroy`: unknown key; did you mean `memory`?",
        "forgehand.toml:9: `registration[0].log_level`: unknown key; write `level` in `[log]`",
        "forgehand.toml:11: `registration[0].docker.level`: unknown key; it belongs in `[log]`",
        "forgehand.toml:12: `registration[0].docker.services[0].aliaz`: unknown key; did you mean `alias`?",
    ] {
        assert!(told.lines().any(|one| one == line), "{line}\nin\n{told}");
    }
    assert_eq!(told.lines().count(), 5, "{told}");
}

#[test]
fn a_token_or_another_runners_section_is_told_where_it_belongs() {
    let told = problems("[[runners]]\ntoken = \"glrt-secret\"\n", &[]);
    assert!(told.contains("forgehand migrate") && !told.contains("glrt-secret"), "{told}");
    let told =
        problems("[[registration]]\nname = \"x\"\nurl = \"https://g.example.com\"\ntoken = \"glrt-secret\"\n", &[]);
    assert!(told.contains("forgehand register") && !told.contains("glrt-secret"), "{told}");
}

#[test]
fn a_wrong_type_is_told_with_key_and_line() {
    let text = "concurrent = \"many\"\n[docker]\nprivileged = \"yes\"\n[[registration]]\nname = \"x\"\nurl = \"https://g.example.com\"\n[registration.docker]\nmemory = \"1 potato\"\n";
    let told = problems(text, &[]);
    for start in [
        "forgehand.toml:1: `concurrent`: invalid type: string \"many\"",
        "forgehand.toml:3: `docker.privileged`: invalid type: string \"yes\", expected a boolean",
    ] {
        assert!(told.lines().any(|line| line.starts_with(start)), "{start}\nin\n{told}");
    }
    let told = problems(&text.replace("\"yes\"", "true"), &[]);
    assert!(told.contains("forgehand.toml:8: `registration[0].docker.memory`: `1 potato` is no size"), "{told}");
    let told = problems("[[registration]]\nname = \"x\"\n", &[]);
    assert!(told.contains("forgehand.toml:1: `registration[0]`: missing field `url`"), "{told}");
}

#[test]
fn a_file_that_is_no_toml_is_told_with_its_line() {
    let told = problems("concurrent = 1\n[docker\n", &[]);
    assert!(told.starts_with("forgehand.toml:2: not valid TOML"), "{told}");
}

#[test]
fn a_wrong_variable_is_told_by_its_name() {
    let told = problems(TWO, &[("FORGEHAND_OUTPUT_LIMIT", "lots")]);
    assert!(told.contains("environment variable FORGEHAND_OUTPUT_LIMIT: `output_limit`: `lots` is no size"), "{told}");
    let told = problems("", &[("FORGEHAND_CONCURRENT", "many")]);
    assert!(told.contains("FORGEHAND_CONCURRENT") && told.contains("whole number"), "{told}");
    let told = problems("", &[("FORGEHAND_DOCKER__NETWORK_MOD", "host")]);
    assert!(told.contains("did you mean `FORGEHAND_DOCKER__NETWORK_MODE`?"), "{told}");
    let told = problems("", &[("FORGEHAND_OUTPUT_LIMITS", "1")]);
    assert!(told.contains("did you mean `FORGEHAND_OUTPUT_LIMIT`?"), "{told}");
    for table in ["FORGEHAND_DOCKER", "FORGEHAND_REGISTRATION"] {
        assert!(problems("", &[(table, "x")]).contains(table));
    }
    let config = ok("", &[("FORGEHAND_SOMEBODY_ELSES", "1")]);
    assert!(config.remarks[0].contains("FORGEHAND_SOMEBODY_ELSES"), "{:?}", config.remarks);
}

#[test]
fn a_proxy_password_is_in_no_message() {
    let told = problems("[network]\nproxy = \"ftp://ci:hunter2@proxy\"\n", &[]);
    assert!(told.contains("network.proxy") && !told.contains("hunter2"), "{told}");
    for text in
        ["environment = \"TOKEN=hunter2\"\n", "environment = [\"hunter2\"]\n", "[network]\nproxy = [\"hunter2\"]\n"]
    {
        let told = problems(text, &[]);
        assert!(told.contains("forgehand.toml:") && !told.contains("hunter2"), "{told}");
    }
}

#[test]
fn two_mistakes_on_one_line_are_both_told() {
    let told = problems("docker = { aa = 1, bb = 2 }\n", &[]);
    assert!(told.contains("docker.aa") && told.contains("docker.bb"), "{told}");
}

#[test]
fn an_empty_variable_counts_as_unset() {
    assert_eq!(ok("concurrent = 2", &[("FORGEHAND_CONCURRENT", "")]).concurrent, 2);
}

#[test]
fn a_wrong_type_is_wrong_though_a_variable_hides_it() {
    for (text, variable) in [
        ("[docker]\nnetwork_mode = 5\n", ("FORGEHAND_DOCKER__NETWORK_MODE", "none")),
        ("\nconcurrent = \"x\"\n", ("FORGEHAND_CONCURRENT", "3")),
        ("\ndocker = 5\n", ("FORGEHAND_DOCKER__IMAGE", "debian:13")),
    ] {
        let told = problems(text, &[variable]);
        assert!(told.contains("forgehand.toml:2: ") && !told.contains('\n'), "{told}");
    }
    let text = "[docker]\nmemory_swap = \"2GiB\"\n";
    ok(text, &[("FORGEHAND_DOCKER__MEMORY", "1GiB")]);
}

#[test]
fn contradictions_are_errors_at_their_line() {
    let registration = "[[registration]]\nname = \"x\"\nurl = \"https://g.example.com\"\n";
    for (text, line) in [
        ("concurrent = 0\n", "forgehand.toml:1: `concurrent`"),
        ("[docker]\nmemory = \"2GiB\"\nmemory_swap = \"1GiB\"\n", "forgehand.toml:3: `docker.memory_swap`"),
        ("[docker]\nmemory = 1024\n", "forgehand.toml:2: `docker.memory`"),
        ("[docker]\npull_policy = []\n", "forgehand.toml:2: `docker.pull_policy`"),
        ("[docker]\npull_policy = \"sometimes\"\n", "forgehand.toml:2: `docker.pull_policy`"),
        (
            "[docker]\npull_policy = \"always\"\nallowed_pull_policies = [\"never\"]\n",
            "forgehand.toml:2: `docker.pull_policy`",
        ),
        ("[docker]\nhost = \"tcp://x:1\"\n", "forgehand.toml:2: `docker.host`: an engine over `tcp`"),
        ("[docker]\nallowed_images = [\"a[\"]\n", "forgehand.toml:2: `docker.allowed_images`"),
        ("[docker]\nnetwork_pool = \"10.0.0.0/28\"\n", "forgehand.toml:2: `docker.network_pool`"),
        ("[network]\nclient_key = \"/k\"\n", "forgehand.toml:2: `network.client_key`"),
        ("builds_dir = \"x\"\n", "forgehand.toml:1: `builds_dir`"),
        ("registration = 3\n", "forgehand.toml:1: `registration`"),
    ] {
        let told = problems(text, &[]);
        assert!(told.contains(line), "{text}: {told}");
    }
    let told = problems(&format!("{registration}{registration}"), &[]);
    assert!(told.contains("forgehand.toml:5: `registration[1].name`"), "{told}");
    let told = problems(&registration.replace("https", "ssh"), &[]);
    assert!(told.contains("`registration[0].url`"), "{told}");
    assert!(ok("[docker]\nprivileged = true\nallowed_privileged_images = [\"builder:*\"]\n", &[]).remarks.is_empty());
}

#[test]
fn the_buckets_of_the_store_and_of_the_runners_are_read_and_their_secrets_not_shown() {
    let text = r#"
[store.remote]
url = "s3://ci-bucket/store"
access_key_id = "id"
keep_days = 7
[[registration]]
name = "one"
url = "https://gitlab.example.com"
[registration.runner_cache]
shared = true
[registration.runner_cache.remote]
url = "s3://ci-bucket"
access_key_id = "id"
secret_access_key = "hunter3"
"#;
    let config = ok(text, &[("FORGEHAND_STORE__REMOTE__SECRET_ACCESS_KEY", "hunter2")]);
    let remote = config.store.remote.clone().unwrap();
    assert_eq!((remote.secret_access_key.unwrap().0.expose(), remote.keep_days), ("hunter2", Some(7)));
    assert!(config.registrations[0].runner_cache.clone().unwrap().shared);
    let shown = show::effective(&config);
    assert!(shown.contains("s3://ci-bucket/store") && !shown.contains("hunter"), "{shown}");

    let error = problems(&text.replace("secret_access_key = \"hunter3\"", "keep_days = 7"), &[]);
    assert!(error.contains("runner_cache.remote.keep_days") && !error.contains("hunter"), "{error}");
    let error = problems(&text.replace("shared = true", "path = \"a/../b\""), &[]);
    assert!(error.contains("runner_cache.path") && error.contains("store.remote.access_key_id"), "{error}");
}

#[test]
fn a_wrong_default_is_told_once_however_many_registrations_have_it() {
    let told = problems(&TWO.replace("image = \"debian:13\"", "mtu = 1\nimage = \"x\""), &[]);
    assert_eq!(told.lines().count(), 1, "{told}");
}

#[test]
fn show_tells_every_value_with_its_origin_and_no_secret() {
    let text = format!(
        "environment = [\"NPM_TOKEN=hunter2\", \"LEVEL=info\"]\n{}[registration.network]\nproxy = \"http://u:hunter3@p:1\"\n",
        TWO.trim_start()
    );
    let shown = show::effective(&ok(&text, &[("FORGEHAND_DOCKER__USER", "ci")]));
    assert!(!shown.contains("hunter"), "{shown}");
    let line =
        |start: &str| shown.lines().filter(|line| line.starts_with(start)).map(str::to_owned).collect::<Vec<_>>();
    assert!(line("concurrent")[0].ends_with("# default"), "{shown}");
    assert!(
        line("output_limit")[0].ends_with("# forgehand.toml:2")
            && line("output_limit")[1].ends_with("# forgehand.toml:12"),
        "{shown}"
    );
    assert!(line("user")[0].ends_with("# environment variable FORGEHAND_DOCKER__USER"), "{shown}");
    assert!(shown.contains("LEVEL=info") && shown.contains("NPM_TOKEN=***"), "{shown}");
    // What is shown is itself a configuration that means the same.
    let again = ok(&shown, &[]);
    assert_eq!(again.registrations[0].docker, ok(&text, &[("FORGEHAND_DOCKER__USER", "ci")]).registrations[0].docker);
}

proptest::proptest! {
    #[test]
    fn no_text_makes_loading_panic(text in "[a-z_\\[\\]=\"\n. 0-9{},#']{0,80}") {
        let _ = load_text(&text, &[], &Overrides::none());
    }
}
