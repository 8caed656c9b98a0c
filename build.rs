//! Leaves a link to the binary at the usual place, `target/PROFILE/forgehand`, although `.cargo/config.toml` names a
//! target. Nothing else, and nothing fails when it cannot.

use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // OUT_DIR is TARGET_DIR/TRIPLE/PROFILE/build/forgehand-HASH/out.
    let Some(out) = std::env::var_os("OUT_DIR").map(PathBuf::from) else { return };
    let Ok(triple) = std::env::var("TARGET") else { return };
    let Some(profile_dir) = out.ancestors().nth(3) else { return };
    let (Some(profile), Some(triple_dir)) = (profile_dir.file_name(), profile_dir.parent()) else { return };
    let (Some(name), Some(target_dir)) = (triple_dir.file_name(), triple_dir.parent()) else { return };
    if name != triple.as_str() {
        return;
    }
    #[cfg(unix)]
    {
        let link = target_dir.join(profile).join("forgehand");
        if std::fs::symlink_metadata(&link).is_err() {
            let to = PathBuf::from("..").join(&triple).join(profile).join("forgehand");
            let _ = std::fs::create_dir_all(target_dir.join(profile));
            let _ = std::os::unix::fs::symlink(to, &link);
        }
    }
}
