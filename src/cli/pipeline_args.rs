//! Arguments that all commands about pipelines share.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::config::{self, Locations, Overrides};
use crate::local::includes::Includes;
use crate::local::includes::allow::BadHost;
use crate::local::request::{Request, RequestError, pair, pairs_of_file, payload_of_file, secret, secrets_of_file};
use crate::parser::dialect::Dialect;

/// The pipeline file.
#[derive(Debug, Args)]
pub struct FileArgs {
    /// A pipeline file, or a folder that holds one: .gitlab-ci.yml, forgehand.yml, .github/workflows, .gitea/workflows,
    /// .forgejo/workflows.
    #[arg(value_name = "PATH", default_value = ".")]
    pub path: PathBuf,
    /// The file's language, where its path does not tell.
    #[arg(long, value_name = "NAME")]
    pub dialect: Option<DialectArg>,
    /// Where what it includes may come from.
    #[command(flatten)]
    pub include: IncludeArgs,
}

/// Where included files may come from.
#[derive(Clone, Debug, Default, Args)]
pub struct IncludeArgs {
    /// GitLab: fetch included files from this host (`gitlab.com`, `git.example.com:8443`, `http://HOST` without TLS), which may
    /// redirect to others named so only. Without it, and without `include_from` below `[exec]` in the configuration, nothing is
    /// fetched. May be given more than once. What was fetched is kept below the state directory, and serves where the host does
    /// not answer.
    #[arg(long = "include-from", value_name = "HOST", value_delimiter = ',')]
    pub hosts: Vec<String>,
}

impl IncludeArgs {
    /// What was given.
    ///
    /// # Errors
    /// Something given is no host.
    pub fn includes(&self, locations: &Locations) -> Result<Includes, BadHost> {
        let file = locations.config_file.clone();
        // Not before an include needs it: most pipelines have none from elsewhere.
        let configured = move || {
            let config = config::load(&file, &Overrides::none()).map_err(|error| error.to_string())?;
            Ok(config.exec.include_from)
        };
        Includes::from_hosts(&self.hosts, Box::new(configured), &locations.state_dir)
    }
}

/// A language by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DialectArg {
    /// GitHub workflows.
    Github,
    /// GitLab CI.
    Gitlab,
    /// Workflows as Gitea runs them.
    Gitea,
    /// Workflows as Forgejo runs them.
    Forgejo,
    /// forgehand.yml.
    Native,
}

impl From<DialectArg> for Dialect {
    fn from(arg: DialectArg) -> Self {
        match arg {
            DialectArg::Github => Dialect::GitHub,
            DialectArg::Gitlab => Dialect::GitLab,
            DialectArg::Gitea => Dialect::Gitea,
            DialectArg::Forgejo => Dialect::Forgejo,
            DialectArg::Native => Dialect::Native,
        }
    }
}

/// What the pipeline is started with.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "What starts the pipeline")]
pub struct RequestArgs {
    /// The event: push (the default), pull_request, schedule, workflow_dispatch ...; for GitLab push, merge_request_event,
    /// schedule, web, api, trigger, parent_pipeline.
    #[arg(long, value_name = "NAME")]
    pub event: Option<String>,
    /// The ref, `main` or `refs/tags/v1` [default: what is checked out].
    #[arg(long = "ref", value_name = "REF")]
    pub ref_name: Option<String>,
    /// A variable: for GitHub in `vars`, for GitLab of the pipeline, in forgehand.yml at run time.
    #[arg(long = "var", value_name = "NAME=VALUE")]
    pub variables: Vec<String>,
    /// A file of variables, a NAME=VALUE a line.
    #[arg(long = "var-file", value_name = "FILE")]
    pub variable_files: Vec<PathBuf>,
    /// A secret; NAME alone takes the value of the environment variable NAME.
    #[arg(long = "secret", value_name = "NAME[=VALUE]")]
    pub secrets: Vec<String>,
    /// A file of secrets, a NAME=VALUE a line, that only its owner can read.
    #[arg(long = "secret-file", value_name = "FILE")]
    pub secret_files: Vec<PathBuf>,
    /// An input of workflow_dispatch, workflow_call or `spec:inputs`.
    #[arg(long = "input", value_name = "NAME=VALUE")]
    pub inputs: Vec<String>,
    /// A JSON file with the event's payload.
    #[arg(long, value_name = "FILE")]
    pub event_path: Option<PathBuf>,
}

impl RequestArgs {
    /// What was given, files read.
    ///
    /// # Errors
    /// Something given cannot be used.
    pub fn request(&self) -> Result<Request, RequestError> {
        let mut request = Request { event: self.event.clone(), ref_name: self.ref_name.clone(), ..Request::default() };
        for file in &self.variable_files {
            request.variables.extend(pairs_of_file(file)?);
        }
        for text in &self.variables {
            request.variables.push(pair("variable", text)?);
        }
        for file in &self.secret_files {
            request.secrets.extend(secrets_of_file(file)?);
        }
        for text in &self.secrets {
            request.secrets.push(secret(text, |name| std::env::var(name).ok())?);
        }
        for text in &self.inputs {
            request.inputs.push(pair("input", text)?);
        }
        request.payload = self.event_path.as_deref().map(payload_of_file).transpose()?;
        Ok(request)
    }
}
