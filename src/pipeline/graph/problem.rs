//! What is wrong with the dependencies of a pipeline.

use std::fmt;

/// Something wrong with dependencies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GraphProblem {
    /// A name that no job has.
    Unknown {
        /// The job that waits.
        job: String,
        /// The name.
        need: String,
        /// The name that may have been meant.
        near: Option<String>,
        /// The names there are, in the order of the file.
        known: Vec<String>,
    },
    /// The same name twice in one job's list.
    Duplicate {
        /// The job that waits.
        job: String,
        /// The name.
        need: String,
    },
    /// Two jobs of one name.
    SameName {
        /// The name.
        job: String,
    },
    /// A job that waits for itself.
    OfItself {
        /// The job.
        job: String,
    },
    /// Jobs that wait for each other in a cycle: the shortest one through these jobs, which begins again after the last.
    Cycle {
        /// The jobs; each waits for the next, the last for the first.
        jobs: Vec<String>,
    },
    /// A dependency that another one already implies. Not an error.
    Redundant {
        /// The job that waits.
        job: String,
        /// What it need not name.
        need: String,
        /// The dependency that waits for it anyway.
        through: String,
    },
}

impl GraphProblem {
    /// Whether a pipeline can run all the same.
    pub fn is_error(&self) -> bool {
        !matches!(self, GraphProblem::Redundant { .. } | GraphProblem::Duplicate { .. })
    }

    /// The job in whose list it stands, and the name in that list.
    pub fn place(&self) -> (&str, Option<&str>) {
        match self {
            GraphProblem::Unknown { job, need, .. }
            | GraphProblem::Duplicate { job, need }
            | GraphProblem::Redundant { job, need, .. } => (job, Some(need)),
            GraphProblem::OfItself { job } => (job, Some(job)),
            GraphProblem::SameName { job } => (job, None),
            GraphProblem::Cycle { jobs } => {
                (jobs.first().map_or("", String::as_str), jobs.get(1).or(jobs.first()).map(String::as_str))
            }
        }
    }

    /// What to do about it.
    pub fn help(&self) -> String {
        match self {
            GraphProblem::Unknown { known, .. } if known.is_empty() => {
                "there is no other job in this pipeline".to_owned()
            }
            GraphProblem::Unknown { known, near, .. } => {
                const SHOWN: usize = 8;
                let names: Vec<String> = known.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
                let more = known.len().saturating_sub(SHOWN);
                let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
                let listed = format!("the jobs are {}{rest}", names.join(", "));
                match near {
                    Some(near) => format!("did you mean `{near}`? {listed}"),
                    None => listed,
                }
            }
            GraphProblem::Duplicate { need, .. } => format!("name `{need}` once"),
            GraphProblem::SameName { job } => format!("rename one of the jobs `{job}`"),
            GraphProblem::OfItself { job } => format!("remove `{job}` from its own list"),
            GraphProblem::Cycle { jobs } => break_cycle(jobs),
            GraphProblem::Redundant { job, need, .. } => format!("`{need}` can be left out of the list of `{job}`"),
        }
    }
}

/// More than one way out of a cycle.
fn break_cycle(jobs: &[String]) -> String {
    let (Some(first), Some(last)) = (jobs.first(), jobs.last()) else { return String::new() };
    let second = jobs.get(1).unwrap_or(first);
    format!(
        "remove one dependency of the cycle, `{first}` from the list of `{last}` for one; or split `{first}` in two jobs, a part \
         that `{last}` waits for and a part that waits for `{second}`"
    )
}

impl fmt::Display for GraphProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GraphProblem::Unknown { job, need, .. } => write!(f, "job `{job}` waits for `{need}`, which is no job"),
            GraphProblem::Duplicate { job, need } => write!(f, "job `{job}` names `{need}` twice"),
            GraphProblem::SameName { job } => write!(f, "two jobs are called `{job}`"),
            GraphProblem::OfItself { job } => write!(f, "job `{job}` waits for itself"),
            GraphProblem::Cycle { jobs } => {
                let first = jobs.first().map_or("", String::as_str);
                write!(f, "dependency cycle: {} -> {first}", jobs.join(" -> "))
            }
            GraphProblem::Redundant { job, need, through } => {
                write!(f, "job `{job}` need not name `{need}`: `{through}` waits for it already")
            }
        }
    }
}
