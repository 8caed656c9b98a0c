//! What entries are called: by the clients, and in the store.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Characters of a key or a version.
const MOST: usize = 512;

/// All but what refs and hashes are made of. No blank is left: it parts the names in the store.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.');

/// How the name of each entry begins in the store.
const HEAD: &str = "actions";

/// A key as a client gives it: 1 to 512 characters, no comma (`actions/toolkit: packages/cache/src/cache.ts`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(String);

/// What tells entries of one key apart that hold something else: paths and compression, by their hash.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Version(String);

impl Key {
    /// Checks what a client gave.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        check("key", text)?;
        if text.contains(',') {
            return Err(format!(
                "the key `{}` has a comma, and no key may have one",
                crate::artifact::shown(text.as_bytes())
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// As it was given.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Version {
    /// Checks what a client gave.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        check("version", text)?;
        Ok(Self(text.to_owned()))
    }

    /// As it was given.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

fn check(what: &str, text: &str) -> Result<(), String> {
    match text.chars().count() {
        0 => Err(format!("there is no {what}")),
        1..=MOST => Ok(()),
        many => Err(format!("the {what} has {many} characters, and it may have {MOST}")),
    }
}

/// An entry: a key and a version in a scope, which is a ref.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct EntryName {
    pub(super) scope: String,
    pub(super) version: Version,
    pub(super) key: Key,
}

impl EntryName {
    /// Its key in the store. Keys that differ in case alone are the same, as on the forge.
    pub(super) fn stored(&self) -> Vec<u8> {
        stored_prefix(&self.scope, &self.version, self.key.as_str())
    }
}

/// How the names of entries begin in the store whose keys begin like this.
pub(super) fn stored_prefix(scope: &str, version: &Version, key: &str) -> Vec<u8> {
    format!("{}{} {}", scope_prefix(scope), escaped(version.as_str()), key.to_lowercase()).into_bytes()
}

/// How the names of all entries of a scope begin in the store.
pub(super) fn scope_prefix(scope: &str) -> String {
    format!("{HEAD} {} ", escaped(scope))
}

fn escaped(text: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(text, ESCAPED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(scope: &str, version: &str, key: &str) -> Vec<u8> {
        let name =
            EntryName { scope: scope.into(), version: Version::new(version).unwrap(), key: Key::new(key).unwrap() };
        name.stored()
    }

    #[test]
    fn no_part_of_a_name_can_pass_for_another() {
        let names = [
            stored("refs/heads/a", "v", "k"),
            stored("refs/heads/a v", "k", "k"),
            stored("refs/heads/a", "v k", "k"),
            stored("refs/heads/a", "v", "k k"),
            stored("refs/heads/a%20v", "k", "k"),
        ];
        for (at, one) in names.iter().enumerate() {
            assert!(names[at + 1..].iter().all(|other| other != one), "{}", String::from_utf8_lossy(one));
        }
        assert_eq!(stored("refs/heads/a", "V", "Linux-Node"), stored("refs/heads/a", "V", "linux-node"));
        assert_ne!(stored("refs/heads/a", "V", "k"), stored("refs/heads/A", "V", "k"));
    }

    #[test]
    fn keys_are_bounded_and_have_no_comma() {
        assert!(Key::new(&"ä".repeat(512)).is_ok());
        for wrong in [String::new(), "a,b".into(), "x".repeat(513)] {
            assert!(Key::new(&wrong).is_err(), "{wrong}");
        }
        assert!(Version::new("a,b").is_ok() && Version::new("").is_err());
    }
}
