//! Which jobs of a pipeline were asked for: `--job`, `--needs`, `--matrix`.

use std::collections::{HashMap, HashSet};

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
        if self.with_needs && !self.jobs.is_empty() {
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

/// Linear in jobs and needs: each job is looked at once, and each stage opened once.
fn with_needs(definition: &PipelineDefinition, kept: &mut [bool]) {
    let jobs = &definition.jobs;
    let by_name: HashMap<&str, usize> = jobs.iter().enumerate().map(|(at, job)| (job.name.as_str(), at)).collect();
    let stages: HashMap<&str, usize> =
        definition.stages.iter().enumerate().map(|(at, stage)| (stage.as_str(), at)).collect();
    let mut of_stage: Vec<Vec<usize>> = vec![Vec::new(); definition.stages.len()];
    for (at, job) in jobs.iter().enumerate() {
        if let Some(of_stage) = stages.get(job.stage.as_str()).and_then(|stage| of_stage.get_mut(*stage)) {
            of_stage.push(at);
        }
    }
    let mut open: Vec<usize> = (0..kept.len()).filter(|at| kept.get(*at) == Some(&true)).collect();
    let mut opened = 0;
    while let Some(job) = open.pop().and_then(|at| jobs.get(at)) {
        let needed: Vec<usize> = match &job.waits {
            Waits::Jobs(names) => names.iter().filter_map(|name| by_name.get(name.as_str()).copied()).collect(),
            Waits::EarlierStages => {
                let before = stages.get(job.stage.as_str()).copied().unwrap_or(0).max(opened);
                let all = of_stage.get(opened..before).unwrap_or_default().concat();
                opened = before;
                all
            }
        };
        for at in needed {
            if let Some(keep) = kept.get_mut(at).filter(|keep| !**keep) {
                *keep = true;
                open.push(at);
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
    fn what_waits_for_stages_needs_all_jobs_of_the_earlier_ones_and_what_those_need() {
        let job = |name: &str, stage: &str, waits: Waits| PlannedJob::new(name, stage, waits);
        let definition = PipelineDefinition {
            stages: ["build", "test", "deploy"].map(str::to_owned).into(),
            jobs: vec![
                job("b", "build", Waits::EarlierStages),
                job("t", "test", Waits::EarlierStages),
                job("late", "deploy", Waits::Jobs(Vec::new())),
                job("odd", "test", Waits::Jobs(vec!["late".to_owned()])),
                job("d", "deploy", Waits::EarlierStages),
                job("other", "deploy", Waits::EarlierStages),
            ],
            ..PipelineDefinition::default()
        };
        let kept = |name: &str| {
            let jobs = [name.to_owned()];
            Choice { jobs: &jobs, with_needs: true, matrix: &[] }.among(&definition, |_| Vec::new()).unwrap()
        };
        assert_eq!(kept("t"), [true, true, false, false, false, false]);
        assert_eq!(kept("d"), [true, true, true, true, true, false]);
        assert_eq!(kept("odd"), [false, false, true, true, false, false]);
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
