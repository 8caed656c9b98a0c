//! What goes over the control socket, nothing else. Ours on both sides: unknown fields are refused.

use serde::{Deserialize, Serialize};

use crate::agent::board::AgentStatus;
use crate::agent::capacity::Figures;

/// What the agent is asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Say what you do.
    Status,
    /// Take no more jobs, until told to resume; a restart does not forget it.
    Pause {
        /// Answer again when no job runs any more.
        wait: bool,
    },
    /// Take jobs again.
    Resume,
    /// Take no more jobs and end when the last one has ended.
    Drain {
        /// Answer again when the agent ends.
        wait: bool,
    },
    /// Read the configuration again.
    Reload,
}

/// What the agent says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// What it does.
    Status {
        /// All of it.
        status: Box<AgentStatus>,
    },
    /// Done, and nothing more will come.
    Done,
    /// Not done.
    Refused {
        /// Why, and what to do.
        message: String,
    },
    /// Done so far; these jobs are still there. More will come.
    Waiting {
        /// How many there are.
        figures: Figures,
    },
    /// No job runs any more, or the agent ends: what was waited for.
    Reached,
}

impl Answer {
    /// Whether nothing comes after it.
    pub fn is_last(&self) -> bool {
        match self {
            Answer::Status { .. } | Answer::Done | Answer::Refused { .. } | Answer::Reached => true,
            Answer::Waiting { .. } => false,
        }
    }
}
