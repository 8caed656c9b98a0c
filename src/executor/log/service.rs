//! What a job's services print, among the lines of the job: each line headed by the names of its service.
//! (protocols: GitLab runner 9.5, `CI_DEBUG_SERVICES`.)

use super::filter::Chain;
use super::job_log::{JobLog, LogStream, now_us};

/// What every line of a service begins with: grey, then its name.
const LEAD: &str = "\x1b[0;90m[service:";
const RESET: &str = "\x1b[0;m\n";
/// A longer line is broken.
const LONGEST_TEXT: usize = 8192;
/// No line of a service is longer in the log, with its head and its time stamp.
pub(super) const LONGEST: usize = LONGEST_TEXT + 2048;
/// Characters of a service's names that stand in the head at most.
const LONGEST_NAME: usize = 255;
/// Length of a time stamp with its stream, and where in it the stream stands.
const STAMP: (usize, std::ops::Range<usize>) = (32, 28..31);

/// One service of a job, as it is heard in the job's log. Lines come whole, whatever other services say meanwhile.
pub struct ServiceVoice {
    log: JobLog,
    /// Secrets are hidden before the text is cut into lines.
    masks: Chain,
    head: String,
    line: Vec<u8>,
}

impl ServiceVoice {
    /// The voice of the service that is found by `aliases`.
    pub fn new(log: &JobLog, aliases: &[String]) -> Self {
        let name: String = aliases.join("-").chars().take(LONGEST_NAME).collect();
        Self { log: log.clone(), masks: log.masks(), head: format!("{LEAD}{name}] "), line: Vec::new() }
    }

    /// What the service printed.
    pub fn write(&mut self, bytes: &[u8]) {
        let mut text = Vec::new();
        self.masks.write(now_us(), bytes, &mut text);
        self.say(&text);
    }

    /// Nothing more will come.
    pub fn close(mut self) {
        let mut text = Vec::new();
        self.masks.flush(now_us(), &mut text);
        self.say(&text);
        if !self.line.is_empty() {
            self.end_line();
        }
    }

    fn say(&mut self, text: &[u8]) {
        let mut rest = text;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            self.append(&rest[..end]);
            self.end_line();
            rest = &rest[end + 1..];
        }
        self.append(rest);
    }

    fn append(&mut self, mut text: &[u8]) {
        while self.line.len() + text.len() > LONGEST_TEXT {
            let mut fits = LONGEST_TEXT - self.line.len();
            while fits > 0 && (text[fits] & 0b1100_0000) == 0b1000_0000 {
                fits -= 1; // not inside a character
            }
            self.line.extend_from_slice(&text[..fits]);
            self.end_line();
            text = &text[fits..];
        }
        self.line.extend_from_slice(text);
    }

    fn end_line(&mut self) {
        let line = [self.head.as_bytes(), &self.line, RESET.as_bytes()].concat();
        self.line.clear();
        self.log.write(LogStream::Service, now_us(), &line);
    }
}

/// Whether `line`, from the log, begins as a line of a service does, with or without a time stamp.
pub(super) fn is_line(line: &[u8]) -> bool {
    let is_stamped = line.get(STAMP.1).is_some_and(|stream| stream == b"0fO") && line.get(26) == Some(&b'Z');
    is_stamped || line.starts_with(LEAD.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::log::StageLog as _;
    use crate::pipeline::Secret;
    use crate::pipeline::definition::LogSpec;

    fn spec(timestamps: bool) -> LogSpec {
        let mask = vec![Secret::new("hunter2-hunter2")];
        LogSpec { sections: true, timestamps, services: true, mask, ..LogSpec::plain(1 << 20) }
    }

    fn text(log: &JobLog) -> String {
        String::from_utf8(log.read_at(0, 1 << 20).unwrap()).unwrap()
    }

    #[test]
    fn each_line_names_its_service_and_hides_secrets_over_the_border_of_two_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let log = JobLog::open(&dir.path().join("log"), &spec(false), 0).unwrap();
        let mut db = ServiceVoice::new(&log, &["team__db".into(), "db".into()]);
        let mut web = ServiceVoice::new(&log, &["web".into()]);
        db.write(b"ready hunter2-");
        web.write(b"GET /\n");
        db.write(b"hunter2\nhalf");
        web.close();
        db.close();
        log.close();
        let lines = ["[service:web] GET /", "[service:team__db-db] ready [MASKED]", "[service:team__db-db] half"];
        let expected: String = lines.map(|line| format!("\x1b[0;90m{line}\x1b[0;m\n")).concat();
        assert_eq!(text(&log), expected);
    }

    #[test]
    fn a_line_without_end_is_broken_between_characters() {
        let dir = tempfile::tempdir().unwrap();
        let log = JobLog::open(&dir.path().join("log"), &spec(true), 0).unwrap();
        let mut voice = ServiceVoice::new(&log, &["s".into()]);
        voice.write("ü".repeat(LONGEST_TEXT).as_bytes());
        voice.close();
        log.close();
        let text = text(&log);
        assert_eq!(text.matches('ü').count(), LONGEST_TEXT);
        assert!(text.lines().count() >= 2 && text.lines().all(|line| line.len() < LONGEST), "{}", text.len());
        assert!(text.lines().all(|line| is_line(line.as_bytes())));
    }

    #[test]
    fn a_step_s_output_that_is_made_again_passes_over_the_lines_of_services() {
        for timestamps in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("log");
            let log = JobLog::open(&path, &spec(timestamps), 0).unwrap();
            let mut voice = ServiceVoice::new(&log, &["db".into()]);
            log.write(LogStream::Stdout, 0, b"one\ntwo\n");
            voice.write(b"first\nsecond\n");
            log.write(LogStream::Stdout, 0, b"three\n");
            voice.write(b"third\n");
            let known = text(&log);
            drop((log, voice));
            let log = JobLog::open(&path, &spec(timestamps), 0).unwrap();
            let mut voice = ServiceVoice::new(&log, &["db".into()]);
            for line in ["one\ntwo\n", "three\n", "four\n"] {
                voice.write(format!("behind {line}").as_bytes());
                log.write(LogStream::Stdout, 0, line.as_bytes());
            }
            log.say(crate::executor::log::Tone::Plain, "over");
            log.close();
            let text = text(&log);
            assert!(text.starts_with(&known), "{text}");
            for line in ["first", "second", "third", "behind one", "behind three", "behind four"] {
                assert_eq!(text.matches(line).count(), 1, "{line}: {text}");
            }
            for line in ["one", "two", "three", "four"] {
                let of_step = text.lines().filter(|it| it.ends_with(line) && !it.contains("service"));
                assert_eq!(of_step.count(), 1, "{line}: {text}");
            }
        }
    }
}
