//! How far a job has come on this machine, and the one function that moves it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How far a job has come from the moment a forge handed it over. What became of its steps is its
/// [`JobStatus`](crate::pipeline::JobStatus); this is what the agent still owes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobPhase {
    /// The forge handed it over; nothing has been done for it.
    Accepted,
    /// Work has begun: folders, perhaps a sandbox.
    Running,
    /// Its outcome is settled; the forge does not know for certain.
    Ended,
    /// The forge knows. Nothing is owed any more.
    Acknowledged,
}

/// What can happen to a job on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PhaseChange {
    /// Work begins.
    Start,
    /// The outcome is settled.
    End,
    /// The forge has acknowledged the outcome, or does not want to hear it.
    Acknowledge,
}

/// A change that a job in this phase cannot take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a job that is {from} cannot {change}")]
pub struct InvalidPhase {
    /// Where the job stood.
    pub from: JobPhase,
    /// What was asked of it.
    pub change: PhaseChange,
}

impl JobPhase {
    /// All of them, in their order.
    pub const ALL: [JobPhase; 4] = [JobPhase::Accepted, JobPhase::Running, JobPhase::Ended, JobPhase::Acknowledged];

    /// The phase after `change`: the only place where a phase is computed.
    pub fn after(self, change: PhaseChange) -> Result<Self, InvalidPhase> {
        use JobPhase as P;
        use PhaseChange as C;
        Ok(match (self, change) {
            (P::Accepted, C::Start) => P::Running,
            (P::Running, C::End) => P::Ended,
            (P::Ended, C::Acknowledge) => P::Acknowledged,
            // The rest by name, so that a new variant stops the build here.
            (P::Accepted, C::End | C::Acknowledge)
            | (P::Running, C::Start | C::Acknowledge)
            | (P::Ended, C::Start | C::End)
            | (P::Acknowledged, C::Start | C::End | C::Acknowledge) => return Err(InvalidPhase { from: self, change }),
        })
    }

    /// The name in the journal and in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            JobPhase::Accepted => "accepted",
            JobPhase::Running => "running",
            JobPhase::Ended => "ended",
            JobPhase::Acknowledged => "acknowledged",
        }
    }

    /// The phase of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == name)
    }
}

impl fmt::Display for JobPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for PhaseChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PhaseChange::Start => "start",
            PhaseChange::End => "end",
            PhaseChange::Acknowledge => "be acknowledged",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_goes_through_every_phase_once_and_in_order() {
        let changes = [PhaseChange::Start, PhaseChange::End, PhaseChange::Acknowledge];
        for (at, from) in JobPhase::ALL.into_iter().enumerate() {
            for (nth, change) in changes.into_iter().enumerate() {
                let expected = if at == nth { Ok(JobPhase::ALL[at + 1]) } else { Err(InvalidPhase { from, change }) };
                assert_eq!(from.after(change), expected);
            }
        }
    }

    #[test]
    fn names_lead_back_to_their_phase() {
        for phase in JobPhase::ALL {
            assert_eq!(JobPhase::from_name(phase.as_str()), Some(phase));
        }
        assert_eq!(JobPhase::from_name("finished"), None);
    }
}
