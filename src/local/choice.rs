//! Which jobs of a pipeline were asked for: `--job`, `--needs`, `--matrix`.

use std::collections::HashSet;

use crate::parser::diagnostics::did_you_mean;
use crate::pipeline::{PipelineDefinition, Waits};

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'a> {
    /// Jobs by name; empty: all. The name without its values means all jobs of a matrix.
    pub jobs: &'a [String],
    /// Whether what these need runs too.
    pub with_needs: bool,
    /// Of matrices with these keys only the jobs with these values.
    pub matrix: &'a [(String, String)],
}

impl Choice<'_> {
    /// Which jobs stay, by their places. `values`: a job's row of its matrix.
    ///
    /// # Errors
    /// A name or a value that no job has.
    pub fn among<'v>(
        &self,
        definition: &PipelineDefinition,
        values: impl Fn(usize) -> Vec<(&'v str, &'v str)>,
    ) -> Result<Vec<bool>, String> {
        let names: Vec<&str> = definition.jobs.iter().map(|job| job.name.as_str()).collect();
        let mut kept = vec![self.jobs.is_empty(); names.len()];
        for wanted in self.jobs {
            let exact = names.iter().position(|name| name == wanted);
            let is_wanted = |at: usize, name: &str| exact.map_or_else(|| is_leg(name, wanted), |exact| exact == at);
            let mut is_known = false;
            for (at, (name, keep)) in names.iter().zip(&mut kept).enumerate() {
                let is_one = is_wanted(at, name);
                (*keep, is_known) = (*keep || is_one, is_known || is_one);
            }
            if !is_known {
                let hint = did_you_mean(wanted, names.iter().copied()).map(|hint| format!("; {hint}"));
                return Err(format!("this pipeline has no job `{wanted}`{}", hint.unwrap_or_default()));
            }
        }
        if self.with_needs {
            with_needs(definition, &mut kept);
        }
        for (key, wanted) in self.matrix {
            let mut is_known = false;
            for (at, keep) in kept.iter_mut().enumerate() {
                let row = values(at);
                let of_key: Vec<&str> = row.iter().filter(|(own, _)| own == key).map(|(_, value)| *value).collect();
                is_known |= of_key.contains(&wanted.as_str());
                *keep &= of_key.iter().all(|value| value == wanted);
            }
            if !is_known {
                return Err(format!("no job of this pipeline has `{key}: {wanted}` in its matrix"));
            }
        }
        Ok(kept)
    }
}

/// Whether a name is that of one of the jobs that `job` was made into: `job (a)`, `job: [a]`, `job 1/2`.
pub fn is_leg(name: &str, job: &str) -> bool {
    let Some(rest) = name.strip_prefix(job) else { return false };
    let is_part = |rest: &str| {
        rest.split_once('/').is_some_and(|(at, of)| [at, of].iter().all(|part| part.parse::<u32>().is_ok()))
    };
    rest.starts_with(" (") || rest.starts_with(": [") || rest.strip_prefix(' ').is_some_and(is_part)
}

fn with_needs(definition: &PipelineDefinition, kept: &mut [bool]) {
    let stage = |name: &str| definition.stages.iter().position(|stage| stage == name);
    let mut open: Vec<usize> = (0..kept.len()).filter(|at| kept.get(*at) == Some(&true)).collect();
    while let Some(at) = open.pop() {
        let Some(job) = definition.jobs.get(at) else { continue };
        for (other, candidate) in definition.jobs.iter().enumerate() {
            let is_needed = match &job.waits {
                Waits::Jobs(names) => names.contains(&candidate.name),
                Waits::EarlierStages => stage(&candidate.stage) < stage(&job.stage),
            };
            if let Some(keep) = kept.get_mut(other).filter(|keep| is_needed && !**keep) {
                *keep = true;
                open.push(other);
            }
        }
    }
}

/// Leaves only these jobs; nobody waits for the others any more.
pub fn keep(definition: &mut PipelineDefinition, kept: &[bool]) {
    let mut keeps = kept.iter();
    definition.jobs.retain(|_| keeps.next().copied().unwrap_or(false));
    let left: HashSet<String> = definition.jobs.iter().map(|job| job.name.clone()).collect();
    for job in &mut definition.jobs {
        if let Waits::Jobs(needs) = &mut job.waits {
            needs.retain(|need| left.contains(need));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::PlannedJob;

    fn pipeline() -> PipelineDefinition {
        let job = |name: &str, needs: &[&str]| {
            PlannedJob::new(name, "", Waits::Jobs(needs.iter().map(|need| (*need).to_owned()).collect()))
        };
        PipelineDefinition {
            jobs: vec![
                job("build", &[]),
                job("test: [a]", &["build"]),
                job("test: [b]", &["build"]),
                job("test-more 1/2", &["test: [a]"]),
            ],
            ..PipelineDefinition::default()
        }
    }

    fn chosen(jobs: &[&str], needs: bool, matrix: &[(&str, &str)]) -> Result<Vec<usize>, String> {
        let jobs: Vec<String> = jobs.iter().map(|name| (*name).to_owned()).collect();
        let matrix: Vec<_> = matrix.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let choice = Choice { jobs: &jobs, with_needs: needs, matrix: &matrix };
        let row = |at| match at {
            1 => vec![("X", "a")],
            2 => vec![("X", "b")],
            _ => Vec::new(),
        };
        let kept = choice.among(&pipeline(), row)?;
        Ok((0..kept.len()).filter(|at| kept[*at]).collect())
    }

    #[test]
    fn a_name_means_all_jobs_that_were_made_of_it() {
        assert_eq!(chosen(&["test"], false, &[]), Ok(vec![1, 2]));
        assert_eq!(chosen(&["test: [b]"], true, &[]), Ok(vec![0, 2]));
        assert_eq!(chosen(&["test-more"], false, &[]), Ok(vec![3]));
        assert!(chosen(&["biuld"], false, &[]).unwrap_err().contains("`build`"));
    }

    #[test]
    fn a_value_leaves_jobs_without_that_key_alone() {
        assert_eq!(chosen(&[], false, &[("X", "b")]), Ok(vec![0, 2, 3]));
        assert!(chosen(&[], false, &[("X", "c")]).unwrap_err().contains("`X: c`"));
        let mut definition = pipeline();
        keep(&mut definition, &[true, false, true, true]);
        assert_eq!(definition.jobs[2].waits, Waits::Jobs(Vec::new()));
    }
}
