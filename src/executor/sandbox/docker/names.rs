//! Names of containers and networks: made from the job's key, so that a second creation for the same job meets the first.

use sha2::{Digest, Sha256};

use crate::pipeline::JobKey;

/// The container that the job's steps run in.
pub(super) fn job_container(agent: &str, job: &JobKey) -> String {
    format!("{}-{}", prefix(agent), job.as_str().to_ascii_lowercase())
}

/// The `number`-th container of the job's for steps of another image.
pub(super) fn beside_container(agent: &str, job: &JobKey, number: u32) -> String {
    format!("{}-step-{number}", job_container(agent, job))
}

/// The `index`-th service of a job.
pub(super) fn service_container(agent: &str, job: &JobKey, index: usize) -> String {
    format!("{}-svc-{index}", job_container(agent, job))
}

/// The network over the subnet `index` of the pool.
pub(super) fn pool_network(agent: &str, index: u32) -> String {
    format!("{}-net-{index}", prefix(agent))
}

/// The container that holds the namespace of the network of this name, or of a place in it.
pub(super) fn holder(network: &str, place: Option<u32>) -> String {
    match place {
        Some(place) => format!("{network}-hold-{place}"),
        None => format!("{network}-hold"),
    }
}

/// Host name of the jobs in a held namespace, the `number`-th.
pub(super) fn held_host_name(number: u32) -> String {
    format!("job-net-{number}")
}

/// A container of our own for a moment: a probe, a removal.
pub(super) fn utility_container(agent: &str, purpose: &str) -> String {
    format!("{}-{purpose}-{}", prefix(agent), uuid::Uuid::new_v4().simple())
}

/// A named volume kept for `owner` at `destination`.
pub(super) fn kept_volume(agent: &str, owner: &str, destination: &str) -> String {
    format!("{}-volume-{owner}-{}", prefix(agent), digest(destination))
}

/// The volume that mounts a job's tools; `id` belongs to that mount alone.
pub(super) fn tool_volume(agent: &str, id: &str) -> String {
    format!("{}-tools-{id}", prefix(agent))
}

/// Host name of the job's container, at most 63 characters of RFC 1123.
pub(super) fn host_name(job: &JobKey) -> String {
    let safe: String =
        job.as_str().to_ascii_lowercase().chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    let name = format!("job-{safe}");
    name.chars().take(63).collect::<String>().trim_end_matches('-').to_owned()
}

/// 16 hexadecimal digits that stand for `text` in a name.
pub(super) fn digest(text: &str) -> String {
    hex::encode(&Sha256::digest(text.as_bytes())[..8])
}

/// What all names of this agent begin with. An agent's id can be any text; a name cannot.
fn prefix(agent: &str) -> String {
    format!("forgehand-{}", &digest(agent)[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_valid_whatever_the_agent_is_called() {
        let key = JobKey::new("42-abcdef");
        let name = service_container("my agent/é", &key, 3);
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "{name}");
        assert_ne!(job_container("a", &key), job_container("b", &key));
        assert_eq!(host_name(&key), "job-42-abcdef");
    }
}
