//! Figures, printed and not asserted: machines differ.

use std::time::{Duration, Instant};

use super::*;

fn memory(pid: i32) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(1).unwrap_or("?").to_owned()
    };
    format!("RSS {} KiB, PSS {} KiB, private dirty {} KiB", field("Rss:"), field("Pss:"), field("Private_Dirty:"))
}

#[tokio::test]
async fn figures() {
    let house = House::new().await;
    println!("shim after its start: {}", memory(house.pid()));
    house.step(&script_step("warm", "true")).await;
    let mut trivial = Duration::ZERO;
    for round in 0..20 {
        let begin = Instant::now();
        house.step(&argv_step(&format!("t{round}"), &["/bin/true"])).await;
        trivial += begin.elapsed();
    }
    println!("a trivial step, from the call to its end: {:?}", trivial / 20);
    for (name, script) in [
        ("64 MiB in large writes", "head -c 67108864 /dev/zero"),
        ("1 GiB in large writes", "head -c 1073741824 /dev/zero"),
        ("1.2 million lines", "yes 'a line of a build log, neither short nor very long' | head -n 1200000"),
    ] {
        let step = script_step(&name.replace(' ', "-"), script);
        let begin = Instant::now();
        house.shim.start(&step).await.unwrap();
        let mut reader = SpoolReader::open(house.run_dir(), &step.id).unwrap();
        let mut total = 0;
        while let SpoolEvent::Frame { bytes, .. } = soon(reader.next()).await.unwrap() {
            total += bytes.len();
        }
        let seconds = begin.elapsed().as_secs_f64();
        let record = reader.record().unwrap();
        let in_shim = (record.ended_us - record.started_us) as f64 / 1e6;
        println!(
            "{name}: spooled at {:.0} MB/s, spooled and read at {:.0} MB/s; shim {}",
            total as f64 / 1e6 / in_shim,
            total as f64 / 1e6 / seconds,
            memory(house.pid())
        );
    }
    let shim = std::fs::read_to_string(format!("/proc/{}/stat", house.pid())).unwrap();
    println!("shim's stat: {}", shim.trim());
    house.close().await;
}
