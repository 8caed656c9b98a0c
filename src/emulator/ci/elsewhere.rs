//! Files of other projects of this server: `include:project` and `include:component`. Everything here blocks.

use std::path::PathBuf;
use std::sync::Arc;

use super::files::RepositoryFiles;
use crate::emulator::repository;
use crate::emulator::world::World;
use crate::parser::document::Files as _;
use crate::parser::gitlab::compose::{Fetched, Remote, RemoteError, RemoteFile, component};

/// The projects of a server.
#[derive(Debug)]
pub struct Elsewhere<'a> {
    world: &'a World,
}

impl<'a> Elsewhere<'a> {
    /// Those of this one.
    pub fn new(world: &'a World) -> Self {
        Self { world }
    }

    /// The repository of a project and the branch that counts when none is named.
    fn project(&self, path: &str) -> Result<(PathBuf, String), RemoteError> {
        let know = self.world.know();
        let found = know.projects.values().find(|project| project.path == path);
        let found = found.map(|project| (project.repository.clone(), project.default_branch.clone()));
        found.ok_or_else(|| RemoteError::Missing(format!("there is no project `{path}`, or it may not be read")))
    }

    fn files(&self, project: &str, reference: Option<&str>) -> Result<RepositoryFiles, RemoteError> {
        let (repository, branch) = self.project(project)?;
        let reference = reference.unwrap_or(&branch);
        let sha = repository::resolve(&repository, reference)
            .map_err(|_| RemoteError::Missing(format!("`{project}` has no `{reference}`")))?;
        Ok(RepositoryFiles::new(repository, sha))
    }

    fn component(&self, path: &str, version: &str) -> Result<Fetched, RemoteError> {
        let Some((project, name)) = path.rsplit_once('/') else {
            return Err(RemoteError::Missing(format!("`{path}` is no component")));
        };
        let (repository, _) = self.project(project)?;
        let tags = repository::tags(&repository).unwrap_or_default();
        let release = component::release(version, tags.iter().map(String::as_str));
        if release.is_none() && version == component::LATEST {
            return Err(RemoteError::Missing(format!("`{project}` has no release: no tag like `1.2.3`")));
        }
        let files = self.files(project, Some(release.unwrap_or(version)))?;
        for path in component::paths(name) {
            if let Some(bytes) = files.read(&path).map_err(|error| RemoteError::Missing(error.to_string()))? {
                let place = Some((project.into(), files.sha().into()));
                return Ok(Fetched { bytes, project: place, version: release.map(str::to_owned) });
            }
        }
        Err(RemoteError::Missing(format!("`{project}` has no component `{name}` at `{version}`")))
    }
}

impl Remote for Elsewhere<'_> {
    fn fetch(&self, file: &RemoteFile) -> Result<Fetched, RemoteError> {
        match file {
            RemoteFile::Project { project, reference, file } => {
                let files = self.files(project, reference.as_deref())?;
                match files.read(file).map_err(|error| RemoteError::Missing(error.to_string()))? {
                    Some(bytes) => Ok(Fetched {
                        bytes,
                        project: Some((project.as_str().into(), files.sha().into())),
                        version: None,
                    }),
                    None => Err(RemoteError::Missing(format!("`{project}` has no file `{file}`"))),
                }
            }
            RemoteFile::Component { host, path, version } if self.world.base_url.ends_with(&format!("://{host}")) => {
                self.component(path, version)
            }
            RemoteFile::Component { host, .. } => {
                Err(RemoteError::Unavailable(format!("`{host}` is not the embedded forge")))
            }
            RemoteFile::Url { .. } => Err(RemoteError::Unavailable("the embedded forge fetches nothing".to_owned())),
            RemoteFile::Template { .. } => {
                Err(RemoteError::Unavailable("the embedded forge has no templates".to_owned()))
            }
        }
    }

    fn list(&self, project: &str, commit: &str) -> Result<Arc<[String]>, RemoteError> {
        self.files(project, Some(commit))?.list().map_err(|error| RemoteError::Missing(error.to_string()))
    }
}
