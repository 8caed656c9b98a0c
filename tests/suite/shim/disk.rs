//! A full disk under the run directory: a small tmpfs mounted for the test.

use std::path::PathBuf;
use std::time::Duration;

use forgehand::executor::sandbox::shim::{RunDir, StepExit};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::*;

struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Self {
        mount("forgehand-test", at, "tmpfs", MountFlags::empty(), c"size=1m,mode=0777").expect("mounting needs root");
        Self(at.to_owned())
    }

    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = std::fs::File::create(&path).unwrap();
        while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

async fn house_on_a_small_disk() -> (House, SmallDisk) {
    let job = Job::new().await;
    RunDir::create(&job.paths.run).unwrap();
    let disk = SmallDisk::mount(&job.paths.run);
    (job.start().await, disk)
}

#[tokio::test]
async fn a_step_waits_for_room_and_loses_nothing() {
    let (house, disk) = house_on_a_small_disk().await;
    let (gate, go) = (Gate::new(&house.job.paths.private, "gate"), Gate::new(&house.job.paths.private, "go"));
    let script = format!("echo > {}; read _ < {}; seq 1 100000", gate.path(), go.path());
    house.shim.start(&script_step("s", &script)).await.unwrap();
    gate.word().await;
    let filler = disk.fill();
    go.open().await;
    // As long as the step is at work: it is stuck in writing its output.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(house.shim.steps().await.unwrap().iter().all(|(_, state)| format!("{state:?}") == "Running"));
    std::fs::remove_file(filler).unwrap();
    let outcome = house.outcome(&id("s")).await.unwrap();
    assert_eq!((outcome.exit, outcome.lost), (StepExit::Code(0), 0));
    let expected: String = (1..=100_000).map(|i| format!("{i}\n")).collect();
    assert!(outcome.stdout == expected);
    house.close().await;
}

#[tokio::test]
async fn a_disk_that_stays_full_ends_the_step_with_its_own_result_and_a_count() {
    let (house, disk) = house_on_a_small_disk().await;
    let gate = Gate::new(&house.job.paths.private, "gate");
    let script = format!("echo before; echo > {}; yes | head -c 100000000", gate.path());
    house.shim.start(&script_step("s", &script)).await.unwrap();
    gate.word().await;
    disk.fill();
    let outcome = house.outcome(&id("s")).await.unwrap();
    assert_eq!(outcome.exit, StepExit::OutputLost);
    assert!(outcome.record.lost_bytes > 0);
    assert!(outcome.stdout.starts_with("before\n"), "what was written before is kept");
    let refused = house.shim.start(&script_step("next", "true")).await.unwrap_err();
    assert!(refused.to_string().contains("cannot write the output"), "{refused}");
    std::fs::remove_file(house.run_dir().join("filler")).unwrap();
    // The kernel may take a moment to count the room as free.
    soon(async {
        while house.shim.start(&script_step("next", "true")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(house.outcome(&id("next")).await.unwrap().exit, StepExit::Code(0), "there is room again");
    house.close().await;
}
