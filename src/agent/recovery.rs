//! How a restart goes on: what is owed against what is there.
//!
//! Level-based: [`repairs`] reads only two lists, never what happened. So it is right after a crash at any instruction,
//! may run again at any time, and restart, reload and a slot that broke are one code path.

use std::collections::BTreeMap;
use std::fmt;

use crate::executor::sandbox::SandboxRecord;
use crate::pipeline::JobKey;
use crate::state::{JobPhase, OpenJob};

/// A job that the journal says we owe, as far as the decision depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owed {
    /// Which job.
    pub job: JobKey,
    /// How far it has come.
    pub phase: JobPhase,
    /// Whether it is known how it began. Not so when the journal had to be started anew.
    pub has_facts: bool,
    /// The boot of the machine in which its sandbox was made; `None` as long as it has none.
    pub sandbox_boot: Option<String>,
}

/// A sandbox that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The job it was made for.
    pub job: JobKey,
    /// What became of its shim.
    pub shim: ShimState,
}

/// What became of the process that starts a sandbox's steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShimState {
    /// It answers.
    Answers,
    /// It ended in order: what its steps came to stands in the run directory. Counts even where the container is gone.
    Exited,
    /// Nobody can tell at the moment: the engine does not answer.
    Unknown,
}

/// How to close the gap between what is owed and what is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Nothing was done for the job: run it.
    Begin {
        /// Which.
        job: JobKey,
    },
    /// It began and has no sandbox that anything ran in: run the stage that was cut again.
    Resume {
        /// Which.
        job: JobKey,
    },
    /// Its sandbox runs: speak to the shim.
    Reattach {
        /// Which.
        job: JobKey,
    },
    /// Its sandbox ended in order: read what its steps came to.
    CollectExit {
        /// Which.
        job: JobKey,
    },
    /// Its sandbox is gone: tell the forge, with the log up to the last byte there is.
    ReportLost {
        /// Which.
        job: JobKey,
        /// Where it went.
        cause: Lost,
    },
    /// It ended; the forge may not know.
    FinishReport {
        /// Which.
        job: JobKey,
    },
    /// Nobody needs the sandbox.
    Remove {
        /// Whose it was.
        job: JobKey,
    },
}

/// Where a sandbox went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The machine was started again.
    MachineRestarted,
    /// Somebody removed it.
    SandboxGone,
    /// The journal was damaged: nobody knows how far the job had come.
    JournalLost,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Lost::MachineRestarted => "the machine was restarted while the job ran",
            Lost::SandboxGone => "the job's sandbox was removed while the agent was away",
            Lost::JournalLost => "the runner's journal was damaged, and how far the job had come is not known",
        })
    }
}

impl Owed {
    /// What the decision needs of `job`.
    pub fn of(job: &OpenJob) -> Self {
        let boot = job.sandbox.as_ref().map(|sandbox| match sandbox {
            SandboxRecord::Docker { boot_id, .. } | SandboxRecord::Host { boot_id, .. } => boot_id.clone(),
        });
        Self { job: job.assignment.key.clone(), phase: job.phase, has_facts: job.facts.is_some(), sandbox_boot: boot }
    }
}

impl Repair {
    /// Which job it is about.
    pub fn job(&self) -> &JobKey {
        match self {
            Repair::Begin { job }
            | Repair::Resume { job }
            | Repair::Reattach { job }
            | Repair::CollectExit { job }
            | Repair::ReportLost { job, .. }
            | Repair::FinishReport { job }
            | Repair::Remove { job } => job,
        }
    }
}

/// Compares what we owe with what is there and says how to close the gap. `boot` is the machine's boot id now.
///
/// Every owed job gets exactly one repair that is not a removal. Removed is what belongs to no owed job.
pub fn repairs(owed: &[Owed], found: &[Found], boot: &str) -> Vec<Repair> {
    let sandboxes: BTreeMap<&JobKey, ShimState> = found.iter().map(|found| (&found.job, found.shim)).collect();
    let owing: BTreeMap<&JobKey, &Owed> = owed.iter().map(|owed| (&owed.job, owed)).collect();
    let for_jobs = owing.values().filter_map(|owed| repair(owed, sandboxes.get(&owed.job).copied(), boot));
    let is_leftover = |job: &&&JobKey| owing.get(**job).is_none_or(|owed| owed.phase == JobPhase::Acknowledged);
    let leftovers = sandboxes.keys().filter(is_leftover).map(|job| Repair::Remove { job: (*job).clone() });
    for_jobs.chain(leftovers).collect()
}

/// The repair for one job; `None` when nothing is owed for it.
fn repair(owed: &Owed, shim: Option<ShimState>, boot: &str) -> Option<Repair> {
    let job = owed.job.clone();
    Some(match owed.phase {
        JobPhase::Accepted => Repair::Begin { job },
        JobPhase::Running if !owed.has_facts => Repair::ReportLost { job, cause: Lost::JournalLost },
        JobPhase::Running => match &owed.sandbox_boot {
            // A sandbox that is there without a record was made in the instant before the crash: nothing ran in it,
            // and the stage that made it finds it by its label.
            None => Repair::Resume { job },
            Some(made_in) => match shim {
                Some(ShimState::Exited) => Repair::CollectExit { job },
                Some(ShimState::Answers) => Repair::Reattach { job },
                _ if made_in != boot => Repair::ReportLost { job, cause: Lost::MachineRestarted },
                Some(ShimState::Unknown) => Repair::Reattach { job },
                None => Repair::ReportLost { job, cause: Lost::SandboxGone },
            },
        },
        JobPhase::Ended => Repair::FinishReport { job },
        JobPhase::Acknowledged => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(name: &str) -> JobKey {
        serde_json::from_value(name.into()).unwrap()
    }

    fn decided(phase: JobPhase, has_facts: bool, sandbox_boot: Option<&str>, shim: Option<ShimState>) -> Repair {
        let owed = Owed { job: key("1"), phase, has_facts, sandbox_boot: sandbox_boot.map(str::to_owned) };
        let found: Vec<Found> = shim.map(|shim| Found { job: key("1"), shim }).into_iter().collect();
        let mut repairs = repairs(&[owed], &found, "now");
        assert_eq!(repairs.len(), 1);
        repairs.remove(0)
    }

    #[test]
    fn the_table_of_decisions() {
        use JobPhase as P;
        use ShimState as S;
        let lost = |cause| Repair::ReportLost { job: key("1"), cause };
        let job = || key("1");
        for (phase, has_facts, sandbox, shim, expected) in [
            (P::Accepted, false, None, None, Repair::Begin { job: job() }),
            (P::Running, true, None, None, Repair::Resume { job: job() }),
            (P::Running, true, None, Some(S::Answers), Repair::Resume { job: job() }),
            (P::Running, true, Some("now"), Some(S::Answers), Repair::Reattach { job: job() }),
            (P::Running, true, Some("now"), Some(S::Exited), Repair::CollectExit { job: job() }),
            (P::Running, true, Some("now"), Some(S::Unknown), Repair::Reattach { job: job() }),
            (P::Running, true, Some("now"), None, lost(Lost::SandboxGone)),
            (P::Running, true, Some("before"), None, lost(Lost::MachineRestarted)),
            (P::Running, true, Some("before"), Some(S::Unknown), lost(Lost::MachineRestarted)),
            (P::Running, true, Some("before"), Some(S::Exited), Repair::CollectExit { job: job() }),
            (P::Running, false, None, Some(S::Answers), lost(Lost::JournalLost)),
            (P::Ended, true, Some("now"), Some(S::Answers), Repair::FinishReport { job: job() }),
            (P::Ended, false, None, None, Repair::FinishReport { job: job() }),
        ] {
            assert_eq!(decided(phase, has_facts, sandbox, shim), expected, "{phase} {sandbox:?} {shim:?}");
        }
    }

    fn a_phase() -> impl Strategy<Value = JobPhase> {
        prop::sample::select(JobPhase::ALL.to_vec())
    }

    fn a_shim() -> impl Strategy<Value = ShimState> {
        prop::sample::select(vec![ShimState::Answers, ShimState::Exited, ShimState::Unknown])
    }

    proptest! {
        #[test]
        fn every_owed_job_gets_one_repair_and_only_what_nobody_owes_is_removed(
            owed in prop::collection::btree_map(0..8_u8, (a_phase(), any::<bool>(), any::<Option<bool>>()), 0..8),
            found in prop::collection::btree_map(0..8_u8, a_shim(), 0..8),
        ) {
            let boot = |now| if now { "now" } else { "before" }.to_owned();
            let owed: Vec<Owed> = owed.into_iter().map(|(job, (phase, has_facts, sandbox))| {
                Owed { job: key(&job.to_string()), phase, has_facts, sandbox_boot: sandbox.map(boot) }
            }).collect();
            let found: Vec<Found> =
                found.into_iter().map(|(job, shim)| Found { job: key(&job.to_string()), shim }).collect();
            let repairs = repairs(&owed, &found, "now");
            for owed in &owed {
                let of_job: Vec<_> = repairs.iter().filter(|repair| repair.job() == &owed.job).collect();
                let removed = of_job.iter().any(|repair| matches!(repair, Repair::Remove { .. }));
                if owed.phase == JobPhase::Acknowledged {
                    prop_assert_eq!(of_job.len(), usize::from(removed));
                } else {
                    prop_assert_eq!((of_job.len(), removed), (1, false));
                }
            }
            for found in &found {
                let is_owed = owed.iter().any(|owed| owed.job == found.job);
                let removed = repairs.contains(&Repair::Remove { job: found.job.clone() });
                prop_assert!(is_owed || removed);
            }
        }
    }
}
