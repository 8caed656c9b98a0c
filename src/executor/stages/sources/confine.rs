//! What git may touch on the machine, enforced by the kernel (landlock) for it and everything it starts.
//!
//! The work tree was written by jobs, and git has many ways to be talked into running or reading something. Hygiene
//! closes the known ones; this closes the rest: system programs and the few system files that git, its helpers and TLS
//! need may be read, the folders of this one call may be written, and nothing in them can be executed. No other
//! workspace, no home, no state database, no `/proc`.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, Scope,
};

/// The newest interface whose rights are asked for; older kernels give what they have.
const WANTED: ABI = ABI::V6;

/// How well this kernel can confine git.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confinement {
    /// All that is asked for.
    Full,
    /// An older kernel: the file system is confined, but not everything about it.
    Partial,
    /// No landlock: hygiene and configuration alone protect the machine.
    None,
}

impl Confinement {
    /// What this kernel can do.
    pub fn of_this_kernel() -> Self {
        if is_supported(WANTED) {
            Confinement::Full
        } else if is_supported(ABI::V1) {
            Confinement::Partial
        } else {
            Confinement::None
        }
    }

    /// A sentence for `doctor` and the agent's log; `None` when there is nothing to say.
    pub fn remark(self) -> Option<&'static str> {
        match self {
            Confinement::Full => None,
            Confinement::Partial => Some(
                "this kernel's landlock is an early one: git is confined to its folders, with small gaps; use Linux 6.12",
            ),
            Confinement::None => Some(
                "this kernel has no landlock: git is not confined to its folders; use Linux 5.13 or later and enable \
                 landlock (boot with lsm=landlock,...)",
            ),
        }
    }
}

/// The folders of one call.
pub(super) struct Folders<'a> {
    /// Programs in these may be run, and everything in them read.
    pub programs: &'a [PathBuf],
    /// Further files and folders that may be read.
    pub readable: Vec<Grant<'a>>,
    /// Folders that may be changed.
    pub writable: Vec<Grant<'a>>,
}

/// A place that git may use.
pub(super) enum Grant<'a> {
    /// By name: only where no job can change any part of the name.
    Path(&'a Path),
    /// By handle.
    Handle(BorrowedFd<'a>),
}

/// System folders with programs and libraries.
const SYSTEM: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix/store",
    "/gnu/store",
    "/run/current-system",
];

/// What the dynamic linker, name resolution and TLS read. Not `/etc` as a whole: git often runs as root.
const SYSTEM_FILES: &[&str] = &[
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/ca-certificates.conf",
    "/etc/crypto-policies",
    "/etc/gai.conf",
    "/etc/gnutls",
    "/etc/group",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/ld-musl-x86_64.path",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ld.so.preload",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/pki",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl",
    "/etc/static",
    "/run/systemd/resolve",
    "/sys/devices/system/cpu",
    "/sys/kernel/mm/transparent_hugepage",
    "/var/lib/ca-certificates",
    "/dev/random",
    "/dev/urandom",
    "/dev/zero",
];

/// The rules for one call; the kernel enforces them from the moment that the program is started.
pub(super) fn rules(folders: &Folders<'_>) -> io::Result<RulesetCreated> {
    build(folders).map_err(|error| io::Error::other(format!("confining git: {error}")))
}

fn build(folders: &Folders<'_>) -> Result<RulesetCreated, RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let run = read | AccessFs::Execute;
    // Nothing that can be written can be executed, and git has no use for devices, sockets and pipes.
    let write = AccessFs::from_all(WANTED)
        & !(AccessFs::Execute | AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::MakeSock | AccessFs::MakeFifo);
    let mut rules =
        Ruleset::default().handle_access(AccessFs::from_all(WANTED))?.scope(Scope::from_all(WANTED))?.create()?;
    for path in SYSTEM.iter().map(Path::new).chain(folders.programs.iter().map(PathBuf::as_path)) {
        rules = allow_if_there(rules, path, run)?;
    }
    for path in SYSTEM_FILES {
        rules = allow_if_there(rules, Path::new(path), read)?;
    }
    rules = allow_if_there(rules, Path::new("/dev/null"), AccessFs::from_file(WANTED) & !AccessFs::Execute)?;
    for grant in &folders.readable {
        rules = allow(rules, grant, read)?;
    }
    for grant in &folders.writable {
        rules = allow(rules, grant, write)?;
    }
    Ok(rules)
}

fn allow(rules: RulesetCreated, grant: &Grant<'_>, access: BitFlags<AccessFs>) -> Result<RulesetCreated, RulesetError> {
    match grant {
        Grant::Path(path) => allow_if_there(rules, path, access),
        Grant::Handle(folder) => rules.add_rule(PathBeneath::new(*folder, access)),
    }
}

/// A place that does not exist needs no rule.
fn allow_if_there(
    rules: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    let Ok(handle) = PathFd::new(path) else { return Ok(rules) };
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(WANTED) };
    rules.add_rule(PathBeneath::new(handle, access))
}

fn is_supported(abi: ABI) -> bool {
    let strict = || -> Result<RulesetCreated, RulesetError> {
        let rules = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        let rules = rules.handle_access(AccessFs::from_all(abi))?;
        let scopes = Scope::from_all(abi);
        if scopes.is_empty() { rules.create() } else { rules.scope(scopes)?.create() }
    };
    strict().is_ok()
}
