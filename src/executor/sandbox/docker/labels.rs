//! Labels: by them a later agent finds what an earlier one made, and the sweeper what nobody owns any more.

use std::collections::HashMap;

use crate::pipeline::{JobKey, PipelineJob};

/// The agent that made it, on everything.
pub const AGENT: &str = "forgehand.agent";
/// The forge the job came from.
pub const FORGE: &str = "forgehand.forge";
/// The job's key.
pub const JOB: &str = "forgehand.job";
/// On whose behalf: the Owner's slug.
pub const OWNER: &str = "forgehand.owner";
/// What it is for: `job`, `service`, `pool`, `hold`, `utility`, `volume`, `tools`.
pub const ROLE: &str = "forgehand.role";
/// The process of the agent that made it, on what is made for a moment.
pub const PROCESS: &str = "forgehand.process";
/// The network whose namespace a container holds.
pub const NETWORK: &str = "forgehand.network";
/// The names by which a service is found, separated by commas.
pub const SERVICE: &str = "forgehand.service";
/// The prefix of labels that GitLab's users know (protocols: GitLab 9.3).
const GITLAB: &str = "com.gitlab.gitlab-runner.";

/// [`ROLE`] of what is there for a moment: a container that does something as root, a volume that is tried.
pub(super) const UTILITY: &str = "utility";

/// [`ROLE`] of containers that hold a network's namespace.
pub(super) const HOLDER: &str = "hold";

/// A set of labels.
pub(super) type Labels = HashMap<String, String>;

/// What carries no job: pooled networks, what holds their namespaces, utility containers and images.
pub(super) fn of_agent(agent: &str, role: &str) -> Labels {
    Labels::from([(AGENT.into(), agent.into()), (ROLE.into(), role.into())])
}

/// What belongs to `job`.
pub(super) fn of_job(agent: &str, job: &PipelineJob, role: &str) -> Labels {
    let mut labels: Labels = job.labels.iter().cloned().collect();
    if labels.keys().any(|name| name.starts_with(GITLAB)) {
        let kind = if role == "job" { "build" } else { role };
        labels.insert(format!("{GITLAB}type"), kind.to_owned());
    }
    labels.extend(of_agent(agent, role));
    labels.insert(FORGE.into(), job.owner.forge.as_str().into());
    labels.insert(JOB.into(), job.key.as_str().into());
    labels.insert(OWNER.into(), job.owner.slug());
    labels
}

/// What is kept for an Owner from job to job.
pub(super) fn of_owner(agent: &str, job: &PipelineJob, role: &str) -> Labels {
    let mut labels = of_agent(agent, role);
    labels.insert(FORGE.into(), job.owner.forge.as_str().into());
    labels.insert(OWNER.into(), job.owner.slug());
    labels
}

/// Adds what the operator configured; values refer to the job's variables. Our own labels cannot be replaced. Services
/// carry them a second time with GitLab's prefix.
pub(super) fn add_configured<'a>(
    labels: &mut Labels,
    configured: impl IntoIterator<Item = (&'a String, &'a String)>,
    job: &PipelineJob,
    service: bool,
) {
    for (name, value) in configured {
        let value = job.variables.expand(value);
        if service {
            labels.insert(format!("{GITLAB}{name}"), value.clone());
        }
        if !name.starts_with("forgehand.") {
            labels.insert(name.clone(), value);
        }
    }
}

/// A filter of the engine's lists: what this agent made.
pub(super) fn made_by(agent: &str) -> HashMap<String, Vec<String>> {
    HashMap::from([("label".into(), vec![format!("{AGENT}={agent}")])])
}

/// A filter of the engine's lists: what holds the namespace of `network`.
pub(super) fn holders_of(agent: &str, network: &str) -> HashMap<String, Vec<String>> {
    HashMap::from([("label".into(), vec![format!("{AGENT}={agent}"), format!("{NETWORK}={network}")])])
}

/// A filter of the engine's lists: what belongs to `job`.
pub(super) fn made_for(agent: &str, job: &JobKey) -> HashMap<String, Vec<String>> {
    HashMap::from([("label".into(), vec![format!("{AGENT}={agent}"), format!("{JOB}={job}")])])
}
