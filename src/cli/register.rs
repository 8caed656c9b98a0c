//! `forgehand register`: a token becomes a registration.

use std::io::Read;
use std::path::Path;

use clap::{Args, ValueEnum};
use toml_edit::{Array, Table, value};
use url::Url;

use super::config::{load_or_explain, verdict_of};
use super::forge_calls::{ForgeCalls, RunnerWishes};
use super::wiring::Forges;
use super::{Verdict, block_on, render};
use crate::agent::control::{Client, Command};
use crate::config::edit::ConfigEditor;
use crate::config::{Config, Credentials, ExecutorKind, ForgeKind, Locations, Overrides, RegistrationConfig};
use crate::pipeline::Secret;
use crate::state::StateDir;

/// Longest token that is read from standard input.
const MAX_TOKEN: u64 = 4096;

/// Arguments of `forgehand register`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  forgehand register --url https://gitlab.example.com --token glrt-...\n  \
                  forgehand register --url https://gitlab.example.com --token - < token.txt\n\n\
                  A runner's token (glrt-) is made in the settings of the project, group or instance. The token is kept\n\
                  in the state directory, readable by this user only; the rest is written to the configuration file.")]
pub struct RegisterArgs {
    /// The forge's address: `https://gitlab.example.com`.
    #[arg(long, value_parser = address)]
    url: Url,
    /// The token that the forge shows for a new runner. `-`: read it from standard input, where no other user can see
    /// it.
    #[arg(long)]
    token: String,
    /// What the registration is called here [default: the forge's host name].
    #[arg(long)]
    name: Option<String>,
    /// Labels (GitLab: tags) of the jobs to take, separated by commas. A glrt- token has them at the forge already.
    #[arg(long, value_delimiter = ',')]
    labels: Vec<String>,
    /// Where jobs run.
    #[arg(long, default_value = "docker")]
    executor: ExecutorArg,
    /// The image of jobs that name none.
    #[arg(long)]
    image: Option<String>,
    /// Unregister after one job. Not offered by GitLab.
    #[arg(long)]
    ephemeral: bool,
    /// Which forge it is [default: detected].
    #[arg(long)]
    forge: Option<ForgeArg>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ExecutorArg {
    /// In containers.
    Docker,
    /// As processes of this machine, without isolation.
    Host,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ForgeArg {
    /// GitLab.
    Gitlab,
    /// GitHub.
    Github,
    /// Gitea.
    Gitea,
    /// Forgejo.
    Forgejo,
}

/// Runs `forgehand register`.
pub fn run(args: &RegisterArgs, locations: &Locations) -> Result<Verdict, miette::Report> {
    block_on(register(args, locations, &Forges))
}

async fn register<C: ForgeCalls>(args: &RegisterArgs, locations: &Locations, forges: &C) -> Verdict {
    let config = match load_or_explain(locations, &Overrides::none()) {
        Ok(config) => config,
        Err(verdict) => return verdict,
    };
    let (token, forge) = match (token(&args.token), forge(args)) {
        (Ok(token), Ok(forge)) => (token, forge),
        (Err(message), _) | (_, Err(message)) => return render::failed(&message, Verdict::BadInput),
    };
    let registration = wanted(args, &config, forge);
    // Opened before the forge is asked: a file that cannot be written must not leave a runner behind at the forge.
    let mut editor = match ConfigEditor::open(&locations.config_file) {
        Ok(editor) => editor,
        Err(error) => return render::failed(&error, verdict_of(&error)),
    };
    if let Err(error) = editor.add(table(&registration, args.image.as_deref())) {
        return render::failed(&error, verdict_of(&error));
    }
    let kept = async {
        let credentials = Credentials::open(&locations.state_dir).map_err(|error| error.to_string())?;
        let system_id = credentials.system_id().map_err(|error| error.to_string())?;
        let wishes =
            RunnerWishes { token, name: registration.name.clone(), labels: registration.labels.clone(), system_id };
        let record = forges.register(&registration, &wishes).await?;
        credentials.put(&registration.name, &record).map_err(|error| error.to_string())
    };
    if let Err(message) = kept.await {
        return render::failed(&message, Verdict::Environment);
    }
    if let Err(error) = editor.save() {
        return render::failed(&error, verdict_of(&error));
    }
    if registration.executor == ExecutorKind::Docker && registration.docker.image.is_none() {
        eprintln!("note: jobs that name no image fail; name one for them in the configuration: `image` in `[docker]`");
    }
    reload_running_agent(&locations.state_dir);
    let written = locations.config_file.display();
    render::result(&format!("registered `{}` at {} ({written})\n", registration.name, registration.url))
}

fn token(argument: &str) -> Result<Secret, String> {
    let text = if argument == "-" {
        let mut text = String::new();
        let read = std::io::stdin().lock().take(MAX_TOKEN).read_to_string(&mut text);
        read.map_err(|error| format!("the token cannot be read from standard input: {error}"))?;
        text.trim().to_owned()
    } else {
        argument.trim().to_owned()
    };
    if text.is_empty() { Err("the token is empty".to_owned()) } else { Ok(Secret::new(text)) }
}

/// A forge's address, as people write it.
fn address(text: &str) -> Result<Url, String> {
    let wrong = || "it must begin with https:// (or http://), as in https://gitlab.example.com".to_owned();
    let url = Url::parse(text).map_err(|_cause| wrong())?;
    if matches!(url.scheme(), "http" | "https") && url.has_host() { Ok(url) } else { Err(wrong()) }
}

/// The forge that was named. Without a name it is GitLab, the only one that this version serves: its tokens and its
/// registration call tell it.
fn forge(args: &RegisterArgs) -> Result<ForgeKind, String> {
    let other = match args.forge {
        None | Some(ForgeArg::Gitlab) if args.ephemeral => {
            return Err(
                "GitLab has no ephemeral runners; leave --ephemeral out, or use `forgehand run --exit-when-idle`"
                    .to_owned(),
            );
        }
        None | Some(ForgeArg::Gitlab) => return Ok(ForgeKind::Gitlab),
        Some(ForgeArg::Github) => "GitHub",
        Some(ForgeArg::Gitea) => "Gitea",
        Some(ForgeArg::Forgejo) => "Forgejo",
    };
    Err(format!("forgehand {} serves GitLab only, not {other}", crate::VERSION))
}

fn wanted(args: &RegisterArgs, config: &Config, forge: ForgeKind) -> RegistrationConfig {
    let name = args.name.clone().unwrap_or_else(|| free_name(&args.url, config));
    let mut registration = config.bare_registration(&name, args.url.clone());
    registration.forge = forge;
    registration.labels = args.labels.clone();
    registration.executor = match args.executor {
        ExecutorArg::Docker => ExecutorKind::Docker,
        ExecutorArg::Host => ExecutorKind::Host,
    };
    if args.image.is_some() {
        registration.docker.image = args.image.clone();
    }
    registration
}

/// The forge's host name, with a number where there is one of that name.
fn free_name(url: &Url, config: &Config) -> String {
    let host = url.host_str().unwrap_or("forge").to_owned();
    let numbered = (2..).map(|number| format!("{host}-{number}"));
    let mut names = [host.clone()].into_iter().chain(numbered);
    names.find(|name| config.registration(name).is_none()).unwrap_or(host)
}

/// Only what was said: everything else stays with the defaults, whatever becomes of them.
fn table(registration: &RegistrationConfig, image: Option<&str>) -> Table {
    let mut table = Table::new();
    table["name"] = value(&registration.name);
    table["url"] = value(registration.url.as_str());
    table["forge"] = value(registration.forge.to_string());
    table["executor"] = value(registration.executor.to_string());
    if !registration.labels.is_empty() {
        table["labels"] = value(registration.labels.iter().collect::<Array>());
    }
    if let Some(image) = image {
        let mut docker = Table::new();
        docker["image"] = value(image);
        table["docker"] = toml_edit::Item::Table(docker);
    }
    table
}

/// An agent that runs serves the change at once. None running is no error.
pub(super) fn reload_running_agent(state_dir: &Path) {
    use crate::agent::control::ControlError;
    match Client::ask(&StateDir::at(state_dir), &Command::Reload, |_| {}) {
        Ok(()) => eprintln!("note: the running agent has been told"),
        Err(ControlError::NoAgent { .. }) => {}
        Err(error) => eprintln!("warning: the running agent does not know of it yet: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::forge_calls::fakes::{OneGoodToken, house};
    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: RegisterArgs,
    }

    async fn registered(line: &str, locations: &Locations) -> Verdict {
        let words = ["register", "--url", "https://gitlab.example.com"].into_iter().chain(line.split_whitespace());
        register(&Line::parse_from(words).args, locations, &OneGoodToken).await
    }

    #[tokio::test]
    async fn a_registration_is_written_to_the_file_and_its_token_is_not() {
        let (_folder, locations) = house(&[]);
        let line = "--token good --labels a,b --image busybox --executor docker";
        assert_eq!(registered(line, &locations).await, Verdict::Success);
        let text = std::fs::read_to_string(&locations.config_file).unwrap();
        assert!(text.starts_with("# mine") && !text.contains("good"), "{text}");
        let config = crate::config::load(&locations.config_file, &Overrides::none()).unwrap();
        let registration = config.registration("gitlab.example.com").unwrap();
        assert_eq!((registration.labels.len(), registration.docker.image.as_deref()), (2, Some("busybox")));
        let credentials = Credentials::open(&locations.state_dir).unwrap();
        let record = credentials.get("gitlab.example.com").unwrap().unwrap();
        assert_eq!((record.token.expose(), record.runner_id), ("good", Some(7)));

        assert_eq!(registered("--token good", &locations).await, Verdict::Success);
        let config = crate::config::load(&locations.config_file, &Overrides::none()).unwrap();
        assert!(config.registration("gitlab.example.com-2").is_some(), "a second one gets a name of its own");
    }

    #[tokio::test]
    async fn what_was_not_said_stays_with_the_defaults() {
        let (_folder, locations) = house(&[]);
        std::fs::write(&locations.config_file, "[docker]\nimage = \"debian:13\"\n").unwrap();
        assert_eq!(registered("--token good", &locations).await, Verdict::Success);
        let text = std::fs::read_to_string(&locations.config_file).unwrap();
        assert_eq!(text.matches("image").count(), 1, "{text}");
    }

    #[test]
    fn an_address_is_one_of_the_web() {
        assert!(address("http://gitlab.example.com:8080/sub").is_ok());
        for wrong in ["nowhere", "gitlab.example.com:443", "ftp://gitlab.example.com", ""] {
            assert!(address(wrong).unwrap_err().contains("https://"), "{wrong}");
        }
    }

    #[tokio::test]
    async fn what_the_forge_refuses_leaves_nothing_behind() {
        let (_folder, locations) = house(&[("main", "x")]);
        let before = std::fs::read_to_string(&locations.config_file).unwrap();
        assert_eq!(registered("--token bad", &locations).await, Verdict::Environment);
        assert_eq!(registered("--token good --name main", &locations).await, Verdict::BadInput);
        assert_eq!(registered("--token good --forge github", &locations).await, Verdict::BadInput);
        assert_eq!(registered("--token good --ephemeral", &locations).await, Verdict::BadInput);
        assert_eq!(std::fs::read_to_string(&locations.config_file).unwrap(), before);
        assert_eq!(Credentials::open(&locations.state_dir).unwrap().names().unwrap(), ["main"]);
    }
}
