//! The layout of a spool: what a step printed, in order, with times and stream tags.
//!
//! ```text
//! file   = header frame*
//! header = "FHSPOOL\n" version(u16) 0(u16) 0(u32)                        16 bytes
//! frame  = time_us(u64) length(u32) tag(u8) check(3 bytes) data(length)  16 bytes + data
//! ```
//! Numbers are little endian, times microseconds since the epoch by CLOCK_REALTIME, `check` the low 24 bits of a
//! CRC-32 over the 13 bytes before it: a spool that the job wrote into is told from a true one at once. Only whole
//! frames are ever counted in an exit file.

use bytes::Bytes;

/// Version of the layout that this build writes and reads.
pub const SPOOL_VERSION: u16 = 1;
/// Length of the file's header and of a frame's, bytes.
pub const HEADER: usize = 16;
/// Longest data of one frame, bytes: what one read of a pipe gives.
pub const MAX_DATA: usize = 64 << 10;

const MAGIC: &[u8; 8] = b"FHSPOOL\n";
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const LOST: u8 = 3;

/// Where a step wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error, and what the shim itself has to say about the step.
    Stderr,
}

/// One frame of a spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Output.
    Output {
        /// When the shim read it, microseconds since the epoch.
        time_us: u64,
        /// From where.
        stream: Stream,
        /// What.
        bytes: Bytes,
    },
    /// Here that many bytes of output are missing, because the disk was full.
    Lost {
        /// When, microseconds since the epoch.
        time_us: u64,
        /// How many.
        bytes: u64,
    },
}

/// A spool that is not, or no longer, what a shim wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Not a spool.
    #[error("it does not begin as a spool")]
    Magic,
    /// A spool of another version.
    #[error("it has version {0} and this build reads {SPOOL_VERSION}")]
    Version(u16),
    /// A frame's header is no header.
    #[error("the framing is broken")]
    Framing,
}

/// The header of a new spool.
pub fn file_header() -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(MAGIC);
    header[8..10].copy_from_slice(&SPOOL_VERSION.to_le_bytes());
    header
}

/// Checks the header of a spool.
pub fn check_file_header(header: &[u8; HEADER]) -> Result<(), FrameError> {
    if &header[..8] != MAGIC {
        return Err(FrameError::Magic);
    }
    match u16::from_le_bytes([header[8], header[9]]) {
        SPOOL_VERSION => Ok(()),
        other => Err(FrameError::Version(other)),
    }
}

fn header(time_us: u64, length: usize, tag: u8) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&time_us.to_le_bytes());
    // Lengths are at most MAX_DATA.
    header[8..12].copy_from_slice(&(length as u32).to_le_bytes());
    header[12] = tag;
    let check = crc32fast::hash(&header[..13]).to_le_bytes();
    header[13..].copy_from_slice(&check[..3]);
    header
}

/// The header of a frame with `length` (at most [`MAX_DATA`]) bytes of output.
pub fn output_header(time_us: u64, stream: Stream, length: usize) -> [u8; HEADER] {
    let tag = match stream {
        Stream::Stdout => STDOUT,
        Stream::Stderr => STDERR,
    };
    header(time_us, length.min(MAX_DATA), tag)
}

/// A whole frame that says how many bytes are missing.
pub fn lost_frame(time_us: u64, bytes: u64) -> [u8; HEADER + 8] {
    let mut frame = [0; HEADER + 8];
    frame[..HEADER].copy_from_slice(&header(time_us, 8, LOST));
    frame[HEADER..].copy_from_slice(&bytes.to_le_bytes());
    frame
}

/// Where in `bytes` the first header of a frame stands. Output that looks like one is taken for one: only for whoever needs
/// to know no more than where the frames go on.
pub fn find_header(bytes: &[u8]) -> Option<usize> {
    bytes.windows(HEADER).position(|head| {
        let length = u32::from_le_bytes([head[8], head[9], head[10], head[11]]) as usize;
        (STDOUT..=LOST).contains(&head[12])
            && length <= MAX_DATA
            && crc32fast::hash(&head[..13]).to_le_bytes()[..3] == head[13..]
    })
}

/// The first frame of `bytes` and its length with header; `None` where more bytes are needed.
pub fn parse(bytes: &Bytes) -> Result<Option<(Frame, usize)>, FrameError> {
    let Some(head) = bytes.first_chunk::<HEADER>() else { return Ok(None) };
    let [t0, t1, t2, t3, t4, t5, t6, t7, l0, l1, l2, l3, tag, check @ ..] = *head;
    let time_us = u64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7]);
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if crc32fast::hash(&head[..13]).to_le_bytes()[..3] != check || length > MAX_DATA {
        return Err(FrameError::Framing);
    }
    let end = HEADER + length;
    if bytes.len() < end {
        return Ok(None);
    }
    let data = bytes.slice(HEADER..end);
    let frame = match tag {
        STDOUT => Frame::Output { time_us, stream: Stream::Stdout, bytes: data },
        STDERR => Frame::Output { time_us, stream: Stream::Stderr, bytes: data },
        LOST => {
            let count = <[u8; 8]>::try_from(&data[..]).map_err(|_| FrameError::Framing)?;
            Frame::Lost { time_us, bytes: u64::from_le_bytes(count) }
        }
        _ => return Err(FrameError::Framing),
    };
    Ok(Some((frame, end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spool_of(parts: &[(Stream, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (time, (stream, data)) in parts.iter().enumerate() {
            out.extend_from_slice(&output_header(time as u64, *stream, data.len()));
            out.extend_from_slice(data);
        }
        out
    }

    #[test]
    fn frames_come_back_as_they_were_written() {
        let mut bytes = spool_of(&[(Stream::Stdout, b"one"), (Stream::Stderr, b""), (Stream::Stderr, b"two")]);
        bytes.extend_from_slice(&lost_frame(9, 77));
        let mut rest = Bytes::from(bytes);
        let mut seen = Vec::new();
        while let Some((frame, length)) = parse(&rest).unwrap() {
            rest = rest.slice(length..);
            seen.push(frame);
        }
        assert!(rest.is_empty());
        assert_eq!(seen[0], Frame::Output { time_us: 0, stream: Stream::Stdout, bytes: Bytes::from("one") });
        assert_eq!(seen[3], Frame::Lost { time_us: 9, bytes: 77 });
    }

    #[test]
    fn every_cut_of_a_frame_asks_for_more() {
        let whole = spool_of(&[(Stream::Stdout, b"some output")]);
        for cut in 0..whole.len() {
            assert_eq!(parse(&Bytes::copy_from_slice(&whole[..cut])).unwrap(), None, "at {cut}");
        }
    }

    #[test]
    fn every_changed_bit_of_a_header_is_noticed() {
        let whole = spool_of(&[(Stream::Stdout, b"x")]);
        for bit in 0..HEADER * 8 {
            let mut bad = whole.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse(&Bytes::from(bad)), Err(FrameError::Framing), "bit {bit}");
        }
        assert_eq!(parse(&Bytes::from(vec![0; 64])), Err(FrameError::Framing), "a hole of zeros");
    }

    #[test]
    fn a_spool_of_another_version_is_named() {
        let mut header = file_header();
        check_file_header(&header).unwrap();
        header[8] = 9;
        assert_eq!(check_file_header(&header), Err(FrameError::Version(9)));
        header[0] = b'x';
        assert_eq!(check_file_header(&header), Err(FrameError::Magic));
    }
}
