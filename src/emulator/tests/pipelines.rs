use super::*;
use crate::emulator::PipelineStatus;

impl House {
    fn states(&self, pipeline: u64) -> Vec<(String, &'static str)> {
        let view = self.forge.pipeline(pipeline).unwrap();
        view.jobs.into_iter().map(|job| (job.name, job.state)).collect()
    }

    async fn take_and_end(&self, state: &str) -> String {
        let job: Value = self.poll("").await.json().await.unwrap();
        let (id, token) = (job["id"].as_u64().unwrap(), job["token"].as_str().unwrap().to_owned());
        assert_eq!(self.finish(id, &token, state).await.status(), 200);
        job["job_info"]["name"].as_str().unwrap().to_owned()
    }
}

fn states(list: &[(&str, &'static str)]) -> Vec<(String, &'static str)> {
    list.iter().map(|(name, state)| ((*name).to_owned(), *state)).collect()
}

#[tokio::test]
async fn jobs_come_in_the_order_of_their_stages_and_needs() {
    let house = House::new(EmulatorOptions::default()).await;
    let pipeline = house.forge.create_pipeline(house.project, "main").unwrap();
    let begin = [("compile", "pending"), ("check", "created"), ("lint", "pending"), ("mourn", "created")];
    assert_eq!(house.states(pipeline), states(&begin));
    assert_eq!(house.take_and_end("success").await, "compile");
    assert_eq!(house.take_and_end("success").await, "check");
    assert_eq!(house.take_and_end("failed").await, "lint", "which may fail");
    let view = house.forge.pipeline(pipeline).unwrap();
    assert_eq!(view.status, PipelineStatus::Success);
    assert_eq!(house.states(pipeline)[3], ("mourn".to_owned(), "skipped"));
}

#[tokio::test]
async fn a_failure_skips_what_comes_after_and_runs_what_waits_for_it() {
    let house = House::new(EmulatorOptions::default()).await;
    let pipeline = house.forge.create_pipeline(house.project, "main").unwrap();
    assert_eq!(house.take_and_end("failed").await, "compile");
    let now = [("compile", "failed"), ("check", "skipped"), ("lint", "pending"), ("mourn", "pending")];
    assert_eq!(house.states(pipeline), states(&now));
    house.take_and_end("success").await;
    house.take_and_end("success").await;
    assert_eq!(house.forge.pipeline(pipeline).unwrap().status, PipelineStatus::Failed);
}

#[tokio::test]
async fn the_payload_of_a_plain_job() {
    let house = House::new(EmulatorOptions::default()).await;
    let pipeline = house.forge.create_pipeline(house.project, "main").unwrap();
    let job: Value = house.poll("").await.json().await.unwrap();
    assert_eq!(job["steps"][0]["script"], json!(["make"]));
    assert_eq!(job["artifacts"][0]["paths"], json!(["out"]));
    let reference = format!("+refs/pipelines/{pipeline}:refs/pipelines/{pipeline}");
    assert_eq!(job["git_info"]["refspecs"][0], json!(reference));
    let greeting = job["variables"].as_array().unwrap().iter().find(|v| v["key"] == "GREETING").unwrap();
    assert_eq!(greeting["value"], "hello");
}
