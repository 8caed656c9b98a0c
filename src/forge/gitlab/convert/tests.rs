//! One payload, one rule after the other changed in it.

use std::time::Duration;

use serde_json::{Value, json};
use url::Url;

use super::job;
use crate::forge::gitlab::settings::{Executor, GitLabSettings};
use crate::forge::{Assignment, RunnerFacts};
use crate::pipeline::definition::*;
use crate::pipeline::{
    FailureReason, ForgeInstance, JobFailure, JobId, JobKey, Owner, PipelineJob, ProjectId, Secret, StepKind, Trust,
};

const JOB: &str = include_str!("../../../../fixtures/gitlab/job.json");
const NULLS: &str = include_str!("../../../../fixtures/gitlab/nulls.json");

pub(super) fn settings() -> GitLabSettings {
    let url = Url::parse("https://gitlab.example.com").unwrap();
    GitLabSettings::new("runner", url, Secret::new("glrt-t1_Zx9examplerunnertoken"), "s_c2d22f638c25")
}

pub(super) fn facts() -> RunnerFacts {
    RunnerFacts { concurrent_id: 3, concurrent_project_id: 1, builds_dir: "/builds".into(), shared_environment: false }
}

pub(super) fn assignment(payload: &Value) -> Assignment {
    let forge = ForgeInstance::new("https://gitlab.example.com");
    let id = JobId::new("987654");
    Assignment {
        key: JobKey::of(&forge, &id, "t"),
        id,
        name: "n".into(),
        project_path: "acme/shop".into(),
        owner: Owner { forge, project: ProjectId::new("42"), trust: Trust::Member },
        payload: serde_json::to_vec(payload).unwrap().into(),
        correlation_id: "0f3c2b1a".into(),
    }
}

fn payload() -> Value {
    serde_json::from_str(JOB).unwrap()
}

/// The usual payload with `key` replaced.
fn with(key: &str, value: Value) -> Value {
    let mut payload = payload();
    payload[key] = value;
    payload
}

/// The usual payload with variables added behind.
fn with_variables(pairs: &[(&str, &str)]) -> Value {
    let mut payload = payload();
    for (key, value) in pairs {
        payload["variables"].as_array_mut().unwrap().push(json!({"key": key, "value": value, "public": true}));
    }
    payload
}

fn convert(payload: &Value) -> Result<PipelineJob, JobFailure> {
    job(&settings(), &assignment(payload), &facts())
}

fn done(payload: &Value) -> PipelineJob {
    convert(payload).unwrap()
}

fn warned(job: &PipelineJob, word: &str) -> bool {
    job.warnings.iter().any(|warning| warning.contains(word))
}

#[test]
fn the_example_of_the_protocol() {
    let job = done(&payload());
    assert!(job.warnings.is_empty(), "{:?}", job.warnings);
    assert_eq!((job.name.as_str(), job.stage.as_str()), ("test:unit", "test"));
    let (project, temp) = ("/builds/acme/shop".to_owned(), "/builds/acme/shop.tmp".to_owned());
    assert_eq!(job.dirs, JobDirs { builds: "/builds".into(), project, temp, also_at: None, tool_cache: None });
    let image = job.image.as_ref().unwrap();
    assert_eq!(image.name, "node:22");
    assert_eq!(image.pull_policies, [PullPolicy::IfNotPresent, PullPolicy::Always]);
    assert_eq!((image.platform.as_deref(), image.user.as_deref()), (Some("linux/amd64"), Some("1000")));
    assert_eq!(job.services[0].aliases, ["pg", "db"]);
    assert_eq!(job.timeouts.job, Duration::from_secs(3600));
    assert_eq!(job.timeouts.after_script, Duration::from_secs(300));
    assert_eq!(job.dependencies.len(), 1, "a job without an archive is passed over");
    assert_eq!(job.registry_auth.job[0].registry, "registry.example.com");
    assert_eq!(job.artifacts[0].name, "build-${CI_COMMIT_REF_SLUG:-none}", "expanded when the files are packed");
    assert_eq!((job.artifacts[1].format, job.artifacts[1].when), (ArtifactFormat::Gzip, When::Always));
    assert_eq!(job.caches[0].fallback_keys, ["npm-main-3-protected"]);
    assert_eq!(job.steps.len(), 2);
    assert_eq!(job.steps[1].kind, StepKind::After { fails_job: false });
    assert!(job.labels.contains(&("com.gitlab.gitlab-runner.runner.id".into(), "Zx9exampl".into())));
}

#[test]
fn a_payload_full_of_nulls_is_a_job() {
    let job = done(&serde_json::from_str(NULLS).unwrap());
    assert_eq!(job.timeouts.job, Duration::from_secs(7200));
    assert_eq!(job.sources.strategy, SourceStrategy::Clone);
    assert_eq!(job.variables.value("NUMBER"), "7");
    assert!(!job.log.sections && job.log.timestamps);
}

#[test]
fn variables_come_in_the_protocols_order() {
    let mut settings = settings();
    settings.environment =
        vec![("FROM_CONFIG".into(), "x-$POSTGRES_DB".into()), ("POSTGRES_DB".into(), "config".into())];
    let payload = with_variables(&[("CI_RUNNER_VERSION", "forged"), ("CI_CONCURRENT_ID", "job wins")]);
    let job = job(&settings, &assignment(&payload), &facts()).unwrap();
    let value = |name: &str| job.variables.value(name);
    assert_eq!(value("FROM_CONFIG"), "x-shop", "a reference sees the variable that counts");
    assert_eq!(value("POSTGRES_DB"), "shop", "the job is over the configuration");
    assert_eq!(value("CI_RUNNER_VERSION"), crate::VERSION, "the runner's late variables are over the job");
    assert_eq!(value("CI_CONCURRENT_ID"), "job wins", "its early ones are not");
    assert_eq!(value("DB_URL"), "postgres://pg/shop");
    assert_eq!(value("DEPLOY_KEY"), "/builds/acme/shop.tmp/DEPLOY_KEY");
    assert_eq!(value("CI_PROJECT_DIR"), "/builds/acme/shop");
    assert_eq!(value("CI_JOB_IMAGE"), "node:22");
    assert_eq!(value("CI_JOB_TIMEOUT"), "3600");
    assert_eq!(value("CI_DISPOSABLE_ENVIRONMENT"), "true");
    assert_eq!(value("CI_SHARED_ENVIRONMENT"), "");
    assert_eq!(value("FF_TIMESTAMPS"), "true", "flags are exported as they were resolved");
    assert_eq!(value("RUNNER_TEMP_PROJECT_DIR"), "/builds/acme/shop.tmp");
}

#[test]
fn flags_are_exported_resolved_and_unknown_ones_are_variables() {
    let payload = with_variables(&[("FF_TIMESTAMPS", "f"), ("FF_OF_TOMORROW", "true"), ("FF_CONCRETE", "1")]);
    let job = done(&payload);
    assert!(!job.log.timestamps);
    assert_eq!(job.variables.value("FF_TIMESTAMPS"), "false");
    assert_eq!(job.variables.value("FF_OF_TOMORROW"), "true");
    assert!(warned(&job, "FF_CONCRETE"));
}

#[test]
fn names_that_a_shell_cannot_hold_are_left_out_but_masked() {
    let mut payload = with_variables(&[("ODD-NAME", "x"), ("1ODD", "y")]);
    payload["variables"]
        .as_array_mut()
        .unwrap()
        .push(json!({"key": "ODD.DOT", "value": "s3cretvalue", "masked": true}));
    let job = done(&payload);
    assert!(job.variables.iter().all(|variable| !variable.key.contains("ODD")));
    assert_eq!(job.warnings.iter().filter(|w| w.contains("left out")).count(), 3, "{:?}", job.warnings);
    assert!(job.log.mask.iter().any(|phrase| phrase.expose() == "s3cretvalue"));
}

#[test]
fn masks_hold_the_token_whether_marked_or_not_and_the_longest_first() {
    let mut payload = payload();
    let variables = payload["variables"].as_array_mut().unwrap();
    variables.retain(|variable| variable["key"] != "CI_JOB_TOKEN");
    variables.push(json!({"key": "BLANK", "value": " \n", "masked": true}));
    variables.push(json!({"key": "REFERS", "value": "pre-$SIGNING_SECRET", "masked": true}));
    let mask: Vec<String> = done(&payload).log.mask.iter().map(|phrase| phrase.expose().to_owned()).collect();
    assert!(mask.contains(&"glcbt-64_examplejobtoken".to_owned()));
    assert!(mask.contains(&"pre-hunter2-hunter2".to_owned()), "as the job sees it: {mask:?}");
    assert!(mask.iter().all(|phrase| !phrase.trim().is_empty()));
    assert!(mask.windows(2).all(|pair| pair[0].len() >= pair[1].len()), "{mask:?}");
}

#[test]
fn mask_prefixes_follow_the_flag_and_the_server() {
    let all = done(&payload()).log.mask_prefixes;
    assert!(["glpat-", "glcbt-", "acme-"].iter().all(|prefix| all.iter().any(|known| known == prefix)), "{all:?}");
    let few = done(&with_variables(&[("FF_MASK_ALL_DEFAULT_TOKENS", "false")])).log.mask_prefixes;
    assert_eq!(few, ["glpat-", "acme-"]);
}

#[test]
fn services_get_public_variables_only() {
    let job = done(&payload());
    let service = &job.services[0];
    let keys: Vec<&str> = service.variables.iter().map(|variable| variable.key.as_str()).collect();
    assert!(keys.contains(&"DB_URL") && keys.contains(&"CI_SERVER"));
    assert!(!keys.contains(&"CI_JOB_TOKEN") && !keys.contains(&"SIGNING_SECRET") && !keys.contains(&"DEPLOY_KEY"));
    let own = service.variables.iter().rev().find(|variable| variable.key == "POSTGRES_PASSWORD").unwrap();
    assert_eq!(own.value.expose(), "x-hunter2-hunter2", "its own may refer to all of the job's");
}

#[test]
fn proxies_that_jobs_are_given_are_weaker_than_the_environment_and_their_password_is_hidden() {
    let mut settings = settings();
    let given = |name: &str, value: &str| (name.to_owned(), Secret::new(value));
    settings.proxy_environment =
        vec![given("http_proxy", "http://ci:p%40ss@proxy:3128"), given("no_proxy", "localhost")];
    settings.environment = vec![("no_proxy".into(), "localhost,db".into())];
    let job = job(&settings, &assignment(&payload()), &facts()).unwrap();
    assert_eq!(job.variables.value("http_proxy"), "http://ci:p%40ss@proxy:3128");
    assert_eq!(job.variables.value("no_proxy"), "localhost,db");
    let hidden: Vec<&str> = job.log.mask.iter().map(Secret::expose).collect();
    assert!(hidden.contains(&"p%40ss") && hidden.contains(&"p@ss"), "{hidden:?}");
    assert!(!hidden.iter().any(|text| text.contains("proxy")), "{hidden:?}");
}

#[test]
fn images_are_expanded_and_default_to_the_runners() {
    let mut settings = settings();
    settings.default_image = Some("default:$POSTGRES_DB".into());
    let of = |image: Value| job(&settings, &assignment(&with("image", image)), &facts()).unwrap().image.unwrap();
    assert_eq!(of(json!({"name": "app/$POSTGRES_DB:1"})).name, "app/shop:1");
    assert_eq!(of(json!({"name": "$NOTHING"})).name, "default:shop");
    assert_eq!(of(Value::Null).name, "default:shop");
    assert_eq!(of(json!({"name": "a", "entrypoint": []})).entrypoint, None, "an empty list is the image's own");
    assert_eq!(of(json!({"name": "a", "entrypoint": [""]})).entrypoint, Some(vec![String::new()]));
    let none = convert(&with("image", Value::Null)).unwrap_err();
    assert_eq!(none.reason, FailureReason::RunnerConfigurationError);
}

#[test]
fn on_the_host_there_is_no_image() {
    let mut settings = settings();
    settings.executor = Executor::Host;
    let facts = RunnerFacts { shared_environment: true, builds_dir: "/var/b".into(), ..facts() };
    let job = job(&settings, &assignment(&payload()), &facts).unwrap();
    assert!(job.image.is_none() && job.services.is_empty());
    assert_eq!(job.dirs.project, "/var/b/Zx9exampl/1/acme/shop");
    assert_eq!(job.variables.value("CI_SHARED_ENVIRONMENT"), "true");
}

#[test]
fn what_is_not_done_is_refused_by_its_name() {
    let mut image = payload()["image"].clone();
    image["executor_opts"] = json!({"docker": {"cpus": 2}});
    let mut other = payload()["image"].clone();
    other["executor_opts"] = json!({"podman": {}});
    for (payload, word) in [
        (with("run", json!("[{\"name\":\"a\",\"script\":\"b\"}]")), "`run`"),
        (with("secrets", json!({"DB": {"vault": {}}})), "`secrets`"),
        (with("inputs", json!([{"key": "a"}])), "`inputs`"),
        (with("image", image), "cpus"),
        (with("image", other), "podman"),
        (with("artifacts", json!([{"paths": ["a"], "artifact_format": "rar"}])), "rar"),
        (with_variables(&[("FF_SUSPENDABLE_ENVIRONMENTS", "true")]), "FF_SUSPENDABLE_ENVIRONMENTS"),
    ] {
        let failure = convert(&payload).unwrap_err();
        assert!(failure.message.contains(word), "{word}: {failure}");
        assert_eq!((failure.reason, failure.exit_code), (FailureReason::RunnerSystemFailure, Some(3)), "{word}");
    }
    for empty in [json!(""), json!(null), json!("[]")] {
        assert!(convert(&with("run", empty)).is_ok());
    }
}

#[test]
fn words_that_are_unknown_are_refused_as_configuration() {
    let mut policy = payload()["image"].clone();
    policy["pull_policy"] = json!(["sometimes"]);
    for (payload, word) in [
        (with("image", policy), "sometimes"),
        (with("cache", json!([{"paths": ["a"], "policy": "perhaps"}])), "perhaps"),
        (with("cache", json!([{"paths": ["a"], "when": "now"}])), "now"),
        (with_variables(&[("GIT_SUBMODULE_STRATEGY", "deep")]), "deep"),
        (with_variables(&[("GIT_SUBMODULE_PATHS", "a :(exclude) b")]), ":(exclude)"),
        (with("services", json!([{"name": "$NOTHING"}])), "service"),
    ] {
        let failure = convert(&payload).unwrap_err();
        assert!(failure.message.contains(word), "{word}: {failure}");
        assert_eq!(failure.reason, FailureReason::RunnerConfigurationError, "{word}");
    }
}

#[test]
fn a_payload_that_cannot_be_read_fails_the_job() {
    let failure = convert(&with("steps", json!("not a list"))).unwrap_err();
    assert_eq!(failure.reason, FailureReason::RunnerSystemFailure);
    assert!(failure.message.contains("steps") || failure.message.contains("sequence"), "{failure}");
}

#[test]
fn sources_hold_no_credentials_in_their_address() {
    let sources = done(&payload()).sources;
    assert_eq!(sources.url, "https://gitlab.example.com/acme/shop.git");
    let credentials = sources.credentials.unwrap();
    assert_eq!(credentials.username, "gitlab-ci-token");
    assert_eq!(credentials.password.expose(), "glcbt-64_examplejobtoken");
    assert_eq!(credentials.hosts, ["https://gitlab.example.com"]);
    assert_eq!(
        (sources.strategy, sources.depth, sources.checkout, sources.lfs),
        (SourceStrategy::Fetch, 20, true, true)
    );
    assert_eq!(sources.clean_flags.unwrap(), ["-ffdx"]);
    assert_eq!(sources.fetch_flags, ["--prune", "--quiet"]);
    assert_eq!(sources.extra_header.unwrap(), "X-Gitaly-Correlation-ID: 0f3c2b1a");
}

#[test]
fn clone_url_replaces_the_address_and_keeps_the_token() {
    let mut settings = settings();
    settings.clone_url = Some(Url::parse("http://inner.example.com:8080/gitlab/").unwrap());
    let sources = job(&settings, &assignment(&payload()), &facts()).unwrap().sources;
    assert_eq!(sources.url, "http://inner.example.com:8080/gitlab/acme/shop.git");
    let hosts = sources.credentials.unwrap().hosts;
    assert_eq!(hosts, ["http://inner.example.com:8080", "https://gitlab.example.com"]);
    settings.clone_url = Some(Url::parse("ssh://git.example.com").unwrap());
    let sources = job(&settings, &assignment(&payload()), &facts()).unwrap().sources;
    assert_eq!(sources.url, "ssh://git@git.example.com/acme/shop.git");
}

#[test]
fn git_variables_shape_the_sources() {
    let sources = done(&with_variables(&[
        ("GIT_STRATEGY", "clone"),
        ("GIT_CHECKOUT", "FALSE"),
        ("GIT_CLEAN_FLAGS", "none"),
        ("GIT_FETCH_EXTRA_FLAGS", "--tags  --upload-pack=/x --upl"),
        ("GIT_LFS_SKIP_SMUDGE", "1"),
        ("GIT_SUBMODULE_STRATEGY", "recursive"),
        ("GIT_SUBMODULE_DEPTH", "3"),
        ("GIT_SUBMODULE_UPDATE_FLAGS", "--jobs 4 --reference=/other"),
        ("GIT_SUBMODULE_FORCE_HTTPS", "true"),
    ]));
    assert!(warned(&sources, "--upload-pack") && warned(&sources, "--reference"));
    let sources = sources.sources;
    assert_eq!((sources.strategy, sources.checkout, sources.lfs), (SourceStrategy::Clone, false, false));
    assert_eq!(sources.clean_flags, None);
    assert_eq!(sources.fetch_flags, ["--tags"]);
    assert_eq!((sources.submodules.depth_of_tree, sources.submodules.depth), (SubmoduleStrategy::Recursive, 3));
    assert_eq!(sources.submodules.update_flags, ["--jobs", "4"]);
    let froms: Vec<_> = sources.url_rewrites.iter().map(|rewrite| rewrite.from.as_str()).collect();
    assert_eq!(froms, ["git@gitlab.example.com:", "ssh://git@gitlab.example.com"]);
}

#[test]
fn an_unknown_strategy_is_the_default_with_a_warning() {
    let job = done(&with_variables(&[("GIT_STRATEGY", "teleport")]));
    assert_eq!(job.sources.strategy, SourceStrategy::Fetch);
    assert!(warned(&job, "teleport"));
}

#[test]
fn what_could_be_taken_for_an_option_of_git_is_refused() {
    for (key, value) in [
        ("sha", json!("--upload-pack=x")),
        ("refspecs", json!(["--upload-pack=x"])),
        ("repo_object_format", json!("--x")),
        ("repo_url", json!("ext::sh -c id")),
        ("repo_url", json!("file:///etc")),
    ] {
        let mut payload = payload();
        payload["git_info"][key] = value;
        assert!(convert(&payload).is_err(), "{key}");
        payload["variables"].as_array_mut().unwrap().push(json!({"key": "GIT_STRATEGY", "value": "none"}));
        assert!(convert(&payload).is_ok(), "without sources it does not matter: {key}");
    }
}

#[test]
fn clone_paths_stay_below_the_root() {
    let path = |text: &str| convert(&with_variables(&[("GIT_CLONE_PATH", text)])).map(|job| job.dirs.project);
    assert_eq!(path("$CI_BUILDS_DIR/go/src/x").unwrap(), "/builds/go/src/x");
    assert_eq!(path("/builds/a/../b/").unwrap(), "/builds/b");
    for bad in ["/builds", "/builds/../etc", "/buildsx/a", "relative", "/"] {
        assert_eq!(path(bad).unwrap_err().reason, FailureReason::RunnerConfigurationError, "{bad}");
    }
    let mut settings = settings();
    settings.custom_build_dir = Some(false);
    let payload = with_variables(&[("GIT_CLONE_PATH", "/builds/a")]);
    assert!(job(&settings, &assignment(&payload), &facts()).is_err());
}

#[test]
fn folders_are_named_after_the_repository() {
    let project = |repo: &str| {
        let mut payload = with_variables(&[("GIT_STRATEGY", "empty")]);
        payload["git_info"]["repo_url"] = json!(repo);
        done(&payload).dirs.project
    };
    assert_eq!(project("https://h/group/sub/p.git"), "/builds/group/sub/p-empty");
    assert_eq!(project("https://h/a/%2e%2e/%2e%2e/etc.git"), "/builds/etc-empty");
    assert_eq!(project("https://h/a%2f..%2f..%2fetc.git"), "/builds/project-42-empty");
    assert_eq!(project("nonsense"), "/builds/project-42-empty");
}

#[test]
fn cache_keys_follow_the_rules() {
    let caches = |cache: Value, variables: &[(&str, &str)]| {
        let mut payload = with_variables(variables);
        payload["cache"] = cache;
        done(&payload)
    };
    let none_named = caches(json!([{"paths": ["a"]}]), &[]);
    assert_eq!(none_named.caches[0].key, "test:unit/main");
    let odd =
        caches(json!([{"key": "../$POSTGRES_DB", "paths": ["$POSTGRES_DB/*"], "policy": "$P"}]), &[("P", "pull")]);
    assert_eq!((odd.caches[0].key.as_str(), odd.caches[0].pull, odd.caches[0].push), ("shop", true, false));
    assert_eq!(odd.caches[0].files.paths, ["$POSTGRES_DB/*"], "expanded in the job's environment");
    let nameless = caches(json!([{"key": "$NOTHING_SET", "paths": ["a"]}]), &[]);
    assert_eq!(nameless.caches[0].key, "", "not one by the name of the job");
    assert!(warned(&odd, "shop"));
    let hashed = caches(json!([{"key": "k", "paths": ["a"]}]), &[("FF_HASH_CACHE_KEYS", "true")]);
    assert_eq!(hashed.caches[0].key, "8254c329a92850f6d539dd376f4816ee2764517da5e0235514af433164480d7a");
    let unused = caches(json!([{"key": "..", "paths": ["a"]}, {"key": "x", "paths": []}]), &[]);
    assert!(unused.caches.len() == 1 && unused.caches[0].key.is_empty());
    let fallback =
        caches(json!([{"key": "k", "paths": ["a"], "fallback_keys": ["f"]}]), &[("CACHE_FALLBACK_KEY", "g")]);
    assert_eq!(fallback.caches[0].fallback_keys, ["f", "g"]);
    let barred = caches(json!([{"key": "k", "paths": ["a"]}]), &[("CACHE_FALLBACK_KEY", "main-protected. ")]);
    assert!(barred.caches[0].fallback_keys.is_empty() && warned(&barred, "CACHE_FALLBACK_KEY"));
    for spelt in [
        "main-protected/",
        r"main-protected\",
        "main-protected\t",
        "main-protected%2F",
        "main-protected%2e",
        "main-protected/./",
    ] {
        let barred = caches(json!([{"key": "k", "paths": ["a"]}]), &[("CACHE_FALLBACK_KEY", spelt)]);
        assert_eq!(barred.caches[0].fallback_keys, [""; 0], "{spelt:?}");
        assert!(warned(&barred, "CACHE_FALLBACK_KEY"), "{spelt:?}");
    }
    let open = caches(json!([{"key": "k", "paths": ["a"]}]), &[("CACHE_FALLBACK_KEY", "main-non_protected/")]);
    assert_eq!(open.caches[0].fallback_keys, ["main-non_protected"]);
}

#[test]
fn steps_run_in_order_with_the_operators_scripts_around() {
    let mut settings = settings();
    settings.pre_build_script = Some("echo pre".into());
    settings.post_build_script = Some("echo post".into());
    settings.pre_get_sources_script = Some("echo outer".into());
    let payload = with(
        "steps",
        json!([
            {"name": "after_script", "script": ["echo after"]},
            {"name": "script", "script": ["echo $POSTGRES_DB"]},
            {"name": "release", "script": ["release --db $POSTGRES_DB"]},
            {"name": "nothing", "script": []}
        ]),
    );
    let job = job(&settings, &assignment(&payload), &facts()).unwrap();
    let names: Vec<_> = job.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["script", "release", "nothing", "after_script"]);
    assert_eq!(job.steps[0].commands, ["echo pre", "echo $POSTGRES_DB", "echo post"]);
    assert_eq!(job.steps[1].commands[1], "release --db shop");
    assert_eq!(job.steps[3].commands, ["echo after"]);
    assert_eq!(job.sources.pre_script, ["echo outer", "echo before clone"]);
}

#[test]
fn timeouts_and_attempts_are_read_with_their_limits() {
    let job = done(&with_variables(&[
        ("RUNNER_SCRIPT_TIMEOUT", "90m"),
        ("RUNNER_AFTER_SCRIPT_TIMEOUT", "soon"),
        ("GET_SOURCES_ATTEMPTS", "99"),
        ("RESTORE_CACHE_ATTEMPTS", "0"),
        ("ARTIFACT_DOWNLOAD_ATTEMPTS", "3"),
        ("EXECUTOR_JOB_SECTION_ATTEMPTS", "many"),
        ("AFTER_SCRIPT_IGNORE_ERRORS", "false"),
    ]));
    assert_eq!(job.timeouts.script, Some(Duration::from_secs(5400)));
    assert_eq!(job.timeouts.after_script, Duration::from_secs(300));
    let attempts = Attempts { get_sources: 10, restore_cache: 1, download_artifacts: 3, executor: 1 };
    assert_eq!(job.attempts, attempts);
    for name in ["RUNNER_SCRIPT_TIMEOUT", "RUNNER_AFTER_SCRIPT_TIMEOUT", "GET_SOURCES", "RESTORE_CACHE", "EXECUTOR_JOB"]
    {
        assert!(warned(&job, name), "{name}: {:?}", job.warnings);
    }
    assert_eq!(job.steps[1].kind, StepKind::After { fails_job: true });
}

#[test]
fn debug_output_can_be_forbidden() {
    let payload = with_variables(&[("CI_DEBUG_TRACE", "true"), ("CI_DEBUG_SERVICES", "true")]);
    let job_there = done(&payload);
    assert!(job_there.log.trace_commands && job_there.log.services);
    let mut settings = settings();
    settings.debug_trace_disabled = true;
    let job = job(&settings, &assignment(&payload), &facts()).unwrap();
    assert!(!job.log.trace_commands && !job.log.services && warned(&job, "CI_DEBUG_TRACE"));
}

#[test]
fn the_same_payload_makes_the_same_job() {
    assert_eq!(format!("{:?}", done(&payload())), format!("{:?}", done(&payload())));
}
