//! Whole commands, as others keep and restore trees: `tar | zstd`, `zip`, a plain copy; beside `forgehand store`. Only the last one
//! waits until everything is on the disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::numbers::milliseconds;
use crate::{Failure, Place, ROUNDS, shown};

pub const HEAD: &str = "| whole commands | tar, zstd -3 -T0 | zip -5 | cp -a | forgehand store | peak memory | zip / forgehand |\n\
                        | --- | --- | --- | --- | --- | --- | --- |";

/// A way of keeping trees: shell scripts with `$TREE`, `$KEPT`, `$OUT`, `$PROGRAM`.
struct Way {
    /// Nothing is measured where it is missing.
    needs: &'static str,
    put: &'static str,
    again: &'static str,
    get: &'static str,
}

const WAYS: [Way; 4] = [
    Way {
        needs: "zstd",
        put: r#"tar -C "$TREE" -cf - . | zstd -q -3 -T0 -f -o "$KEPT/it""#,
        again: r#"tar -C "$TREE" -cf - . | zstd -q -3 -T0 -f -o "$KEPT/it""#,
        get: r#"zstd -q -dc "$KEPT/it" | tar -C "$OUT" -xf -"#,
    },
    Way {
        needs: "zip",
        put: r#"cd "$TREE" && zip -5 -q -r "$KEPT/it.zip" ."#,
        again: r#"cd "$TREE" && zip -5 -q -r "$KEPT/again.zip" ."#,
        get: r#"if command -v unzip >/dev/null; then unzip -q "$KEPT/it.zip" -d "$OUT"; else busybox unzip -q "$KEPT/it.zip" -d "$OUT"; fi"#,
    },
    Way {
        needs: "cp",
        put: r#"cp -a "$TREE" "$KEPT/it""#,
        again: r#"cp -a "$TREE" "$KEPT/again""#,
        get: r#"cp -a "$KEPT/it/." "$OUT""#,
    },
    Way {
        needs: "forgehand",
        put: r#"exec "$PROGRAM" store put "$TREE" --name it"#,
        again: r#"exec "$PROGRAM" store put "$TREE" --name it"#,
        get: r#"exec "$PROGRAM" store get it "$OUT""#,
    },
];

/// Seconds and bytes of memory.
#[derive(Clone, Copy)]
struct Taken {
    seconds: f64,
    peak: f64,
}

pub fn measure(title: &str, place: &Place) -> Result<(), Failure> {
    let mut best: [[Option<Taken>; WAYS.len()]; 3] = Default::default();
    for round in 0..ROUNDS {
        for (number, way) in WAYS.iter().enumerate().filter(|(_, way)| is_there(way)) {
            // Nothing is removed before the end, which would make the next one slow.
            let [kept, out] = ["kept", "out"].map(|name| place.beside(&format!("{name}-{round}-{number}")));
            for (row, script) in [way.put, way.again, way.get].into_iter().enumerate() {
                fs::create_dir_all(&kept)?;
                fs::create_dir_all(&out)?;
                let taken = timed(script, place, &kept, &out)?;
                let cell = &mut best[row][number];
                *cell = Some(cell.map_or(taken, |before| Taken {
                    seconds: before.seconds.min(taken.seconds),
                    peak: before.peak.max(taken.peak),
                }));
            }
        }
    }
    for (what, row) in ["put", "put again", "get"].into_iter().zip(best) {
        let cells: Vec<String> =
            row.iter().map(|cell| cell.map_or("missing".to_owned(), |taken| milliseconds(taken.seconds))).collect();
        let [_, zip, _, ours] = row;
        let peak = ours.map_or("-".to_owned(), |taken| crate::numbers::mebibytes(taken.peak));
        let ratio = zip.zip(ours).map_or("-".to_owned(), |(zip, ours)| format!("{:.1} x", zip.seconds / ours.seconds));
        println!("| {title}: {what} | {} | {peak} | {ratio} |", cells.join(" | "));
    }
    Ok(())
}

/// The program that is measured; `FORGEHAND_TEST_BINARY` names another.
fn program() -> Option<PathBuf> {
    let other = std::env::var_os("FORGEHAND_TEST_BINARY").map(PathBuf::from);
    other.or(option_env!("CARGO_BIN_EXE_forgehand").map(PathBuf::from)).filter(|path| path.exists())
}

fn is_there(way: &Way) -> bool {
    match way.needs {
        "forgehand" => program().is_some(),
        needs => {
            let found = Command::new("sh").args(["-c", "command -v \"$0\"", needs]).stdout(Stdio::null()).status();
            found.is_ok_and(|status| status.success())
        }
    }
}

fn timed(script: &str, place: &Place, kept: &Path, out: &Path) -> Result<Taken, Failure> {
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::null());
    command.env("TREE", shown(&place.tree())?).env("KEPT", kept).env("OUT", out);
    command.env("FORGEHAND_STATE_DIR", kept.join("state")).env("FORGEHAND_CONFIG", kept.join("forgehand.toml"));
    command.env("PROGRAM", program().unwrap_or_default());
    rustix::fs::sync();
    let start = Instant::now();
    let child = command.spawn()?;
    let (is_success, peak) = wait(child.id())?;
    let seconds = start.elapsed().as_secs_f64();
    if is_success { Ok(Taken { seconds, peak }) } else { Err(format!("`{script}` failed").into()) }
}

/// Waits for a child. Whether it succeeded, and how much memory it had at most. (getrusage(2): kilobytes.)
fn wait(child: u32) -> Result<(bool, f64), Failure> {
    let mut status = 0;
    // SAFETY: a `rusage` is numbers, for which zeros are a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both places are ours and live until it returns; nobody else waits for this child.
    let waited = unsafe { libc::wait4(child.cast_signed(), &raw mut status, 0, &raw mut usage) };
    if waited < 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok((libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, usage.ru_maxrss as f64 * 1024.0))
}
