//! How long jobs took: kept for each project below the state directory, used where a plan or a live view needs to know.
//!
//! Only jobs that succeeded count: one that failed says little about how long it takes. It is all a hint: a file that cannot be
//! read is an empty one, and one that cannot be written is no failure.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::events::Line;
use super::live::board::Expected;
use crate::pipeline::graph::{Durations, JobGraph};
use crate::pipeline::{JobStatus, PipelineDefinition};
use crate::state::durable;

/// How many runs of a job are kept; what they say is their median.
const RUNS: usize = 7;
/// How many jobs of a pipeline file are kept: those that ran last.
const JOBS: usize = 5_000;
/// How many pipeline files of a project are kept.
const FILES: usize = 64;
/// How many projects are kept.
const PROJECTS: usize = 256;
/// A longer file is not ours.
const BIGGEST: u64 = 16 << 20;

/// The durations of one pipeline file's jobs.
#[derive(Debug)]
pub struct History {
    folder: PathBuf,
    project: PathBuf,
    file: String,
    known: BTreeMap<String, Job>,
}

/// All of one project, as it is written.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Book {
    version: u32,
    project: PathBuf,
    files: BTreeMap<String, BTreeMap<String, Job>>,
}

/// One job.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Job {
    /// The latest last.
    seconds: Vec<f64>,
    /// When it ended last, in seconds since 1970.
    last: i64,
}

impl Job {
    /// What is to be expected.
    fn usual(&self) -> Option<Duration> {
        let mut seconds: Vec<f64> = self.seconds.iter().copied().filter(|s| s.is_finite() && *s >= 0.0).collect();
        seconds.sort_by(f64::total_cmp);
        seconds.get(seconds.len() / 2).and_then(|seconds| Duration::try_from_secs_f64(*seconds).ok())
    }
}

impl History {
    /// What is known of the pipeline file `file` of the project at `project`.
    pub fn of(state_dir: &Path, project: &Path, file: &str) -> Self {
        let folder = state_dir.join("exec").join("durations");
        let known = read(&path(&folder, project)).files.remove(file).unwrap_or_default();
        Self { folder, project: project.to_owned(), file: file.to_owned(), known }
    }

    /// How long `job` takes.
    pub fn usual(&self, job: &str) -> Option<Duration> {
        self.known.get(job).and_then(Job::usual)
    }

    /// What was recorded goes before what an author wrote down.
    pub fn fill(&self, definition: &mut PipelineDefinition) {
        for job in &mut definition.jobs {
            job.estimate = self.usual(&job.name).or(job.estimate);
        }
    }

    /// What a run of `definition` will take, so many jobs at a time.
    pub fn expected(&self, definition: &PipelineDefinition, parallel: usize) -> Expected {
        let mut definition = definition.clone();
        self.fill(&mut definition);
        let known = definition.jobs.iter().filter_map(|job| Some((job.name.clone(), job.estimate?)));
        let durations: HashMap<String, Duration> = known.collect();
        let total = (durations.len() == definition.jobs.len()).then(|| {
            let path = JobGraph::build(&definition)
                .map(|(graph, _)| graph.critical_path(&Durations::estimated(&definition)).total)
                .unwrap_or_default();
            let work: Duration = durations.values().sum();
            path.max(work / u32::try_from(parallel.max(1)).unwrap_or(u32::MAX))
        });
        Expected { jobs: definition.jobs.len(), durations, total: total.filter(|total| !total.is_zero()) }
    }

    /// Keeps how long jobs took that have ended by `now`, seconds since 1970.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn record(&self, ended: &[Line], now: i64) -> io::Result<()> {
        let succeeded = || ended.iter().filter(|line| line.status == JobStatus::Success);
        if succeeded().next().is_none() {
            return Ok(());
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let lock = fs::OpenOptions::new().create(true).append(true).mode(0o600).open(self.folder.join("lock"))?;
        // Another run may end at the same time. Held until the file is written.
        lock.lock()?;
        let path = path(&self.folder, &self.project);
        let mut book = read(&path);
        (book.version, book.project) = (1, self.project.clone());
        let jobs = book.files.entry(self.file.clone()).or_default();
        for line in succeeded() {
            let job = jobs.entry(line.job.clone()).or_default();
            job.seconds.push((line.took.as_secs_f64() * 1000.0).round() / 1000.0);
            let too_many = job.seconds.len().saturating_sub(RUNS);
            job.seconds.drain(..too_many);
            job.last = now;
        }
        forget_oldest(jobs, JOBS, |job| job.last);
        forget_oldest(&mut book.files, FILES, |jobs| jobs.values().map(|job| job.last).max().unwrap_or_default());
        let is_new = !path.exists();
        durable::replace(&path, &[&serde_json::to_vec(&book)?])?;
        if is_new { forget_projects(&self.folder) } else { Ok(()) }
    }
}

/// Where the durations of a project are.
fn path(folder: &Path, project: &Path) -> PathBuf {
    let hash = Sha256::digest(project.as_os_str().as_encoded_bytes());
    folder.join(format!("{}.json", hex::encode(&hash[..16])))
}

fn read(path: &Path) -> Book {
    let read = || -> io::Result<Book> {
        let mut bytes = Vec::new();
        fs::File::open(path)?.take(BIGGEST).read_to_end(&mut bytes)?;
        Ok(serde_json::from_slice(&bytes)?)
    };
    read().ok().filter(|book| book.version == 1).unwrap_or_default()
}

/// Leaves the `most` entries that were used last.
fn forget_oldest<T>(entries: &mut BTreeMap<String, T>, most: usize, last: impl Fn(&T) -> i64) {
    if entries.len() <= most {
        return;
    }
    let mut times: Vec<i64> = entries.values().map(&last).collect();
    times.sort_unstable_by(|a, b| b.cmp(a));
    let oldest = times.get(most.saturating_sub(1)).copied().unwrap_or(i64::MIN);
    let mut room = most;
    entries.retain(|_, entry| {
        let stays = last(entry) >= oldest && room > 0;
        room -= usize::from(stays);
        stays
    });
}

/// Leaves the projects that were run last.
fn forget_projects(folder: &Path) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "json") {
            files.push((fs::metadata(&path)?.modified()?, path));
        }
    }
    files.sort_by(|a, b| b.cmp(a));
    files.iter().skip(PROJECTS).try_for_each(|(_, path)| fs::remove_file(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{PlannedJob, Waits};

    fn line(job: &str, status: JobStatus, seconds: u64) -> Line {
        Line {
            job: job.to_owned(),
            status,
            reason: None,
            took: Duration::from_secs(seconds),
            output: Vec::new(),
            coverage: None,
        }
    }

    #[test]
    fn what_is_usual_is_the_median_of_the_last_successes() {
        let dir = tempfile::tempdir().unwrap();
        let history = || History::of(dir.path(), Path::new("/p"), "a.yml");
        assert_eq!(history().usual("build"), None);
        for (run, seconds) in [100, 100, 100, 1, 2, 3, 4, 5, 90].into_iter().enumerate() {
            let ended = [line("build", JobStatus::Success, seconds), line("test", JobStatus::Failed, 7)];
            history().record(&ended, run as i64).unwrap();
        }
        assert_eq!(history().usual("build"), Some(Duration::from_secs(4)));
        assert_eq!(history().usual("test"), None);
        assert_eq!(History::of(dir.path(), Path::new("/p"), "b.yml").usual("build"), None);
        assert_eq!(History::of(dir.path(), Path::new("/q"), "a.yml").usual("build"), None);
    }

    #[test]
    fn it_stays_small_and_a_broken_file_is_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let history = || History::of(dir.path(), Path::new("/p"), "a.yml");
        let many: Vec<Line> = (0..JOBS).map(|n| line(&format!("old {n}"), JobStatus::Success, 1)).collect();
        history().record(&many, 1).unwrap();
        history().record(&[line("new", JobStatus::Success, 3)], 2).unwrap();
        assert_eq!(history().known.len(), JOBS);
        assert_eq!(history().usual("new"), Some(Duration::from_secs(3)));
        for project in 0..PROJECTS + 3 {
            let path = PathBuf::from(format!("/{project}"));
            History::of(dir.path(), &path, "a.yml").record(&[line("x", JobStatus::Success, 1)], 3).unwrap();
        }
        let folder = dir.path().join("exec/durations");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), PROJECTS + 1);
        fs::write(path(&folder, Path::new("/p")), b"{nonsense").unwrap();
        assert_eq!(history().usual("new"), None);
        history().record(&[line("new", JobStatus::Success, 9)], 4).unwrap();
        assert_eq!(history().usual("new"), Some(Duration::from_secs(9)));
    }

    #[test]
    fn a_run_takes_its_longest_chain_or_its_work_whichever_is_more() {
        let dir = tempfile::tempdir().unwrap();
        let history = || History::of(dir.path(), Path::new("/p"), "a.yml");
        let job = |name: &str, needs: &[&str]| PlannedJob {
            name: name.to_owned(),
            waits: Waits::Jobs(needs.iter().map(|need| (*need).to_owned()).collect()),
            ..PlannedJob::default()
        };
        let jobs = vec![job("a", &[]), job("b", &["a"]), job("c", &[])];
        let definition = PipelineDefinition { jobs, ..PipelineDefinition::default() };
        assert_eq!(history().expected(&definition, 4).total, None);
        let ended = ["a", "b", "c"].map(|name| line(name, JobStatus::Success, 10));
        history().record(&ended, 1).unwrap();
        assert_eq!(history().expected(&definition, 4).total, Some(Duration::from_secs(20)));
        assert_eq!(history().expected(&definition, 1).total, Some(Duration::from_secs(30)));
    }
}
