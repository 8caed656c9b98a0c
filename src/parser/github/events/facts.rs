//! What the caller knows: plain values, found by whoever may look at the checkout.

use crate::pipeline::Secret;

/// The facts of one local run. All texts may be empty where nothing is known.
#[derive(Clone, Debug, Default)]
pub struct RunFacts {
    /// Of matrices with these keys only the combinations with these values.
    pub only_legs: Vec<(String, String)>,
    /// The event: `push`, `pull_request`, `workflow_dispatch`, ...
    pub event: String,
    /// The payload from `--event-path`, JSON; what it lacks is made from the other facts.
    pub payload: Option<String>,
    /// The repository, `owner/name`.
    pub repository: String,
    /// Base URL of the forge, `https://github.com`.
    pub server_url: String,
    /// The full ref, `refs/heads/main`.
    pub git_ref: String,
    /// The commit, hexadecimal.
    pub sha: String,
    /// The commit before it; empty: none.
    pub before: String,
    /// The branch that counts when nothing is said.
    pub default_branch: String,
    /// The branch that a pull request is to go into; empty: the default branch.
    pub base_branch: String,
    /// The branch that a run was of, where its end is the event (`workflow_run`); empty: that of `git_ref`.
    pub head_branch: String,
    /// Who starts it.
    pub actor: String,
    /// The commit's message.
    pub commit_message: String,
    /// Its author's name.
    pub author_name: String,
    /// Its author's e-mail address.
    pub author_email: String,
    /// Its time, ISO 8601.
    pub commit_time: String,
    /// Files changed by what the event tells, relative to the root; `None`: unknown, then `paths` filters let pass.
    pub changed_files: Option<Vec<String>>,
    /// The run's id; any number.
    pub run_id: u64,
    /// The run's number.
    pub run_number: u64,
    /// Configuration variables (`vars`).
    pub vars: Vec<(String, String)>,
    /// Secrets.
    pub secrets: Vec<(String, Secret)>,
    /// Inputs of `workflow_dispatch` or `workflow_call`, as text.
    pub inputs: Vec<(String, String)>,
}
