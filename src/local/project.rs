//! The checkout: its root, its files, and the pipeline file that a path means.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};

use cap_std::ambient_authority;
use cap_std::fs::Dir;

use crate::parser::dialect::{Dialect, PLACES};
use crate::parser::document::{FileError, Files};
use crate::parser::gitlab::compose::utf16_text;

/// The biggest file that is read for a pipeline, in bytes.
const BIGGEST: u64 = 32 << 20;

/// A pipeline file and the project it belongs to.
#[derive(Debug)]
pub struct PipelineFile {
    /// Its path relative to the project's root, with `/`.
    pub path: String,
    /// Its language.
    pub dialect: Dialect,
    /// Its text.
    pub text: String,
    /// The byte at which the file is no UTF-8 text; the text then has marks in place of what is none.
    pub no_text_at: Option<usize>,
}

/// Why there is no pipeline file.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum LocateError {
    /// The path leads nowhere.
    #[error("there is no file or folder {}", path.display())]
    Missing {
        /// The path as given.
        path: PathBuf,
    },
    /// A folder without any pipeline.
    #[error("there is no pipeline in {}", path.display())]
    #[diagnostic(help(
        "a pipeline is a .gitlab-ci.yml, a forgehand.yml, or a file in .github/workflows, .gitea/workflows or .forgejo/workflows"
    ))]
    Nothing {
        /// The folder.
        path: PathBuf,
    },
    /// A folder with more than one.
    #[error("there is more than one pipeline in {}: {}", path.display(), found.join(", "))]
    #[diagnostic(help("name the one that is meant"))]
    Several {
        /// The folder.
        path: PathBuf,
        /// What is there.
        found: Vec<String>,
    },
    /// A file that cannot be read as text.
    #[error("{} cannot be read: {problem}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
}

/// A checkout.
#[derive(Clone, Debug)]
pub struct Project {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    is_git: bool,
    dir: Dir,
    list: OnceLock<Result<Listed, FileError>>,
}

/// What a project holds.
#[derive(Clone, Debug)]
struct Listed {
    /// Names that a pipeline can speak of.
    names: Arc<[String]>,
    /// Those that are no UTF-8; they are part of the work tree all the same.
    others: Arc<[PathBuf]>,
}

impl Project {
    /// The project that `path` lies in: the nearest folder above it with `.git`; else the folder that a forge's folder of workflows
    /// lies in; else its own folder.
    ///
    /// # Errors
    /// The path leads nowhere or its folder cannot be opened.
    pub fn containing(path: &Path) -> Result<Self, LocateError> {
        let unreadable = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => LocateError::Missing { path: path.to_owned() },
            _ => LocateError::Unreadable { path: path.to_owned(), problem: error.to_string() },
        };
        let full = path.canonicalize().map_err(unreadable)?;
        let folder = if full.is_dir() { full.as_path() } else { full.parent().unwrap_or(&full) };
        let git = folder.ancestors().find(|folder| folder.join(".git").exists());
        let root = git.or_else(|| above_workflows(folder)).unwrap_or(folder).to_owned();
        let dir = Dir::open_ambient_dir(&root, ambient_authority()).map_err(unreadable)?;
        Ok(Self { inner: Arc::new(Inner { root, is_git: git.is_some(), dir, list: OnceLock::new() }) })
    }

    /// Its root.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// Whether it is a git work tree.
    pub fn is_git(&self) -> bool {
        self.inner.is_git
    }

    /// The pipeline files that `path` means: itself, or all that lie in it where it is a folder.
    ///
    /// # Errors
    /// The path leads nowhere or there is no pipeline.
    pub fn pipelines_at(&self, path: &Path, dialect: Option<Dialect>) -> Result<Vec<PipelineFile>, LocateError> {
        let full = path.canonicalize().map_err(|_| LocateError::Missing { path: path.to_owned() })?;
        if full.is_dir() { self.in_folder(path, &full, dialect) } else { Ok(vec![self.file(&full, dialect)?]) }
    }

    /// The one pipeline file that `path` means.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn pipeline_at(&self, path: &Path, dialect: Option<Dialect>) -> Result<PipelineFile, LocateError> {
        let mut found = self.pipelines_at(path, dialect)?;
        match found.len() {
            1 => Ok(found.remove(0)),
            _ => Err(LocateError::Several {
                path: path.to_owned(),
                found: found.into_iter().map(|file| file.path).collect(),
            }),
        }
    }

    fn in_folder(&self, path: &Path, full: &Path, dialect: Option<Dialect>) -> Result<Vec<PipelineFile>, LocateError> {
        // A folder of workflows names itself.
        let is_workflows = full.file_name().is_some_and(|name| name == "workflows");
        if is_workflows {
            let found = self.workflows(full, dialect)?;
            return if found.is_empty() { Err(LocateError::Nothing { path: path.to_owned() }) } else { Ok(found) };
        }
        let mut found = Vec::new();
        for (place, language) in PLACES {
            if dialect.is_some_and(|dialect| dialect != *language) {
                continue;
            }
            let at = full.join(place);
            if place.ends_with('/') && at.is_dir() {
                found.extend(self.workflows(&at, dialect)?);
            } else if !place.ends_with('/') && at.is_file() {
                found.push(self.file(&at, dialect)?);
            }
        }
        if found.is_empty() { Err(LocateError::Nothing { path: path.to_owned() }) } else { Ok(found) }
    }

    /// The workflows in a folder, by name.
    fn workflows(&self, folder: &Path, dialect: Option<Dialect>) -> Result<Vec<PipelineFile>, LocateError> {
        let unreadable =
            |error: io::Error| LocateError::Unreadable { path: folder.to_owned(), problem: error.to_string() };
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.extension().is_some_and(|end| end == "yml" || end == "yaml") && path.is_file() {
                paths.push(path);
            }
        }
        paths.sort();
        paths.iter().map(|path| self.file(path, dialect)).collect()
    }

    fn file(&self, full: &Path, dialect: Option<Dialect>) -> Result<PipelineFile, LocateError> {
        let path = self.relative(full);
        let bytes = read_bytes(full)?;
        // Of GitLab's files alone: the others say that they are no text.
        let wide = utf16_text(&bytes).filter(|text| {
            let spoken = dialect.or_else(|| Dialect::of_path(&path)).unwrap_or_else(|| Dialect::of_text(text));
            spoken == Dialect::GitLab
        });
        let (text, no_text_at) = match wide.map_or_else(|| String::from_utf8(bytes), Ok) {
            Ok(text) => (text, None),
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                (String::from_utf8_lossy(error.as_bytes()).into_owned(), Some(at))
            }
        };
        let dialect = dialect.or_else(|| Dialect::of_path(&path)).unwrap_or_else(|| Dialect::of_text(&text));
        Ok(PipelineFile { path, dialect, text, no_text_at })
    }

    /// A path of the machine as one of the project.
    pub fn relative(&self, full: &Path) -> String {
        full.strip_prefix(&self.inner.root).unwrap_or(full).to_string_lossy().replace('\\', "/")
    }

    /// All files of the work tree, whatever they are called.
    pub fn paths(&self) -> Result<Vec<PathBuf>, FileError> {
        let Listed { names, others } = self.listed()?;
        Ok(names.iter().map(PathBuf::from).chain(others.iter().cloned()).collect())
    }

    fn listed(&self) -> Result<Listed, FileError> {
        self.inner.list.get_or_init(|| self.scan()).clone()
    }

    fn scan(&self) -> Result<Listed, FileError> {
        let failed = |problem: String| FileError { path: self.inner.root.display().to_string(), problem };
        let found = if self.inner.is_git {
            git_files(&self.inner.root).map_err(failed)?
        } else {
            let mut found = Vec::new();
            walk(&self.inner.root, Path::new(""), &mut found).map_err(|error| failed(error.to_string()))?;
            found
        };
        let (mut names, mut others) = (Vec::with_capacity(found.len()), Vec::new());
        for path in found {
            match path.into_os_string().into_string() {
                Ok(name) => names.push(name),
                Err(other) => others.push(PathBuf::from(other)),
            }
        }
        names.sort_unstable();
        names.dedup();
        Ok(Listed { names: names.into(), others: others.into() })
    }
}

impl Files for Project {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, FileError> {
        let failed = |problem: String| FileError { path: path.to_owned(), problem };
        let path = path.trim_start_matches('/');
        // By the handle of the root: neither `..` nor a link leads out of it. Looked at before it is opened: a pipe would wait
        // for a writer.
        let meta = match self.inner.dir.metadata(path) {
            Ok(meta) if meta.is_file() => meta,
            Ok(_) => return Ok(None),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(failed(error.to_string())),
        };
        let mut file = self.inner.dir.open(path).map_err(|error| failed(error.to_string()))?;
        if meta.len() > BIGGEST {
            return Err(failed(format!("it has {} bytes, more than {BIGGEST}", meta.len())));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or(0));
        io::Read::read_to_end(&mut file, &mut bytes).map_err(|error| failed(error.to_string()))?;
        Ok(Some(bytes))
    }

    fn list(&self) -> Result<Arc<[String]>, FileError> {
        self.listed().map(|listed| listed.names)
    }
}

/// The folder that `.github/workflows` or its like lies in, where `folder` is that or lies below.
fn above_workflows(folder: &Path) -> Option<&Path> {
    let places = PLACES.iter().filter(|(place, _)| place.ends_with('/'));
    places.flat_map(|(place, _)| folder.ancestors().map(move |at| (at, place))).find_map(|(at, place)| {
        let levels = Path::new(place).components().count();
        at.ends_with(place).then(|| at.ancestors().nth(levels)).flatten()
    })
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, LocateError> {
    let unreadable = |problem: String| LocateError::Unreadable { path: path.to_owned(), problem };
    let meta = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?;
    if !meta.is_file() {
        return Err(unreadable("it is no plain file".to_owned()));
    }
    if meta.len() > BIGGEST {
        return Err(unreadable(format!("it has {} bytes, more than {BIGGEST}", meta.len())));
    }
    std::fs::read(path).map_err(|error| unreadable(error.to_string()))
}

/// What is committed or not ignored, by git's own rules.
pub(super) fn git_files(root: &Path) -> Result<Vec<PathBuf>, String> {
    let output = Command::new("git")
        .args(["-c", "core.fsmonitor=false", "ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(root)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("git cannot be started: {error}"))?;
    if !output.status.success() {
        return Err(format!("git ls-files: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    let names = output.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    Ok(names.map(|name| PathBuf::from(OsStr::from_bytes(name))).collect())
}

/// All files below a folder; links are listed and not followed.
fn walk(root: &Path, prefix: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut open = vec![(root.to_owned(), prefix.to_owned())];
    while let Some((folder, prefix)) = open.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let path = prefix.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                open.push((entry.path(), path));
            } else {
                found.push(path);
            }
        }
    }
    Ok(())
}
