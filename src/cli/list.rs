//! `forgehand list`: the registrations.

use clap::Args;
use serde::Serialize;

use super::config::load_or_explain;
use super::{Verdict, render};
use crate::config::{Config, Credentials, Locations, Overrides};

/// Arguments of `forgehand list`.
#[derive(Clone, Debug, Args)]
pub struct ListArgs {
    /// Print a JSON array.
    #[arg(long)]
    json: bool,
}

/// One registration, as `--json` prints it.
#[derive(Debug, PartialEq, Serialize)]
struct Listed {
    name: String,
    url: String,
    forge: String,
    executor: String,
    limit: u32,
    runner_id: Option<u64>,
    has_token: bool,
    token_expires_at: Option<jiff::Timestamp>,
}

/// Runs `forgehand list`.
pub fn run(args: &ListArgs, locations: &Locations) -> Result<Verdict, miette::Report> {
    let config = match load_or_explain(locations, &Overrides::none()) {
        Ok(config) => config,
        Err(verdict) => return Ok(verdict),
    };
    let listed = match listed(&config, locations) {
        Ok(listed) => listed,
        Err(error) => return Ok(render::failed(&error, Verdict::Environment)),
    };
    if args.json {
        return Ok(render::json(&listed));
    }
    if listed.is_empty() {
        eprintln!("note: there is no registration; add one with `forgehand register`");
    }
    let headings = ["NAME", "URL", "FORGE", "EXECUTOR", "LIMIT", "RUNNER", "TOKEN"];
    Ok(render::result(&render::table(&headings, &listed.iter().map(row).collect::<Vec<_>>())))
}

fn listed(config: &Config, locations: &Locations) -> Result<Vec<Listed>, crate::config::CredentialsError> {
    let credentials = Credentials::open(&locations.state_dir)?;
    config
        .registrations
        .iter()
        .map(|registration| {
            let record = credentials.get(&registration.name)?;
            Ok(Listed {
                name: registration.name.clone(),
                url: registration.url.to_string(),
                forge: registration.forge.to_string(),
                executor: registration.executor.to_string(),
                limit: registration.limit,
                runner_id: record.as_ref().and_then(|record| record.runner_id),
                has_token: record.is_some(),
                token_expires_at: record.and_then(|record| record.expires_at),
            })
        })
        .collect()
}

fn row(one: &Listed) -> Vec<String> {
    let token = match (one.has_token, one.token_expires_at) {
        (false, _) => "missing".to_owned(),
        (true, None) => "kept".to_owned(),
        (true, Some(at)) => format!("until {}", at.strftime("%Y-%m-%d %H:%M UTC")),
    };
    let limit = if one.limit == 0 { "-".to_owned() } else { one.limit.to_string() };
    let runner = one.runner_id.map_or("-".to_owned(), |id| id.to_string());
    vec![one.name.clone(), one.url.clone(), one.forge.clone(), one.executor.clone(), limit, runner, token]
}

#[cfg(test)]
mod tests {
    use super::super::forge_calls::fakes::house;
    use super::*;

    #[test]
    fn the_list_tells_what_is_registered_and_never_a_token() {
        let (_folder, locations) = house(&[("main", "secret-token")]);
        let config = crate::config::load(&locations.config_file, &Overrides::none()).unwrap();
        let listed = listed(&config, &locations).unwrap();
        let shown =
            render::table(&["NAME", "URL", "FORGE", "EXECUTOR", "LIMIT", "RUNNER", "TOKEN"], &[row(&listed[0])]);
        insta::assert_snapshot!(shown, @r"
        NAME  URL                          FORGE   EXECUTOR  LIMIT  RUNNER  TOKEN
        main  https://gitlab.example.com/  gitlab  docker    -      -       kept
        ");
        assert!(!serde_json::to_string(&listed).unwrap().contains("secret"));
    }
}
