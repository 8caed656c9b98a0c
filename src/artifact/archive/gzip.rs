//! Formats that hold files one after the other: gzip, and one file as it is. (protocols: GitLab 6.3.)

use std::io::{self, Read, Write};

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use flate2::GzBuilder;

use super::error::ArchiveError;
use super::source::{Meta, Opened, Source};
use super::{Counted, Packed, Packing};
use crate::artifact::select::Selection;
use crate::artifact::{Interrupt, Remark, Remarks, beneath, shown};

/// One gzip member a file. Only regular files can be in it: a folder or a symlink is an error, as with the official runner.
pub(super) fn pack(
    root: &Dir,
    selection: &Selection,
    packing: &Packing,
    out: &mut impl Write,
) -> Result<Packed, ArchiveError> {
    let mut out = Counted::new(out);
    let mut source = Source::new(root);
    let (mut packed, mut remarks) = (Packed::default(), Remarks::default());
    for entry in &selection.entries {
        match source.open(entry) {
            Ok(Opened::File { meta, file, size }) => {
                let mtime = u32::try_from(meta.mtime).unwrap_or(0);
                let (name, comment) = (header_text(beneath::split(&meta.name).1), header_text(&meta.name));
                let builder = GzBuilder::new().filename(name).comment(comment).mtime(mtime).operating_system(255);
                let mut member = builder.write(&mut out, flate2::Compression::default());
                packed.content_bytes += copy(&mut file.take(size), &mut member, &packing.interrupt)?;
                member.finish().map_err(|e| ArchiveError::io("writing the archive", e))?;
                packed.entries += 1;
            }
            Ok(Opened::Folder(meta) | Opened::Symlink { meta, .. }) => return Err(not_regular(&meta)),
            Err(remark) => remarks.push(remark),
        }
    }
    out.flush().map_err(|e| ArchiveError::io("writing the archive", e))?;
    packed.bytes = out.bytes;
    packed.remarks = remarks.into_list();
    Ok(packed)
}

/// The one selected file as it is; what a symlink leads to within the tree is that file.
pub(super) fn pack_raw(
    root: &Dir,
    selection: &Selection,
    packing: &Packing,
    out: &mut impl Write,
) -> Result<Packed, ArchiveError> {
    let [entry] = selection.entries.as_slice() else { return Err(ArchiveError::OnlyOneFile) };
    match Source::new(root).open(entry) {
        Ok(Opened::File { file, size, .. }) => {
            let bytes = copy(&mut file.take(size), out, &packing.interrupt)?;
            out.flush().map_err(|e| ArchiveError::io("writing the archive", e))?;
            Ok(Packed { entries: 1, bytes, content_bytes: bytes, remarks: Vec::new() })
        }
        Ok(Opened::Symlink { meta, .. }) => pack_followed(root, &meta, packing, out),
        Ok(Opened::Folder(meta)) => Err(not_regular(&meta)),
        Err(Remark { text, .. }) => Err(ArchiveError::io("reading the file to send", io::Error::other(text))),
    }
}

fn pack_followed(root: &Dir, meta: &Meta, packing: &Packing, out: &mut impl Write) -> Result<Packed, ArchiveError> {
    let mut options = OpenOptions::new();
    // Never waits for a writer, should it be a FIFO.
    options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    let file = root.open_with(beneath::path(&meta.name), &options).map_err(|_leads_elsewhere| not_regular(meta))?;
    let size = match file.metadata() {
        Ok(metadata) if metadata.is_file() => metadata.len(),
        _ => return Err(not_regular(meta)),
    };
    let bytes = copy(&mut file.take(size), out, &packing.interrupt)?;
    out.flush().map_err(|e| ArchiveError::io("writing the archive", e))?;
    Ok(Packed { entries: 1, bytes, content_bytes: bytes, remarks: Vec::new() })
}

fn not_regular(meta: &Meta) -> ArchiveError {
    ArchiveError::NotRegular(shown(&meta.name))
}

fn copy(from: &mut impl Read, to: &mut impl Write, interrupt: &Interrupt) -> Result<u64, ArchiveError> {
    let mut buffer = vec![0; 256 << 10];
    let mut copied = 0;
    loop {
        if interrupt.is_raised() {
            return Err(ArchiveError::Interrupted);
        }
        let n = match from.read(&mut buffer) {
            Ok(0) => return Ok(copied),
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(ArchiveError::io("reading a file to pack", error)),
        };
        to.write_all(&buffer[..n]).map_err(|e| ArchiveError::io("writing the archive", e))?;
        copied += n as u64;
    }
}

/// Text for a gzip header, which is Latin-1: plain where it is ASCII without `%`, else `e:` and percent-encoded.
fn header_text(name: &[u8]) -> Vec<u8> {
    if name.iter().all(|b| b.is_ascii() && !matches!(b, 0 | b'%')) {
        return name.to_vec();
    }
    let mut text = b"e:".to_vec();
    for byte in name {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => text.push(*byte),
            b'-' | b'_' | b'.' | b'~' | b'$' | b'&' | b'+' | b'=' | b':' | b'@' => text.push(*byte),
            byte => text.extend(format!("%{byte:02X}").bytes()),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_texts_are_latin_1() {
        assert_eq!(header_text(b"a b.xml"), b"a b.xml");
        assert_eq!(header_text(b"100%/a"), b"e:100%25%2Fa");
        assert_eq!(header_text("\u{fc}.xml".as_bytes()), b"e:%C3%BC.xml");
    }
}
