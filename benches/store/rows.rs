//! The store's work in one process, beside the floors.

use crate::numbers::{Numbers, mebibytes, milliseconds, of_work};
use crate::{Failure, Place, ROUNDS, shown};

pub const HEAD: &str = "| what | time | MB/s | floor | of the floor | peak memory | new bytes |\n| --- | --- | --- | --- | --- | --- | --- |";

/// What is measured, in the order in which it is done.
const STEPS: [&str; 9] = [
    "floors",
    "put",
    "put again",
    "put again, status changed",
    "get",
    "put after one byte",
    "scrub",
    "gc, the older one goes",
    "gc, everything goes",
];

pub fn measure(title: &str, place: &Place) -> Result<(), Failure> {
    let mut best: [Option<Numbers>; STEPS.len()] = Default::default();
    for round in 0..ROUNDS {
        for (step, best) in STEPS.iter().zip(&mut best) {
            let numbers = one(step, place, round)?;
            *best = Some(match best.take() {
                None => numbers,
                Some(before) => before.best(&numbers),
            });
        }
    }
    let best = best.map(Option::unwrap_or_default);
    let [floors, ..] = &best;
    let bytes = floors.get("bytes");
    let seconds = |names: &[&str]| names.iter().map(|name| floors.get(name)).sum::<f64>();
    println!(
        "| **{title}**: {}, chunking {}, sha256 {}, zstd {}, unzstd {}, write {} of {}, of all {}, unsynced {} |",
        mebibytes(bytes),
        milliseconds(floors.get("chunking")),
        milliseconds(floors.get("sha256")),
        milliseconds(floors.get("zstd")),
        milliseconds(floors.get("unzstd")),
        milliseconds(floors.get("write_stored")),
        mebibytes(floors.get("stored")),
        milliseconds(floors.get("write_content")),
        milliseconds(floors.get("write_unsynced")),
    );
    let cores = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
    // The disk is as fast as it was at its best, whatever was written then.
    let rate = (bytes / floors.get("write_content")).max(floors.get("stored") / floors.get("write_stored"));
    let intake = (floors.get("stored") / rate).max(seconds(&["chunking", "sha256", "zstd"]) / cores);
    let rereading = seconds(&["chunking", "sha256"]) / cores;
    let output = (bytes / rate).max(seconds(&["unzstd", "sha256"]) / cores);
    let unsynced = floors.get("write_unsynced").max(seconds(&["unzstd", "sha256"]) / cores);
    for (step, numbers) in STEPS.iter().zip(&best) {
        let floor = match *step {
            "floors" => continue,
            "put" => Some(intake),
            "put again, status changed" => Some(rereading),
            "get" => {
                // What is restored is not waited for on the disk: so this is the harder of two floors.
                row("get, beside an unsynced write", numbers, bytes, Some(unsynced));
                Some(output)
            }
            // It is to be no burden: on one core.
            "scrub" => Some(seconds(&["unzstd", "sha256"])),
            _ => None,
        };
        row(step, numbers, bytes, floor);
    }
    Ok(())
}

fn row(step: &str, numbers: &Numbers, bytes: f64, floor: Option<f64>) {
    let time = numbers.get("time");
    let (floor, share) = match floor {
        None => ("-".to_owned(), "-".to_owned()),
        Some(floor) => (milliseconds(floor), format!("{:.0} %", floor / time * 100.0)),
    };
    let new = numbers.get("new_bytes");
    let new = if new.is_nan() { "-".to_owned() } else { mebibytes(new) };
    println!(
        "| {step} | {} | {:.0} | {floor} | {share} | {} | {new} |",
        milliseconds(time),
        bytes / 1e6 / time,
        mebibytes(numbers.get("peak"))
    );
}

/// Nothing is removed between rounds: where many files have just been removed, ext4 is slow at making others.
fn one(step: &str, place: &Place, round: usize) -> Result<Numbers, Failure> {
    let tree = shown(&place.tree())?;
    let [store, out] = ["store", "out"].map(|name| shown(&place.beside(&format!("{name}-{round}"))));
    let (store, out) = (store?, out?);
    match step {
        "floors" => of_work(&["floors", &tree, &shown(&place.beside("scratch"))?]),
        "put" | "put again" => of_work(&["put", &store, &tree, "old"]),
        "put again, status changed" => {
            of_work(&["touch", &tree])?;
            of_work(&["put", &store, &tree, "old"])
        }
        "get" => of_work(&["get", &store, "old", &out]),
        "put after one byte" => {
            of_work(&["flip", &tree])?;
            of_work(&["put", &store, &tree, "new"])
        }
        "scrub" => of_work(&["verify", &store]),
        "gc, the older one goes" => gone(of_work(&["gc", &store, "2"])?),
        _ => gone(of_work(&["gc", &store, "5"])?),
    }
}

/// What collected, if it did.
fn gone(numbers: Numbers) -> Result<Numbers, Failure> {
    if numbers.get("deleted") > 0.0 { Ok(numbers) } else { Err("nothing was collected".into()) }
}
