//! gitlab-runner's `config.toml` (protocols/gitlab.md 11), with `.runner_system_id` beside it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use jiff::Timestamp;
use toml_edit::{Array, Item, Table, Value, value};
use url::Url;

use super::plan::{Migrated, MigratedToken, Migration, MigrationError, Note};
use super::taken::Taken;
use super::{gitlab_cache, gitlab_docker};
use crate::config::system_id;
use crate::config::units::{ByteSize, format_duration, parse_duration};
use crate::pipeline::Secret;

/// Far beyond any configuration.
const MAX_SIZE: u64 = 8 << 20;

/// Keys of the whole file that have no counterpart.
const GLOBAL_LEFT: [(&str, &str); 8] = [
    ("listen_address", "this version serves no metrics"),
    ("session_server", "interactive terminals are not supported"),
    ("sentry_dsn", "errors are not sent to Sentry; they are in the log"),
    ("connection_max_age", "connections are renewed by the agent itself"),
    ("labels", "runner labels are not sent to the forge"),
    ("user", "jobs of the host executor run as the agent's user: set `User=` in the service"),
    ("experimental", "not supported"),
    ("machine", "docker-machine is not supported"),
];

/// Keys of a runner that have no counterpart.
const RUNNER_LEFT: [(&str, &str); 23] = [
    ("strict_check_interval", "after a job the next one is asked for at once"),
    ("safe_directory_checkout", "git always trusts the job's own folder only"),
    ("clean_git_config", "git's settings in a work tree are always cleaned"),
    ("unhealthy_requests_limit", "a forge that fails is asked less and less often, and at once when it answers again"),
    ("unhealthy_interval", "a forge that fails is asked less and less often, and at once when it answers again"),
    ("job_status_final_update_retry_limit", "a job's end is reported until the forge has acknowledged it"),
    ("proxy_exec", "not supported"),
    ("step_runner_image", "`run:` steps are not supported"),
    ("use_slot_cgroups", "not supported; `docker.cgroup_parent` puts all jobs below one cgroup"),
    ("slot_cgroup_template", "not supported; `docker.cgroup_parent` puts all jobs below one cgroup"),
    ("labels", "runner labels are not sent to the forge"),
    ("artifact", "time limits of artifact transfers are the agent's own"),
    ("referees", "not supported"),
    ("monitoring", "not supported"),
    ("boot_verify", "`forgehand doctor` and the start of the agent check the same"),
    ("ssh", "belongs to another executor"),
    ("kubernetes", "belongs to another executor"),
    ("custom", "belongs to another executor"),
    ("machine", "belongs to another executor"),
    ("autoscaler", "belongs to another executor"),
    ("instance", "belongs to another executor"),
    ("virtualbox", "belongs to another executor"),
    ("parallels", "belongs to another executor"),
];

/// Keys that are called the same here.
const TEXTS: [&str; 6] = [
    "builds_dir",
    "clone_url",
    "pre_get_sources_script",
    "post_get_sources_script",
    "pre_build_script",
    "post_build_script",
];

/// Reads a `config.toml`. `variable` looks up environment variables, which URLs and tokens may name.
pub fn read(file: &Path, variable: impl Fn(&str) -> Option<String>) -> Result<Migration, MigrationError> {
    let wrong = |reason: String| MigrationError::Source { file: file.to_owned(), reason };
    let text = read_text(file).map_err(|error| wrong(error.to_string()))?;
    // The parser's message alone: its full text has an excerpt, which may hold a token.
    let parsed = text.parse::<toml::Table>();
    let table = parsed.map_err(|error| wrong(format!("not valid TOML: {}", error.message())))?;
    let mut global = Taken::new(table, "");
    let mut migration = Migration { system_id: read_system_id(file), ..Migration::default() };
    read_global(&mut global, &mut migration);
    for (index, table) in global.tables("runners").into_iter().enumerate() {
        read_runner(index, table, &variable, &mut migration);
    }
    migration.notes.splice(0..0, global.into_notes());
    migration.safer = gitlab_docker::safer_settings(&migration.registrations);
    Ok(migration)
}

fn read_text(file: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    File::open(file)?.take(MAX_SIZE).read_to_string(&mut text)?;
    Ok(text)
}

fn read_system_id(config: &Path) -> Option<String> {
    let text = read_text(&config.with_file_name(".runner_system_id")).ok()?;
    Some(text.trim().to_owned()).filter(|id| system_id::is_valid(id))
}

fn read_global(global: &mut Taken, migration: &mut Migration) {
    // Written out even where it was not said: our default is another.
    let concurrent = global.number("concurrent").filter(|count| *count > 0).unwrap_or(1);
    migration.agent.push(("concurrent", concurrent.into()));
    for key in ["check_interval", "shutdown_timeout"] {
        if let Some(seconds) = global.number(key).filter(|seconds| *seconds > 0) {
            migration.agent.push((key, format!("{seconds}s").into()));
        }
    }
    match global.text("log_level").as_deref() {
        None => {}
        Some(level @ ("debug" | "info" | "warn" | "error")) => migration.agent.push(("log.level", level.into())),
        Some("warning") => migration.agent.push(("log.level", "warn".into())),
        Some("fatal" | "panic") => migration.agent.push(("log.level", "error".into())),
        Some(other) => global.note("log_level", format!("`{other}` is no level")),
    }
    match global.text("log_format").as_deref() {
        Some("json") => migration.agent.push(("log.format", "json".into())),
        Some("runner" | "text") | None => {}
        Some(other) => global.note("log_format", format!("`{other}` is no format")),
    }
    global.leave(&GLOBAL_LEFT);
}

fn read_runner(index: usize, table: toml::Table, variable: &impl Fn(&str) -> Option<String>, into: &mut Migration) {
    let mut runner = Taken::new(table, "");
    let name = runner.text("name").map(|name| name.replace(char::is_control, " ").trim().to_owned());
    let name = name.filter(|name| !name.is_empty());
    let name = name.unwrap_or_else(|| format!("runner-{}", index + 1));
    match convert(&mut runner, &name, variable) {
        Ok(migrated) => {
            let notes = runner.into_notes();
            into.notes.extend(notes.into_iter().map(|note| Note { runner: Some(name.clone()), ..note }));
            into.registrations.push(migrated);
        }
        Err((key, reason)) => into.refused.push(Note { runner: Some(name), key: key.to_owned(), reason }),
    }
}

/// Why a runner stays behind as a whole: the key that decides, and the reason.
pub(super) type Refusal = (&'static str, String);

fn convert(runner: &mut Taken, name: &str, variable: &impl Fn(&str) -> Option<String>) -> Result<Migrated, Refusal> {
    let mut table = Table::new();
    table.insert("name", value(name));
    let url = runner.text("url").ok_or(("url", "there is none".to_owned()))?;
    let url = expand(&url, variable).ok_or(("url", format!("`{url}` names a variable that is not set here")))?;
    let parsed = Url::parse(&url).map_err(|error| ("url", format!("`{url}` is no URL: {error}")))?;
    table.insert("url", value(parsed.as_str()));
    table.insert("forge", value("gitlab"));
    let executor = executor_of(runner)?;
    table.insert("executor", value(executor));
    let token = token_of(runner, variable);
    read_common(runner, &mut table);
    read_network(runner, &mut table);
    let cache_secret = gitlab_cache::convert(runner, &mut table);
    let flags = read_feature_flags(runner, &mut table);
    let docker = runner.table("docker");
    if executor == "docker" {
        gitlab_docker::convert(runner, docker.unwrap_or_default(), &flags, &mut table)?;
    }
    runner.leave(&RUNNER_LEFT);
    Ok(Migrated { name: name.to_owned(), table, token, cache_secret })
}

fn executor_of(runner: &mut Taken) -> Result<&'static str, Refusal> {
    let executor = runner.text("executor").ok_or(("executor", "there is none".to_owned()))?;
    let ours = match executor.as_str() {
        "docker" => "docker",
        "shell" => "host",
        other => return Err(("executor", format!("the executor `{other}` is not supported; docker and shell are"))),
    };
    match runner.text("shell").as_deref() {
        None | Some("bash") => Ok(ours),
        Some("sh") => {
            runner.note("shell", "bash is used where the image or the machine has it, else sh");
            Ok(ours)
        }
        Some(other) => Err(("shell", format!("the shell `{other}` is not supported; bash and sh are"))),
    }
}

fn token_of(runner: &mut Taken, variable: &impl Fn(&str) -> Option<String>) -> Option<MigratedToken> {
    let runner_id = runner.number("id").and_then(|id| u64::try_from(id).ok()).filter(|id| *id > 0);
    let obtained_at = runner.value("token_obtained_at").and_then(timestamp);
    let expires_at = runner.value("token_expires_at").and_then(timestamp);
    let written = runner.text("token").map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
    let Some(token) = written.and_then(|token| expand(&token, variable)) else {
        runner.note("token", "there is none, or it names a variable that is not set here; run `forgehand register`");
        return None;
    };
    Some(MigratedToken { token: Secret::new(token), runner_id, obtained_at, expires_at })
}

/// A date of the file. Its zero value, the year 1, means that nothing is said.
fn timestamp(value: toml::Value) -> Option<Timestamp> {
    let text = match value {
        toml::Value::Datetime(date) => date.to_string(),
        toml::Value::String(text) => text,
        _ => return None,
    };
    text.parse::<Timestamp>().ok().filter(|date| *date > Timestamp::UNIX_EPOCH)
}

/// Replaces `$NAME` and `${NAME}`; `None` when one is not set.
fn expand(text: &str, variable: &impl Fn(&str) -> Option<String>) -> Option<String> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let (name, tail) = match after.strip_prefix('{') {
            Some(braced) => braced.split_once('}')?,
            None => {
                let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
                after.split_at(end)
            }
        };
        expanded.push_str(&variable(name)?);
        rest = tail;
    }
    expanded.push_str(rest);
    Some(expanded)
}

fn read_common(runner: &mut Taken, table: &mut Table) {
    if let Some(limit) = runner.number("limit").filter(|limit| *limit > 0) {
        table.insert("limit", value(limit));
    }
    if let Some(polls) = runner.number("request_concurrency").filter(|polls| *polls > 1) {
        table.insert("request_concurrency", value(polls));
    }
    if let Some(kib) = runner.number("output_limit").and_then(|kib| u64::try_from(kib).ok()).filter(|kib| *kib > 0) {
        table.insert("output_limit", value(ByteSize::bytes(kib.saturating_mul(1024)).to_string()));
    }
    if let Some(entries) = runner.list("environment") {
        table.insert("environment", list(entries));
    }
    for key in TEXTS {
        if let Some(text) = runner.text(key) {
            table.insert(key, value(text));
        }
    }
    for old in ["pre_clone_script", "post_clone_script"] {
        if runner.text(old).is_some() {
            runner.note(
                old,
                format!("gitlab-runner does not read it any more; write `{}`", old.replace("clone", "get_sources")),
            );
        }
    }
    for key in ["prepare_timeout", "get_sources_timeout"] {
        match runner.text(key).map(|text| (parse_duration(&text), text)) {
            None => {}
            Some((Ok(duration), _)) if duration.is_zero() => {}
            Some((Ok(duration), _)) => {
                table.insert(key, value(format_duration(duration)));
            }
            Some((Err(_), text)) => runner.note(key, format!("`{text}` is no duration")),
        }
    }
    if runner.flag("debug_trace_disabled") == Some(true) {
        table.insert("debug_trace_disabled", value(true));
    }
    if let Some(mut custom) = runner.table("custom_build_dir").map(|table| Taken::new(table, "custom_build_dir"))
        && custom.flag("enabled") == Some(false)
    {
        runner.note("custom_build_dir.enabled", "jobs may always choose a folder below `builds_dir` (GIT_CLONE_PATH)");
    }
}

fn read_network(runner: &mut Taken, table: &mut Table) {
    let mut network = Table::new();
    if let Some(file) = runner.text("tls-ca-file") {
        network.insert("ca_files", list(vec![file]));
    }
    for (theirs, ours) in [("tls-cert-file", "client_certificate"), ("tls-key-file", "client_key")] {
        if let Some(file) = runner.text(theirs) {
            network.insert(ours, value(file));
        }
    }
    if !network.is_empty() {
        table.insert("network", Item::Table(network));
    }
}

/// Carries the flags over and returns those that are on.
fn read_feature_flags(runner: &mut Taken, table: &mut Table) -> Vec<String> {
    let mut ours = Table::new();
    for (flag, setting) in runner.table("feature_flags").into_iter().flatten() {
        match setting {
            toml::Value::Boolean(on) => {
                ours.insert(&flag, value(on));
            }
            _ => runner.note(&format!("feature_flags.{flag}"), "not readable: expected true or false"),
        }
    }
    let on = ours.iter().filter(|(_, item)| item.as_bool() == Some(true)).map(|(flag, _)| flag.to_owned()).collect();
    if !ours.is_empty() {
        table.insert("feature_flags", Item::Table(ours));
    }
    on
}

/// A list of texts.
pub(super) fn list(entries: Vec<String>) -> Item {
    Item::Value(Value::Array(Array::from_iter(entries)))
}
