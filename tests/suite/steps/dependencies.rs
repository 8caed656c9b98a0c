//! What a job is given of those it depends on, by a forge that waits for all to be asked for.

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use forgehand::artifact::archive::{self, Level};
use forgehand::artifact::select;
use tokio::sync::{Barrier, Semaphore};

use super::*;

/// Archives that come at the same time.
const AT_ONCE: usize = 3;

/// What jobs have left: of each a file of its name, and one that all have. None comes before several are asked for, and the
/// first is the last to come.
pub(super) struct Left {
    all_asked: Barrier,
    others: Semaphore,
}

impl Left {
    fn new() -> Self {
        Self { all_asked: Barrier::new(AT_ONCE), others: Semaphore::new(0) }
    }

    pub(super) async fn bring(&self, dependency: &DependencySpec, to: &Path) {
        let number: usize = dependency.id.as_str().parse().unwrap();
        if number < AT_ONCE {
            self.all_asked.wait().await;
        }
        if number == 0 {
            let others = self.others.acquire_many(AT_ONCE as u32 - 1).await.unwrap();
            others.forget();
        }
        let tree = tempfile::tempdir().unwrap();
        std::fs::write(tree.path().join("same"), &dependency.name).unwrap();
        std::fs::write(tree.path().join(&dependency.name), "x").unwrap();
        let root = Dir::open_ambient_dir(tree.path(), ambient_authority()).unwrap();
        let files = FileSelection { paths: vec!["*".into()], ..FileSelection::default() };
        let selection = select::select(&root, "/project", &files, Vec::new()).unwrap();
        let mut file = std::fs::File::create_new(to).unwrap();
        archive::pack(&root, &selection, ArtifactFormat::Zip, Level::Default, &mut file).unwrap();
        self.others.add_permits(1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_of_dependencies_come_together_and_are_unpacked_in_order() {
    let names = ["a", "b", "c", "d", "e"];
    let mut house = House::on_host(vec![Do::Step(step(0, "ls; cat same"))]).await;
    house.run.reporter = Arc::new(Nobody { left: Some(Left::new()) });
    house.run.job.sources = SourceSpec::none();
    house.run.job.dependencies = names
        .iter()
        .enumerate()
        .map(|(number, name)| DependencySpec {
            id: JobId::new(number.to_string()),
            name: (*name).to_owned(),
            token: Secret::new("token"),
            file_name: "artifacts.zip".into(),
            size: 0,
        })
        .collect();
    let private = house.run.paths.private.clone();
    let ended = house.run().await;
    assert!(matches!(ended.outcome, JobOutcome::Success), "{:?}", ended.outcome);
    let said: Vec<_> = ended.heard.iter().filter_map(|line| line.strip_prefix("s0:stdout:")).collect();
    assert_eq!(said, ["a", "b", "c", "d", "e", "same", "e"], "later ones win");
    let left: Vec<_> = std::fs::read_dir(private).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("download")), "{left:?}");
}
