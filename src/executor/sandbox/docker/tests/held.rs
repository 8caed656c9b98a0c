//! Namespaces that outlive their jobs.

use std::time::Duration;

use super::fixtures::{Case, House, container_of};
use crate::executor::sandbox::SandboxRecord;
use crate::executor::sandbox::docker::{Docker, DockerSettings, NetworkMode, Upkeep};
use crate::pipeline::definition::{ImageSpec, ServiceSpec};

/// A web server.
const SERVE: &str = "echo here >/tmp/index.html; exec httpd -f -p 80 -h /tmp";
/// Says `gateway` where the way out is there.
const GATEWAY: &str =
    "ping -c 1 -W 5 $(ip route | sed -n 's/default via \\([0-9.]*\\) .*/\\1/p') >/dev/null && echo gateway";

async fn house() -> House {
    House::with(|settings| {
        settings.pool.are_held = true;
        settings.pool.upkeep.ready = 1;
    })
    .await
}

fn case(house: &House, script: &str) -> Case {
    let mut case = house.case(script);
    case.settings.network_mode = NetworkMode::Job;
    case
}

/// How the engine connected the sandbox's container.
async fn mode(docker: &Docker, record: &SandboxRecord) -> String {
    let inspect = docker.engine().inspect(container_of(record)).await.unwrap().unwrap();
    inspect.host_config.unwrap().network_mode.unwrap()
}

fn service() -> ServiceSpec {
    let image = ImageSpec { name: super::images::SH.into(), ..ImageSpec::default() };
    let command = vec!["sleep".to_owned(), "60".to_owned()];
    ServiceSpec { image, command, aliases: vec!["other".into()], ..ServiceSpec::default() }
}

fn lines(output: &str) -> Vec<&str> {
    output.lines().collect()
}

#[tokio::test]
async fn one_job_after_the_other_joins_and_finds_nothing_of_the_last() {
    let house = house().await;
    let script = "readlink /proc/self/ns/net; hostname; cat /etc/hostname; grep -c mine /etc/hosts /etc/resolv.conf; \
                  grep -o 'nameserver 127.0.0.11' /etc/resolv.conf; \
                  echo '127.0.0.1 mine' | tee -a /etc/hosts /etc/resolv.conf >/etc/hostname; \
                  ping -c 1 -W 1 mine >/dev/null && echo reached; ";
    let script = format!("{script}{GATEWAY}");
    let (_, first) = house.run(&case(&house, &script)).await;
    let second = house.start(&case(&house, &script)).await.unwrap();
    let (_, output) = house.end_of(&second.record).await;
    assert!(mode(&house.docker, &second.record).await.starts_with("container:"));
    assert_eq!(output, first, "the same namespace, and nothing of the job before");
    let [namespace, hostname, rest @ ..] = &lines(&output)[..] else { panic!("{output}") };
    assert!(namespace.starts_with("net:["), "{output}");
    assert_eq!(second.hostname.as_deref(), Some(*hostname), "told as it is");
    let expected = ["/etc/hosts:0", "/etc/resolv.conf:0", "nameserver 127.0.0.11", "reached", "gateway"];
    assert_eq!(rest, [&[*hostname], &expected[..]].concat());
    house.docker.remove(&second.record).await.unwrap();
    house.leave().await;
}

#[tokio::test]
async fn jobs_at_the_same_time_have_a_namespace_each() {
    let house = house().await;
    let (first, second) = (case(&house, "exec sleep 600"), case(&house, "exec sleep 600"));
    let (first, second) = tokio::join!(house.start(&first), house.start(&second));
    let (first, second) = (first.unwrap().record, second.unwrap().record);
    let modes = (mode(&house.docker, &first).await, mode(&house.docker, &second).await);
    assert!(modes.0.starts_with("container:") && modes.1.starts_with("container:"), "{modes:?}");
    assert_ne!(modes.0, modes.1);
    house.docker.remove(&first).await.unwrap();
    house.docker.remove(&second).await.unwrap();
    house.leave().await;
}

#[tokio::test]
async fn a_job_with_services_or_a_name_of_its_own_is_connected_by_itself() {
    let house = house().await;
    let mut named = case(&house, "hostname");
    named.settings.hostname = Some("called".into());
    let mut served = case(&house, "ping -c 1 -W 5 other >/dev/null && echo reached");
    served.job.services = vec![service()];
    for (case, expected) in [(named, "called"), (served, "reached")] {
        let prepared = house.start(&case).await.unwrap();
        assert_eq!(house.end_of(&prepared.record).await.1, expected);
        let mode = mode(&house.docker, &prepared.record).await;
        assert!(!mode.starts_with("container:"), "{mode}");
        house.docker.remove(&prepared.record).await.unwrap();
    }
    house.leave().await;
}

#[tokio::test]
async fn a_namespace_that_was_lost_is_made_anew() {
    let house = house().await;
    house.run(&case(&house, "true")).await;
    // As an engine does that is started again.
    let networks = house.docker.networks();
    for id in networks.known() {
        assert!(networks.held(&id).await.is_some());
    }
    for holder in networks.known_holders() {
        house.docker.engine().remove_container(&holder).await.unwrap();
    }
    tokio::time::timeout(Duration::from_secs(30), async {
        for id in networks.known() {
            while networks.held(&id).await.is_some() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    })
    .await
    .expect("their end is noticed");
    let prepared = house.start(&case(&house, "true")).await.unwrap();
    assert!(mode(&house.docker, &prepared.record).await.starts_with("container:"));
    house.docker.remove(&prepared.record).await.unwrap();
    house.leave().await;
}

#[tokio::test]
async fn the_next_agent_leaves_a_job_its_namespace_and_removes_what_is_idle() {
    let house = house().await;
    let (running, done) = (case(&house, "exec sleep 600"), case(&house, "true"));
    let (left, ended) = tokio::join!(house.start(&running), house.start(&done));
    let (left, ended) = (left.unwrap().record, ended.unwrap().record);
    house.docker.remove(&ended).await.unwrap();
    let next = house.next_agent().await;
    let key = running.job.key.clone();
    let swept = next.sweep(&move || vec![key.clone()]).await.unwrap();
    assert_eq!(swept.failures, Vec::<String>::new());
    let made = house.made().await;
    let of = |part: &str| made.iter().filter(|name| name.contains(part)).count();
    assert_eq!((of("-hold"), of("network")), (1, 1), "the running job's: {made:?}");
    // The engine's command line, for an exec: the job still has its address.
    let words = ["exec", container_of(&left), "ip", "addr", "show", "eth0"];
    let look = tokio::process::Command::new("docker").args(words).output().await.unwrap();
    assert!(String::from_utf8_lossy(&look.stdout).contains("inet "), "{look:?}");
    next.remove(&left).await.unwrap();
    assert_eq!(house.made().await, Vec::<String>::new(), "the namespace goes with its job");
    next.close().await;
    house.leave().await;
}

async fn house_of_one_run() -> House {
    House::with(|settings| {
        settings.pool.has_common = true;
        settings.pool.upkeep = Upkeep { ready: 2, most: Some(2) };
    })
    .await
}

/// Whether a job reaches the web server of another that runs, by its address.
async fn reaches(house: &House, server: &SandboxRecord) -> String {
    let words = ["exec", container_of(server), "ip", "-4", "-o", "addr", "show", "eth0"];
    let look = tokio::process::Command::new("docker").args(words).output().await.unwrap();
    let look = String::from_utf8_lossy(&look.stdout).into_owned();
    let address = look.split_whitespace().find_map(|word| word.split_once('/')).unwrap().0;
    // The machine reaches it.
    tokio::time::timeout(Duration::from_secs(10), async {
        while tokio::net::TcpStream::connect(format!("{address}:80")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("the server answers");
    let script =
        format!("nc -w 2 {address} 80 </dev/null >/dev/null 2>&1 && echo reached || echo out-of-reach; {GATEWAY}");
    house.run(&case(house, &script)).await.1
}

#[tokio::test]
async fn jobs_of_a_short_run_have_a_network_in_common_and_do_not_reach_each_other() {
    let house = house_of_one_run().await;
    house.docker.expect_jobs(&DockerSettings::default(), 2).await;
    let server = house.start(&case(&house, SERVE)).await.unwrap().record;
    let common = mode(&house.docker, &server).await;
    assert_eq!(reaches(&house, &server).await, "out-of-reach\ngateway");
    let networks: Vec<String> = house.made().await.into_iter().filter(|name| name.contains("network")).collect();
    assert!(matches!(&networks[..], [one] if one.contains(&common)), "{networks:?} {common}");
    house.docker.remove(&server).await.unwrap();
    house.leave().await;
}

#[tokio::test]
async fn jobs_of_a_long_run_have_places_in_it_but_those_with_services() {
    let house = house_of_one_run().await;
    house.docker.expect_jobs(&DockerSettings::default(), 6).await;
    let server = house.start(&case(&house, SERVE)).await.unwrap().record;
    assert!(mode(&house.docker, &server).await.starts_with("container:"));
    assert_eq!(reaches(&house, &server).await, "out-of-reach\ngateway");
    let mut served = case(&house, "ping -c 1 -W 5 other >/dev/null && echo reached");
    served.job.services = vec![service()];
    let prepared = house.start(&served).await.unwrap();
    assert_eq!(house.end_of(&prepared.record).await.1, "reached");
    let networks = house.made().await.into_iter().filter(|name| name.contains("network")).count();
    assert_eq!(networks, 2, "its own beside the common one");
    house.docker.remove(&prepared.record).await.unwrap();
    house.docker.remove(&server).await.unwrap();
    // The last jobs have the places of the others.
    for _ in 0..3 {
        assert_eq!(house.run(&case(&house, GATEWAY)).await.1, "gateway");
    }
    house.leave().await;
}
