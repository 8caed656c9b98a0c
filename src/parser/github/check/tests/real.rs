//! Workflows of known projects.

use super::*;

#[test]
fn real_workflows_get_the_official_verdict() {
    let Some(folder) = corpus("real/github") else { return };
    let (mut total, mut wrong, mut shape) = (0, Vec::new(), Vec::new());
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for path in files.iter().filter(|path| path.extension().is_some_and(|end| end == "yml" || end == "yaml")) {
        let oracle = path.with_extension("oracle.json");
        if !oracle.is_file() {
            continue;
        }
        let expect = json(&oracle);
        let name = path.file_name().unwrap().to_string_lossy();
        let text = std::fs::read_to_string(path).unwrap();
        let options = CheckOptions { lints: true, ..CheckOptions::default() };
        let checked = check(&name, &text, &NoFiles, &options);
        total += 1;
        let found = errors(&checked);
        if expect["ok"].as_bool() != Some(found.is_empty()) {
            wrong.push(format!("{name}: wanted {}, found {found:?}", expect["errors"]));
        }
        let workflow = checked.value.unwrap();
        let events: Vec<&str> = workflow.events.iter().map(|event| event.name.as_str()).collect();
        let wanted: Vec<&str> = expect["events"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
        let sorted = |mut list: Vec<&str>| {
            list.sort_unstable();
            list.join(" ")
        };
        if expect["ok"] == true && sorted(events.clone()) != sorted(wanted.clone()) {
            shape.push(format!("{name}: events {events:?}, wanted {wanted:?}"));
        }
        for (job, wanted) in workflow.jobs.iter().zip(expect["jobs"].as_array().into_iter().flatten()) {
            let needs: Vec<&str> = job.needs().collect();
            let wanted_needs: Vec<&str> =
                wanted["needs"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
            let ids: Vec<&str> = job.steps().iter().map(|step| step.unique_id.as_str()).collect();
            let wanted_ids: Vec<&str> =
                wanted["steps"].as_array().into_iter().flatten().filter_map(|step| step["id"].as_str()).collect();
            // The official parser keeps the line breaks of folded texts.
            let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            let condition = wanted["if"]["expr"].as_str().unwrap_or("success()");
            if Some(job.key()) != wanted["id"].as_str()
                || needs != wanted_needs
                || ids != wanted_ids
                || plain(&job.condition().text) != plain(condition)
            {
                shape.push(format!(
                    "{name}: job {} needs {needs:?} ids {ids:?} if {}, wanted {wanted}",
                    job.id,
                    job.condition().text
                ));
            }
        }
        if workflow.jobs.len() != expect["jobs"].as_array().map_or(0, Vec::len) && expect["ok"] == true {
            shape.push(format!("{name}: {} jobs", workflow.jobs.len()));
        }
    }
    report("real/github verdicts", total, &wrong, 0.99);
    report("real/github events and jobs", total, &shape, 0.99);
}
