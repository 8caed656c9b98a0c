//! No more room: in the quota, on the disk.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::{House, noise, seen};
use crate::support::agent::said;

#[test]
fn a_full_quota_refuses_what_is_new_and_keeps_what_is_there() {
    let house = House::with("[store]\nmax_size = \"8MiB\"\nmax_owner_size = \"8MiB\"\ngrace = \"0s\"\n");
    let (first, second) = (house.folder("first"), house.folder("second"));
    fs::write(first.join("file"), noise(5 << 20, 1)).unwrap();
    fs::write(second.join("file"), noise(5 << 20, 2)).unwrap();
    house.put(&first, "first");
    let before = house.packs();
    let refused = house.ends_with(3, &["put", "second", "--name", "second"]);
    assert!(said(&refused).contains("quota"), "{}", said(&refused));
    assert_eq!(house.packs(), before);
    assert_eq!(fs::read_dir(house.store().join("sessions")).unwrap().count(), 0, "nothing half is left");
    assert_eq!(house.got("first"), seen(&first));
    house.ends_with(1, &["info", "second"]);
    house.put(&first, "first");
    house.ends_with(0, &["verify"]);
    house.configure("");
    house.put(&second, "second");
    assert_eq!(house.got("second"), seen(&second));
}

/// A file system in memory.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn new(folder: PathBuf, bytes: u64) -> Self {
        let options = std::ffi::CString::new(format!("size={bytes},mode=0700")).unwrap();
        mount("forgehand-test", &folder, "tmpfs", MountFlags::empty(), options.as_c_str())
            .expect("mounting needs root");
        Self(folder)
    }

    /// Fills it so that `room` bytes are free.
    fn leave(&self, room: u64) {
        let _ = fs::remove_file(self.0.join("filler"));
        let free = rustix::fs::statvfs(&self.0).unwrap();
        let file = File::create(self.0.join("filler")).unwrap();
        let size = (free.f_bavail * free.f_frsize).saturating_sub(room);
        rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, size).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

fn sessions(disk: &Path) -> usize {
    fs::read_dir(disk.join("store/sessions")).unwrap().count()
}

#[test]
fn a_full_disk_is_told_and_costs_nothing_that_was_kept() {
    let house = House::new();
    let disk = SmallDisk::new(house.folder("disk"), 64 << 20);
    house.configure(&format!("[store]\ndir = \"{}\"\nreserve = \"0\"\n", disk.0.join("store").display()));
    let (first, second) = (house.folder("first"), house.folder("second"));
    fs::write(first.join("file"), noise(3 << 20, 1)).unwrap();
    fs::write(second.join("file"), noise(6 << 20, 2)).unwrap();
    house.put(&first, "first");
    let (pinned, small) = (house.folder("pinned"), house.folder("small"));
    fs::write(pinned.join("file"), noise(3 << 20, 3)).unwrap();
    fs::write(small.join("file"), noise(1 << 20, 4)).unwrap();
    house.put(&pinned, "pinned");
    house.ends_with(0, &["pin", "pinned"]);
    let mut refusals = 0;
    // Down to the last page, so that every write is the one for which there is no room.
    for room in [5 << 20, 3 << 20, 1 << 20, 300 << 10, 64 << 10, 16 << 10, 4 << 10, 0] {
        disk.leave(room);
        let output = house.run(&["put", "second", "--name", "second"]);
        assert_eq!(output.status.code(), Some(3), "{room} bytes are free: {}", said(&output));
        let text = said(&output);
        assert!(text.contains("full") || text.contains("quota") || text.contains("No space"), "{text}");
        refusals += 1;
        assert_eq!(sessions(&disk.0), 0, "{room} bytes are free: something half is left");
        assert_eq!(house.got("first"), seen(&first), "{room} bytes are free");
    }
    assert_eq!(refusals, 8);
    // What the messages advise needs no room either.
    house.ends_with(0, &["unpin", "pinned"]);
    house.ends_with(0, &["rm", "pinned"]);
    house.ends_with(1, &["info", "pinned"]);
    house.ends_with(0, &["gc"]);
    house.put(&small, "small");
    assert_eq!(house.got("small"), seen(&small));
    let audit = fs::read_dir(disk.0.join("store/audit")).unwrap().map(|file| file.unwrap().path());
    let audit: String = audit.map(|path| fs::read_to_string(path).unwrap()).collect();
    assert!(audit.contains("unpinned") && audit.contains("by_hand"), "{audit}");
    fs::remove_file(disk.0.join("filler")).unwrap();
    house.ends_with(1, &["info", "second"]);
    house.put(&second, "second");
    assert_eq!(house.got("second"), seen(&second));
    house.ends_with(0, &["verify"]);
}
