//! The engine as tests need it: images, and what was left behind. By way of the `docker` program, so that nothing of the
//! agent's own code vouches for the agent.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Once;

use super::forge::root;

/// Builds the images of `fixtures/images`, once a process. Panics where there is no engine: tests that need one fail.
pub fn build_images() {
    static BUILT: Once = Once::new();
    BUILT.call_once(|| {
        let built = Command::new(root().join("fixtures/images/build")).output().expect("bash runs");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    });
}

/// What `docker ARGUMENTS` prints, line by line.
pub fn docker(arguments: &[&str]) -> Vec<String> {
    let output = Command::new("docker").args(arguments).output().expect("docker runs; see scripts/setup");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).filter(|line| !line.is_empty()).collect()
}

/// Containers, networks and volumes that belong to the jobs with these ids (of the forge at `forge_url`).
pub fn leftovers(forge_url: &str, jobs: &BTreeSet<u64>) -> Vec<String> {
    let found = KINDS.iter().flat_map(|kind| of_jobs(kind, forge_url, jobs).into_iter().map(|it| (kind.name, it)));
    found.map(|(kind, object)| format!("{kind} {} of job {}", object.id, object.job)).collect()
}

/// Removes what belongs to the jobs with these ids, and everything else of `agent` and of the agents that made it (pooled
/// networks carry no job).
pub fn remove_all(forge_url: &str, jobs: &BTreeSet<u64>, agent: Option<&str>) {
    let mut agents: BTreeSet<String> = agent.into_iter().map(str::to_owned).collect();
    // Containers first: networks and volumes in use cannot go.
    for kind in &KINDS {
        for object in of_jobs(kind, forge_url, jobs) {
            agents.insert(object.agent);
            remove(kind, &object.id);
        }
    }
    for kind in &KINDS {
        for agent in &agents {
            let filter = format!("label=forgehand.agent={agent}");
            let mut arguments = kind.list.to_vec();
            arguments.extend(["--filter", &filter, "--format", kind.id]);
            for id in docker(&arguments) {
                remove(kind, &id);
            }
        }
    }
}

fn remove(kind: &Kind, id: &str) {
    let mut arguments = kind.remove.to_vec();
    arguments.push(id);
    docker(&arguments);
}

struct Object {
    id: String,
    job: String,
    agent: String,
}

/// A job's key begins with its id and a dash.
fn of_jobs(kind: &Kind, forge_url: &str, jobs: &BTreeSet<u64>) -> Vec<Object> {
    let of_forge = format!("label=forgehand.forge={}", forge_url.trim_end_matches('/'));
    let format = format!("{}|{{{{.Label \"forgehand.job\"}}}}|{{{{.Label \"forgehand.agent\"}}}}", kind.id);
    let mut arguments = kind.list.to_vec();
    arguments.extend(["--filter", &of_forge, "--filter", "label=forgehand.job", "--format", &format]);
    let objects = docker(&arguments).into_iter().filter_map(|line| {
        let mut parts = line.split('|').map(str::to_owned);
        Some(Object { id: parts.next()?, job: parts.next()?, agent: parts.next()? })
    });
    let is_ours = |object: &Object| {
        object.job.split('-').next().and_then(|id| id.parse().ok()).is_some_and(|id| jobs.contains(&id))
    };
    objects.filter(is_ours).collect()
}

struct Kind {
    name: &'static str,
    list: &'static [&'static str],
    remove: &'static [&'static str],
    id: &'static str,
}

const KINDS: [Kind; 3] = [
    Kind { name: "container", list: &["ps", "--all"], remove: &["rm", "--force", "--volumes"], id: "{{.ID}}" },
    Kind { name: "network", list: &["network", "ls"], remove: &["network", "rm"], id: "{{.ID}}" },
    Kind { name: "volume", list: &["volume", "ls"], remove: &["volume", "rm", "--force"], id: "{{.Name}}" },
];
