//! Leaves a link to the binary at the usual place, `target/PROFILE/forgehand`, although `.cargo/config.toml` names a
//! target, and tells a release which commit it is made of. Nothing else, and nothing fails when it cannot.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Only of a release: each commit would have everybody who works on it build it anew.
    if std::env::var("PROFILE").as_deref() == Ok("release")
        && let Some(revision) = revision()
    {
        println!("cargo:rustc-env=BUILD_REVISION={revision}");
    }
    link();
}

/// The commit of these sources, where they are a git repository of their own.
fn revision() -> Option<String> {
    let root = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from)?;
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(&root).args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    if Path::new(&git(&["rev-parse", "--show-toplevel"])?).canonicalize().ok()? != root.canonicalize().ok()? {
        return None;
    }
    // Written at each commit and checkout.
    for file in ["HEAD", "logs/HEAD"] {
        let path = root.join(git(&["rev-parse", "--git-path", file])?);
        if path.exists() {
            println!("cargo:rerun-if-changed={}", path.display());
        }
    }
    git(&["rev-parse", "--short=8", "HEAD"])
}

fn link() {
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
