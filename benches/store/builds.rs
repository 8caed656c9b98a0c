//! Two builds of `benches/fixtures/two-builds`, a workspace that uses axum, tokio, clap and regex: one line of one function's body is
//! another the second time. What is new in the target folder is what a second artifact costs.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::numbers::{mebibytes, milliseconds, of_work};
use crate::{Failure, shown};

pub const HEAD: &str = "| two builds | first, stored | second, new | share | bare FastCDC, zstd -1: new | ratio | time of the second put |\n\
                        | --- | --- | --- | --- | --- | --- | --- |";

/// The line, and what becomes of it.
const LINE: [&str; 2] = ["let most = 10;", "let most = 11;"];

pub fn measure() -> Result<(), Failure> {
    for incremental in ["0", "1"] {
        let folder = tempfile::Builder::new().prefix("two-builds-").tempdir()?;
        let source = folder.path().join("source");
        let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/fixtures/two-builds");
        let fixture = std::env::var("FORGEHAND_BENCH_FIXTURE").unwrap_or_else(|_| fixture.to_owned());
        if !Command::new("cp").arg("-r").arg(&fixture).arg(&source).status()?.success() {
            return Err(format!("`{fixture}` cannot be copied").into());
        }
        let target = source.join("target");
        let (store, known) = (shown(&folder.path().join("store"))?, shown(&folder.path().join("known"))?);
        build(&source, incremental)?;
        let first = of_work(&["put", &store, &shown(&target)?, "new"])?;
        of_work(&["new-chunks", &shown(&target)?, &known])?;
        change(&source.join("rules/src/lib.rs"))?;
        build(&source, incremental)?;
        let second = of_work(&["put", &store, &shown(&target)?, "new"])?;
        let bare = of_work(&["new-chunks", &shown(&target)?, &known])?;
        let [first, new, bare] = [&first, &second, &bare].map(|numbers| numbers.get("new_bytes"));
        println!(
            "| CARGO_INCREMENTAL={incremental} | {} | {} | {:.2} % | {} | {:.2} | {} |",
            mebibytes(first),
            mebibytes(new),
            new / first * 100.0,
            mebibytes(bare),
            new / bare,
            milliseconds(second.get("time")),
        );
    }
    Ok(())
}

fn build(source: &Path, incremental: &str) -> Result<(), Failure> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--locked", "--quiet"]).current_dir(source).stdin(Stdio::null());
    command.env("CARGO_INCREMENTAL", incremental).env("CARGO_TARGET_DIR", source.join("target"));
    command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS").env_remove("CARGO_BUILD_TARGET");
    if command.status()?.success() { Ok(()) } else { Err("the fixture workspace cannot be built".into()) }
}

fn change(path: &Path) -> Result<(), Failure> {
    let before = fs::read_to_string(path)?;
    let after = before.replacen(LINE[0], LINE[1], 1);
    if after == before {
        return Err(format!("`{}` does not hold `{}`", path.display(), LINE[0]).into());
    }
    Ok(fs::write(path, after)?)
}
