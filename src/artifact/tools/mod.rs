//! Tools that one job installs and later jobs of its project find: the folder that workflows know as `RUNNER_TOOL_CACHE`.
//!
//! A tool is a folder `TOOL/VERSION/ARCH` with an empty file `ARCH.complete` beside it, written when the tool is whole; so the
//! forges' setup actions do it. (protocols: GitHub, the tool cache; Gitea 9.)
//!
//! No job writes into what another one runs. Tools are kept in the store, each under its owner. What a job may see of them lies on
//! this machine once, as a [`Layer`]: a folder that nobody changes. The job gets it below a folder of its own, into which goes all that it
//! writes, or as a copy ([`Layering`]). What is new there after the job is kept by [`ToolCache::keep`].
//!
//! - `name`: what tools are called. `view`: those that an owner's jobs see.
//! - `layer`: making them lie here. `room`: how much of the disk they may take. `lease`: which layers jobs use. `lay`: what one job gets. `tidy`: removing what nobody needs.
//! - `found`: what a job left. `keep`: keeping it.
//! - `tree`, `lock`: folders copied and linked; who works here.
//!
//! ```text
//! lock                    held shared by whoever takes or makes a layer, exclusively by whoever removes something
//! making/ID               held by whoever makes one tree or layer, so that nobody else does the same work; others do not wait for it
//! keeping/OWNER           held by whoever keeps tools of this owner
//! trees/OWNER/TREE/       one tool, as the store has it
//! layers/LAYER/           tools in their places; their files are those of `trees`, by hard links
//! leases/LAYER/JOB        the path of a job's folder: the layer is used as long as that is there
//! new/                    what is being made, held by whoever makes it; what is being removed
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::store::{Store, StoreError};

mod found;
mod keep;
mod lay;
mod layer;
mod lease;
mod lock;
mod name;
mod room;
mod tidy;
mod tree;
mod view;

#[cfg(test)]
mod tests;

pub use keep::Keeping;
pub use lay::{JobTools, Laid, Layering, Laying, Overlay};
pub use layer::Layer;
pub use name::ToolName;
pub use view::View;

/// The tools of this machine. Any number of threads and processes may work with them at the same time. Everything blocks on the disk.
pub struct ToolCache {
    store: Arc<Store>,
    root: PathBuf,
    bounds: room::Bounds,
    /// Bytes of the disk that somebody is about to fill.
    promised: Mutex<u64>,
}

impl ToolCache {
    /// Tools that are kept in `store` and lie in the folder `root`, which is made when there are some.
    pub fn new(store: Arc<Store>, root: PathBuf) -> Self {
        Self { store, root, bounds: room::Bounds::default(), promised: Mutex::default() }
    }

    fn trees(&self) -> PathBuf {
        self.root.join("trees")
    }

    fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    fn leases(&self) -> PathBuf {
        self.root.join("leases")
    }

    fn making(&self) -> PathBuf {
        self.root.join("making")
    }

    /// What is not finished, or not wanted any more.
    fn new_folder(&self) -> PathBuf {
        self.root.join("new")
    }
}

/// Why tools cannot be given or kept. For a job this is a warning: it installs them itself.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file or folder of the machine cannot be used.
    #[error("{doing} `{}` failed; check the permissions and the disk", path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The disk has no room for tools.
    #[error(
        "there is no room for {} MiB: of the {} MiB that are free on the disk of `{}` {} MiB are left alone; free some, or keep tools for less \
         long (a policy with the pattern `^tools/`)",
        room::mib(*needed), room::mib(*free), path.display(), room::mib(*reserve)
    )]
    NoRoom {
        /// Bytes that are needed.
        needed: u64,
        /// Bytes that are free, and promised to nobody.
        free: u64,
        /// Bytes of them that are left alone.
        reserve: u64,
        /// A folder on that disk.
        path: PathBuf,
    },
    /// Others keep the tools busy.
    #[error("the tools on this machine were kept busy by other jobs for {seconds} seconds")]
    Busy {
        /// How long was waited.
        seconds: u64,
    },
    /// The work was asked to end.
    #[error("interrupted")]
    Interrupted,
}

impl ToolError {
    fn file(doing: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::File { doing, path: path.to_owned(), source: source.into() }
    }
}
