//! Making a sandbox, and leaving nothing behind whatever comes between.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::fixtures::{House, container_of};
use super::images;
use crate::executor::sandbox::docker::{NetworkMode, PrepareError, RUN, SHIM, labels};
use crate::executor::sandbox::shim::ENTERED;
use crate::pipeline::definition::{ImageSpec, PullPolicy};
use crate::pipeline::{FailureReason, JobFailure, Variable};

fn failure(error: PrepareError) -> JobFailure {
    match error {
        PrepareError::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

fn image(name: &str) -> Option<ImageSpec> {
    Some(ImageSpec { name: name.into(), ..ImageSpec::default() })
}

#[tokio::test]
async fn a_job_s_container_sees_its_folders_and_nothing_of_the_agent() {
    let house = House::new().await;
    let script = format!(
        "echo made-inside >/builds/file; ls -l {SHIM}; touch {SHIM} 2>/dev/null || echo read-only; echo x >{RUN}/f; echo $X"
    );
    let mut case = house.case(&script);
    case.env = vec![("X".into(), "from-env".into()), ("A=B".into(), "odd".into())];
    let (code, output) = house.run(&case).await;
    assert_eq!(code, 0, "{output}");
    assert!(output.contains("\nread-only\nfrom-env"), "{output}");
    assert_eq!(std::fs::read_to_string(case.paths.workspace.join("file")).unwrap(), "made-inside\n");
    assert!(case.paths.run.join("f").exists());
    assert!(house.log.text().contains("Using docker image sha256:"), "{}", house.log.text());
    house.leave().await;
}

#[tokio::test]
async fn a_job_without_network_costs_four_calls() {
    let house = House::new().await;
    let case = house.case("true");
    let before = house.docker.engine().calls();
    let prepared = house.start(&case).await.unwrap();
    assert_eq!(house.docker.engine().calls() - before, 3, "inspect the image, create, start");
    let before = house.docker.engine().calls();
    house.docker.remove(&prepared.record).await.unwrap();
    assert_eq!(house.docker.engine().calls() - before, 1, "remove");
    house.leave().await;
}

#[tokio::test]
async fn everything_made_for_a_job_carries_its_labels() {
    let house = House::new().await;
    let mut case = house.case("sleep 600");
    case.settings.network_mode = NetworkMode::Job;
    case.job.variables.push(Variable::plain("TEAM", "blue"));
    case.settings.container_labels.insert("team".into(), "$TEAM".into());
    case.settings.container_labels.insert(labels::JOB.into(), "another".into());
    let prepared = house.start(&case).await.unwrap();
    let inspect = house.docker.engine().inspect(container_of(&prepared.record)).await.unwrap().unwrap();
    let found = inspect.config.unwrap().labels.unwrap();
    assert_eq!(found[labels::AGENT], house.agent);
    assert_eq!(found[labels::JOB], case.job.key.as_str());
    assert_eq!(found[labels::OWNER], case.job.owner.slug());
    assert_eq!(found[labels::FORGE], "https://gitlab.example.com");
    assert_eq!(found["team"], "blue");
    assert_eq!(found["com.gitlab.gitlab-runner.job.id"], "42");
    assert_eq!(found["com.gitlab.gitlab-runner.type"], "build");
    assert_eq!(house.made().await.len(), 2, "a container and a network");
    house.docker.remove(&prepared.record).await.unwrap();
    house.docker.remove(&prepared.record).await.unwrap();
    house.leave().await;
}

#[tokio::test]
async fn an_entrypoint_runs_once_and_its_words_are_fetched() {
    let house = House::new().await;
    // What a shim says at its start, so that the words of the entrypoint are known to be all.
    let entered = String::from_utf8_lossy(ENTERED.trim_ascii());
    let body = "echo body-$FROM_ENTRY; echo late >&2";
    let mut case = house
        .case(&format!("{body}; echo {entered}; echo {entered} >&2; touch /builds/started; echo after; sleep 600"));
    case.job.image = image(images::ENTRY);
    let started = case.paths.workspace.join("started");
    let connect = move || -> futures_util::future::BoxFuture<'static, _> {
        let started = started.clone();
        Box::pin(async move {
            while !started.exists() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Ok(())
        })
    };
    let prepared = house.start_until(&case, &CancellationToken::new(), connect).await.unwrap();
    let words = String::from_utf8_lossy(&prepared.entrypoint_output).into_owned();
    // Of two streams the engine does not keep the order.
    let mut lines: Vec<&str> = words.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["body-yes", "entrypoint-ran", "late"], "{words}");
    house.docker.remove(&prepared.record).await.unwrap();
    house.leave().await;
}

#[tokio::test]
async fn a_job_replaces_or_clears_the_entrypoint_unless_the_operator_forbids_it() {
    let house = House::new().await;
    let run = async |entrypoint: &[&str], disabled: bool| {
        let mut case = house.case("echo body-$FROM_ENTRY");
        case.settings.disable_entrypoint_overwrite = disabled;
        let entrypoint = Some(entrypoint.iter().map(|e| (*e).to_owned()).collect());
        case.job.image = Some(ImageSpec { name: images::ENTRY.into(), entrypoint, ..ImageSpec::default() });
        house.run(&case).await.1
    };
    assert_eq!(run(&[], false).await, "entrypoint-ran\nbody-yes");
    assert_eq!(run(&[""], false).await, "body-");
    assert_eq!(run(&["env", "FROM_ENTRY=job"], false).await, "body-job");
    assert_eq!(run(&["env", "FROM_ENTRY=job"], true).await, "entrypoint-ran\nbody-yes");
    assert!(house.log.text().contains("WARNING: Entrypoint override disabled"));
    house.leave().await;
}

#[tokio::test]
async fn an_entrypoint_that_ends_ends_the_job_with_its_code_and_words() {
    let house = House::new().await;
    let mut case = house.case("echo never");
    case.job.image = image(images::BAD_ENTRY);
    let never = || -> futures_util::future::BoxFuture<'static, _> { Box::pin(std::future::pending()) };
    match house.start_until(&case, &CancellationToken::new(), never).await.unwrap_err() {
        PrepareError::EntrypointEnded { exit_code, output, .. } => {
            assert_eq!((exit_code, String::from_utf8_lossy(&output).trim()), (3, "bad-entry"));
        }
        other => panic!("{other:?}"),
    }
    house.leave().await;
}

#[tokio::test]
async fn whatever_fails_nothing_stays() {
    let house = House::new().await;
    let mut case = house.case("sleep 600");
    case.settings.network_mode = NetworkMode::Job;
    case.job.timeouts.prepare = Some(Duration::from_secs(5));

    let refuses = || -> futures_util::future::BoxFuture<'static, _> {
        Box::pin(std::future::ready(Err(JobFailure::system("no hello"))))
    };
    let error = house.start_until(&case, &CancellationToken::new(), refuses).await.unwrap_err();
    assert_eq!(failure(error).message, "no hello");

    let never = || -> futures_util::future::BoxFuture<'static, _> { Box::pin(std::future::pending()) };
    let error = house.start_until(&case, &CancellationToken::new(), never).await.unwrap_err();
    assert_eq!(failure(error).reason, FailureReason::JobExecutionTimeout);

    let cancel = CancellationToken::new();
    let token = cancel.clone();
    let cancels = move || -> futures_util::future::BoxFuture<'static, _> {
        token.cancel();
        Box::pin(std::future::pending())
    };
    let error = house.start_until(&case, &cancel, cancels).await.unwrap_err();
    assert!(matches!(error, PrepareError::Cancelled), "{error:?}");

    // Cancelled at any moment of the way.
    for after in [0, 20, 60, 150, 300] {
        let cancel = CancellationToken::new();
        let token = cancel.clone();
        let canceller = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(after)).await;
            token.cancel();
        });
        let error = house.start_until(&case, &cancel, never).await.unwrap_err();
        assert!(matches!(error, PrepareError::Cancelled), "{error:?}");
        canceller.await.unwrap();
    }
    house.leave().await;
}

#[tokio::test]
async fn a_job_that_is_prepared_again_never_has_two_containers() {
    let house = House::new().await;
    let case = house.case("sleep 600");
    let first = house.start(&case).await.unwrap();
    let second = house.start(&case).await.unwrap();
    assert_ne!(first.record, second.record);
    assert_eq!(house.made().await.len(), 1);
    house.docker.remove(&second.record).await.unwrap();
    house.leave().await;
}

#[tokio::test]
async fn what_the_operator_does_not_allow_is_refused_by_name() {
    let house = House::new().await;
    let refused = async |change: &dyn Fn(&mut super::fixtures::Case)| {
        let mut case = house.case("true");
        change(&mut case);
        let refused = failure(house.start(&case).await.unwrap_err());
        assert_eq!(refused.reason, FailureReason::RunnerConfigurationError, "{refused}");
        refused.message
    };
    let message = refused(&|case| {
        case.settings.allowed_images = vec!["debian:*".into()];
        case.job.image = image(images::ENTRY);
    });
    assert!(message.await.contains("allowed_images"));
    let message = refused(&|case| {
        case.settings.allowed_users = vec!["build".into()];
        case.job.image = Some(ImageSpec { name: images::SH.into(), user: Some("root".into()), ..ImageSpec::default() });
    });
    assert!(message.await.contains("allowed_users"));
    assert!(refused(&|case| case.job.image = image("UPPER CASE:bad:tag")).await.contains("UPPER CASE:bad:tag"));
    assert!(refused(&|case| case.settings.image = None).await.contains("image"));
    let message = refused(&|case| {
        case.settings.allowed_pull_policies = Some(vec![PullPolicy::Always]);
        case.settings.pull_policies = vec![PullPolicy::Never];
    });
    assert!(message.await.contains("[never]"));
    let message = refused(&|case| {
        case.settings.pull_policies = vec![PullPolicy::Never];
        case.job.image = image("forgehand-test/absent:1");
    });
    assert!(message.await.contains("forgehand-test/absent:1"));
    let message = refused(&|case| case.command = vec!["no-such-program".into()]);
    assert!(message.await.contains("no-such-program"));
    house.leave().await;
}

#[tokio::test]
async fn the_user_is_the_operator_s_then_the_job_s_then_the_image_s() {
    let house = House::new().await;
    let run = async |of_operator: Option<&str>, of_job: Option<&str>| {
        let mut case = house.case("id -u; touch /builds/mine && echo wrote");
        case.settings.user = of_operator.map(str::to_owned);
        let user = of_job.map(str::to_owned);
        case.job.image = Some(ImageSpec { name: images::USER.into(), user, ..ImageSpec::default() });
        house.run(&case).await.1
    };
    assert_eq!(run(None, None).await, "1000\nwrote");
    assert_eq!(run(None, Some("0")).await, "0\nwrote");
    assert_eq!(run(Some("12345"), Some("0")).await, "12345\nwrote");
    house.leave().await;
}

#[tokio::test]
async fn kept_volumes_are_an_owner_s_own_and_writable_by_any_user() {
    let house = House::new().await;
    let run = async |project: &str, script: &str| {
        let mut case = house.case(script);
        case.settings.volumes = vec!["/cache".into()];
        case.job.image = image(images::USER);
        case.job.owner.project = crate::pipeline::ProjectId::new(project);
        house.run(&case).await.1
    };
    assert_eq!(run("1", "echo kept >/cache/file && cat /cache/file").await, "kept");
    assert_eq!(run("1", "cat /cache/file").await, "kept");
    assert_eq!(run("2", "ls -A /cache").await, "");
    house.leave().await;
}

#[tokio::test]
async fn host_folders_are_mounted_as_the_operator_says() {
    let house = House::new().await;
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("file"), "outside").unwrap();
    let mut case =
        house.case("cat /data/file; touch /data/new 2>/dev/null || echo read-only; mount | grep -c ' /mem '");
    case.settings.volumes = vec![format!("{}:/data:ro", outside.path().display())];
    case.settings.tmpfs.insert("/mem".into(), "rw,size=1m".into());
    let (_, output) = house.run(&case).await;
    assert!(output.contains("outsideread-only\n1"), "{output}");
    house.leave().await;
}

/// The executor runs jobs as tasks.
#[tokio::test]
async fn a_preparation_may_move_between_threads() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let house = House::new().await;
    let case = house.case("true");
    let prepared = is_send(house.start(&case)).await.unwrap();
    is_send(house.docker.remove(&prepared.record)).await.unwrap();
    is_send(house.docker.sweep(&Vec::new)).await.unwrap();
    is_send(house.docker.reattach(&prepared.record)).await.unwrap();
    house.leave().await;
}
