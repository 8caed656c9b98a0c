//! Blocks that an entry is uploaded in, and the list that puts them in order (Azure Blob Storage: Put Block, Put Block List).

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::refusal::Refusal;
use super::spool::Hold;

/// Blocks of an entry. As many as Azure takes.
pub(super) const MOST: usize = 50_000;

/// Bytes that a block counts as at least: that much of the disk its file takes.
pub(super) const LEAST: u64 = 4096;

/// Bytes of a block's id, before base64.
const MOST_ID: usize = 64;

/// A block on the disk. Its file goes with it.
#[derive(Debug)]
pub(super) struct Block {
    path: PathBuf,
    pub(super) bytes: u64,
    _holds: [Hold; 2],
}

impl Block {
    /// The file is whole. `holds`: its bytes, and itself.
    pub(super) fn new(path: PathBuf, bytes: u64, holds: [Hold; 2]) -> Self {
        Self { path, bytes, _holds: holds }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // Best effort: the folder that it lies in goes with the upload.
        let _ = fs::remove_file(&self.path);
    }
}

/// The id of a block, as the query says it.
pub(super) fn checked_id(text: &str) -> Result<String, Refusal> {
    let is_id = BASE64_STANDARD.decode(text).is_ok_and(|id| (1..=MOST_ID).contains(&id.len()));
    if is_id {
        Ok(text.to_owned())
    } else {
        Err(Refusal::Invalid(format!("a block's id is 1 to {MOST_ID} bytes in base64")))
    }
}

/// The ids of a list, in order: `<BlockList><Latest>ID</Latest>...</BlockList>`. `Committed` and `Uncommitted` mean the same here, since
/// nothing is committed before the whole entry is.
pub(super) fn ids_of(list: &[u8]) -> Result<Vec<String>, Refusal> {
    let wrong = || Refusal::Invalid("the list of blocks is not one".into());
    let text = std::str::from_utf8(list).map_err(|_| wrong())?.trim_start_matches('\u{feff}').trim();
    let text = match text.strip_prefix("<?xml") {
        Some(rest) => rest.split_once("?>").ok_or_else(wrong)?.1.trim_start(),
        None => text,
    };
    if text == "<BlockList/>" || text == "<BlockList />" {
        return Ok(Vec::new());
    }
    let inner = text.strip_prefix("<BlockList>").and_then(|rest| rest.strip_suffix("</BlockList>"));
    let mut rest = inner.ok_or_else(wrong)?.trim_start();
    let mut ids = Vec::new();
    while !rest.is_empty() {
        let (name, behind) = rest.strip_prefix('<').and_then(|rest| rest.split_once('>')).ok_or_else(wrong)?;
        if !matches!(name, "Latest" | "Committed" | "Uncommitted") {
            return Err(wrong());
        }
        let (id, behind) = behind.split_once(&format!("</{name}>")).ok_or_else(wrong)?;
        ids.push(checked_id(id.trim())?);
        if ids.len() > MOST {
            return Err(Refusal::Invalid(format!("an entry has {MOST} blocks at most")));
        }
        rest = behind.trim_start();
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_as_the_clients_write_it() {
        let by_javascript = br#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?><BlockList><Latest>YQ==</Latest><Latest>Yg==</Latest></BlockList>"#;
        assert_eq!(ids_of(by_javascript).unwrap(), ["YQ==", "Yg=="]);
        let by_go = b"<BlockList><Latest>YQ==</Latest></BlockList>";
        assert_eq!(ids_of(by_go).unwrap(), ["YQ=="]);
        let by_rust = b"<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<BlockList>\n  <Latest>YQ==</Latest>\n  <Uncommitted>Yg==</Uncommitted>\n</BlockList>\n";
        assert_eq!(ids_of(by_rust).unwrap(), ["YQ==", "Yg=="]);
        assert_eq!(ids_of(b"<BlockList/>").unwrap(), [] as [&str; 0]);
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for wrong in [
            &b""[..],
            b"<BlockList>",
            b"<BlockList><Latest>YQ==</BlockList>",
            b"<BlockList><Other>YQ==</Other></BlockList>",
            b"<BlockList><Latest>../x</Latest></BlockList>",
            b"<BlockList><Latest></Latest></BlockList>",
            b"<!DOCTYPE x><BlockList></BlockList>",
            b"<BlockList>YQ==</BlockList>",
            b"\xff",
        ] {
            assert!(ids_of(wrong).is_err(), "{}", String::from_utf8_lossy(wrong));
        }
        let many = "<Latest>YQ==</Latest>".repeat(MOST + 1);
        assert!(ids_of(format!("<BlockList>{many}</BlockList>").as_bytes()).is_err());
    }
}
