//! Artifacts: paths that leave the work tree or match nothing, links, uploads and downloads that fail.

use std::time::Duration;

use forgehand::emulator::{Endpoint, FaultAction, FaultRule, JobSpec, JobView, RecordedRequest};
use serde_json::json;

use super::house::{House, archive_of};
use crate::support::docker::docker;

#[test]
fn a_path_that_leaves_the_work_tree_brings_nothing_from_outside() {
    let mut house = House::quick();
    let outside = "/etc/passwd";
    let paths =
        ["../../../../etc/passwd", outside, "link-to-etc/passwd", "link-to-etc/**", "~/x", "a-link", "inside.txt"];
    let commands = ["ln -s /etc link-to-etc; ln -s /etc/passwd a-link; ln -s ../../.. up; echo inside >inside.txt"];
    let ended = house.run(&commands, json!({ "artifacts": archive_of(&paths) }));
    ended.succeeded();
    let archive = ended.view.artifact("archive").expect("what is inside is uploaded");
    let mut zip = zip::ZipArchive::new(std::fs::File::open(&archive.path).expect("it is there")).expect("a zip");
    let names: Vec<String> = zip.file_names().map(|name| name.expect("readable").into_owned()).collect();
    assert!(names.iter().any(|name| name == "inside.txt"), "{names:?}");
    assert!(names.iter().all(|name| !name.contains("passwd") && !name.contains("..")), "{names:?}");
    // A link goes as a link: what it leads to does not.
    if let Ok(mut link) = zip.by_name("a-link") {
        let mut target = String::new();
        std::io::Read::read_to_string(&mut link, &mut target).expect("a text");
        assert_eq!(target, outside);
    }
    ended.said("passwd");

    let nothing = house.run(&["true"], json!({ "artifacts": archive_of(&["no/such/*", "../up", "[", "{a,b"]) }));
    nothing.succeeded().said("no/such/*").said("No files to upload");
    assert!(nothing.view.artifacts.is_empty());
    house.close();
}

#[test]
fn an_upload_that_is_refused_fails_the_job_and_one_that_is_in_trouble_is_repeated() {
    let mut house = House::quick();
    let with_artifact = || json!({ "artifacts": archive_of(&["file"]) });
    let make = "head -c 100000 /dev/urandom >file";
    for (code, said) in [
        (413, "larger than GitLab takes"),
        (403, "may not upload"),
        (400, "400"),
        (404, "404"),
        (401, "401"),
        (500, "500"),
    ] {
        let rule = house.forge.fail(FaultRule::all(Endpoint::UploadArtifact, FaultAction::status(code)));
        let ended = house.run(&[make], with_artifact());
        ended.failed("script_failure").said(said).said("artifacts.zip").said("Job failed: ");
        house.forge.heal(rule);
    }
    // It begins to be sent while it is packed.
    let make = "head -c 3000000 /dev/urandom >file";
    for action in [FaultAction::status(500), FaultAction::status(503), FaultAction::Reset, FaultAction::html()] {
        let what = format!("{action:?}");
        let rule = house.forge.fail(FaultRule::first(2, Endpoint::UploadArtifact, action));
        let ended = house.run(&[make], with_artifact());
        assert!(ended.view.state == "success", "{what}: {}", ended.log.text);
        assert_eq!(ended.view.artifacts.len(), 1, "{what}");
        house.forge.heal(rule);
    }
    // The forge has it, but the answer is lost: it is sent again, and replaces the first.
    let rule = house.forge.fail(FaultRule::first(1, Endpoint::UploadArtifact, FaultAction::ServeThenReset));
    let ended = house.run(&[make], with_artifact());
    ended.succeeded();
    house.forge.heal(rule);
    house.close();
}

#[test]
fn files_that_cannot_be_packed_fail_the_job_for_what_it_is_and_nothing_half_is_kept() {
    let mut house = House::quick();
    // Found out before anything is sent, and when the first of them is on its way.
    for (format, size, why) in [("raw", 10, "as raw"), ("gzip", 10, "other"), ("gzip", 3_000_000, "other")] {
        let mut artifacts = archive_of(&["one", "other"]);
        artifacts[0]["artifact_format"] = json!(format);
        let make = format!("head -c {size} /dev/urandom >one; ln -s one other");
        let ended = house.run(&[&make], json!({ "artifacts": artifacts }));
        ended.failed("script_failure").said("the files could not be packed").said(why);
        assert!(ended.view.artifact("archive").is_none(), "{:?}", ended.view.artifacts);
    }
    house.close();
}

#[test]
fn a_transfer_under_way_ends_with_its_job() {
    let mut house = House::quick();
    let giver = house.spec(&["echo given >given"], json!({ "artifacts": archive_of(&["given"]) }));
    let giver = house.queue_spec(JobSpec { name: "giver".to_owned(), ..giver });
    house.end(giver).succeeded();
    house.agent.forget_artifacts();
    for endpoint in [Endpoint::UploadArtifact, Endpoint::DownloadArtifact] {
        house.forge.fail(FaultRule::all(endpoint, FaultAction::Hang));
    }
    let limit = json!({ "timeout": 10, "runner_session_url": null });
    let giving = house
        .queue(&["echo given >given"], json!({ "artifacts": archive_of(&["given"]), "runner_info": limit.clone() }));
    let taking = house.queue(&["echo never-reached"], json!({ "dependencies": ["giver"], "runner_info": limit }));
    let unwanted = house.queue(&["echo given >given"], json!({ "artifacts": archive_of(&["given"]) }));
    let House { forge, agent, .. } = &mut house;
    let is_sent =
        |request: &RecordedRequest| request.endpoint == Endpoint::UploadArtifact && request.job() == Some(unwanted);
    agent.wait_until(Duration::from_secs(60), "the upload begins", || {
        forge.requests().iter().any(is_sent).then_some(())
    });
    assert!(forge.force_cancel(unwanted));
    // Before work that is asked to stop is given up.
    for id in [giving, taking] {
        let view = agent.wait_until(Duration::from_secs(50), &format!("the time limit of job {id} ends it"), || {
            forge.job(id).filter(JobView::has_ended)
        });
        assert_eq!(view.failure_reason.as_deref(), Some("job_execution_timeout"), "{}", forge.job_log(id).text);
    }
    let label = format!("label=forgehand.forge={}", forge.url());
    agent.wait_until(Duration::from_secs(50), "the job that nobody wants goes", || {
        docker(&["ps", "--all", "--quiet", "--filter", &label]).is_empty().then_some(())
    });
    house.close();
}

#[test]
fn a_download_that_fails_ends_the_job_before_its_commands() {
    let mut house = House::quick();
    let giver = house.spec(&["echo given >given"], json!({ "artifacts": archive_of(&["given"]) }));
    let giver = house.queue_spec(JobSpec { name: "giver".to_owned(), ..giver });
    house.end(giver).succeeded();
    house.agent.forget_artifacts();
    let over = json!({ "dependencies": ["giver"] });
    for code in [401, 403, 404, 500] {
        let rule = house.forge.fail(FaultRule::all(Endpoint::DownloadArtifact, FaultAction::status(code)));
        let ended = house.run(&["echo never-reached"], over.clone());
        ended.failed("script_failure").said("giver").kept_quiet_about("$ echo never-reached");
        house.forge.heal(rule);
    }
    let zip = |body: &[u8]| FaultAction::Garbage { body: body.to_vec(), content_type: "application/zip".into() };
    for action in [FaultAction::html(), zip(b"PK\x03\x04 and then nothing"), zip(b"")] {
        let rule = house.forge.fail(FaultRule::all(Endpoint::DownloadArtifact, action));
        let ended = house.run(&["echo never-reached"], over.clone());
        ended.failed("script_failure").said("giver").kept_quiet_about("$ echo never-reached");
        house.forge.heal(rule);
    }
    for endpoint in [Endpoint::DownloadArtifact, Endpoint::Storage] {
        for action in [FaultAction::status(500), FaultAction::Reset, FaultAction::CutBody] {
            let what = format!("{endpoint:?} {action:?}");
            let rule = house.forge.fail(FaultRule::first(1, endpoint, action));
            let ended = house.run(&["cat given"], over.clone());
            assert_eq!(ended.view.state, "success", "{what}: {}", ended.log.text);
            ended.said("given");
            house.forge.heal(rule);
        }
    }
    house.close();
}

#[test]
fn a_provenance_statement_goes_with_a_zip_that_asks_for_it() {
    let mut house = House::quick();
    let outside = "/builds/outside";
    let variables = json!([{ "key": "GIT_STRATEGY", "value": "none" },
        { "key": "RUNNER_GENERATE_ARTIFACTS_METADATA", "value": "true" },
        { "key": "SLSA_PROVENANCE_SCHEMA_VERSION", "value": "v9" },
        { "key": "A_SECRET", "value": "never-in-there", "masked": true }]);
    // What the job puts in its place gives way.
    let make = "mkdir out; echo one >out/a; ln -s a out/link; echo mine >/builds/outside; ln -s /builds/outside named-metadata.json";
    let mut artifacts = archive_of(&["out/"]);
    artifacts[0]["name"] = json!("some/named");
    let report = json!({ "name": "junit.xml", "paths": ["out/a"], "when": "always", "artifact_type": "junit",
                         "artifact_format": "gzip" });
    artifacts.as_array_mut().expect("a list").push(report);
    let ended = house.run(
        &[make, &format!("test -L named-metadata.json; cat {outside}")],
        json!({
            "artifacts": artifacts, "variables": variables,
        }),
    );
    ended.succeeded().said("SLSA_PROVENANCE_SCHEMA_VERSION");
    let archive = ended.view.artifact("archive").expect("it is uploaded");
    let mut zip = zip::ZipArchive::new(std::fs::File::open(&archive.path).expect("it is there")).expect("a zip");
    let mut text = String::new();
    let mut file = zip.by_name("named-metadata.json").expect("the statement");
    std::io::Read::read_to_string(&mut file, &mut text).expect("a text");
    drop(file);
    let statement: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let sum = "2c8b08da5ce60398e1f19af0e5dccc744df274b826abe585eaba68c525434806";
    assert_eq!(statement["subject"], json!([{ "name": "out/a", "digest": { "sha256": sum } }]));
    let definition = &statement["predicate"]["buildDefinition"];
    assert_eq!(definition["externalParameters"]["A_SECRET"], "", "{text}");
    assert_eq!(definition["externalParameters"]["entryPoint"], "job");
    assert_eq!(definition["internalParameters"]["job"], ended.view.id.to_string());
    assert_eq!(definition["internalParameters"]["executor"], "docker");
    assert!(!text.contains("never-in-there"), "{text}");
    assert!(ended.view.artifact("junit").is_some());

    // The work tree may be the one of the job before, or another.
    let without = house.run(&["rm -rf out; mkdir out; echo one >out/a"], json!({ "artifacts": archive_of(&["out/"]) }));
    let archive = without.succeeded().view.artifact("archive").expect("it is uploaded");
    let zip = zip::ZipArchive::new(std::fs::File::open(&archive.path).expect("it is there")).expect("a zip");
    let names: Vec<String> = zip.file_names().map(|name| name.expect("readable").into_owned()).collect();
    assert!(names.iter().all(|name| name.starts_with("out/")), "{names:?}");
    house.close();
}
