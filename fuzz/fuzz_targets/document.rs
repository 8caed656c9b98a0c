//! Any text as a document, and as a GitLab configuration: no panic, no hang.
#![no_main]

use forgehand::parser::document::{FileId, Limits, Merge, NoFiles, Options, read};
use forgehand::parser::gitlab::compose::{ComposeContext, Offline, compose_bytes};
use forgehand::parser::gitlab::config::check;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        for merge in [Merge::Ruby, Merge::Standard, Merge::None] {
            let _ = read(FileId(0), text, Options { merge, limits: Limits::default() });
        }
    }
    let mut composed = compose_bytes("ci.yml", bytes, &NoFiles, &Offline, &ComposeContext::default());
    if let Some(whole) = composed.value {
        check(&whole.known(), &mut composed.diagnostics);
    }
});
