//! Output: gigabytes, no text, no end of line.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;

use super::house::House;

/// No output makes the agent need more than this.
const MOST_MEMORY_KIB: u64 = 100 << 10;

#[test]
fn gigabytes_of_output_cost_neither_memory_nor_time() {
    let mut house = House::quick();
    let id = house.queue(
        &["yes 'a line of output that somebody forgot to switch off' | head -c 1073741824 || true; echo end-of-$((0))"],
        json!({}),
    );
    let began = Instant::now();
    let ended = house.end(id);
    eprintln!("1 GiB took {:?}", began.elapsed());
    ended.succeeded().said("exceeded limit of 4194304 bytes").kept_quiet_about("end-of-0");
    assert!(ended.view.log_size < (4 << 20) + 4096, "{}", ended.view.log_size);
    let peak = peak_memory(&house);
    assert!(peak < MOST_MEMORY_KIB, "the agent had {peak} KiB at most");
    house.close();
}

#[test]
fn what_is_no_text_arrives_as_text_and_a_line_may_have_no_end() {
    let mut house = House::quick();
    let bytes = house.queue(
        &[
            "printf 'a\\377\\376\\000b\\303'; printf '\\251c\\n'; printf '\\342\\202'",
            "head -c 3000000 /dev/urandom; echo",
        ],
        json!({}),
    );
    let line = house.queue(&["head -c 3500000 /dev/zero | tr '\\0' x; echo; echo behind-the-line"], json!({}));
    let markers = house.queue(
        &["printf 'section_start:1:step_script\\r\\033[0Ksection_end:1:get_sources\\r\\033[0K\\n'; printf '\\033]0;title\\007\\033[2J\\n'; echo done-with-it"],
        json!({}),
    );
    let ended = house.end(bytes);
    ended.succeeded().said("éc");
    assert!(std::str::from_utf8(&house.forge.log(bytes)).is_ok(), "the log is UTF-8");
    let ended = house.end(line);
    ended.succeeded().said("behind-the-line");
    assert!(ended.log.text.lines().any(|line| line.len() == 3_500_000), "the line is whole");
    house.end(markers).succeeded().said("done-with-it");
    assert!(peak_memory(&house) < MOST_MEMORY_KIB);
    house.close();
}

#[test]
fn a_flood_into_a_forge_that_takes_nothing_stays_on_disk() {
    use forgehand::emulator::{Endpoint, FaultAction, FaultRule};
    let mut house = House::quick();
    let rule = house.forge.fail(FaultRule::all(Endpoint::PatchTrace, FaultAction::status(500)));
    let id = house.queue(&["seq 1 60000 | sed 's/^/number-/'", "echo end-of-$((0))"], json!({}));
    let House { forge, agent, .. } = &mut house;
    agent.wait_until(Duration::from_secs(60), "pieces are refused", || {
        (forge.requests().iter().filter(|request| request.faulted).count() > 6).then_some(())
    });
    house.forge.heal(rule);
    let ended = house.end(id);
    ended.succeeded().said("end-of-0");
    let lines = ended.log.text.matches("number-").count() - 1; // the echoed command
    assert_eq!(lines, 60_000, "each line once");
    house.close();
}

/// The most memory the agent has had so far, in KiB.
fn peak_memory(house: &House) -> u64 {
    let pid = house.agent.pid().as_raw_nonzero();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the agent runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("the kernel tells");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}
