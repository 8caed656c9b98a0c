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
use crate::config::error::Step;
use crate::config::{
    Config, ConfigError, Credentials, ExecutorKind, ForgeKind, Locations, Overrides, Place, Problem, RegistrationConfig,
};
use crate::pipeline::Secret;
use crate::state::StateDir;

/// Longest token that is read from standard input.
const MAX_TOKEN: u64 = 4096;

/// Arguments of `forgehand register`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  forgehand register --url https://gitlab.example.com --token glrt-... --image debian:13\n  \
                  forgehand register --url https://gitlab.example.com --token - < token.txt\n\n\
                  A runner's token (glrt-) is made in the settings of the project, group or instance. The token is kept \
                  in the state directory, readable by this user only; the rest is written to the configuration file. \
                  The agent must run as the same user, or be given the same --config and --state-dir. An agent that runs \
                  already is told."
)]
pub struct RegisterArgs {
    /// The forge's address: `https://gitlab.example.com`.
    #[arg(long, value_parser = address)]
    url: Url,
    /// The token that the forge shows for a new runner. `-`: read it from standard input, where no other user can see
    /// it.
    #[arg(long)]
    token: String,
    /// What the registration is called here [default: the forge's host name]. One that stands in the configuration
    /// without a token is given this one.
    #[arg(long)]
    name: Option<String>,
    /// Labels (GitLab: tags) of the jobs to take, separated by commas. Only for a registration token: a glrt- token has
    /// them at the forge already, and is refused with this.
    #[arg(long, value_delimiter = ',')]
    labels: Vec<String>,
    /// Where jobs run.
    #[arg(long, default_value = "docker")]
    executor: ExecutorArg,
    /// The image of jobs that name none. Without it, and without one in the configuration, they fail.
    #[arg(long)]
    image: Option<String>,
    /// Unregister after one job. Not offered by GitLab.
    #[arg(long)]
    ephemeral: bool,
    /// Which forge it is [default: detected]. This version serves GitLab.
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
    if let Some(message) = forges.objection(&token, &args.labels) {
        return render::failed(&message, Verdict::BadInput);
    }
    if let Some(known) = args.name.as_ref().and_then(|name| config.registration(name)) {
        match lacks_only_its_token(known, args, locations) {
            Ok(true) => return complete(known, token, locations, forges).await,
            Ok(false) => {}
            Err(verdict) => return verdict,
        }
    }
    let registration = wanted(args, &config, forge);
    let table = table(&registration, args.image.as_deref());
    if let Err(verdict) = check(&locations.config_file, table.clone()) {
        return verdict;
    }
    // Opened before the forge is asked: a file that cannot be written must not leave a runner behind at the forge.
    let mut editor = match ConfigEditor::open(&locations.config_file) {
        Ok(editor) => editor,
        Err(error) => return render::failed(&error, verdict_of(&error)),
    };
    if let Err(error) = editor.add(table) {
        return render::failed(&error, verdict_of(&error));
    }
    if let Err(message) = obtain(&registration, token, locations, forges).await {
        return render::failed(&message, Verdict::Environment);
    }
    if let Err(error) = editor.save() {
        return render::failed(&error, verdict_of(&error));
    }
    if registration.executor == ExecutorKind::Docker && registration.docker.image.is_none() {
        eprintln!("note: jobs that name no image fail; name one for them in the configuration: `image` in `[docker]`");
    }
    done(&registration, locations)
}

fn done(registration: &RegistrationConfig, locations: &Locations) -> Verdict {
    reload_running_agent(&locations.state_dir);
    let written = locations.config_file.display();
    render::result(&format!("registered `{}` at {} ({written})\n", registration.name, registration.url))
}

/// Has the forge make the registration, and keeps the token.
async fn obtain<C: ForgeCalls>(
    registration: &RegistrationConfig,
    token: Secret,
    locations: &Locations,
    forges: &C,
) -> Result<(), String> {
    let credentials = Credentials::open(&locations.state_dir).map_err(|error| error.to_string())?;
    let system_id = credentials.system_id().map_err(|error| error.to_string())?;
    let (name, labels) = (registration.name.clone(), registration.labels.clone());
    let record = forges.register(registration, &RunnerWishes { token, name, labels, system_id }).await?;
    credentials.put(&registration.name, &record).map_err(|error| error.to_string())
}

/// Whether a registration that stands in the file, written by hand or by `migrate`, has no token yet.
fn lacks_only_its_token(
    known: &RegistrationConfig,
    args: &RegisterArgs,
    locations: &Locations,
) -> Result<bool, Verdict> {
    let record = Credentials::open(&locations.state_dir).and_then(|credentials| credentials.get(&known.name));
    match record {
        Ok(None) => {}
        Ok(Some(_)) => return Ok(false),
        Err(error) => return Err(render::failed(&error, Verdict::Environment)),
    }
    let address = |url: &Url| url.as_str().trim_end_matches('/').to_owned();
    if address(&known.url) == address(&args.url) {
        return Ok(true);
    }
    let (name, url) = (&known.name, &known.url);
    let message =
        format!("`{name}` is a registration at {url} in the configuration; give that --url, or another --name");
    Err(render::failed(&message, Verdict::BadInput))
}

/// Gives a registration of the file its token. What the file says of it stays.
async fn complete<C: ForgeCalls>(
    known: &RegistrationConfig,
    token: Secret,
    locations: &Locations,
    forges: &C,
) -> Verdict {
    if let Err(message) = obtain(known, token, locations, forges).await {
        return render::failed(&message, Verdict::Environment);
    }
    eprintln!("note: `{}` stood in the configuration without a token; its settings stay as they are there", known.name);
    done(known, locations)
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

/// Whether the file could be read again with this registration in it, which is asked before the forge is and before
/// anything is made: no agent would start with a file that cannot.
fn check(config_file: &Path, table: Table) -> Result<(), Verdict> {
    let checked = ConfigEditor::preview(config_file).and_then(|mut preview| {
        preview.add(table)?;
        preview.check()
    });
    let Err(error) = checked else { return Ok(()) };
    let verdict = verdict_of(&error);
    match error {
        ConfigError::Invalid(problems) => {
            let told: Vec<_> = problems.into_iter().map(as_argument).map(|problem| problem.to_string()).collect();
            Err(render::failed(&told.join("\n"), verdict))
        }
        error => Err(render::failed(&error, verdict)),
    }
}

/// The line of a registration that is not in the file yet helps nobody: the argument that it comes from does.
fn as_argument(problem: Problem) -> Problem {
    let flag = match &problem.path[..] {
        [Step::Key(list), Step::Index(_), Step::Key(key), ..] if list == "registration" => match key.as_str() {
            "name" => "--name",
            "url" => "--url",
            "labels" => "--labels",
            "executor" => "--executor",
            "docker" => "--image",
            _ => return problem,
        },
        _ => return problem,
    };
    Problem { place: Place::Flag(flag.to_owned()), path: Vec::new(), ..problem }
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
    async fn what_no_agent_could_read_again_is_never_written() {
        let (_folder, locations) = house(&[]);
        let before = std::fs::read_to_string(&locations.config_file).unwrap();
        let long = "x".repeat(256);
        for name in ["", " ", "a\nb", "\u{1b}[31mred", &long] {
            let line = ["register", "--url", "https://gitlab.example.com", "--token", "good", "--name", name];
            let verdict = register(&Line::parse_from(line).args, &locations, &OneGoodToken).await;
            assert_eq!(verdict, Verdict::BadInput, "{name:?}");
        }
        for url in ["https://user:pw@gitlab.example.com", "https://user@gitlab.example.com"] {
            let line = ["register", "--url", url, "--token", "good"];
            let verdict = register(&Line::parse_from(line).args, &locations, &OneGoodToken).await;
            assert_eq!(verdict, Verdict::BadInput, "{url}");
        }
        assert_eq!(std::fs::read_to_string(&locations.config_file).unwrap(), before);
        assert_eq!(Credentials::open(&locations.state_dir).unwrap().names().unwrap(), Vec::<String>::new());
        assert_eq!(registered(&format!("--token good --name {}", "é".repeat(255)), &locations).await, Verdict::Success);
    }

    #[tokio::test]
    async fn a_registration_of_the_file_is_given_its_token() {
        let (_folder, locations) = house(&[]);
        let text = "[[registration]]\nname = \"mine\" # by hand\nurl = \"https://gitlab.example.com\"\nlimit = 2\n";
        std::fs::write(&locations.config_file, text).unwrap();
        let other = ["register", "--url", "https://other.example.com", "--token", "good", "--name", "mine"];
        let verdict = register(&Line::parse_from(other).args, &locations, &OneGoodToken).await;
        assert_eq!(verdict, Verdict::BadInput, "it is at another forge");
        assert_eq!(registered("--token bad --name mine", &locations).await, Verdict::Environment);
        assert_eq!(registered("--token good --name mine", &locations).await, Verdict::Success);
        assert_eq!(std::fs::read_to_string(&locations.config_file).unwrap(), text);
        assert!(Credentials::open(&locations.state_dir).unwrap().get("mine").unwrap().is_some());
        assert_eq!(registered("--token good --name mine", &locations).await, Verdict::BadInput, "it has one now");
    }

    #[test]
    fn what_is_wrong_is_told_at_its_argument() {
        let (_folder, locations) = house(&[("main", "x")]);
        let told = |key: &str| {
            let path = vec!["registration".into(), Step::Index(1), Step::from(key)];
            let place = Place::File { file: locations.config_file.clone(), line: Some(9) };
            as_argument(Problem { place, path, message: "no".to_owned(), help: None }).to_string()
        };
        assert_eq!(told("name"), "--name: no");
        assert_eq!(told("url"), "--url: no");
        assert!(told("clone_url").contains("forgehand.toml:9"));
    }

    #[tokio::test]
    async fn what_the_forge_refuses_leaves_nothing_behind() {
        let (_folder, locations) = house(&[("main", "x")]);
        let before = std::fs::read_to_string(&locations.config_file).unwrap();
        assert_eq!(registered("--token bad", &locations).await, Verdict::Environment);
        assert_eq!(registered("--token good --name main", &locations).await, Verdict::BadInput);
        assert_eq!(registered("--token good --forge github", &locations).await, Verdict::BadInput);
        assert_eq!(registered("--token good --ephemeral", &locations).await, Verdict::BadInput);
        assert_eq!(registered("--token good --labels never", &locations).await, Verdict::BadInput);
        assert_eq!(std::fs::read_to_string(&locations.config_file).unwrap(), before);
        assert_eq!(Credentials::open(&locations.state_dir).unwrap().names().unwrap(), ["main"]);
    }
}
