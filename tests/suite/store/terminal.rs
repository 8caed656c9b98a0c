//! What somebody sees who waits.

use std::fs;

use super::{House, noise, ordinary};
use crate::support::pty;
use crate::support::s3::S3Server;

/// What a command shows on a terminal, and what it prints there when it is done.
fn shown(house: &House, arguments: &[&str]) -> String {
    let mut command = house.command(arguments);
    command.env("TERM", "xterm");
    let (status, told) = pty::told(command);
    assert!(status.success(), "{arguments:?}: {told}");
    told
}

#[test]
fn long_work_is_shown_on_a_terminal_and_nowhere_else() {
    let server = S3Server::start();
    let house = House::with(&server.config());
    let tree = ordinary(&house.path("tree"), 1);
    fs::write(tree.join("large"), noise(5 << 20, 2)).unwrap();
    let dest = house.path("dest");
    let work: [(&[&str], &[&str]); 5] = [
        (&["put", tree.to_str().unwrap(), "--name", "site"], &["keeping", "sharing"]),
        (&["get", "site", dest.to_str().unwrap()], &["restoring"]),
        (&["verify"], &["verifying"]),
        (&["gc", "--dry-run"], &["collecting"]),
        (&["gc"], &["collecting", "tidying up the shared store"]),
    ];
    for (arguments, words) in work {
        let told = shown(&house, arguments);
        for word in words {
            assert!(told.contains(word), "{arguments:?}, {word}: {told:?}");
        }
        assert!(!told.contains("sharing") || words.contains(&"sharing"), "{told:?}");
        // What was shown is taken away when it is done.
        let left = vt100_contents(&told);
        assert!(words.iter().all(|word| !left.contains(word)), "{arguments:?}: {left}");
    }
    // Nobody looks: nothing but the result.
    let plain = house.ends_with(0, &["put", tree.to_str().unwrap(), "--name", "other"]);
    assert!(plain.stderr.is_empty(), "{}", String::from_utf8_lossy(&plain.stderr));
}

/// What is left on a terminal that was told this.
fn vt100_contents(told: &str) -> String {
    let mut terminal = vt100::Parser::new(24, 100, 0);
    terminal.process(told.as_bytes());
    terminal.screen().contents()
}
