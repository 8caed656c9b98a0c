//! The table at the end.

use std::io::IsTerminal;
use std::time::Duration;

use crate::emulator::PipelineView;

/// Jobs with status and duration, then artifacts with size and SHA-256.
pub fn jobs(view: &PipelineView) -> String {
    let rows: Vec<[String; 4]> = view
        .jobs
        .iter()
        .map(|job| {
            let took = job.duration.map(duration).unwrap_or_else(|| "-".to_owned());
            let log = size(job.log_size);
            [job.name.clone(), job.stage.clone(), job.state.to_owned(), format!("{took:>9}  {log:>10}")]
        })
        .collect();
    let mut text = aligned(["JOB", "STAGE", "STATUS", " DURATION         LOG"], &rows);
    let artifacts: Vec<[String; 4]> = view
        .jobs
        .iter()
        .flat_map(|job| {
            job.artifacts.iter().map(|artifact| {
                [
                    job.name.clone(),
                    artifact.filename.clone(),
                    format!("{:>10}", size(artifact.size)),
                    artifact.sha256.clone(),
                ]
            })
        })
        .collect();
    if !artifacts.is_empty() {
        text.push('\n');
        text += &aligned(["JOB", "ARTIFACT", "      SIZE", "SHA-256"], &artifacts);
    }
    text
}

fn aligned(head: [&str; 4], rows: &[[String; 4]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or_default()
    };
    let widths = [width(0), width(1), width(2)];
    let line = |cells: [&str; 4]| {
        let [a, b, c, d] = cells;
        format!("{a:w0$}  {b:w1$}  {c:w2$}  {d}\n", w0 = widths[0], w1 = widths[1], w2 = widths[2])
    };
    let body = rows.iter().map(|[a, b, c, d]| line([a, b, c, d]));
    std::iter::once(line(head)).chain(body).collect()
}

/// `850 ms`, `3.2 s`, `1m 23s`.
pub fn duration(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        1..60 => format!("{:.1} s", time.as_secs_f64()),
        seconds => format!("{}m {:02}s", seconds / 60, seconds % 60),
    }
}

/// `12 B`, `1.5 KiB`, `12.3 MiB`.
pub fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

/// `text` in a colour, on a terminal and unless `NO_COLOR` says otherwise.
pub fn paint(code: &str, text: &str) -> String {
    let wanted = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if wanted { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_short() {
        assert_eq!(duration(Duration::from_millis(850)), "850 ms");
        assert_eq!(duration(Duration::from_millis(3210)), "3.2 s");
        assert_eq!(duration(Duration::from_secs(83)), "1m 23s");
        assert_eq!((size(12), size(1536), size(5 << 40)), ("12 B".into(), "1.5 KiB".into(), "5.0 TiB".into()));
    }

    #[test]
    fn columns_are_aligned() {
        let text = aligned(["A", "B", "C", "D"], &[["long".into(), "x".into(), "y".into(), "z".into()]]);
        assert_eq!(text, "A     B  C  D\nlong  x  y  z\n");
    }
}
