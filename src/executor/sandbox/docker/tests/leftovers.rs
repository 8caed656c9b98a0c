//! What a dead agent and what jobs leave.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use super::fixtures::House;
use crate::executor::sandbox::docker::{Docker, NetworkMode, labels};
use bollard::models::VolumeCreateRequest;

#[tokio::test]
async fn a_sweep_after_a_crash_removes_what_belongs_to_no_known_job() {
    let house = House::new().await;
    let mut lost = house.case("sleep 600");
    lost.settings.network_mode = NetworkMode::Job;
    let mut known = house.case("sleep 600");
    known.settings.network_mode = NetworkMode::Job;
    house.start(&lost).await.unwrap();
    let survivor = house.start(&known).await.unwrap();
    let volume = format!("{}-volume", house.agent);
    let mut marked = labels::of_agent(&house.agent, "volume");
    marked.insert(labels::JOB.into(), lost.job.key.to_string());
    let request =
        VolumeCreateRequest { name: Some(volume.clone()), labels: Some(marked), ..VolumeCreateRequest::default() };
    house.docker.engine().api().create_volume(request).await.unwrap();

    let next = house.next_agent().await;
    let swept = next.sweep(&|| vec![known.job.key.clone()]).await.unwrap();
    assert_eq!(
        (swept.containers.len(), swept.networks.len(), swept.volumes),
        (1, 1, vec![volume]),
        "{:?}",
        swept.failures
    );
    assert_eq!(house.made().await.len(), 2, "the known job's container and network");
    let again = next.sweep(&|| vec![known.job.key.clone()]).await.unwrap();
    assert_eq!(again, Default::default());

    next.remove(&survivor.record).await.unwrap();
    assert!(house.made().await.is_empty(), "an earlier agent's network goes with its job");
    house.leave().await;
}

#[tokio::test]
async fn a_sweep_leaves_the_networks_of_its_own_agent() {
    let house = House::with(|settings| settings.pool.upkeep.ready = 1).await;
    let mut case = house.case("sleep 600");
    case.settings.network_mode = NetworkMode::Job;
    let prepared = house.start(&case).await.unwrap();
    let swept = house.docker.sweep(&|| vec![case.job.key.clone()]).await.unwrap();
    assert_eq!(swept, Default::default());
    house.docker.remove(&prepared.record).await.unwrap();
    house.leave().await;
}

#[tokio::test]
async fn what_a_dead_agent_made_for_a_moment_goes_at_once() {
    let house = House::new().await;
    let left = house.docker.make_utility("probe", Vec::new(), vec!["none".into()]).await.unwrap();
    assert_eq!(house.docker.sweep(&Vec::new).await.unwrap(), Default::default(), "it may be in use");
    let mut looking = house.docker.inner.settings.clone();
    looking.process = None;
    let doctor = Docker::connect(looking).await.unwrap();
    let in_use = doctor.make_utility("probe", Vec::new(), vec!["none".into()]).await.unwrap();
    let swept = house.next_agent().await.sweep(&Vec::new).await.unwrap();
    assert_eq!((swept.containers.len(), swept.failures.len()), (1, 0), "{swept:?}");
    assert!(house.docker.engine().inspect(&left).await.unwrap().is_none());
    assert!(house.docker.engine().inspect(&in_use).await.unwrap().is_some(), "whose maker may live");
    house.docker.engine().remove_container(&in_use).await.unwrap();
    house.leave().await;
}

#[tokio::test]
async fn root_in_a_container_removes_what_the_agent_cannot() {
    let house = House::new().await;
    let folder = tempfile::tempdir().unwrap();
    let locked = folder.path().join("locked/inner");
    std::fs::create_dir_all(&locked).unwrap();
    std::fs::write(locked.join("file"), "x").unwrap();
    std::os::unix::fs::symlink("/etc", locked.join("link")).unwrap();
    for path in [&locked.join("file"), &locked, &folder.path().join("locked")] {
        chown(path, Some(4711), Some(4711)).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o500)).unwrap();
    }
    house.docker.empty_as_root(folder.path()).await.unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    assert!(std::fs::metadata("/etc").unwrap().is_dir());
    house.leave().await;
}

#[tokio::test]
async fn a_workspace_a_job_made_hostile_is_removed() {
    let house = House::new().await;
    let case = house.case(
        "mkdir -p /builds/a/b && echo x >/builds/a/b/c && chmod 0 /builds/a/b/c /builds/a/b /builds/a && chown 99:99 /builds",
    );
    house.run(&case).await;
    assert_eq!(std::fs::metadata(&case.paths.workspace).unwrap().uid(), 99);
    house.docker.remove_folder(&case.paths.workspace).await.unwrap();
    assert!(!case.paths.workspace.exists());
    house.docker.remove_folder(&case.paths.workspace).await.unwrap();
    house.leave().await;
}
