//! A header with time and stream before each line, as GitLab's UI reads it. (protocols: GitLab runner 4.6.)

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A line that is longer is broken; what follows is marked as its continuation.
const LONGEST_LINE: usize = 8192;

/// Which stream a line is of: two hexadecimal digits and `O` or `E`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamTag(&'static str);

impl StreamTag {
    /// The runner's own words.
    pub const RUNNER: StreamTag = StreamTag("00O");
    /// Standard output of a step.
    pub const STDOUT: StreamTag = StreamTag("01O");
    /// Standard error of a step.
    pub const STDERR: StreamTag = StreamTag("01E");
    /// Output of services.
    pub const SERVICE: StreamTag = StreamTag("0fO");
}

/// Puts headers before the lines of one stream.
pub(super) struct Timestamper {
    tag: StreamTag,
    /// The open line, header included; empty when none is open.
    open: Vec<u8>,
    /// How much of `open` is text.
    text: usize,
    /// Whether the next header says that its line goes on from the last.
    continues: bool,
}

impl Timestamper {
    pub(super) fn new(tag: StreamTag) -> Self {
        Self { tag, open: Vec::new(), text: 0, continues: false }
    }

    /// Adds `bytes`, written at `time_us`; complete lines go to `out`.
    pub(super) fn write(&mut self, time_us: u64, bytes: &[u8], out: &mut Vec<u8>) {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            self.append(time_us, &rest[..end]);
            self.end_line(false, out);
            rest = &rest[end + 1..];
        }
        if rest.is_empty() {
            return;
        }
        self.append(time_us, rest);
        if memchr::memchr(b'\r', rest).is_some() || self.text > LONGEST_LINE {
            self.end_line(true, out);
        }
    }

    /// Ends an open line.
    pub(super) fn close(&mut self, out: &mut Vec<u8>) {
        if !self.open.is_empty() {
            self.end_line(false, out);
        }
    }

    /// The next line goes on with one that was broken before.
    pub(super) fn go_on(&mut self) {
        self.continues = true;
    }

    /// Whether the next byte begins a line.
    pub(super) fn is_at_rest(&self) -> bool {
        self.open.is_empty() && !self.continues
    }

    fn append(&mut self, time_us: u64, text: &[u8]) {
        if self.open.is_empty() {
            write_time(time_us, &mut self.open);
            self.open.push(b' ');
            self.open.extend_from_slice(self.tag.0.as_bytes());
            self.open.push(if self.continues { b'+' } else { b' ' });
            self.text = 0;
        }
        self.open.extend_from_slice(text);
        self.text += text.len();
    }

    fn end_line(&mut self, continues: bool, out: &mut Vec<u8>) {
        out.append(&mut self.open);
        out.push(b'\n');
        self.text = 0;
        self.continues = continues;
    }
}

/// `YYYY-MM-DDTHH:MM:SS.UUUUUUZ`, 27 bytes.
fn write_time(time_us: u64, out: &mut Vec<u8>) {
    let timestamp = i64::try_from(time_us).ok().and_then(|us| Timestamp::from_microsecond(us).ok()).unwrap_or_default();
    let time = TimeZone::UTC.to_datetime(timestamp);
    let text = format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
        time.year(),
        time.month(),
        time.day(),
        time.hour(),
        time.minute(),
        time.second(),
        timestamp.as_microsecond().rem_euclid(1_000_000)
    );
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(writes: &[&str]) -> Vec<String> {
        let mut stamper = Timestamper::new(StreamTag::STDERR);
        let mut out = Vec::new();
        for (second, write) in writes.iter().enumerate() {
            stamper.write(second as u64 * 1_000_000, write.as_bytes(), &mut out);
        }
        stamper.close(&mut out);
        String::from_utf8(out).unwrap().split_terminator('\n').map(|line| line[17..].to_owned()).collect()
    }

    #[test]
    fn the_time_is_that_of_the_beginning_of_the_line() {
        assert_eq!(stamp(&["a", "b\nc\n"]), ["00.000000Z 01E ab", "01.000000Z 01E c"]);
    }

    #[test]
    fn a_progress_bar_is_shown_at_once_and_goes_on() {
        assert_eq!(
            stamp(&["10%\r", "20%\r", "done\n", "x\n"]),
            ["00.000000Z 01E 10%\r", "01.000000Z 01E+20%\r", "02.000000Z 01E+done", "03.000000Z 01E x"]
        );
    }

    #[test]
    fn a_line_without_end_is_broken() {
        let long = "x".repeat(LONGEST_LINE + 1);
        let lines = stamp(&[&long, "y\n"]);
        assert_eq!(lines.len(), 2);
        assert!(lines[1].ends_with("01E+y"));
    }
}
