//! `forgehand service`: the agent under systemd.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{Args, Subcommand};

use super::{Verdict, render};
use crate::config::Locations;
use crate::state::durable;

/// The unit as it is installed, with its paths to be filled in.
const UNIT: &str = include_str!("../../systemd/forgehand.service");

/// The unit's name.
const NAME: &str = "forgehand.service";

/// Where units of the operator lie.
const UNITS: &str = "/etc/systemd/system";

/// Arguments of `forgehand service`.
#[derive(Clone, Debug, Args)]
pub struct ServiceArgs {
    #[command(subcommand)]
    action: ServiceAction,
}

#[derive(Clone, Debug, Subcommand)]
enum ServiceAction {
    /// Write the unit, and start the agent now and at every boot.
    Install {
        /// Only print the unit.
        #[arg(long)]
        print: bool,
        /// Write and enable it, but do not start it.
        #[arg(long)]
        no_start: bool,
    },
    /// Stop the agent after its last job, and remove the unit. Configuration and state stay.
    Uninstall,
    /// Start the agent.
    Start,
    /// Stop the agent after its last job.
    Stop,
    /// Show what systemd knows of the agent.
    Status,
}

/// Runs `forgehand service`.
pub fn run(args: &ServiceArgs, locations: &Locations) -> Result<Verdict, miette::Report> {
    Ok(match &args.action {
        ServiceAction::Install { print, no_start } => match unit(locations) {
            Ok(unit) if *print => render::result(&unit),
            Ok(unit) => install(&unit, Path::new(UNITS), *no_start),
            Err(message) => render::failed(&message, Verdict::BadInput),
        },
        ServiceAction::Uninstall => uninstall(Path::new(UNITS)),
        ServiceAction::Start => systemctl(&["start", NAME]),
        ServiceAction::Stop => systemctl(&["stop", NAME]),
        ServiceAction::Status => systemctl(&["status", "--no-pager", NAME]),
    })
}

/// The unit for this program and these places.
fn unit(locations: &Locations) -> Result<String, String> {
    let program = std::env::current_exe().map_err(|error| format!("this program's own path is not known: {error}"))?;
    let config_dir = locations.config_file.parent().unwrap_or(Path::new("/"));
    let mut unit = UNIT.to_owned();
    for (placeholder, path) in [
        ("@FORGEHAND@", program.as_path()),
        ("@CONFIG@", &locations.config_file),
        ("@STATE_DIR@", &locations.state_dir),
        ("@CONFIG_DIR@", config_dir),
    ] {
        unit = unit.replace(placeholder, &quoted(path)?);
    }
    Ok(unit)
}

/// A path as systemd reads it: `%` begins a specifier, `$` a variable; spaces and quotes would split it.
fn quoted(path: &Path) -> Result<String, String> {
    let refused =
        || format!("the path {} cannot stand in a unit; choose one of letters, digits, `/._-+`", path.display());
    let text = path.to_str().ok_or_else(refused)?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@".contains(c);
    if path.is_absolute() && text.chars().all(is_plain) { Ok(text.to_owned()) } else { Err(refused()) }
}

fn install(unit: &str, units: &Path, no_start: bool) -> Verdict {
    let path = units.join(NAME);
    if let Err(error) = write_unit(&path, unit) {
        return render::failed(&unwritable(&path, &error), Verdict::Environment);
    }
    eprintln!("written: {}", path.display());
    if !has_systemd() {
        eprintln!("note: systemd does not run here; start the agent with `forgehand run`");
        return Verdict::Success;
    }
    let enable: &[&str] = if no_start { &["enable", NAME] } else { &["enable", "--now", NAME] };
    match systemctl(&["daemon-reload"]) {
        Verdict::Success => systemctl(enable),
        failed => failed,
    }
}

/// Everybody may read it: it holds no secret.
fn write_unit(path: &Path, unit: &str) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    durable::replace(path, &[unit.as_bytes()])?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644))
}

fn uninstall(units: &Path) -> Verdict {
    let path = units.join(NAME);
    if !path.exists() {
        return render::failed(&format!("there is no {}", path.display()), Verdict::Failed);
    }
    if has_systemd() {
        match systemctl(&["disable", "--now", NAME]) {
            Verdict::Success => {}
            failed => return failed,
        }
    }
    if let Err(error) = std::fs::remove_file(&path) {
        return render::failed(&unwritable(&path, &error), Verdict::Environment);
    }
    eprintln!("removed: {}", path.display());
    if has_systemd() { systemctl(&["daemon-reload"]) } else { Verdict::Success }
}

fn unwritable(path: &Path, error: &io::Error) -> String {
    format!("{} cannot be changed: {error}; run this as root", path.display())
}

/// Whether systemd is this machine's service manager, not merely installed.
fn has_systemd() -> bool {
    sd_notify::booted().unwrap_or(false)
}

/// Calls systemctl with this terminal; its own words explain what went wrong.
fn systemctl(arguments: &[&str]) -> Verdict {
    let program = PathBuf::from("systemctl");
    match Command::new(&program).args(arguments).status() {
        Ok(status) if status.success() => Verdict::Success,
        Ok(status) => {
            let message = format!("`systemctl {}` ended with {status}", arguments.join(" "));
            render::failed(&message, Verdict::Environment)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let message = "there is no systemctl on this machine; run the agent with `forgehand run`";
            render::failed(&message, Verdict::Environment)
        }
        Err(error) => render::failed(&format!("systemctl cannot be run: {error}"), Verdict::Environment),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locations(state_dir: &str) -> Locations {
        Locations { config_file: "/etc/forgehand/forgehand.toml".into(), state_dir: state_dir.into() }
    }

    #[test]
    fn the_unit_names_this_program_and_keeps_sandboxes_alive() {
        let unit = unit(&locations("/var/lib/forgehand")).unwrap();
        assert!(!unit.contains("@FORGEHAND@") && !unit.contains("@STATE_DIR@") && !unit.contains("@CONFIG"), "{unit}");
        for line in [
            "Type=notify",
            "KillMode=process",
            "Restart=always",
            "ExecReload=/bin/kill -HUP $MAINPID",
            "ReadWritePaths=/var/lib/forgehand",
        ] {
            assert!(unit.lines().any(|one| one == line), "{line}");
        }
        let start = unit.lines().find(|line| line.starts_with("ExecStart=/")).unwrap();
        assert!(
            start.ends_with(" --config /etc/forgehand/forgehand.toml --state-dir /var/lib/forgehand run"),
            "{start}"
        );
    }

    /// systemd's own tools find nothing wrong with it.
    #[test]
    fn systemd_understands_the_unit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        write_unit(&path, &unit(&locations("/var/lib/forgehand")).unwrap()).unwrap();
        let verified = Command::new("systemd-analyze").arg("verify").arg(&path).output();
        let verified = verified.expect("systemd-analyze runs; see scripts/setup --tests");
        let said = String::from_utf8_lossy(&verified.stderr);
        assert!(verified.status.success() && !said.contains(NAME), "{said}");
    }

    #[test]
    fn a_path_that_systemd_would_misread_is_refused() {
        for path in ["/with space", "/per%cent", "/new\nline", "relative"] {
            assert!(unit(&locations(path)).is_err(), "{path}");
        }
    }

    #[test]
    fn a_unit_is_written_whole_for_everybody_to_read() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        write_unit(&path, "[Unit]\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "[Unit]\n");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    }
}
