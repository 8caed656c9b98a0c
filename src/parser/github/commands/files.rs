//! Command files: what steps write to `GITHUB_ENV`, `GITHUB_OUTPUT`, `GITHUB_STATE`, `GITHUB_PATH` and `GITHUB_STEP_SUMMARY`.

/// What a step left in its command files; empty where it wrote nothing or the file is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WrittenFiles {
    /// `GITHUB_ENV`.
    pub env: Vec<u8>,
    /// `GITHUB_OUTPUT`.
    pub output: Vec<u8>,
    /// `GITHUB_PATH`.
    pub path: Vec<u8>,
    /// `GITHUB_STATE`.
    pub state: Vec<u8>,
    /// `GITHUB_STEP_SUMMARY`.
    pub summary: Vec<u8>,
}

/// Bytes a summary may have.
pub const SUMMARY_LIMIT: usize = 1024 * 1024;

/// Why a command file cannot be read on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileProblem {
    /// Neither `KEY=VALUE` nor `KEY<<DELIMITER`.
    #[error("Invalid format '{0}': a line is NAME=VALUE or NAME<<DELIMITER")]
    Format(String),
    /// A key or a delimiter is empty.
    #[error("Invalid format '{0}'. Name must not be empty and delimiter must not be empty")]
    Empty(String),
    /// The file ends before the delimiter.
    #[error("Invalid value. Matching delimiter not found '{0}'")]
    NoDelimiter(String),
    /// The file's last line is neither ended nor the delimiter.
    #[error("Invalid value. EOF marker missing new line. The delimiter '{0}' must stand alone on its line")]
    NoNewline(String),
}

/// Keys and values of a file, as far as it can be read, and why not further.
pub fn pairs(bytes: &[u8]) -> (Vec<(String, String)>, Option<FileProblem>) {
    let text = text(bytes);
    let mut lines = Lines { rest: &text };
    let mut pairs = Vec::new();
    while let Some((line, _)) = lines.next() {
        if line.is_empty() {
            continue;
        }
        match pair(line, &mut lines) {
            Ok(pair) => pairs.push(pair),
            Err(problem) => return (pairs, Some(problem)),
        }
    }
    (pairs, None)
}

fn pair(line: &str, lines: &mut Lines<'_>) -> Result<(String, String), FileProblem> {
    let (equals, heredoc) = (line.find('='), line.find("<<"));
    match (equals, heredoc) {
        (Some(at), other) if other.is_none_or(|other| at < other) => {
            if at == 0 {
                return Err(FileProblem::Empty(line.to_owned()));
            }
            Ok((line[..at].to_owned(), line[at + 1..].to_owned()))
        }
        (_, Some(at)) => {
            let (key, delimiter) = (&line[..at], &line[at + 2..]);
            if key.is_empty() || delimiter.is_empty() {
                return Err(FileProblem::Empty(line.to_owned()));
            }
            Ok((key.to_owned(), value_until(delimiter, lines)?))
        }
        _ => Err(FileProblem::Format(line.to_owned())),
    }
}

fn value_until(delimiter: &str, lines: &mut Lines<'_>) -> Result<String, FileProblem> {
    let start = lines.rest;
    loop {
        let before = lines.rest;
        match lines.next() {
            None => return Err(FileProblem::NoDelimiter(delimiter.to_owned())),
            Some((line, _)) if line == delimiter => {
                let value = &start[..start.len() - before.len()];
                return Ok(value.strip_suffix('\n').unwrap_or(value).to_owned());
            }
            Some((_, false)) => return Err(FileProblem::NoNewline(delimiter.to_owned())),
            Some(_) => {}
        }
    }
}

/// Paths of a file in the order in which they were added.
pub fn paths(bytes: &[u8]) -> Vec<String> {
    text(bytes).split(['\r', '\n']).filter(|line| !line.trim().is_empty()).map(str::to_owned).collect()
}

/// A summary; `None` where there is none, an error where it is too long.
pub fn summary(bytes: &[u8]) -> Result<Option<String>, String> {
    if bytes.len() > SUMMARY_LIMIT {
        let size = bytes.len().div_ceil(1024);
        return Err(format!(
            "$GITHUB_STEP_SUMMARY upload aborted, supports content up to a size of {}k, got {size}k",
            SUMMARY_LIMIT / 1024
        ));
    }
    let text = text(bytes);
    Ok((!text.is_empty()).then_some(text))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)).into_owned()
}

/// Lines, and whether each was ended by a newline.
struct Lines<'a> {
    rest: &'a str,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<(&'a str, bool)> {
        if self.rest.is_empty() {
            return None;
        }
        let (line, rest, ended) = match self.rest.split_once('\n') {
            Some((line, rest)) => (line, rest, true),
            None => (self.rest, "", false),
        };
        self.rest = rest;
        Some((line, ended))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_first_decides() {
        let (found, problem) = pairs(b"A=x<<y\nB<<=E\n1\n=E\nC=a=b\n");
        assert_eq!(problem, None);
        assert_eq!(found, [("A", "x<<y"), ("B", "1"), ("C", "a=b")].map(|(k, v)| (k.to_owned(), v.to_owned())));
    }

    #[test]
    fn what_comes_before_an_error_counts() {
        let (found, problem) = pairs(b"A=1\nnonsense\nB=2\n");
        assert_eq!(found, [("A".to_owned(), "1".to_owned())]);
        assert_eq!(problem, Some(FileProblem::Format("nonsense".into())));
        assert_eq!(pairs(b"A<<\n").1, Some(FileProblem::Empty("A<<".into())));
        assert_eq!(pairs(b"A<<E\n1\n").1, Some(FileProblem::NoDelimiter("E".into())));
    }

    #[test]
    fn a_carriage_return_stays_in_a_value_but_ends_a_path() {
        assert_eq!(pairs(b"A=1\r\n").0, [("A".to_owned(), "1\r".to_owned())]);
        assert_eq!(paths(b"/a\r\n\n /b \n"), ["/a", " /b "]);
    }
}
