//! Pipelines of known projects: how many jobs there are.

use super::{Folder, Tally, corpus, json, options, peer_context};
use crate::parser::diagnostics::Severity;
use crate::parser::gitlab::compose::Offline;
use crate::parser::gitlab::load;
use crate::parser::gitlab::pipeline::matrix;

#[test]
fn pipelines_of_known_projects_have_their_jobs() {
    let Some(root) = corpus("real/gitlab") else { return };
    let mut folders: Vec<_> = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    let mut tally = Tally::default();
    for folder in folders {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let expect = json(&folder.join("expect.json"));
        let loaded = load(".gitlab-ci.yml", &Folder(folder.clone()), &Offline, &options(), &peer_context());
        let errors: Vec<_> = loaded.diagnostics.iter().filter(|found| found.severity == Severity::Error).collect();
        let result = match (&loaded.value, errors.first(), expect["ok"] == true) {
            (_, Some(error), true) => Err(format!("refused: {}", error.message)),
            (Some(pipeline), None, true) => {
                let want = expect["jobs"].as_u64().unwrap_or_default();
                let got = pipeline.jobs.len() as u64;
                // The peer counts jobs whose rules say never as well.
                let all: u64 = pipeline.configuration.jobs.iter().map(made).sum();
                if want == all && got <= all {
                    Ok(())
                } else {
                    Err(format!("{got} of {all} jobs, the peer has {want}"))
                }
            }
            _ => Ok(()),
        };
        tally.add(&name, result);
    }
    // The peer ignores only and except (coq, math-comp) and lists jobs that are never created.
    tally.end("real", 75.0);
}

fn made(job: &crate::parser::gitlab::config::model::Job) -> u64 {
    job.parallel.as_ref().map_or(1, |parallel| matrix::instances(&job.name, parallel).len() as u64)
}
