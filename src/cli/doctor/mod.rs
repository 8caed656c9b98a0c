//! `forgehand doctor`: checks this machine, and says how to mend what is wrong.
//!
//! Each check is a [`Check`]: it looks at one thing and says what it found. Checks that need a forge or the engine get
//! what they ask handed in; [`super::wiring::checks`] makes them.

pub mod engine;
pub mod forge;
pub mod machine;
pub mod shared_store;

use std::path::Path;
use std::time::Duration;

use clap::Args;
use futures_util::future::{BoxFuture, join_all};
use serde::Serialize;
use url::Url;

use super::config::load_or_explain;
use super::{Verdict, block_on, render, wiring};
use crate::config::docker_values::EngineAddress;
use crate::config::{Config, DockerConfig, ExecutorKind, Locations, Overrides};

/// How long one check may take.
const CHECK_WITHIN: Duration = Duration::from_secs(60);

/// Arguments of `forgehand doctor`.
#[derive(Clone, Debug, Args)]
pub struct DoctorArgs {
    /// Print a JSON array of checks: `check`, `verdict` (ok, warning, failed), `found`, `fix`.
    #[arg(long)]
    json: bool,
}

/// One thing to look at.
pub trait Check: Send + Sync {
    /// What is looked at, in few words.
    fn name(&self) -> String;

    /// Looks. Changes nothing that stays.
    fn look(&self) -> BoxFuture<'_, Finding>;
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// All is well.
    Ok(String),
    /// The agent works, but not as well as it could.
    Warning {
        /// What is so.
        found: String,
        /// What to do about it.
        fix: String,
    },
    /// The agent, or jobs, cannot work.
    Failed {
        /// What is wrong.
        found: String,
        /// How to mend it.
        fix: String,
    },
}

/// A line of `--json`.
#[derive(Serialize)]
struct CheckReport {
    check: String,
    verdict: &'static str,
    found: String,
    fix: Option<String>,
}

impl Finding {
    /// Something that the agent can live with.
    pub fn warning(found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::Warning { found: found.into(), fix: fix.into() }
    }

    /// Something that has to be mended.
    pub fn failed(found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::Failed { found: found.into(), fix: fix.into() }
    }
}

/// Runs `forgehand doctor`. Exit code 3 when a check failed.
pub fn run(args: &DoctorArgs, locations: &Locations) -> Result<Verdict, miette::Report> {
    let config = match load_or_explain(locations, &Overrides::none()) {
        Ok(config) => config,
        Err(verdict) => return Ok(verdict),
    };
    let mut checks = checks(&config, &locations.state_dir);
    checks.extend(wiring::checks(&config, locations));
    let reports = block_on(look_at_all(&checks))?;
    let has_failed = reports.iter().any(|report| report.verdict == "failed");
    let printed = if args.json { render::json(&reports) } else { render::result(&text(&reports)) };
    Ok(if has_failed { Verdict::Environment } else { printed })
}

/// The checks that need nothing but this machine.
fn checks(config: &Config, state_dir: &Path) -> Vec<Box<dyn Check>> {
    let mut checks: Vec<Box<dyn Check>> = vec![
        Box::new(machine::StateDirectory { path: state_dir.to_owned() }),
        Box::new(machine::DiskSpace { path: state_dir.to_owned() }),
        Box::new(machine::Git { program: "git".into() }),
        Box::new(machine::Landlock),
        Box::new(machine::ControlGroups { root: "/sys/fs/cgroup".into() }),
    ];
    checks.extend(
        engines(config).into_iter().map(|(address, _)| Box::new(engine::EngineSocket { address }) as Box<dyn Check>),
    );
    if config.registrations.is_empty() {
        checks.push(Box::new(machine::NoRegistration));
    }
    checks
}

/// The engines that registrations use, each once, with the settings of the first that uses it; without any registration,
/// the one that the first would use.
pub fn engines(config: &Config) -> Vec<(Result<EngineAddress, String>, DockerConfig)> {
    let named = std::env::var("DOCKER_HOST").ok();
    let in_docker = config.registrations.iter().filter(|one| one.executor == ExecutorKind::Docker);
    let mut users: Vec<DockerConfig> = in_docker.map(|one| one.docker.clone()).collect();
    if config.registrations.is_empty() {
        let of_none = Url::parse("https://none.invalid").map(|url| config.bare_registration("none", url));
        users.extend(of_none.map(|one| one.docker));
    }
    let mut engines: Vec<(Result<EngineAddress, String>, DockerConfig)> = Vec::new();
    for docker in users {
        let address = docker.engine(named.as_deref());
        if !engines.iter().any(|(known, _)| *known == address) {
            engines.push((address, docker));
        }
    }
    engines
}

async fn look_at_all(checks: &[Box<dyn Check>]) -> Vec<CheckReport> {
    join_all(checks.iter().map(|check| async {
        let found = tokio::time::timeout(CHECK_WITHIN, check.look()).await.unwrap_or_else(|_late| {
            let found = format!("no answer within {} s", CHECK_WITHIN.as_secs());
            Finding::failed(found, "see whether the disk, the engine or the network hangs, and try again")
        });
        report(check.name(), found)
    }))
    .await
}

fn report(check: String, finding: Finding) -> CheckReport {
    match finding {
        Finding::Ok(found) => CheckReport { check, verdict: "ok", found, fix: None },
        Finding::Warning { found, fix } => CheckReport { check, verdict: "warning", found, fix: Some(fix) },
        Finding::Failed { found, fix } => CheckReport { check, verdict: "failed", found, fix: Some(fix) },
    }
}

fn text(reports: &[CheckReport]) -> String {
    let mut text = String::new();
    for report in reports {
        text += &format!("{:<8} {}: {}\n", report.verdict, report.check, render::plain(&report.found));
        if let Some(fix) = &report.fix {
            text += &format!("         {fix}\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(Finding);

    impl Check for Fixed {
        fn name(&self) -> String {
            "thing".into()
        }

        fn look(&self) -> BoxFuture<'_, Finding> {
            Box::pin(async { self.0.clone() })
        }
    }

    #[tokio::test]
    async fn each_failure_comes_with_its_fix() {
        let checks: Vec<Box<dyn Check>> = vec![
            Box::new(Fixed(Finding::Ok("works".into()))),
            Box::new(Fixed(Finding::warning("slow", "be patient"))),
            Box::new(Fixed(Finding::failed("broken", "mend it"))),
        ];
        insta::assert_snapshot!(text(&look_at_all(&checks).await), @r"
        ok       thing: works
        warning  thing: slow
                 be patient
        failed   thing: broken
                 mend it
        ");
    }
}
