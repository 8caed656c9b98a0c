//! Users by name or number, from a passwd and a group file read by our own parser: a static binary must not load the
//! sandbox's NSS modules. Also used by the agent, for the configured user of host sandboxes.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Longest passwd or group file that is read, bytes.
const LIMIT: u64 = 16 << 20;

/// Who a process is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Home directory, where the passwd file names one.
    pub home: Option<String>,
}

/// A user that cannot be found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// No such user.
    #[error("there is no user `{0}` in {1}: name one of that file, or give a number")]
    NoUser(String, String),
    /// No such group.
    #[error("there is no group `{0}` in {1}: name one of that file, or give a number")]
    NoGroup(String, String),
    /// A file cannot be read.
    #[error("cannot read {0}: {1}")]
    Unreadable(String, String),
}

/// Finds `user[:group]` in `etc`'s `passwd` and `group`.
///
/// As container engines do it: a number needs no entry and has group 0 without one; with a group named, the user's
/// supplementary groups are left out.
pub fn resolve(wanted: &str, etc: &Path) -> Result<Identity, UserError> {
    let (user, group) = match wanted.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (wanted, None),
    };
    let (passwd_file, group_file) = (etc.join("passwd"), etc.join("group"));
    let number = user.parse::<u32>().ok();
    let passwd = read(&passwd_file, number.is_some())?;
    let entry = passwd.lines().filter_map(PasswdLine::parse).find(|line| match number {
        Some(uid) => line.uid == uid,
        None => line.name == user,
    });
    let uid = match (&entry, number) {
        (Some(line), _) => line.uid,
        (None, Some(uid)) => uid,
        (None, None) => return Err(UserError::NoUser(user.to_owned(), passwd_file.display().to_string())),
    };
    let name = entry.as_ref().map(|line| line.name.to_owned());
    let home = entry.as_ref().map(|line| line.home.to_owned()).filter(|home| home.starts_with('/'));
    let own_gid = entry.as_ref().map_or(0, |line| line.gid);
    let groups_text = match group {
        Some(group) if group.parse::<u32>().is_err() => read(&group_file, false)?,
        _ => read(&group_file, true)?,
    };
    let mut lines = groups_text.lines().filter_map(GroupLine::parse);
    let (gid, groups) = match group.filter(|group| !group.is_empty()) {
        Some(group) => {
            let found = group.parse().ok().or_else(|| lines.find(|line| line.name == group).map(|line| line.gid));
            let missing = || UserError::NoGroup(group.to_owned(), group_file.display().to_string());
            (found.ok_or_else(missing)?, Vec::new())
        }
        None => {
            let member =
                |line: &GroupLine| name.as_deref().is_some_and(|name| line.members.split(',').any(|m| m == name));
            (own_gid, lines.filter(member).map(|line| line.gid).collect())
        }
    };
    Ok(Identity { uid, gid, groups, home })
}

struct PasswdLine<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl<'a> PasswdLine<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.trim_end().split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        let (uid, gid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let (_comment, home) = (fields.next(), fields.next().unwrap_or(""));
        Some(Self { name, uid, gid, home }).filter(|line| !line.name.is_empty())
    }
}

struct GroupLine<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

impl<'a> GroupLine<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.trim_end().split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        Some(Self { name, gid: fields.next()?.parse().ok()?, members: fields.next().unwrap_or("") })
    }
}

fn read(path: &Path, may_be_missing: bool) -> Result<String, UserError> {
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(LIMIT).read_to_end(&mut bytes)) {
        Ok(_) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if may_be_missing && error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(UserError::Unreadable(path.display().to_string(), error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn etc() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let passwd = "root:x:0:0:root:/root:/bin/sh\n# no line\nbuilder:x:1000:1001:,,,:/home/builder:/bin/sh\n";
        std::fs::write(dir.path().join("passwd"), passwd).unwrap();
        let group = "root:x:0:\nbuilders:x:1001:\ndocker:x:999:builder,other\nwheel:x:10:other\n";
        std::fs::write(dir.path().join("group"), group).unwrap();
        dir
    }

    #[test]
    fn a_name_has_its_groups_and_its_home() {
        let dir = etc();
        let found = resolve("builder", dir.path()).unwrap();
        let expected = Identity { uid: 1000, gid: 1001, groups: vec![999], home: Some("/home/builder".into()) };
        assert_eq!(found, expected);
        assert_eq!(resolve("1000", dir.path()).unwrap(), found);
    }

    #[test]
    fn a_named_group_replaces_all_others() {
        let dir = etc();
        let found = resolve("builder:wheel", dir.path()).unwrap();
        assert_eq!((found.gid, found.groups), (10, vec![]));
        assert_eq!(resolve("builder:77", dir.path()).unwrap().gid, 77);
    }

    #[test]
    fn a_number_needs_no_files_and_a_name_says_where_it_is_missing() {
        let empty = tempfile::tempdir().unwrap();
        let found = resolve("4711", empty.path()).unwrap();
        assert_eq!(found, Identity { uid: 4711, gid: 0, groups: vec![], home: None });
        assert!(matches!(resolve("builder", empty.path()), Err(UserError::Unreadable(..))));
        let dir = etc();
        assert!(matches!(resolve("nobody", dir.path()), Err(UserError::NoUser(..))));
        assert!(matches!(resolve("builder:nogroup", dir.path()), Err(UserError::NoGroup(..))));
    }
}
