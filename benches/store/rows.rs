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
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        let numbers = STEPS.iter().map(|step| one(step, place, round)).collect::<Result<Vec<_>, _>>()?;
        rounds.push(numbers);
    }
    let floors: Vec<Floors> = rounds.iter().map(|round| Floors::of(&round[0])).collect();
    let of = |name: &str| median(rounds.iter().map(|round| round[0].get(name)));
    let bytes = of("bytes");
    println!(
        "| **{title}**: {}, chunking {}, sha256 {}, zstd {}, unzstd {}, write {} of {}, of all {}, unsynced {} |",
        mebibytes(bytes),
        milliseconds(of("chunking")),
        milliseconds(of("sha256")),
        milliseconds(of("zstd")),
        milliseconds(of("unzstd")),
        milliseconds(of("write_stored")),
        mebibytes(of("stored")),
        milliseconds(of("write_content")),
        milliseconds(of("write_unsynced")),
    );
    for (number, step) in STEPS.iter().enumerate().skip(1) {
        let done: Vec<&Numbers> = rounds.iter().map(|round| &round[number]).collect();
        let row = |step: &str, floor: Option<fn(&Floors) -> f64>| {
            let floors = floor.map(|floor| floors.iter().map(floor).collect::<Vec<_>>());
            row(step, &done, bytes, floors.as_deref());
        };
        match *step {
            "put" => row(step, Some(|floors| floors.intake)),
            "put again, status changed" => row(step, Some(|floors| floors.rereading)),
            "get" => {
                // What is restored is not waited for on the disk: so this is the harder of two floors.
                row("get, beside an unsynced write", Some(|floors| floors.unsynced));
                row(step, Some(|floors| floors.output));
            }
            // It is to be no burden: on one core.
            "scrub" => row(step, Some(|floors| floors.reading)),
            _ => row(step, None),
        }
    }
    Ok(())
}

/// What the steps of one round cost at least, in seconds, as disk and cores were in that round: the disk of a virtual machine is several times as
/// fast in one minute as in another, so only neighbours in time can be compared.
struct Floors {
    intake: f64,
    rereading: f64,
    output: f64,
    unsynced: f64,
    reading: f64,
}

impl Floors {
    fn of(numbers: &Numbers) -> Self {
        let cores = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
        let seconds = |names: &[&str]| names.iter().map(|name| numbers.get(name)).sum::<f64>();
        let reading = seconds(&["unzstd", "sha256"]);
        Self {
            intake: numbers.get("write_stored").max(seconds(&["chunking", "sha256", "zstd"]) / cores),
            rereading: seconds(&["chunking", "sha256"]) / cores,
            output: numbers.get("write_content").max(reading / cores),
            unsynced: numbers.get("write_unsynced").max(reading / cores),
            reading,
        }
    }
}

fn row(step: &str, done: &[&Numbers], bytes: f64, floors: Option<&[f64]>) {
    let of = |name: &str| median(done.iter().map(|numbers| numbers.get(name)));
    let time = of("time");
    let (floor, share) = match floors {
        None => ("-".to_owned(), "-".to_owned()),
        Some(floors) => {
            let shares: Vec<f64> =
                floors.iter().zip(done).map(|(floor, numbers)| floor / numbers.get("time") * 100.0).collect();
            let (least, most) =
                (shares.iter().copied().fold(f64::MAX, f64::min), shares.iter().copied().fold(0.0, f64::max));
            let floor = milliseconds(median(floors.iter().copied()));
            (floor, format!("{:.0} % ({least:.0} to {most:.0})", median(shares.iter().copied())))
        }
    };
    let new = of("new_bytes");
    let new = if new.is_nan() { "-".to_owned() } else { mebibytes(new) };
    let peak = done.iter().map(|numbers| numbers.get("peak")).fold(0.0, f64::max);
    println!(
        "| {step} | {} | {:.0} | {floor} | {share} | {} | {new} |",
        milliseconds(time),
        bytes / 1e6 / time,
        mebibytes(peak)
    );
}

/// The one in the middle.
fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = numbers.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
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
