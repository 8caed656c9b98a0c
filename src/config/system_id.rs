//! What tells this machine from others that share a runner's token (protocols/gitlab.md 1.5).

use std::fs::File;
use std::io::Read;

use hmac::{Hmac, KeyInit, Mac};
use rand::RngExt;
use sha2::Sha256;

/// Where machines keep their id, in the order in which they are asked.
const MACHINE_ID_FILES: [&str; 2] = ["/var/lib/dbus/machine-id", "/etc/machine-id"];

/// The id of this machine: `s_` and twelve hexadecimal digits made from the machine id, else `r_` and twelve random
/// characters. The latter differs from call to call: whoever asks keeps it.
pub fn of_this_machine() -> String {
    match MACHINE_ID_FILES.iter().find_map(|file| machine_id(file)) {
        Some(machine) => from_machine_id(&machine),
        None => random(),
    }
}

/// Whether a text has the form of a system id.
pub fn is_valid(id: &str) -> bool {
    let rest = id.strip_prefix("s_").or_else(|| id.strip_prefix("r_"));
    rest.is_some_and(|rest| rest.len() == 12 && rest.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

fn machine_id(file: &str) -> Option<String> {
    let mut text = String::new();
    File::open(file).ok()?.take(1024).read_to_string(&mut text).ok()?;
    Some(text.trim().to_owned()).filter(|id| !id.is_empty())
}

fn from_machine_id(machine: &str) -> String {
    // The message is the protocol's: the forge must see the machine that gitlab-runner was on it. HMAC takes keys of
    // any length, so this never falls through to the random form.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(machine.as_bytes()) else { return random() };
    mac.update(b"gitlab-runner");
    format!("s_{}", &hex::encode(mac.finalize().into_bytes())[..12])
}

fn random() -> String {
    let characters = rand::rng().sample_iter(rand::distr::Alphanumeric).take(12);
    format!("r_{}", characters.map(char::from).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_machine_has_the_same_id() {
        let id = from_machine_id("0123456789abcdef0123456789abcdef");
        assert_eq!(id, from_machine_id("0123456789abcdef0123456789abcdef"));
        assert_ne!(id, from_machine_id("fedcba9876543210fedcba9876543210"));
        assert!(id.starts_with("s_") && is_valid(&id), "{id}");
        assert!(is_valid(&random()) && is_valid(&of_this_machine()));
    }

    #[test]
    fn other_texts_are_no_ids() {
        for id in ["", "s_", "x_0123456789ab", "s_0123456789a", "s_0123456789abc", "s_0123456789a!"] {
            assert!(!is_valid(id), "{id}");
        }
    }
}
