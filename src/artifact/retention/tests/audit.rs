//! What the audit log holds, as others will read it.

use serde_json::{Value, json};

use super::*;
use crate::artifact::retention::audit::Done;
use crate::artifact::retention::{AuditEvent, ReferenceCause};
use crate::pipeline::{JobId, JobKey};

fn object(event: &AuditEvent) -> Value {
    let line = event.line().unwrap();
    assert_eq!(line.matches('\n').count(), 1, "{line}");
    assert!(line.ends_with('\n'));
    assert_eq!(&serde_json::from_str::<AuditEvent>(&line).unwrap(), event, "{line}");
    serde_json::from_str(&line).unwrap()
}

#[test]
fn an_evaluation_names_artifact_policy_decision_and_time() {
    let policies = [RetentionPolicy { max_age_days: Some(7), ..policy("tests", "test") }];
    let candidates = vec![
        Candidate { name: "test\n1".to_owned(), ..entry("a", 9 * DAY, 9 * DAY) },
        Candidate { pinned: true, name: "test-2".to_owned(), ..entry("b", 9 * DAY, 9 * DAY) },
    ];
    let plan = plan(&policies, &full(0), candidates);
    let events: Vec<_> = plan.evaluations().map(|event| object(&event)).collect();
    assert_eq!(
        events,
        [
            json!({
                "event": "policy_evaluation", "at": "2026-03-01T12:00:00Z", "artifact": format!("{:0>64}", "a"), "entry": "a",
                "name": "test\n1", "policy": "tests", "decision": "delete", "rule": "max_age",
                "reason": "policy `tests`: 9d old, 7d are allowed",
            }),
            json!({
                "event": "policy_evaluation", "at": "2026-03-01T12:00:00Z", "artifact": format!("{:0>64}", "b"), "entry": "b",
                "name": "test-2", "policy": "tests", "decision": "keep", "rule": "pinned", "reason": "pinned",
            }),
        ]
    );
}

#[test]
fn a_deletion_names_artifact_size_age_references_and_policy() {
    let plan = plan(&[], &full(0), vec![entry("a", 9 * DAY, 9 * DAY)]);
    let judged = &plan.deletions[0];
    let event = AuditEvent::deletion(judged, &Candidate { bytes: 70, ..judged.candidate.clone() }, now());
    assert_eq!(
        object(&event),
        json!({
            "event": "artifact_deletion", "at": "2026-03-01T12:00:00Z", "artifact": format!("{:0>64}", "a"), "entry": "a",
            "name": "a", "size": 70, "age_seconds": 777_600, "references": 0, "policy": null, "rule": "aging",
            "reason": "older than 7d and unused for 9d, 3d are kept at its age",
        })
    );
    let damaged = object(&event.of_damaged(Some("the object x is damaged")));
    assert_eq!(damaged["corrupted"], "the object x is damaged");
}

#[test]
fn a_reference_change_names_job_artifact_delta_and_time() {
    let job = JobKey::of(&ForgeInstance::new("https://forge.example"), &JobId::new("7"), "token");
    let (entry, artifact) = (EntryId::new("e"), ContentHash::new("c0ffee"));
    let event =
        AuditEvent::reference(now(), Some(job.clone()), entry.clone(), artifact.clone(), ReferenceCause::JobFailed);
    assert_eq!(
        object(&event),
        json!({
            "event": "reference_change", "at": "2026-03-01T12:00:00Z", "job": job.as_str(), "artifact": "c0ffee", "entry": "e",
            "delta": -1, "cause": "job_failed",
        })
    );
    let pin = AuditEvent::reference(now(), None, entry, artifact, ReferenceCause::Pinned);
    assert_eq!((object(&pin)["delta"].clone(), object(&pin)["job"].clone()), (json!(1), Value::Null));
    for cause in [ReferenceCause::JobSucceeded, ReferenceCause::JobFailed, ReferenceCause::JobCancelled] {
        assert_eq!(cause.delta(), -ReferenceCause::JobQueued.delta(), "{cause:?} releases what was taken");
    }
}

#[test]
fn an_alert_names_level_and_actions_from_80_per_cent_on() {
    let done = Done { deleted: 3, freed: 300 };
    let alert = |per_cent| plan(&[], &full(per_cent), Vec::new()).alert(done).map(|event| object(&event));
    assert_eq!(alert(79), None);
    assert_eq!(
        alert(80).unwrap(),
        json!({
            "event": "storage_alert", "at": "2026-03-01T12:00:00Z", "limit": "quota", "pressure": "yellow", "used": 80_000,
            "capacity": 100_000, "actions": ["periods_shortened"], "deleted": 3, "freed": 300,
        })
    );
    assert_eq!(alert(90).unwrap()["actions"], json!(["periods_halved", "eviction_by_size"]));
    assert_eq!(
        alert(95).unwrap()["actions"],
        json!(["periods_halved", "eviction_by_size", "eviction_of_unreferenced"])
    );
    let critical = json!(["periods_halved", "eviction_by_size", "eviction_of_unreferenced", "new_artifacts_refused"]);
    assert_eq!(alert(98).unwrap()["actions"], critical);
    let jumped = Situation { clock: Some(ClockRecord::first(None, ago(90 * DAY))), ..full(98) };
    let paused = plan(&[], &jumped, Vec::new()).alert(Done::default()).unwrap();
    assert_eq!(object(&paused)["actions"], json!(["deletion_paused", "new_artifacts_refused"]));
}
