//! Masked values leave the machine nowhere, in no form.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use serde_json::json;

use super::house::{House, archive_of};

const SECRET: &str = "sw0rd+fish/of;the$deep=";

#[test]
fn a_masked_value_is_on_no_wire_in_no_log_and_in_no_process_list() {
    let mut house = House::quick();
    let variables = json!([
        { "key": "GIT_STRATEGY", "value": "fetch" },
        { "key": "PASSWORD", "value": SECRET, "masked": true },
        { "key": "PASSWORD_FILE", "value": SECRET, "masked": true, "file": true },
        { "key": "EMBEDDED", "value": "https://user:$PASSWORD@example.com", "masked": false },
    ]);
    let plain64 = base64::engine::general_purpose::STANDARD.encode(SECRET);
    let commands = [
        "echo \"$PASSWORD\"; echo \"$EMBEDDED\" >&2; cat \"$PASSWORD_FILE\"; env",
        &format!("echo '{SECRET}' # in the command itself"),
        "printf '%s' \"$PASSWORD\" | base64; printf 'x%s' \"$PASSWORD\" | base64; printf 'xy%s' \"$PASSWORD\" | base64 -w0",
        "printf '%s' \"$PASSWORD\" | sed 's/+/%2B/g; s,/,%2F,g; s/;/%3B/g; s/\\$/%24/g; s/=/%3D/g'; echo",
        "for part in sw0rd+f ish/of ';the$d' 'eep='; do printf '%s' \"$part\"; sleep 0.4; done; echo",
        "printf '%s' \"$PASSWORD\" >&2; sleep 1.2; printf '%s\\n' \"$PASSWORD\"",
        "echo \"token $CI_JOB_TOKEN\"; set -x; : \"$PASSWORD\"; set +x",
        "echo ok >result; echo waiting; until [ -e go ]; do sleep 0.1; done; exit 1",
    ];
    let over = json!({ "variables": variables, "artifacts": archive_of(&["result"]) });
    let id = house.queue(&commands, over);
    house.wait_for_output(id, "waiting\n");
    let token = house.forge.job(id).expect("it runs").token;
    let forms = forms(SECRET);
    let in_processes = command_lines();
    for (pid, line) in &in_processes {
        assert!(!line.contains(SECRET) && !line.contains(&token), "process {pid}: {line}");
    }
    let state = house.agent.state_dir();
    look_into(&state, &mut |path, bytes| {
        let is_private = path.file_name().is_some_and(|name| name == "assignment");
        // The job's own script and variables of file type lie where the job finds them.
        let is_jobs_own = path.strip_prefix(state.join("builds")).is_ok();
        // What a step printed, before the masks: gone with the job.
        let is_spool = path.extension().is_some_and(|ending| ending == "spool");
        if !is_private && !is_jobs_own && !is_spool {
            assert!(!holds(bytes, SECRET) && !holds(bytes, &token), "{} holds it", path.display());
        }
        if is_private {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(path).expect("it is there").permissions().mode() & 0o777, 0o600);
        }
    });
    let mut go = Vec::new();
    find(&state.join("builds"), "result", &mut go);
    fs::write(go.first().expect("the work tree is there").with_file_name("go"), "").expect("written");
    let ended = house.end(id);
    ended.failed("script_failure").said("[MASKED]");
    assert!(!ended.log.text.contains(&plain64));
    for request in house.forge.requests() {
        for form in &forms {
            assert!(!holds(&request.body, form), "{} {} holds `{form}`", request.method, request.path);
        }
        let is_own = request.header("job-token") == token || request.json()["token"] == token.as_str();
        assert!(is_own || !holds(&request.body, &token), "{} {}", request.method, request.path);
    }
    let log = house.forge.log(id);
    for form in forms.iter().chain([&token]) {
        assert!(!holds(&log, form), "the log holds `{form}`: {}", String::from_utf8_lossy(&log));
    }
    let House { forge: _, agent, .. } = &mut house;
    let jobs = state.join("jobs");
    agent.wait_until(std::time::Duration::from_secs(30), "the job's private folder goes", || {
        fs::read_dir(&jobs).is_ok_and(|mut left| left.next().is_none()).then_some(())
    });
    let said = house.agent.output();
    assert!(!said.contains(SECRET) && !said.contains(&token), "{said}");
    let kept = house.agent.forgehand(&["logs", &id.to_string()]);
    assert!(!holds(&kept.stdout, SECRET), "{}", String::from_utf8_lossy(&kept.stdout));
    house.close();
}

/// The value itself, URL-encoded, and the part of its base64 that does not depend on what surrounds it, for each of the
/// three places it can begin at.
fn forms(secret: &str) -> Vec<String> {
    let base64 = base64::engine::general_purpose::STANDARD;
    let encoded: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let mut forms = vec![secret.to_owned(), encoded];
    for before in 0..3_usize {
        let text = base64.encode([&b"xy"[..before], secret.as_bytes()].concat());
        let from = [0, 2, 3][before];
        forms.push(text[from..text.len() - 4].to_owned());
    }
    forms
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

fn command_lines() -> BTreeMap<String, String> {
    let processes = fs::read_dir("/proc").expect("it is mounted").flatten();
    let line = |entry: fs::DirEntry| {
        let pid = entry.file_name().into_string().ok().filter(|name| name.bytes().all(|b| b.is_ascii_digit()))?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        Some((pid, String::from_utf8_lossy(&line).replace('\0', " ")))
    };
    processes.filter_map(line).collect()
}

fn look_into(folder: &Path, look: &mut impl FnMut(&Path, &[u8])) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let kind = entry.file_type().expect("the kernel tells");
        if kind.is_dir() {
            look_into(&entry.path(), look);
        } else if kind.is_file() && entry.metadata().is_ok_and(|data| data.len() < 32 << 20) {
            let bytes = fs::read(entry.path()).unwrap_or_default();
            look(&entry.path(), &bytes);
        }
    }
}

fn find(folder: &Path, name: &str, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            find(&entry.path(), name, found);
        } else if entry.file_name() == name {
            found.push(entry.path());
        }
    }
}
