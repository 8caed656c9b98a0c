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

#[test]
fn those_who_put_at_the_same_time_keep_within_a_quota_together() {
    let quota = 24 << 20;
    let house = House::with("[store]\nmax_size = \"24MiB\"\nmax_owner_size = \"24MiB\"\ngrace = \"0s\"\n");
    let trees: Vec<_> = (0..4)
        .map(|number| {
            let tree = house.folder(&number.to_string());
            fs::write(tree.join("file"), noise(7 << 20, number)).unwrap();
            tree
        })
        .collect();
    let used = || house.json(&["stats"])["total_bytes"].as_u64().unwrap();
    for round in 0..3 {
        let running: Vec<_> = trees
            .iter()
            .map(|tree| {
                let mut command = house.command(&["put", tree.to_str().unwrap()]);
                command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        let outputs: Vec<_> = running.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
        let (kept, refused): (Vec<_>, Vec<_>) = outputs.iter().partition(|output| output.status.success());
        assert_eq!(kept.len(), 3, "as many as there is room for, in round {round}");
        for output in refused {
            assert_eq!(output.status.code(), Some(3));
            assert!(said(output).contains("quota"), "{}", said(output));
        }
        let sizes: u64 = house.packs().iter().map(|pack| fs::metadata(pack).unwrap().len()).sum();
        assert_eq!(used(), sizes, "what is counted is what is there");
        assert!(sizes <= quota, "{sizes} bytes");
        // What one was refused has room as soon as the others are gone.
        fs::remove_dir_all(house.store()).unwrap();
    }
}
