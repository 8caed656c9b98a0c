//! A container of our own, for what the agent cannot do from outside: see what the engine sees, act as root, and keep a network's
//! namespace.
//!
//! Its image is empty, made here once and labelled ours; its program is this very program, mounted and started under
//! another name ([`is_utility`]).

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::models::{ContainerCreateBody, HostConfig, Mount, MountType};
use bollard::query_parameters::{CreateContainerOptions, CreateImageOptions, DownloadFromContainerOptions};
use futures_util::StreamExt;

use super::engine::{CHANGE, LOOK};
use super::error::EngineError;
use super::image::pull;
use super::network::files::NameFiles;
use super::{Docker, Engine, labels, leftovers, names};

/// The empty image. Its number changes with its content.
pub(super) const IMAGE: &str = "forgehand-utility:1";
/// The name under which this program does a utility container's work.
const NAME: &str = "forgehand-utility";
/// The same as a path in the container.
const PROGRAM: &str = "/.forgehand/forgehand-utility";
/// The folder that the program works on.
pub(super) const WORK: &str = "/work";
/// How long a removal of leftovers may take.
const PATIENCE: Duration = Duration::from_secs(1800);
/// Bytes of a utility's words that are read.
const WORDS: usize = 16 * 1024;

/// The program that a utility container runs: this one, and the arguments that make it [`main`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UtilityProgram {
    /// The static binary on the machine, readable by the engine.
    pub path: PathBuf,
    /// Arguments; none for the agent's own binary.
    pub args: Vec<String>,
}

/// Whether this process is a utility container's: it was started under the utility's name. Asked before anything else.
pub fn is_utility() -> bool {
    std::env::args_os().next().is_some_and(|program| Path::new(&program).file_name().is_some_and(|name| name == NAME))
}

/// What a utility container does: its last argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Empties the folder `/work` and ends: 0, or 1 with a line on stderr.
    Empty,
    /// Says what the engine wrote for it, and is there until it is removed.
    Hold,
}

impl Work {
    const HOLD: &str = "hold";

    fn word(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Hold => Self::HOLD,
        }
    }
}

/// Does a utility container's work.
pub fn main() -> ! {
    if std::env::args().next_back().is_some_and(|word| word == Work::HOLD) {
        hold();
    }
    let code = match leftovers::empty(Path::new(WORK)) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{error}");
            1
        }
    };
    std::process::exit(code)
}

fn hold() -> ! {
    let said = NameFiles::here().and_then(|files| {
        let line = files.to_line()?;
        let mut stdout = std::io::stdout();
        stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush())
    });
    if let Err(error) = said {
        eprintln!("{error}");
        std::process::exit(1);
    }
    loop {
        std::thread::park();
    }
}

impl Docker {
    /// Proves that the engine sees `folder` as we do: a file with a random word, read back through a container that mounts
    /// it.
    pub(super) async fn prove_shared(&self, folder: &Path) -> Result<(), EngineError> {
        let nonce = uuid::Uuid::new_v4().simple().to_string();
        let probe = folder.join(format!(".probe-{nonce}"));
        let failed = |error: std::io::Error| EngineError::State {
            what: format!("writing a probe into {}", folder.display()),
            message: error.to_string(),
        };
        let content = match tokio::fs::write(&probe, &nonce).await {
            Ok(()) => nonce.as_str(),
            // On a full disk there is still its name, which nobody else can have: an agent must come back to jobs that filled it.
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull && probe.exists() => "",
            Err(error) => return Err(failed(error)),
        };
        let seen = self.read_through_engine(&probe).await;
        tokio::fs::remove_file(&probe).await.map_err(failed)?;
        let strange = |why: String| {
            EngineError::Unsupported(format!(
                "the Docker engine does not see the state directory {}: {why}; the engine must run on this machine, with \
                 the same file system (not inside another container or a virtual machine)",
                folder.display()
            ))
        };
        match seen {
            Ok(text) if String::from_utf8_lossy(&text).contains(content) => Ok(()),
            Ok(_) => Err(strange("a file there has another content for it".into())),
            Err(error @ (EngineError::Refused { .. } | EngineError::NotFound { .. } | EngineError::Failed { .. })) => {
                Err(strange(error.words()))
            }
            Err(error) => Err(error),
        }
    }

    /// The file as a container sees it, in a tar archive. The container is never started.
    async fn read_through_engine(&self, file: &Path) -> Result<Vec<u8>, EngineError> {
        let id = self.make_utility("probe", vec![bind(file, "/probe", true)], vec!["none".into()]).await?;
        let options = DownloadFromContainerOptions { path: "/probe".into() };
        let stream = self.engine().api().download_from_container(&id, Some(options)).take(64);
        let mut archive = Vec::new();
        let read =
            self.engine().drain("reading a probe", LOOK, stream, |piece| archive.extend_from_slice(&piece)).await;
        self.engine().remove_container(&id).await?;
        read.map(|()| archive)
    }

    /// Empties `folder` as root in a container: what jobs left there as other users, or without the right to write.
    pub async fn empty_as_root(&self, folder: &Path) -> Result<(), EngineError> {
        let program = self.utility_program();
        let mounts = vec![program_mount(program), bind(folder, WORK, false)];
        let id = self.make_utility("empty", mounts, command(program, Work::Empty)).await?;
        let done = self.run_utility(&id, folder).await;
        self.engine().remove_container(&id).await?;
        done
    }

    pub(super) async fn run_utility(&self, id: &str, folder: &Path) -> Result<(), EngineError> {
        let engine = self.engine();
        engine.call("starting a container", CHANGE, engine.api().start_container(id, None)).await?;
        let what = || format!("emptying {} as root", folder.display());
        let code = tokio::time::timeout(PATIENCE, self.engine().wait_exit(id))
            .await
            .map_err(|_elapsed| EngineError::Timeout { what: what(), after: PATIENCE })??;
        if code == 0 {
            return Ok(());
        }
        let words = self.output_of(id, WORDS).await?;
        Err(EngineError::Failed { what: what(), message: String::from_utf8_lossy(&words).trim().to_owned() })
    }

    pub(super) async fn make_utility(
        &self,
        purpose: &str,
        mounts: Vec<Mount>,
        command: Vec<String>,
    ) -> Result<String, EngineError> {
        ensure_image(self.engine()).await?;
        let host_config = HostConfig {
            mounts: Some(mounts),
            network_mode: Some("none".into()),
            // Root of the machine, not of a remapped user namespace.
            userns_mode: self.caps().has_userns_remap.then(|| "host".into()),
            readonly_rootfs: Some(true),
            ..HostConfig::default()
        };
        let mut labels = labels::of_agent(self.agent(), labels::UTILITY);
        labels.extend(self.process().map(|process| (labels::PROCESS.to_owned(), process.to_owned())));
        let body = ContainerCreateBody {
            image: Some(IMAGE.into()),
            cmd: Some(command),
            user: Some("0:0".into()),
            labels: Some(labels),
            host_config: Some(host_config),
            network_disabled: Some(true),
            ..ContainerCreateBody::default()
        };
        let name = names::utility_container(self.agent(), purpose);
        let options = CreateContainerOptions { name: Some(name), platform: String::new() };
        let call = self.engine().api().create_container(Some(options), body);
        Ok(self.engine().call("making a container", CHANGE, call).await?.id)
    }
}

/// The program where utility containers look for it.
pub(super) fn program_mount(program: &UtilityProgram) -> Mount {
    bind(&program.path, PROGRAM, true)
}

/// The command of a utility container.
pub(super) fn command(program: &UtilityProgram, work: Work) -> Vec<String> {
    let words = [PROGRAM].into_iter().chain(program.args.iter().map(String::as_str)).chain([work.word()]);
    words.map(str::to_owned).collect()
}

/// Makes the image where it is not there.
pub(super) async fn ensure_image(engine: &Engine) -> Result<(), EngineError> {
    if pull::inspect(engine, IMAGE).await?.is_some() {
        return Ok(());
    }
    let (repo, tag) = IMAGE.split_once(':').unwrap_or((IMAGE, "latest"));
    let options = CreateImageOptions {
        from_src: Some("-".into()),
        repo: Some(repo.to_owned()),
        tag: Some(tag.to_owned()),
        changes: vec![format!("LABEL {}={}", labels::ROLE, labels::UTILITY)],
        ..CreateImageOptions::default()
    };
    let archive = empty_root()
        .map_err(|error| EngineError::State { what: "packing the utility image".into(), message: error.to_string() })?;
    let stream = engine.api().create_image(Some(options), Some(bollard::body_full(archive.into())), None);
    engine.drain("making the utility image", LOOK, stream, |_progress| {}).await
}

/// A root file system with nothing but the places of mounts: the engine makes none in a read-only one.
fn empty_root() -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, kind) in [
        (".forgehand/", tar::EntryType::Directory),
        (".forgehand/forgehand-utility", tar::EntryType::Regular),
        ("work/", tar::EntryType::Directory),
        ("probe", tar::EntryType::Regular),
    ] {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_size(0);
        archive.append_data(&mut header, name, std::io::empty())?;
    }
    archive.into_inner()
}

fn bind(source: &Path, target: &str, read_only: bool) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(source.display().to_string()),
        target: Some(target.to_owned()),
        read_only: Some(read_only),
        ..Mount::default()
    }
}
