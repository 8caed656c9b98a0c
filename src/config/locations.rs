//! Where the configuration file and the state directory are.

use std::ffi::OsString;
use std::path::PathBuf;

/// The two places that everything else hangs on. Neither can be a key of the file, since the file is found by them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locations {
    /// `forgehand.toml`. Need not exist.
    pub config_file: PathBuf,
    /// The state directory. Need not exist.
    pub state_dir: PathBuf,
}

/// Why a place cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no home to keep {what} in: set HOME, or name the place with {flag} or {variable}")]
pub struct NoHome {
    what: &'static str,
    flag: &'static str,
    variable: &'static str,
}

impl Locations {
    /// The places: the flags' (clap has already put FORGEHAND_CONFIG and FORGEHAND_STATE_DIR into them, or they are
    /// looked up here), else the system's as root, else the user's own under the XDG folders. Relative paths are taken
    /// from the working directory.
    pub fn resolve(config_file: Option<PathBuf>, state_dir: Option<PathBuf>) -> Result<Self, NoHome> {
        let is_root = rustix::process::geteuid().is_root();
        Self::resolve_for(config_file, state_dir, is_root, |name| std::env::var_os(name))
    }

    fn resolve_for(
        config_file: Option<PathBuf>,
        state_dir: Option<PathBuf>,
        is_root: bool,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, NoHome> {
        let named = |flag: Option<PathBuf>, name| flag.or_else(|| path_in(variable(name)));
        let own = |xdg, below_home: &str| {
            // The XDG rules: a relative path counts as unset.
            let folder = path_in(variable(xdg)).filter(|path| path.is_absolute());
            let home = || path_in(variable("HOME")).map(|home| home.join(below_home));
            folder.or_else(home).map(|folder| folder.join("forgehand"))
        };
        let config_file = match named(config_file, "FORGEHAND_CONFIG") {
            Some(named) => Some(named),
            None if is_root => Some(PathBuf::from("/etc/forgehand/forgehand.toml")),
            None => own("XDG_CONFIG_HOME", ".config").map(|folder| folder.join("forgehand.toml")),
        };
        let state_dir = match named(state_dir, "FORGEHAND_STATE_DIR") {
            Some(named) => Some(named),
            None if is_root => Some(PathBuf::from("/var/lib/forgehand")),
            None => own("XDG_STATE_HOME", ".local/state"),
        };
        let no_config = NoHome { what: "the configuration", flag: "--config", variable: "FORGEHAND_CONFIG" };
        let no_state = NoHome { what: "the state", flag: "--state-dir", variable: "FORGEHAND_STATE_DIR" };
        Ok(Self {
            config_file: absolute(config_file.ok_or(no_config)?),
            state_dir: absolute(state_dir.ok_or(no_state)?),
        })
    }
}

/// An empty variable counts as unset.
fn path_in(value: Option<OsString>) -> Option<PathBuf> {
    value.filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The agent hands these paths to an engine and to children that work elsewhere.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(is_root: bool, flags: (Option<&str>, Option<&str>), environment: &[(&str, &str)]) -> (String, String) {
        let flag = |flag: Option<&str>| flag.map(PathBuf::from);
        let look = |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
        let found = Locations::resolve_for(flag(flags.0), flag(flags.1), is_root, look).unwrap();
        (found.config_file.display().to_string(), found.state_dir.display().to_string())
    }

    #[test]
    fn a_flag_wins_over_the_environment_and_that_over_the_default() {
        let env = [("FORGEHAND_CONFIG", "/e/c.toml"), ("FORGEHAND_STATE_DIR", "/e/s"), ("HOME", "/home/u")];
        assert_eq!(resolve(true, (Some("/f/c.toml"), None), &env), ("/f/c.toml".into(), "/e/s".into()));
        assert_eq!(
            resolve(true, (None, None), &[]),
            ("/etc/forgehand/forgehand.toml".into(), "/var/lib/forgehand".into())
        );
        assert_eq!(
            resolve(false, (None, None), &env[2..]),
            ("/home/u/.config/forgehand/forgehand.toml".into(), "/home/u/.local/state/forgehand".into())
        );
        let xdg = [("XDG_CONFIG_HOME", "/x/c"), ("XDG_STATE_HOME", "/x/s"), ("FORGEHAND_CONFIG", "")];
        assert_eq!(
            resolve(false, (None, None), &xdg),
            ("/x/c/forgehand/forgehand.toml".into(), "/x/s/forgehand".into())
        );
    }

    #[test]
    fn without_a_home_the_message_names_the_flag() {
        let error = Locations::resolve_for(None, None, false, |_| None).unwrap_err().to_string();
        assert!(error.contains("--config"), "{error}");
    }
}
