//! By which name the server tells this machine from others with the same token. (protocols: GitLab 1.5.)

use std::fs;
use std::path::Path;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Where Linux keeps the machine's id.
const MACHINE_ID_FILES: [&str; 2] = ["/var/lib/dbus/machine-id", "/etc/machine-id"];

/// The file's name in the state directory.
const FILE: &str = "system_id";

/// The id kept in `folder`, or a new one that is kept there from now on. One that cannot be kept is used all the same,
/// with a warning in the log: the server then sees another machine after each start. Blocking.
pub fn load_or_create(folder: &Path) -> String {
    let file = folder.join(FILE);
    if let Ok(text) = fs::read_to_string(&file)
        && is_valid(text.trim())
    {
        return text.trim().to_owned();
    }
    let machine_id = MACHINE_ID_FILES.iter().find_map(|file| {
        let text = fs::read_to_string(file).ok()?;
        let text = text.trim().to_owned();
        (!text.is_empty()).then_some(text)
    });
    let id = machine_id.as_deref().map_or_else(random, derive);
    if let Err(error) = keep(&file, &id) {
        tracing::warn!(%error, file = %file.display(), "the system id cannot be kept");
    }
    id
}

/// `s_` and twelve digits made from the machine's id, the same as the official runner's, so that a machine that is moved
/// over keeps its place in GitLab's list.
pub fn derive(machine_id: &str) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(machine_id.as_bytes()) else {
        return random(); // a key of any length is good for HMAC
    };
    mac.update(b"gitlab-runner");
    format!("s_{}", &hex::encode(mac.finalize().into_bytes())[..12])
}

/// `r_` and twelve random characters.
fn random() -> String {
    const CHARACTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    let pick = || char::from(CHARACTERS[rand::random_range(0..CHARACTERS.len())]);
    format!("r_{}", std::iter::repeat_with(pick).take(12).collect::<String>())
}

fn is_valid(text: &str) -> bool {
    let id = text.strip_prefix("s_").or_else(|| text.strip_prefix("r_"));
    id.is_some_and(|id| id.len() == 12 && id.chars().all(|c| c.is_ascii_alphanumeric()))
}

fn keep(file: &Path, id: &str) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let temporary = file.with_extension("tmp");
    let mut opened = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    opened.write_all(id.as_bytes())?;
    opened.sync_all()?;
    fs::rename(&temporary, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let id = load_or_create(folder.path());
        assert!(is_valid(&id), "{id}");
        assert_eq!(load_or_create(folder.path()), id);
        fs::write(folder.path().join(FILE), " r_ABCdef012345\n").unwrap();
        assert_eq!(load_or_create(folder.path()), "r_ABCdef012345");
        fs::write(folder.path().join(FILE), "nonsense").unwrap();
        assert!(is_valid(&load_or_create(folder.path())));
    }

    #[test]
    fn ids_have_the_protocol_s_form() {
        assert!(is_valid(&random()) && is_valid(&derive("0123")));
        assert_ne!(derive("a"), derive("b"));
        assert!(!is_valid("s_12345678901") && !is_valid("x_123456789012") && !is_valid("s_12345678901-"));
    }
}
