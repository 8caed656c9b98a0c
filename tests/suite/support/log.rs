//! A job's log taken apart: times, sections, echoed commands, output.

use std::sync::LazyLock;

use regex::bytes::Regex;

static MARKER: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"section_(start|end):[0-9]+:([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?\r\x1b\[0K").unwrap());
static HEADER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z ([0-9a-f]{2}[OE])([ +])").unwrap()
});
static ESCAPE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\x1b\[[0-9;]*[A-Za-z]").unwrap());

/// What a runner itself writes into the sections of steps, besides echoed commands.
const REMARKS: [&str; 7] = [
    "Executing \"",
    "Running after",
    "Using docker image",
    "WARNING: ",
    "ERROR: ",
    "Service container logs",
    "Health check",
];

/// A log.
#[derive(Clone, Debug, Default)]
pub struct JobLog {
    /// Whether every line carries its time.
    pub has_timestamps: bool,
    /// The sections in the order in which they begin, nested ones too.
    pub sections: Vec<Section>,
    /// All of it without times, markers and escape codes.
    pub text: String,
    /// Markers that do not fit: ends without a start, starts without an end.
    pub faults: Vec<String>,
}

/// A section.
#[derive(Clone, Debug, Default)]
pub struct Section {
    /// Its name.
    pub name: String,
    /// Its lines without escape codes; those of nested sections too.
    pub lines: Vec<String>,
}

impl JobLog {
    /// Takes `bytes` apart.
    pub fn parse(bytes: &[u8]) -> Self {
        let (plain, has_timestamps) = without_times(bytes);
        let mut log = Self { has_timestamps, ..Self::default() };
        let mut open: Vec<(usize, Vec<u8>)> = Vec::new();
        let mut whole = Vec::new();
        let mut at = 0;
        for marker in MARKER.captures_iter(&plain) {
            let (Some(all), Some(name)) = (marker.get(0), marker.get(2)) else { continue };
            let text = &plain[at..all.start()];
            at = all.end();
            take(text, &mut open, &mut whole);
            let name = String::from_utf8_lossy(name.as_bytes()).into_owned();
            if &marker[1] == b"start" {
                // What stands behind the marker of a command's own section is its title, not output.
                if name.starts_with("section_") {
                    at += plain[at..].iter().position(|&byte| byte == b'\n').map_or(0, |end| end + 1);
                }
                log.sections.push(Section { name, lines: Vec::new() });
                open.push((log.sections.len() - 1, Vec::new()));
                continue;
            }
            match open.iter().rposition(|(index, _)| log.sections[*index].name == name) {
                Some(place) => {
                    let (index, text) = open.remove(place);
                    log.sections[index].lines = lines(&text);
                }
                None => log.faults.push(format!("`{name}` ends without having begun")),
            }
        }
        take(&plain[at..], &mut open, &mut whole);
        for (index, text) in open {
            log.faults.push(format!("`{}` does not end", log.sections[index].name));
            log.sections[index].lines = lines(&text);
        }
        log.text = clean(&whole);
        log
    }

    /// Names of the sections in order.
    pub fn section_names(&self) -> Vec<&str> {
        self.sections.iter().map(|section| section.name.as_str()).collect()
    }

    /// The lines that the job's own processes wrote in a section, but for empty ones: the recorded cases have none.
    pub fn output(&self, section: &str) -> Vec<String> {
        let is_output = |line: &&String| {
            !line.is_empty() && !is_echo(line) && !REMARKS.iter().any(|remark| line.starts_with(remark))
        };
        self.lines(section).filter(is_output).cloned().collect()
    }

    /// The commands echoed in a section, `$ ` included.
    pub fn echo(&self, section: &str) -> Vec<String> {
        self.lines(section).filter(|line| is_echo(line)).cloned().collect()
    }

    fn lines(&self, name: &str) -> impl Iterator<Item = &String> {
        self.sections.iter().filter(move |section| section.name == name).flat_map(|section| &section.lines)
    }
}

fn is_echo(line: &str) -> bool {
    line.starts_with("$ ")
}

/// Every open section gets the text: what is in a nested section is in those around it.
fn take(text: &[u8], open: &mut [(usize, Vec<u8>)], whole: &mut Vec<u8>) {
    whole.extend_from_slice(text);
    for (_, collected) in open {
        collected.extend_from_slice(text);
    }
}

fn clean(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&ESCAPE.replace_all(bytes, &b""[..])).into_owned()
}

fn lines(bytes: &[u8]) -> Vec<String> {
    let text = clean(bytes);
    let text = text.strip_suffix('\n').unwrap_or(&text);
    if text.is_empty() { Vec::new() } else { text.split('\n').map(str::to_owned).collect() }
}

/// The log without the 32 bytes of time, stream and kind before each line, and whether they were there. A continuation
/// is put behind the last line of its stream.
fn without_times(bytes: &[u8]) -> (Vec<u8>, bool) {
    let all: Vec<&[u8]> = bytes.strip_suffix(b"\n").unwrap_or(bytes).split(|byte| *byte == b'\n').collect();
    if bytes.is_empty() || !all.iter().all(|line| HEADER.is_match(line)) {
        return (bytes.to_vec(), false);
    }
    let mut joined: Vec<(&[u8], Vec<u8>)> = Vec::new();
    for line in all {
        let Some(header) = HEADER.captures(line) else { continue };
        let (stream, kind, text) =
            (header.get(1).map_or(&b""[..], |m| m.as_bytes()), &header[2], &line[header[0].len()..]);
        let previous = joined.iter_mut().rev().find(|(known, _)| *known == stream);
        match previous {
            Some((_, previous)) if kind == b"+" => previous.extend_from_slice(text),
            _ => joined.push((stream, text.to_vec())),
        }
    }
    let mut plain = Vec::new();
    for (_, line) in joined {
        plain.extend_from_slice(&line);
        plain.push(b'\n');
    }
    (plain, true)
}

#[test]
fn sections_echo_and_output_are_told_apart() {
    let log = JobLog::parse(
        b"head\nsection_start:1:step_script\r\x1b[0K\x1b[0K\x1b[36;1mExecuting \"step_script\" stage of the job script\x1b[0;m\x1b[0;m\n\
          \x1b[32;1m$ printf abc\x1b[0;m\nabcsection_end:2:step_script\r\x1b[0K\x1b[32;1mJob succeeded\x1b[0;m\n",
    );
    assert_eq!(log.section_names(), ["step_script"]);
    assert_eq!(log.echo("step_script"), ["$ printf abc"]);
    assert_eq!(log.output("step_script"), ["abc"]);
    assert!(log.text.ends_with("Job succeeded\n"));
    assert!(!log.has_timestamps && log.faults.is_empty());
}

#[test]
fn times_are_stripped_and_continuations_joined() {
    let log = JobLog::parse(
        b"2026-08-22T10:11:12.123456Z 00O section_start:1:step_script\r\x1b[0K\n\
          2026-08-22T10:11:12.123457Z 01E other\n\
          2026-08-22T10:11:12.123458Z 00O+Executing \"step_script\" stage\n\
          2026-08-22T10:11:12.123459Z 01O one\n\
          2026-08-22T10:11:12.123459Z 01O+ more\n\
          2026-08-22T10:11:12.123459Z 00O section_end:2:step_script\r\x1b[0K\n",
    );
    assert!(log.has_timestamps);
    assert_eq!(log.output("step_script"), ["other", "one more"]);
}

#[test]
fn a_section_without_an_end_is_a_fault() {
    let log = JobLog::parse(b"section_start:1:a\r\x1b[0Ktext\nsection_end:1:b\r\x1b[0K");
    assert_eq!(log.faults, ["`b` ends without having begun", "`a` does not end"]);
}
