//! Several programs at work with one store.

use std::fs;
use std::process::Stdio;

use super::{House, id_of, noise, seen};
use crate::support::agent::said;

#[test]
fn two_that_put_the_same_content_at_the_same_time_store_it_once() {
    let (house, alone) = (House::new(), House::new());
    let tree = house.folder("tree");
    for number in 0..200 {
        fs::write(tree.join(format!("small-{number}")), noise(5000, number)).unwrap();
    }
    fs::write(tree.join("large"), noise(24 << 20, 1000)).unwrap();
    alone.put(&tree, "a");
    let bytes = |house: &House| house.json(&["stats"])["total_bytes"].as_u64().unwrap();
    for round in 0..3 {
        let running: Vec<_> = (0..2)
            .map(|number| {
                let name = format!("{round}-{number}");
                let mut command = house.command(&["put", tree.to_str().unwrap(), "--name", &name]);
                command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        let outputs: Vec<_> = running.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
        assert!(outputs.iter().all(|output| output.status.success()), "{}{}", said(&outputs[0]), said(&outputs[1]));
        assert_eq!(id_of(&outputs[0]), id_of(&outputs[1]));
        house.ends_with(0, &["gc"]);
        let (both, one) = (bytes(&house), bytes(&alone));
        assert!(both < one + one / 10, "{both} bytes for what alone takes {one}");
        assert_eq!(house.got(&format!("{round}-1")), seen(&tree));
        // Another content for the next round.
        fs::write(tree.join("large"), noise(24 << 20, 2000 + round)).unwrap();
        fs::remove_dir_all(house.store()).unwrap();
    }
}
