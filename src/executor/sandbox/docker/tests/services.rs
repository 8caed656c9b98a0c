//! Containers beside the job.

use std::time::Duration;

use futures_util::StreamExt;

use super::fixtures::{Case, House};
use super::images;
use crate::executor::sandbox::SandboxRecord;
use crate::executor::sandbox::docker::NetworkMode;
use crate::pipeline::Variable;
use crate::pipeline::definition::{ImageSpec, ServiceSpec};

fn service(image: &str, alias: &str) -> ServiceSpec {
    ServiceSpec {
        image: ImageSpec { name: image.into(), ..ImageSpec::default() },
        aliases: vec![alias.into()],
        variables: vec![Variable::plain("SVC_VAR", "visible")],
        ..ServiceSpec::default()
    }
}

fn case(house: &House, mode: NetworkMode, script: &str, services: Vec<ServiceSpec>) -> Case {
    let mut case = house.case(script);
    case.settings.network_mode = mode;
    case.job.services = services;
    case
}

#[tokio::test]
async fn a_service_answers_by_each_of_its_names_before_the_job_begins() {
    let house = House::new().await;
    let script =
        "wget -q -O - http://web/ && wget -q -O - http://forgehand-test-httpd/ && wget -q -O - http://web/cgi-bin/env";
    for mode in [NetworkMode::Job, NetworkMode::Bridge] {
        let case = case(&house, mode, script, vec![service(images::HTTPD, "web")]);
        let (code, output) = house.run(&case).await;
        assert_eq!(code, 0, "{output}\n{}", house.log.text());
        assert!(output.starts_with("served\nserved\n") && output.contains("SVC_VAR=visible"), "{output}");
    }
    assert!(!house.log.text().contains("WARNING"), "{}", house.log.text());
    house.leave().await;
}

#[tokio::test]
async fn a_service_on_the_machine_s_network_is_at_the_loopback_address() {
    let house = House::new().await;
    let mut web = service(images::HTTPD, "web");
    web.command = ["httpd", "-f", "-p", "127.0.0.1:47113", "-h", "/www"].map(str::to_owned).to_vec();
    web.variables.push(Variable::plain("HEALTHCHECK_TCP_PORT", "47113"));
    let case = case(&house, NetworkMode::Host, "wget -q -O - http://web:47113/", vec![web]);
    assert_eq!(house.run(&case).await.1, "served", "{}", house.log.text());
    house.leave().await;
}

#[tokio::test]
async fn a_service_that_fails_is_a_warning_with_its_words_and_the_job_goes_on() {
    let house = House::new().await;
    let mut case = case(&house, NetworkMode::Job, "echo ran", vec![service(images::CRASH, "db")]);
    case.job.timeouts.services = Some(Duration::from_secs(5));
    assert_eq!(house.run(&case).await.1, "ran");
    let log = house.log.text();
    for words in ["probably didn't start properly", "Service container logs:", "service-says-goodbye", "exit code 1"] {
        assert!(log.contains(words), "{words}: {log}");
    }
    house.leave().await;
}

#[tokio::test]
async fn a_service_without_ports_is_told_and_one_not_waited_for_is_not() {
    let house = House::new().await;
    let mut sleeper = service(images::SH, "db");
    sleeper.command = vec!["sleep".into(), "600".into()];
    let mut waited = case(&house, NetworkMode::Job, "echo ran", vec![sleeper.clone()]);
    assert_eq!(house.run(&waited).await.1, "ran");
    assert!(house.log.text().contains("exposes no ports"), "{}", house.log.text());

    let house = {
        house.leave().await;
        House::new().await
    };
    waited = case(&house, NetworkMode::Job, "echo ran", vec![sleeper]);
    waited.job.timeouts.services = None;
    assert_eq!(house.run(&waited).await.1, "ran");
    assert!(!house.log.text().contains("WARNING"), "{}", house.log.text());
    house.leave().await;
}

#[tokio::test]
async fn an_image_s_own_health_check_is_waited_for() {
    let house = House::new().await;
    let case = case(&house, NetworkMode::Job, "echo ran", vec![service(images::HEALTH, "db")]);
    let prepared = house.start(&case).await.unwrap();
    let SandboxRecord::Docker { services, .. } = &prepared.record else { panic!("no docker record") };
    let inspect = house.docker.engine().inspect(&services[0]).await.unwrap().unwrap();
    let health = inspect.state.unwrap().health.unwrap().status.unwrap().to_string();
    assert_eq!(health, "healthy", "{}", house.log.text());
    assert!(!house.log.text().contains("WARNING"), "{}", house.log.text());
    house.docker.remove(&prepared.record).await.unwrap();
    house.leave().await;
}

#[tokio::test]
async fn without_a_network_the_user_is_told_that_services_are_out_of_reach() {
    let house = House::new().await;
    let case = case(&house, NetworkMode::None, "echo ran", vec![service(images::HTTPD, "web")]);
    assert_eq!(house.run(&case).await.1, "ran");
    assert!(house.log.text().contains("WARNING: The job's network mode is `none`"), "{}", house.log.text());
    house.leave().await;
}

#[tokio::test]
async fn what_services_print_can_be_followed() {
    let house = House::new().await;
    let case = case(&house, NetworkMode::Job, "true", vec![service(images::CRASH, "db")]);
    let prepared = house.start(&case).await.unwrap();
    let pieces: Vec<_> = house.docker.service_logs(&prepared.record, None).await.unwrap().collect().await;
    assert!(pieces.iter().all(|piece| piece.aliases.contains(&"db".to_owned())));
    let text: Vec<u8> = pieces.into_iter().flat_map(|piece| piece.bytes).collect();
    assert_eq!(String::from_utf8_lossy(&text), "service-says-goodbye\n");
    house.docker.remove(&prepared.record).await.unwrap();
    house.leave().await;
}

#[tokio::test]
async fn services_have_limits_devices_and_entrypoints_of_their_own() {
    let house = House::new().await;
    let mut web = service(images::HTTPD, "web");
    web.image.entrypoint = Some(vec!["sh".into(), "-c".into()]);
    web.command = vec!["exec httpd -f -p 80 -h /www".into()];
    let mut case = case(&house, NetworkMode::Job, "wget -qO- http://web/index.html", vec![web]);
    case.settings.limits.memory = Some(128 << 20);
    case.settings.service_limits.memory = Some(48 << 20);
    case.settings.service_limits.pids = 77;
    case.settings.services_tmpfs.insert("/scratch".into(), "size=1m".into());
    let prepared = house.start(&case).await.unwrap();
    assert_eq!(house.end_of(&prepared.record).await.1, "served", "{}", house.log.text());
    let SandboxRecord::Docker { services, .. } = &prepared.record else { panic!("no docker record") };
    let inspect = house.docker.engine().inspect(&services[0]).await.unwrap().unwrap();
    let host = inspect.host_config.unwrap();
    assert_eq!((host.memory, host.pids_limit), (Some(48 << 20), Some(77)));
    assert!(host.tmpfs.is_some_and(|tmpfs| tmpfs.contains_key("/scratch")));
    house.docker.remove(&prepared.record).await.unwrap();
    house.leave().await;
}
