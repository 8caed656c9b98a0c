//! The engine as tests need it: images, and what was left behind. By way of the `docker` program, so that nothing of the
//! agent's own code vouches for the agent.

use std::collections::BTreeSet;
use std::path::Path;
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

/// Containers, networks and volumes that belong to jobs of the forge at `forge_url`.
pub fn leftovers(forge_url: &str) -> Vec<String> {
    let of_forge = format!("label=forgehand.forge={}", forge_url.trim_end_matches('/'));
    let mut found = Vec::new();
    for kind in KINDS {
        let mut arguments = kind.list.to_vec();
        arguments.extend(["--filter", &of_forge, "--filter", "label=forgehand.job", "--format", kind.format]);
        found.extend(docker(&arguments).into_iter().map(|name| format!("{} {name}", kind.name)));
    }
    found
}

/// Removes everything of the forge at `forge_url`, and of the agents that worked for it (pooled networks carry no forge).
pub fn remove_all(forge_url: &str, state_dir: &Path) {
    let mut filters = vec![format!("label=forgehand.forge={}", forge_url.trim_end_matches('/'))];
    filters.extend(agents(&filters[0], state_dir).into_iter().map(|agent| format!("label=forgehand.agent={agent}")));
    // Containers first: networks and volumes in use cannot go.
    for kind in KINDS {
        for filter in &filters {
            let mut arguments = kind.list.to_vec();
            arguments.extend(["--filter", filter, "--format", kind.id]);
            for id in docker(&arguments) {
                let mut arguments = kind.remove.to_vec();
                arguments.push(&id);
                docker(&arguments);
            }
        }
    }
}

/// The values of `forgehand.agent` on what belongs to the forge or is mounted from the agent's state directory.
fn agents(of_forge: &str, state_dir: &Path) -> BTreeSet<String> {
    let label = "{{.Label \"forgehand.agent\"}}";
    let mount = format!("volume={}", state_dir.display());
    let mut agents = BTreeSet::new();
    for filter in [of_forge, mount.as_str()] {
        agents.extend(docker(&["ps", "--all", "--no-trunc", "--filter", filter, "--format", label]));
    }
    agents.extend(docker(&["network", "ls", "--filter", of_forge, "--format", label]));
    agents
}

struct Kind {
    name: &'static str,
    list: &'static [&'static str],
    remove: &'static [&'static str],
    id: &'static str,
    format: &'static str,
}

const KINDS: [Kind; 3] = [
    Kind {
        name: "container",
        list: &["ps", "--all"],
        remove: &["rm", "--force", "--volumes"],
        id: "{{.ID}}",
        format: "{{.Names}} ({{.Status}})",
    },
    Kind { name: "network", list: &["network", "ls"], remove: &["network", "rm"], id: "{{.ID}}", format: "{{.Name}}" },
    Kind {
        name: "volume",
        list: &["volume", "ls"],
        remove: &["volume", "rm", "--force"],
        id: "{{.Name}}",
        format: "{{.Name}}",
    },
];
