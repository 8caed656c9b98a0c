//! What people read: tables, times, sizes. The only place of the command line that knows how things look.

use std::io::{self, Write};

use super::Verdict;

/// Characters of a cell, at most: names may be as long as somebody else likes.
const MAX_CELL: usize = 200;

/// A table with a heading a column; columns are as wide as their widest cell, and nothing is wrapped. What is very long is cut.
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let cut = |cell: &String| match cell.char_indices().nth(MAX_CELL) {
        Some((end, _)) => format!("{}…", &cell[..end]),
        None => cell.clone(),
    };
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(cut).collect()).collect();
    let width = |column: usize, heading: &str| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([heading.chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = headings.iter().enumerate().map(|(column, heading)| width(column, heading)).collect();
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    let head = line(headings.to_vec());
    rows.iter().fold(head, |text, row| text + &line(row.iter().map(String::as_str).collect()))
}

/// How long something took or has been going on, to two units: `1m 23s`, `3h 5m`, `2d 4h`.
pub fn duration(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {minutes}m"),
        (_, _, _) => format!("{days}d {hours}h"),
    }
}

/// How long ago something was.
pub fn since(then: jiff::Timestamp, now: jiff::Timestamp) -> String {
    duration(now.as_second() - then.as_second())
}

/// A size, `12.3 MiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64;
    let mut unit = "bytes";
    for next in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if unit == "bytes" { format!("{bytes} bytes") } else { format!("{value:.1} {unit}") }
}

/// A text of somebody else's, for a terminal: no control characters, none of its lines or colours.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// The same for lines that are ours, with names of somebody else's in them.
pub fn plain_lines(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// Writes a result to standard output. Somebody who closes the pipe has read enough.
pub fn result(text: &str) -> Verdict {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("error: standard output cannot be written: {error}");
            Verdict::Environment
        }
        Ok(()) | Err(_) => Verdict::Success,
    }
}

/// Writes a result as JSON to standard output.
pub fn json<T: serde::Serialize>(value: &T) -> Verdict {
    match serde_json::to_string_pretty(value) {
        Ok(text) => result(&(text + "\n")),
        Err(error) => {
            eprintln!("error: the result cannot be written as JSON: {error}");
            Verdict::Environment
        }
    }
}

/// Says what went wrong, on standard error.
pub fn failed(error: &dyn std::fmt::Display, verdict: Verdict) -> Verdict {
    eprintln!("error: {error}");
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_lines_have_no_trailing_space() {
        let rows = [vec!["1".into(), "läuft".into()], vec!["1234".into(), String::new()]];
        assert_eq!(table(&["ID", "STATE"], &rows), "ID    STATE\n1     läuft\n1234\n");
    }

    #[test]
    fn durations_and_sizes_are_short() {
        let shown: Vec<String> = [0, 59, 83, 3600 * 3 + 300, 86_400 * 2 + 4 * 3600, -5].map(duration).into();
        assert_eq!(shown, ["0s", "59s", "1m 23s", "3h 5m", "2d 4h", "0s"]);
        assert_eq!([size(17), size(1536), size(5 << 30)], ["17 bytes", "1.5 KiB", "5.0 GiB"]);
    }

    #[test]
    fn what_a_job_is_called_cannot_paint_the_terminal() {
        assert_eq!(plain("a\x1b[31mb\n"), "a\u{fffd}[31mb\u{fffd}");
    }
}
