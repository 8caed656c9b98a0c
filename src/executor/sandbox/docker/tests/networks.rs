//! A network a job.

use futures_util::FutureExt as _;
use futures_util::future::{join_all, try_join_all};

use super::fixtures::{House, container_of};
use crate::executor::sandbox::SandboxRecord;
use crate::executor::sandbox::docker::network::pool::Shape;
use crate::executor::sandbox::docker::{DockerSettings, NetworkMode};

/// The address of a sandbox's container.
async fn address_of(house: &House, record: &SandboxRecord) -> String {
    let inspect = house.docker.engine().inspect(container_of(record)).await.unwrap().unwrap();
    let networks = inspect.network_settings.unwrap().networks.unwrap();
    networks.into_values().find_map(|endpoint| endpoint.ip_address).unwrap()
}

#[tokio::test]
async fn jobs_do_not_see_each_other() {
    let house = House::new().await;
    let serve = "echo here >/tmp/index.html; exec httpd -f -p 80 -h /tmp";
    let mut first = house.case(serve);
    first.settings.network_mode = NetworkMode::Job;
    let server = house.start(&first).await.unwrap();
    let address = address_of(&house, &server.record).await;
    assert!(address.starts_with("10."), "{address}");
    let from_the_machine = tokio::net::TcpStream::connect(format!("{address}:80"));
    let reached = tokio::time::timeout(std::time::Duration::from_secs(10), async {
        let mut tried = from_the_machine.await;
        while tried.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            tried = tokio::net::TcpStream::connect(format!("{address}:80")).await;
        }
    });
    reached.await.expect("the server answers");

    let mut second = house.case(&format!("wget -T 3 -q -O - http://{address}/ || echo out-of-reach"));
    second.settings.network_mode = NetworkMode::Job;
    let output = house.run(&second).await.1;
    assert!(output.contains("out-of-reach") && !output.contains("here"), "{output}");
    house.docker.remove(&server.record).await.unwrap();
    house.leave().await;
}

#[tokio::test]
async fn a_network_is_never_given_to_another_owner() {
    let house = House::with(|settings| settings.pool.upkeep.ready = 1).await;
    let pool = house.docker.networks();
    let shape = Shape::default();
    let first = pool.take("owner-1", &shape, 1).await.unwrap();
    assert!(pool.release(&first.id));
    let other = pool.take("owner-2", &shape, 1).await.unwrap();
    assert_ne!(other.id, first.id);
    let same = pool.take("owner-1", &shape, 1).await.unwrap();
    assert_eq!(same.id, first.id);
    assert!(!pool.release("unknown"));
    assert!(pool.take("owner-1", &shape, 100).await.unwrap_err().to_string().contains("network_size"));
    pool.release(&same.id);
    pool.release(&other.id);
    house.leave().await;
}

#[tokio::test]
async fn who_gives_up_in_the_moment_of_the_answer_keeps_no_network() {
    let house = House::new().await;
    let pool = house.docker.networks();
    let shape = Shape::default();
    let first = pool.take("me", &shape, 1).await.unwrap();
    let mut second = Box::pin(pool.take("me", &shape, 1));
    assert!((&mut second).now_or_never().is_none(), "there is none yet");
    assert!(pool.release(&first.id));
    drop(second);
    pool.close().await;
    assert_eq!(house.made().await, Vec::<String>::new());
    house.leave().await;
}

#[tokio::test]
async fn a_hundred_networks_at_once() {
    let house = House::new().await;
    let pool = house.docker.networks();
    let shape = Shape::new(Some(1400), false);
    let taken = try_join_all((0..100).map(|owner| {
        let shape = &shape;
        async move { pool.take(&owner.to_string(), shape, 3).await }
    }));
    let taken = taken.await.unwrap();
    assert_eq!(house.made().await.len(), 100);
    let inspect = house.docker.engine().api().inspect_network(&taken[0].id, None).await.unwrap();
    assert_eq!(inspect.options.unwrap()["com.docker.network.driver.mtu"], "1400");
    join_all(taken.iter().map(|network| pool.remove(&network.id))).await.into_iter().for_each(|r| r.unwrap());
    house.leave().await;
}

#[tokio::test]
async fn the_machine_s_network_and_a_named_one() {
    let house = House::new().await;
    let mut case = house.case("ls /sys/class/net; hostname");
    case.settings.network_mode = NetworkMode::Host;
    assert!(house.run(&case).await.1.contains("docker0"));

    let named = house.docker.networks().take("operator", &Shape::default(), 3).await.unwrap();
    let mut case = house.case("nslookup build 2>&1 | grep -c 'Address.*10\\.' ; hostname");
    case.settings.network_mode = NetworkMode::Named(named.name.clone());
    case.settings.hostname = Some("my-host".into());
    let (_, output) = house.run(&case).await;
    assert!(output.ends_with("my-host") && !output.starts_with('0'), "{output}");
    house.docker.networks().remove(&named.id).await.unwrap();
    house.leave().await;
}

#[tokio::test]
async fn networks_are_made_before_the_first_job_needs_one() {
    let house = House::with(|settings| settings.pool.upkeep.ready = 2).await;
    let job_network = DockerSettings::default();
    house.docker.make_networks_ready(&job_network).await;
    let ready = tokio::time::timeout(std::time::Duration::from_secs(60), async {
        while house.docker.networks().known().len() < 2 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    ready.await.expect("two networks are made");
    let before = house.docker.engine().calls();
    let taken = house.docker.networks().take("owner", &Shape::default(), 2).await.unwrap();
    assert_eq!(house.docker.engine().calls(), before, "taking one costs no call");
    house.docker.networks().release(&taken.id);
    house.leave().await;
}

#[tokio::test]
async fn a_job_without_a_network_has_its_own_loopback_and_its_own_names() {
    let house = House::new().await;
    let script = "ls /sys/class/net; grep -c localhost /etc/hosts; echo '127.0.0.1 mine' >>/etc/hosts; \
                  ping -c 1 -W 1 localhost >/dev/null && ping -c 1 -W 1 mine >/dev/null && echo reached; \
                  ping -c 1 -W 1 192.0.2.1 2>&1 | grep -o 'Network is unreachable'; wc -c </etc/resolv.conf; cat /etc/hostname; hostname";
    let mut case = house.case(script);
    case.settings.hostname = Some("called".into());
    let prepared = house.start(&case).await.unwrap();
    let (_, output) = house.end_of(&prepared.record).await;
    assert_eq!(output, "lo\n2\nreached\nNetwork is unreachable\n0\ncalled\ncalled");
    let inspect = house.docker.engine().inspect(container_of(&prepared.record)).await.unwrap().unwrap();
    assert_eq!(inspect.config.unwrap().network_disabled, Some(true), "the engine has no part in it");
    house.docker.remove(&prepared.record).await.unwrap();
    // The next try of the job begins with the names of a fresh container.
    assert!(house.run(&house.case("cat /etc/hosts")).await.1.contains("localhost"));
    // Whoever wants names of his own has them from the engine.
    let mut case = house.case("cat /etc/hosts");
    case.settings.extra_hosts = vec!["db:10.1.2.3".into()];
    let (_, output) = house.run(&case).await;
    assert!(output.contains("10.1.2.3\tdb") && output.contains("127.0.0.1\tlocalhost"), "{output}");
    house.leave().await;
}
