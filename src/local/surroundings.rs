//! What a pipeline of a checkout is told about the world: the values that a forge would give it (docs: "Local values").

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use sha2::{Digest as _, Sha256};

use super::facts::{self, Asked, Facts};
use super::project::Project;
use super::request::Request;

/// A checkout and what was asked of it.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The checkout.
    pub project: Project,
    /// What git says about it.
    pub facts: Arc<Facts>,
    /// What the pipeline is started with.
    pub request: Request,
    changes: Arc<Changes>,
}

impl Surroundings {
    /// Asks git, and waits.
    pub fn of(project: &Project, request: &Request) -> Self {
        Self::ask(project).answered(request)
    }

    /// Asks git. There is time for other work until it has answered.
    pub fn ask(project: &Project) -> Awaited<'_> {
        Awaited { project, asked: project.is_git().then(|| Asked::about(project.root())) }
    }

    fn with(project: &Project, request: &Request, facts: Facts) -> Self {
        let facts = Arc::new(facts);
        let changes = Changes { root: project.root().to_owned(), facts: Arc::clone(&facts), found: OnceLock::new() };
        Self { project: project.clone(), facts, request: request.clone(), changes: Arc::new(changes) }
    }

    /// The full ref that the pipeline is for: as asked, else what is checked out. A plain name is a tag where only a tag has it.
    pub fn full_ref(&self) -> String {
        match self.request.ref_name.as_deref() {
            Some(name) if name.starts_with("refs/") => name.to_owned(),
            Some(name) => format!("refs/heads/{name}"),
            None => match (&self.facts.branch, self.facts.tags.first()) {
                (Some(branch), _) => format!("refs/heads/{branch}"),
                (None, Some(tag)) => format!("refs/tags/{tag}"),
                (None, None) => format!("refs/heads/{}", self.default_branch()),
            },
        }
    }

    /// The default branch; `main` where nothing tells.
    pub fn default_branch(&self) -> &str {
        self.facts.default_branch.as_deref().unwrap_or("main")
    }

    /// The project's path on its forge, `group/project`; outside of one `local/` and the folder's name.
    pub fn project_path(&self) -> String {
        match &self.facts.remote {
            Some(remote) if !remote.path.is_empty() => remote.path.clone(),
            _ => {
                let name = self.project.root().file_name().map(|name| name.to_string_lossy().into_owned());
                format!("local/{}", name.unwrap_or_else(|| "project".to_owned()))
            }
        }
    }

    /// A number for the project: the same for the same folder of this machine.
    pub fn project_id(&self) -> u32 {
        let digest = Sha256::digest(self.project.root().as_os_str().as_encoded_bytes());
        digest.iter().take(4).fold(0u32, |id, byte| id << 8 | u32::from(*byte)) >> 2
    }

    /// The last commit that changed a file.
    pub fn last_commit(&self, path: &str) -> Option<String> {
        let literal = format!(":(literal){path}");
        let sha = facts::git(self.project.root(), &["log", "-1", "--format=%H", "--", &literal])?;
        Some(sha).filter(|sha| !sha.is_empty())
    }

    /// The forge's address, where origin tells one.
    pub fn server(&self) -> Option<String> {
        self.facts.remote.as_ref().map(facts::Remote::server)
    }

    /// The commit where this work parted from the default branch.
    pub fn fork_point(&self) -> Option<String> {
        self.facts.fork_point(self.project.root())
    }

    /// The commit; empty values where there is none.
    pub fn commit(&self) -> facts::Commit {
        self.facts.commit.clone().unwrap_or_default()
    }

    /// What changed, asked for when it is needed.
    pub fn changes(&self) -> Arc<Changes> {
        Arc::clone(&self.changes)
    }
}

/// A checkout that git is asked about.
pub struct Awaited<'p> {
    project: &'p Project,
    asked: Option<Asked<'p>>,
}

impl Awaited<'_> {
    /// All there is to know, when git has answered.
    pub fn answered(self, request: &Request) -> Surroundings {
        let facts = self.asked.map(Asked::answers).unwrap_or_default();
        Surroundings::with(self.project, request, facts)
    }
}

/// Which files changed.
#[derive(Debug)]
pub struct Changes {
    root: PathBuf,
    facts: Arc<Facts>,
    found: OnceLock<Option<Arc<[String]>>>,
}

impl Changes {
    /// The files that a push would bring; `None` where there is nothing to compare with.
    pub fn pushed(&self) -> Option<Arc<[String]>> {
        self.found.get_or_init(|| self.facts.changed_files(&self.root).map(Into::into)).clone()
    }

    /// The files that differ from a branch, tag or commit. `None`: there is no such thing.
    pub fn since(&self, reference: &str) -> Option<Arc<[String]>> {
        Facts::changed_since(&self.root, reference).map(Into::into)
    }
}
