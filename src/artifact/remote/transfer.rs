//! Large objects: sent in pieces, received in a stream. Neither is ever whole in memory.

use std::fs::File;
use std::io::{Read, Take, Write};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use object_store::path::Path as Key;
use object_store::{
    Attribute, Attributes, GetOptions, GetResult, MultipartUpload, ObjectStore, PutMultipartOptions, PutPayload,
};

use super::bucket::Object;
use super::explain::{Trouble, is_missing};

/// The size of a piece. S3 takes none below 5 MiB.
const PIECE: u64 = 8 << 20;

/// An object has at most 10,000 pieces: those of larger files are larger.
const MOST_PIECES: u64 = 9_000;

/// What is handed to the network at a time, so that progress can be seen within a piece.
const SLICE: usize = 64 << 10;

/// A file, in pieces.
pub(super) struct Pieces<'a> {
    file: Take<&'a mut File>,
    left: u64,
    size: u64,
}

impl<'a> Pieces<'a> {
    pub(super) fn of(file: &'a mut File) -> Result<Self, Trouble> {
        let position = std::io::Seek::stream_position(file).map_err(Trouble::File)?;
        let left = file.metadata().map_err(Trouble::File)?.len().saturating_sub(position);
        Ok(Self { file: file.take(left), left, size: PIECE.max(left.div_ceil(MOST_PIECES)) })
    }

    /// Whether one piece is all of it.
    pub(super) fn are_one(&self) -> bool {
        self.left <= self.size
    }

    /// The next piece. A file that has become shorter is an error: nobody wants half of it.
    pub(super) fn next(&mut self) -> Result<Option<PutPayload>, Trouble> {
        if self.left == 0 {
            return Ok(None);
        }
        let mut left_here = self.left.min(self.size);
        self.left -= left_here;
        let mut slices: Vec<Bytes> = Vec::new();
        while left_here > 0 {
            let mut slice = BytesMut::zeroed(left_here.min(SLICE as u64) as usize);
            self.file.read_exact(&mut slice).map_err(Trouble::File)?;
            left_here -= slice.len() as u64;
            slices.push(slice.freeze());
        }
        Ok(Some(slices.into_iter().collect()))
    }
}

/// Sends all pieces. As long as it is not done, `open` holds what has to be aborted.
pub(super) async fn send(
    store: &dyn ObjectStore,
    key: &Key,
    attributes: Attributes,
    pieces: &mut Pieces<'_>,
    open: &mut Option<Box<dyn MultipartUpload>>,
) -> Result<(), Trouble> {
    let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
    let upload = open.insert(store.put_multipart_opts(key, options).await?);
    while let Some(piece) = pieces.next()? {
        upload.put_part(piece).await?;
    }
    upload.complete().await?;
    *open = None;
    Ok(())
}

/// Receives an object of at most `limit` bytes. `None`: there is none.
pub(super) async fn receive(
    store: &dyn ObjectStore,
    key: &Key,
    into: &mut dyn Write,
    limit: u64,
) -> Result<Option<Object>, Trouble> {
    let found = match store.get_opts(key, GetOptions::default()).await {
        Ok(found) => found,
        Err(error) if is_missing(&error) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let too_large = || Trouble::Wrong(format!("has more than the {limit} bytes that are taken"));
    let object = object(&found)?;
    if object.bytes > limit {
        return Err(too_large());
    }
    let mut stream = found.into_stream();
    let mut read = 0_u64;
    while let Some(piece) = stream.next().await {
        let piece = piece?;
        read += piece.len() as u64;
        if read > limit {
            return Err(too_large());
        }
        into.write_all(&piece).map_err(Trouble::File)?;
    }
    if read != object.bytes {
        return Err(Trouble::Wrong(format!("has {read} bytes where {} were announced", object.bytes)));
    }
    Ok(Some(object))
}

/// What an answer says of its object.
pub(super) fn object(found: &GetResult) -> Result<Object, Trouble> {
    let metadata = found.attributes.iter().filter_map(|(name, value)| match name {
        Attribute::Metadata(name) => Some((name.to_ascii_lowercase(), value.to_string())),
        _ => None,
    });
    Ok(Object {
        bytes: found.meta.size,
        modified: modified(&found.meta)
            .ok_or_else(|| Trouble::Wrong("was written at a time that there is not".to_owned()))?,
        metadata: metadata.collect(),
    })
}

/// When an object was written.
pub(super) fn modified(meta: &object_store::ObjectMeta) -> Option<jiff::Timestamp> {
    let nanos = i32::try_from(meta.last_modified.timestamp_subsec_nanos()).ok()?;
    jiff::Timestamp::new(meta.last_modified.timestamp(), nanos).ok()
}
