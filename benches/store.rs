//! What keeping and restoring costs beside the least that the same bytes can cost, measured in turn in the same run: chunking, hashing
//! and compressing on one core, and writing to the disk. Trust the ratios, which are of one round each; the machine's speed drifts.
//!
//! `scripts/bench store` runs it; `TMPDIR` says on which disk. Rows: `random`, `text`, `zeros`, `small`, `builds`, or
//! `folder=PATH` for a tree of one's own (a cargo target, a node_modules). `commands` adds the whole commands that others use for it.
//!
//! Every piece of work is a process of its own, so that its memory is its own.

use std::path::{Path, PathBuf};

#[path = "store/builds.rs"]
mod builds;
#[path = "store/commands.rs"]
mod commands;
#[path = "store/data.rs"]
mod data;
#[path = "store/floors.rs"]
mod floors;
#[path = "store/numbers.rs"]
mod numbers;
#[path = "store/rows.rs"]
mod rows;
#[path = "store/work.rs"]
mod work;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Times that each row is measured; the one in the middle counts.
const ROUNDS: usize = 5;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("--work", rest)) = arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        // As the program does.
        forgehand::allocator::stay_small();
        return work::run(rest);
    }
    // `cargo bench` passes flags of the usual harness; the others choose rows.
    let (compares, chosen): (Vec<&str>, Vec<&str>) = arguments
        .iter()
        .map(String::as_str)
        .filter(|word| !word.starts_with('-'))
        .partition(|word| *word == "commands");
    let compares = !compares.is_empty() || chosen.is_empty();
    let wanted = |row: &str| chosen.is_empty() || chosen.contains(&row);
    let mut trees: Vec<Tree> = data::KINDS.into_iter().filter(|kind| wanted(kind.name())).map(Tree::Made).collect();
    trees.extend(chosen.iter().filter_map(|word| word.strip_prefix("folder=")).map(|path| Tree::Copy(path.into())));
    if !trees.is_empty() {
        println!("{}", rows::HEAD);
    }
    for tree in &trees {
        let place = Place::new(tree)?;
        rows::measure(&tree.name(), &place)?;
    }
    if compares && !trees.is_empty() {
        println!("\n{}", commands::HEAD);
        for tree in &trees {
            let place = Place::new(tree)?;
            commands::measure(&tree.name(), &place)?;
        }
    }
    if wanted("builds") {
        println!("\n{}", builds::HEAD);
        builds::measure()?;
    }
    Ok(())
}

/// What is kept and restored.
enum Tree {
    /// Made for this.
    Made(data::Kind),
    /// Somebody's folder, which is copied, since a byte of it will be changed.
    Copy(PathBuf),
}

impl Tree {
    fn name(&self) -> String {
        match self {
            Tree::Made(kind) => kind.title().to_owned(),
            Tree::Copy(path) => path.display().to_string(),
        }
    }
}

/// A folder with the tree, and room for stores beside it.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new(tree: &Tree) -> Result<Self, Failure> {
        let place = Self { folder: tempfile::Builder::new().prefix("store-bench-").tempdir()? };
        match tree {
            Tree::Made(kind) => drop(numbers::of_work(&["make", kind.name(), &shown(&place.tree())?])?),
            Tree::Copy(path) => {
                let copied = std::process::Command::new("cp").arg("-a").arg(path).arg(place.tree()).status()?;
                if !copied.success() {
                    return Err(format!("`{}` cannot be copied", path.display()).into());
                }
            }
        }
        rustix::fs::sync();
        Ok(place)
    }

    fn tree(&self) -> PathBuf {
        self.folder.path().join("tree")
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// A path as an argument.
fn shown(path: &Path) -> Result<String, Failure> {
    Ok(path.to_str().ok_or("a path that is not UTF-8")?.to_owned())
}
