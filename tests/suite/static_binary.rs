//! The binary is static and asks no name-service module, whatever the host's configuration names: a static glibc that
//! loads the host's modules breaks on machines whose glibc is another one.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use forgehand::emulator::JobSpec;

use crate::support::agent::said;
use crate::support::{Agent, AgentOptions, TestForge};

const PT_INTERP: u32 = 3;
const PT_DYNAMIC: u32 = 2;

/// Modules that no machine has.
const NSSWITCH: &str = "passwd: absent1\ngroup: absent1\nhosts: absent2 [!UNAVAIL=return]\nservices: absent3\n";

fn binary() -> PathBuf {
    std::env::var_os("FORGEHAND_TEST_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_forgehand").into()).into()
}

/// The kinds of the program headers of a 64-bit little-endian ELF file.
fn program_headers(file: &[u8]) -> Vec<u32> {
    assert_eq!(&file[..6], b"\x7fELF\x02\x01", "a 64-bit little-endian program");
    let number = |at: usize, size: usize| {
        file[at..at + size].iter().rev().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte))
    };
    let (table, size, count) = (number(0x20, 8), number(0x36, 2), number(0x38, 2));
    (0..count).map(|index| number(table + index * size, 4) as u32).collect()
}

#[test]
fn no_program_interpreter_is_asked_for() {
    let kinds = program_headers(&fs::read(binary()).expect("the binary is there"));
    assert!(!kinds.is_empty() && !kinds.contains(&PT_INTERP), "{kinds:?}");
    // A static program that can be loaded anywhere has one of these, but no library in it.
    let needs = std::process::Command::new("readelf").arg("-d").arg(binary()).output();
    if kinds.contains(&PT_DYNAMIC) {
        let needs = needs.expect("readelf runs; it comes with the compiler");
        let needs = String::from_utf8_lossy(&needs.stdout).into_owned();
        assert!(needs.contains("FLAGS") && !needs.contains("NEEDED"), "{needs}");
    }
}

/// In a mount namespace with an `/etc/nsswitch.conf` of ours, under strace: what the binary opens is written to files.
struct Traced {
    dir: tempfile::TempDir,
}

impl Traced {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("fh-nss-").tempdir().expect("a folder");
        fs::write(dir.path().join("nsswitch.conf"), NSSWITCH).expect("it is written");
        fs::create_dir(dir.path().join("trace")).expect("a folder");
        Self { dir }
    }

    fn wrapper(&self) -> Vec<String> {
        assert!(Path::new("/etc/nsswitch.conf").exists(), "there is nothing to mount over");
        let (file, trace) = (self.dir.path().join("nsswitch.conf"), self.dir.path().join("trace/t"));
        let script = format!(
            "mount --bind {} /etc/nsswitch.conf && \
             exec strace -D -ff -qq -e trace=open,openat,openat2,execve -s 200 -o {} \"$@\"",
            file.display(),
            trace.display()
        );
        ["unshare", "--mount", "sh", "-c", &script, "sh"].map(str::to_owned).to_vec()
    }

    /// What was opened by threads that never became another program (git is one, and may use the host's modules).
    fn opened(&self) -> Vec<String> {
        let files = fs::read_dir(self.dir.path().join("trace")).expect("the folder is there").flatten();
        let traces = files.map(|file| String::from_utf8_lossy(&fs::read(file.path()).unwrap_or_default()).into_owned());
        let is_ours = |trace: &String| {
            let mut became = trace.lines().filter(|line| line.starts_with("execve(") && line.ends_with("= 0"));
            became.all(|line| line.contains("/forgehand"))
        };
        traces.filter(is_ours).flat_map(|trace| trace.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
    }
}

#[test]
fn it_works_where_the_name_service_names_absent_modules() {
    let traced = Traced::new();
    let forge = TestForge::start();
    let options = AgentOptions { wrapper: traced.wrapper(), ..AgentOptions::default().without_network() };
    let (mut agent, token) = Agent::unregistered(&forge, options);
    crate::support::docker::build_images();
    let version = agent.forgehand(&["--version"]);
    assert!(version.status.success() && said(&version).starts_with("forgehand "), "{}", said(&version));
    // By name: it is the agent that looks it up.
    agent.register(&forge.url().replace("127.0.0.1", "localhost"), &token, "test");
    let checked = agent.forgehand(&["doctor"]);
    assert!(checked.status.success(), "{}", said(&checked));
    agent.run();
    let project = forge.case_project("team/static");
    let spec = JobSpec { runner: Some(agent.runner), ..JobSpec::script(project, "static", &["cat src/hello.txt"]) };
    let id = forge.queue(spec).expect("it is queued");
    let limit = Duration::from_secs(60);
    let ended = agent.wait_until(limit, "the job ends", || forge.job(id).filter(|job| job.has_ended()));
    assert_eq!(ended.state, "success", "{}", String::from_utf8_lossy(&forge.log(id)));
    agent.stop();
    agent.assert_nothing_left();
    let opened = traced.opened();
    assert!(opened.iter().any(|line| line.contains("/etc/hosts")), "nothing was traced: {opened:#?}");
    // A path that is only named, to allow it to git, is not read.
    for line in opened.iter().filter(|line| !line.contains("O_PATH")) {
        let is_module = ["libnss", "nsswitch", "ld-linux", "ld.so", "libc.so"].iter().any(|name| line.contains(name));
        assert!(!is_module, "the name service was asked: {line}");
    }
}
