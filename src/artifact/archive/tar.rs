//! Tar archives in one zstd stream. (protocols: GitLab 6.3.)
//!
//! Headers are the GNU kind: names of any length and of any bytes. Read are old, ustar, GNU and PAX headers; sparse files are
//! refused. Headers are taken apart here and not by the `tar` crate's iterator, which reads a long name of any length into
//! memory.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};

use cap_std::fs::Dir;
use tar::{EntryType, Header};

use super::error::ArchiveError;
use super::place::{Attributes, Name, Tree};
use super::source::{Meta, Opened, Source};
use super::{Counted, Packed, Packing, Unpacked, Unpacking};
use crate::artifact::select::Selection;
use crate::artifact::{Interrupt, Remark, Remarks, shown};

const BLOCK: u64 = 512;

/// Long names and PAX records above this are no names any more.
const MAX_EXTENSION: u64 = 1 << 20;

/// The largest zstd window that is read, as a power of two: 128 MiB.
const MAX_WINDOW: u32 = 27;

/// Threads that compress. The bytes are the same for any number from one.
const THREADS: u32 = 2;

/// What may follow the end of the archive inside its zstd stream.
const MAX_PADDING: u64 = 16 << 20;

pub(super) fn pack(
    root: &Dir,
    selection: &Selection,
    packing: &Packing,
    out: &mut impl Write,
) -> Result<Packed, ArchiveError> {
    let mut counted = Counted::new(out);
    let mut encoder = encoder(&mut counted, packing)?;
    let mut packed = write(root, selection, &packing.interrupt, &mut encoder)?;
    finish(encoder, &mut packed)?;
    Ok(packed)
}

fn encoder<W: Write>(out: W, packing: &Packing) -> Result<zstd::stream::write::Encoder<'static, W>, ArchiveError> {
    let failed = |e| ArchiveError::io("starting the compression", e);
    let mut encoder = zstd::stream::write::Encoder::new(out, packing.level.zstd()).map_err(failed)?;
    encoder.include_checksum(true).map_err(failed)?;
    encoder.multithread(THREADS).map_err(failed)?;
    Ok(encoder)
}

fn finish<W: Write>(
    encoder: zstd::stream::write::Encoder<'static, &mut Counted<'_, W>>,
    packed: &mut Packed,
) -> Result<(), ArchiveError> {
    let failed = |e| ArchiveError::io("writing the archive", e);
    let counted = encoder.finish().map_err(failed)?;
    counted.flush().map_err(failed)?;
    packed.bytes = counted.bytes;
    Ok(())
}

/// Writes the tar stream itself. Its bytes depend on names, modes, owners, times and content alone.
fn write(
    root: &Dir,
    selection: &Selection,
    interrupt: &Interrupt,
    out: &mut impl Write,
) -> Result<Packed, ArchiveError> {
    let mut source = Source::new(root);
    let (mut packed, mut remarks) = (Packed::default(), Remarks::default());
    let mut buffer = vec![0; 256 << 10];
    let failed = |e| ArchiveError::io("writing the archive", e);
    for entry in &selection.entries {
        match source.open(entry) {
            Err(remark) => {
                remarks.push(remark);
                continue;
            }
            Ok(Opened::Folder(meta)) => put_header(out, &meta, EntryType::Directory, 0, &[]).map_err(failed)?,
            Ok(Opened::Symlink { meta, target }) => {
                put_header(out, &meta, EntryType::Symlink, 0, &target).map_err(failed)?;
            }
            Ok(Opened::File { meta, file, size }) => {
                put_header(out, &meta, EntryType::Regular, size, &[]).map_err(failed)?;
                let missing = copy(file, size, interrupt, &mut buffer, out)?;
                if missing > 0 {
                    let text = "became shorter while it was packed; zeros stand for what was gone";
                    remarks.push(Remark::warning(format!("{}: {text}", shown(&meta.name))));
                }
                packed.content_bytes += size;
            }
        }
        packed.entries += 1;
        if interrupt.is_raised() {
            return Err(ArchiveError::Interrupted);
        }
    }
    out.write_all(&[0; 2 * BLOCK as usize]).map_err(failed)?;
    packed.remarks = remarks.into_list();
    Ok(packed)
}

/// Copies `size` bytes and fills up the last block. What cannot be read becomes zeros, as the header is written already;
/// gives back how much that was.
fn copy(
    mut file: File,
    size: u64,
    interrupt: &Interrupt,
    buffer: &mut [u8],
    out: &mut impl Write,
) -> Result<u64, ArchiveError> {
    let failed = |e| ArchiveError::io("writing the archive", e);
    let mut left = size;
    while left > 0 {
        if interrupt.is_raised() {
            return Err(ArchiveError::Interrupted);
        }
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        match file.read(&mut buffer[..want]) {
            Ok(0) => break,
            Ok(n) => {
                out.write_all(&buffer[..n]).map_err(failed)?;
                left -= n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    let padding = left + size.next_multiple_of(BLOCK) - size;
    io::copy(&mut io::repeat(0).take(padding), out).map_err(failed)?;
    Ok(left)
}

fn put_header(out: &mut impl Write, meta: &Meta, kind: EntryType, size: u64, target: &[u8]) -> io::Result<()> {
    let name = match kind {
        EntryType::Directory => Cow::Owned([&meta.name, b"/".as_slice()].concat()),
        _ => Cow::Borrowed(meta.name.as_slice()),
    };
    let mut header = Header::new_gnu();
    if target.len() > 100 {
        put_long(out, EntryType::GNULongLink, target)?;
    }
    if name.len() > 100 {
        put_long(out, EntryType::GNULongName, &name)?;
    }
    if let Some(gnu) = header.as_gnu_mut() {
        fill(&mut gnu.name, &name);
        fill(&mut gnu.linkname, target);
    }
    header.set_entry_type(kind);
    header.set_mode(meta.mode);
    header.set_uid(u64::from(meta.uid));
    header.set_gid(u64::from(meta.gid));
    set_mtime(&mut header, meta.mtime);
    header.set_size(size);
    header.set_cksum();
    out.write_all(header.as_bytes())
}

/// Times before 1970 stand in the field as a binary number, which GNU's tar and Go's read.
fn set_mtime(header: &mut Header, seconds: i64) {
    match u64::try_from(seconds) {
        Ok(seconds) => header.set_mtime(seconds),
        Err(_negative) => {
            let field = &mut header.as_old_mut().mtime;
            field.fill(0xff);
            field[4..].copy_from_slice(&seconds.to_be_bytes());
        }
    }
}

/// The time of a header, where it has one.
fn mtime_of(header: &Header) -> Option<i64> {
    let seconds = header.mtime().ok()?;
    let is_negative = header.as_old().mtime[0] == 0xff;
    if is_negative { Some(seconds.cast_signed()) } else { i64::try_from(seconds).ok() }
}

/// A record that holds a name too long for a header.
fn put_long(out: &mut impl Write, kind: EntryType, name: &[u8]) -> io::Result<()> {
    let mut header = Header::new_gnu();
    if let Some(gnu) = header.as_gnu_mut() {
        fill(&mut gnu.name, b"././@LongLink");
    }
    let length = name.len() as u64 + 1;
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(length);
    header.set_cksum();
    out.write_all(header.as_bytes())?;
    out.write_all(name)?;
    io::copy(&mut io::repeat(0).take(1 + length.next_multiple_of(BLOCK) - length), out).map(drop)
}

/// As much of a name as its field holds; what is longer stands in a record before.
fn fill(field: &mut [u8; 100], name: &[u8]) {
    let length = name.len().min(field.len());
    field[..length].copy_from_slice(&name[..length]);
}

pub(super) fn unpack(
    file: &mut File,
    length: u64,
    root: &Dir,
    unpacking: &Unpacking,
) -> Result<Unpacked, ArchiveError> {
    let failed = |e| ArchiveError::io("reading the archive", e);
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    let input = BufReader::with_capacity(256 << 10, &mut *file);
    let mut decoder = zstd::stream::read::Decoder::with_buffer(input).map_err(failed)?;
    decoder.window_log_max(MAX_WINDOW).map_err(failed)?;
    let mut tree = Tree::new(root, length, unpacking);
    let mut stream = Stream { input: decoder };
    while let Some(member) = stream.member(&mut tree)? {
        tree.budget.entry()?;
        place(&member, &mut stream, &mut tree)?;
    }
    stream.drain()?;
    tree.finish()
}

/// An entry of the archive, what extension records said about it included.
struct Member {
    name: Vec<u8>,
    kind: EntryType,
    target: Vec<u8>,
    /// Bytes of content that follow.
    size: u64,
    attributes: Attributes,
}

fn place<R: Read>(member: &Member, stream: &mut Stream<R>, tree: &mut Tree<'_>) -> Result<(), ArchiveError> {
    let mut content = Content { stream, left: member.size };
    if let Some(name) = Name::parse(&member.name, &tree.budget)? {
        match member.kind {
            EntryType::Directory => tree.folder(&name, member.attributes)?,
            EntryType::Regular | EntryType::Continuous if member.name.ends_with(b"/") => {
                tree.folder(&name, member.attributes)?;
            }
            EntryType::Regular | EntryType::Continuous => tree.file(&name, member.attributes, &mut content)?,
            EntryType::Symlink => tree.symlink(&name, member.attributes, &member.target)?,
            EntryType::Link => match Name::parse(&member.target, &tree.budget)? {
                Some(target) => tree.hard_link(&name, &target)?,
                None => return Err(damaged("a hard link to a folder")),
            },
            EntryType::GNUSparse => {
                return Err(ArchiveError::Unsupported(format!("`{}` is a sparse file", name.shown())));
            }
            EntryType::Block | EntryType::Char | EntryType::Fifo => {
                tree.remark(format!("{}: left out: sockets, pipes and devices are not unpacked", name.shown()));
            }
            _ => tree.remark(format!("{}: left out: it is of a kind that is not known here", name.shown())),
        }
    }
    content.skip(tree)?;
    let padding = member.size.next_multiple_of(BLOCK) - member.size;
    let got = io::copy(&mut (&mut stream.input).take(padding), &mut io::sink()).map_err(unreadable)?;
    if got < padding { Err(cut_off()) } else { Ok(()) }
}

/// The tar stream, read header by header.
struct Stream<R> {
    input: R,
}

/// What extension records say about the entry that follows.
#[derive(Default)]
struct Extension {
    name: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
    mtime: Option<i64>,
    uid: Option<u32>,
    gid: Option<u32>,
}

impl<R: Read> Stream<R> {
    /// The next entry; `None` at the end.
    fn member(&mut self, tree: &mut Tree<'_>) -> Result<Option<Member>, ArchiveError> {
        let mut extension = Extension::default();
        loop {
            let Some(header) = self.header()? else { return Ok(None) };
            let size = header.entry_size().map_err(|_| damaged("a header has no size"))?;
            match header.entry_type() {
                EntryType::GNULongName => extension.name = Some(until_nul(self.record(size)?)),
                EntryType::GNULongLink => extension.target = Some(until_nul(self.record(size)?)),
                EntryType::XHeader => extension.read_pax(&self.record(size)?)?,
                EntryType::XGlobalHeader => drop(self.record(size)?),
                _ => return Member::of(&header, size, extension).map(Some),
            }
            // Extension records count too, so that they cannot go on for ever.
            tree.budget.entry()?;
        }
    }

    fn header(&mut self) -> Result<Option<Header>, ArchiveError> {
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        let mut filled = 0;
        while filled < block.len() {
            match self.input.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None), // some writers leave the end blocks out
                Ok(0) => return Err(cut_off()),
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(unreadable(error)),
            }
        }
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        // The checksum is over the header with its own field as spaces.
        let sum: u32 =
            block.iter().enumerate().map(|(at, b)| if (148..156).contains(&at) { 32 } else { u32::from(*b) }).sum();
        if header.cksum().ok() != Some(sum) {
            Err(damaged("a header does not match its checksum"))
        } else {
            Ok(Some(header))
        }
    }

    /// The content of an extension record.
    fn record(&mut self, size: u64) -> Result<Vec<u8>, ArchiveError> {
        if size > MAX_EXTENSION {
            return Err(damaged("a name in it is longer than any path"));
        }
        let mut bytes = Vec::new();
        let padded = size.next_multiple_of(BLOCK);
        let got = (&mut self.input).take(padded).read_to_end(&mut bytes).map_err(unreadable)?;
        if (got as u64) < padded {
            return Err(cut_off());
        }
        bytes.truncate(usize::try_from(size).unwrap_or(0)); // at most MAX_EXTENSION
        Ok(bytes)
    }

    /// Reads what follows the end, so that the stream's own checksum is looked at.
    fn drain(mut self) -> Result<(), ArchiveError> {
        io::copy(&mut (&mut self.input).take(MAX_PADDING), &mut io::sink()).map_err(unreadable).map(drop)
    }
}

impl Member {
    fn of(header: &Header, size: u64, extension: Extension) -> Result<Self, ArchiveError> {
        let kind = header.entry_type();
        let has_content = !matches!(
            kind,
            EntryType::Link
                | EntryType::Symlink
                | EntryType::Char
                | EntryType::Block
                | EntryType::Directory
                | EntryType::Fifo
        );
        let size = extension.size.unwrap_or(size);
        if size > u64::MAX / 2 {
            return Err(damaged("a file in it is larger than any disk"));
        }
        let narrow = |id: io::Result<u64>| id.ok().and_then(|id| u32::try_from(id).ok());
        let owner = (extension.uid.or(narrow(header.uid())), extension.gid.or(narrow(header.gid())));
        Ok(Self {
            name: extension.name.unwrap_or_else(|| header.path_bytes().into_owned()),
            target: match extension.target {
                Some(target) => target,
                None => header.link_name_bytes().map(Cow::into_owned).unwrap_or_default(),
            },
            kind,
            size: if has_content { size } else { 0 },
            attributes: Attributes {
                mode: header.mode().ok(),
                owner: owner.0.zip(owner.1),
                mtime: extension.mtime.or_else(|| mtime_of(header)),
            },
        })
    }
}

impl Extension {
    /// PAX records: `LENGTH KEY=VALUE\n`, the length of the whole record.
    fn read_pax(&mut self, mut bytes: &[u8]) -> Result<(), ArchiveError> {
        let wrong = || damaged("a PAX record cannot be read");
        while !bytes.is_empty() {
            let space = bytes.iter().position(|b| *b == b' ').ok_or_else(wrong)?;
            let length: usize =
                std::str::from_utf8(&bytes[..space]).ok().and_then(|n| n.parse().ok()).ok_or_else(wrong)?;
            let (record, rest) = bytes.split_at_checked(length).ok_or_else(wrong)?;
            bytes = rest;
            let record = record.get(space + 1..).and_then(|r| r.strip_suffix(b"\n")).ok_or_else(wrong)?;
            let equals = record.iter().position(|b| *b == b'=').ok_or_else(wrong)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            let text = || std::str::from_utf8(value).ok();
            match key {
                b"path" => self.name = Some(value.to_vec()),
                b"linkpath" => self.target = Some(value.to_vec()),
                b"size" => self.size = Some(text().and_then(|v| v.parse().ok()).ok_or_else(wrong)?),
                b"uid" => self.uid = text().and_then(|v| v.parse().ok()),
                b"gid" => self.gid = text().and_then(|v| v.parse().ok()),
                // The part after the point is finer than what is restored.
                b"mtime" => self.mtime = text().and_then(|v| v.split('.').next()?.parse().ok()),
                key if key.starts_with(b"GNU.sparse.") => {
                    return Err(ArchiveError::Unsupported("it holds sparse files".to_owned()));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The content of one entry, which has to be as long as announced.
struct Content<'a, R> {
    stream: &'a mut Stream<R>,
    left: u64,
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.left).unwrap_or(usize::MAX).min(buf.len());
        if want == 0 {
            return Ok(0);
        }
        let n = self.stream.input.read(&mut buf[..want])?;
        if n == 0 {
            return Err(io::Error::other("its content is cut off"));
        }
        self.left -= n as u64;
        Ok(n)
    }
}

impl<R: Read> Content<'_, R> {
    /// Passes over what was not taken. It counts as content: what is not wanted can be endless, too.
    fn skip(mut self, tree: &mut Tree<'_>) -> Result<(), ArchiveError> {
        let mut buffer = [0; 16 << 10];
        loop {
            match self.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => tree.budget.content(n as u64)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(unreadable(error)),
            }
            tree.go_on()?;
        }
    }
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|b| *b == 0) {
        bytes.truncate(end);
    }
    bytes
}

fn damaged(what: &str) -> ArchiveError {
    ArchiveError::Damaged(what.to_owned())
}

fn cut_off() -> ArchiveError {
    damaged("it is cut off")
}

fn unreadable(error: io::Error) -> ArchiveError {
    ArchiveError::Damaged(format!("it cannot be decompressed ({error})"))
}
