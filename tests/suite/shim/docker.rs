//! The shim as the command of containers of every kind.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use forgehand::executor::sandbox::shim::{Hello, RunDir, ShimError, StepExit};
use tokio::time::Instant;

use super::*;

const SHIM: &str = "/.forgehand/forgehand-shim";

fn docker(arguments: &[&str]) -> Output {
    let output = Command::new("docker").args(arguments).output().expect("install docker.io and start dockerd");
    assert!(
        output.status.success(),
        "docker {arguments:?}: {}\nInstall docker.io and start dockerd.",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

fn text(output: Output) -> String {
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// An image made here, removed with the test.
struct Image(String);

impl Image {
    fn import(name: &str, tar: &[u8]) -> Self {
        let name = format!("forgehand-shim-test-{name}-{}", unique_seconds().replace('.', "-"));
        let mut import = Command::new("docker")
            .args(["import", "-", &name])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("install docker.io and start dockerd");
        import.stdin.take().unwrap().write_all(tar).unwrap();
        assert!(import.wait().unwrap().success(), "docker import failed");
        Self(name)
    }

    /// FROM scratch, and nothing else.
    fn empty() -> Self {
        Self::import("empty", &[0; 10240])
    }

    /// Busybox with a few users, and an nsswitch.conf whose modules are not there.
    fn busybox() -> Self {
        let mut tar = tar::Builder::new(Vec::new());
        let mut add = |path: &str, mode: u32, content: &[u8]| {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            header.set_mode(mode);
            header.set_entry_type(tar::EntryType::Regular);
            tar.append_data(&mut header, path, content).unwrap();
        };
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find_map(|path| std::fs::read(path).ok());
        add("bin/busybox", 0o755, &busybox.expect("install busybox-static"));
        add("etc/passwd", 0o644, b"root:x:0:0::/root:/bin/sh\nbuilder:x:1000:1001::/home/builder:/bin/sh\n");
        add("etc/group", 0o644, b"root:x:0:\nbuilders:x:1001:\nextra:x:2000:builder\n");
        add("etc/nsswitch.conf", 0o644, b"passwd: absent\ngroup: absent\nhosts: absent [NOTFOUND=return] mdns9\n");
        for applet in ["sh", "cat", "id", "echo", "env", "su", "sleep", "seq", "kill", "ls", "setsid", "tail", "httpd"]
        {
            let mut header = tar::Header::new_ustar();
            header.set_size(0);
            header.set_mode(0o777);
            header.set_entry_type(tar::EntryType::Symlink);
            tar.append_link(&mut header, format!("bin/{applet}"), "busybox").unwrap();
        }
        Self::import("busybox", &tar.into_inner().unwrap())
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rmi", "-f", &self.0]).output();
    }
}

/// A container with the shim in it, removed with the test.
struct Box {
    id: String,
    job: Job,
}

impl Box {
    /// `options` stand before the image, `command` after it.
    async fn run(image: &Image, options: &[&str], command: &[&str]) -> Self {
        let job = Job::new().await;
        RunDir::create(&job.paths.run).unwrap();
        let mount = |from: &Path, to: &str| format!("{}:{to}", from.display());
        let (shim, run) = (mount(&job.binary.path, &format!("{SHIM}:ro")), mount(&job.paths.run, "/.forgehand/run"));
        let mut arguments = vec!["run", "-d", "--label", "forgehand-shim-test", "-v", &shim, "-v", &run];
        if !options.contains(&"--network") {
            arguments.extend(["--network", "none"]);
        }
        arguments.extend(options);
        arguments.push(&image.0);
        arguments.extend(command);
        Self { id: text(docker(&arguments)), job }
    }

    async fn connect(&self) -> (ShimClient, Hello) {
        let deadline = Instant::now() + Duration::from_secs(30);
        match ShimClient::connect(&self.job.paths.run, &self.job.key, deadline).await {
            Ok(connected) => connected,
            Err(error) => {
                let logs = docker(&["logs", &self.id]);
                panic!("{error}\n{}{}", String::from_utf8_lossy(&logs.stdout), String::from_utf8_lossy(&logs.stderr))
            }
        }
    }

    async fn step(&self, shim: &ShimClient, request: &StepRequest) -> Outcome {
        soon(shim.start(request)).await.unwrap();
        soon(read_step(&self.job.paths.run, &request.id)).await.unwrap()
    }
}

impl Drop for Box {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rm", "-f", "-v", &self.id]).output();
    }
}

#[tokio::test]
async fn from_scratch_there_is_nothing_but_the_shim_and_it_says_so() {
    let image = Image::empty();
    let container = Box::run(&image, &[], &[SHIM]).await;
    let (shim, hello) = container.connect().await;
    assert_eq!((hello.facts.pid, hello.facts.uid), (1, 0));
    let outcome = container.step(&shim, &script_step("s", "echo hi")).await;
    assert_eq!((outcome.exit, outcome.stderr.as_str()), (StepExit::Code(1), "shell not found\n"));
    let outcome = container.step(&shim, &argv_step("again", &[SHIM])).await;
    assert_eq!(outcome.exit, StepExit::Code(1));
    assert!(outcome.stderr.contains("another shim"), "{}", outcome.stderr);
    let probed = soon(shim.probe_tcp("db", 5432, Duration::from_millis(100))).await;
    assert!(probed.unwrap_err().contains("cannot resolve db"));
}

#[tokio::test]
async fn entrypoints_may_drop_arguments_and_environment_and_change_the_user() {
    let image = Image::busybox();
    let builder = "1000\n1001 2000\n";
    let cases: [(&[&str], &[&str], &str); 6] = [
        (&[], &[SHIM], "0\n0\n"),
        (&["--entrypoint", "/bin/sh"], &["-c", SHIM, "lost", "arguments"], "0\n0\n"),
        (&["--entrypoint", "/bin/sh"], &["-c", "exec /bin/env -i \"$0\"", SHIM], "0\n0\n"),
        (&["--entrypoint", "/bin/sh"], &["-c", "/bin/su builder -c \"$0\"; exit $?", SHIM], builder),
        (&["--user", "4711"], &[SHIM], "4711\n0\n"),
        (&["--entrypoint", "/bin/sh", "--init"], &["-c", "cd /bin; umask 077; \"$0\"; true", SHIM], "0\n0\n"),
    ];
    for (options, command, expected) in cases {
        let container = Box::run(&image, options, command).await;
        let (shim, hello) = container.connect().await;
        let mut step = script_step("s", "id -u; id -G; echo \"$TOKEN\"; echo \"$PATH\" >&2");
        step.env = vec![("TOKEN".into(), Secret::new("a token"))];
        let outcome = container.step(&shim, &step).await;
        assert_eq!(outcome.stdout, format!("{expected}a token\n"), "{command:?}: {}", outcome.stderr);
        assert!(outcome.stderr.contains("/bin"), "a step without PATH: {}", outcome.stderr);
        // Whoever the shim is: what its step leaves ends with it, and the rest of the container does not.
        let sleep = unique_seconds();
        let script = format!("(setsid sleep {sleep} </dev/null >/dev/null 2>&1 &); exit 7");
        assert_eq!(container.step(&shim, &script_step("left", &script)).await.exit, StepExit::Code(7));
        assert!(processes_with(&sleep).is_empty(), "{command:?}");
        // The rest is the user's doing.
        let mut step = script_step("user", "id -u; id -g; id -G; echo \"$HOME\"");
        step.user = Some("builder".into());
        match (hello.facts.uid, soon(shim.start(&step)).await) {
            (0, Ok(_)) => {
                let outcome = soon(read_step(&container.job.paths.run, &step.id)).await.unwrap();
                assert_eq!(outcome.stdout, "1000\n1001\n1001 2000\n/home/builder\n", "{}", outcome.stderr);
            }
            (1000, Ok(_)) => {}
            (_, Err(ShimError::Refused(why))) => assert!(why.contains("only root"), "{why}"),
            (uid, other) => panic!("uid {uid}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn what_an_entrypoint_started_lives_on_between_steps() {
    let image = Image::busybox();
    let sleep = unique_seconds();
    let entrypoint = format!("(setsid sleep {sleep} &); sleep {sleep} & exec \"$0\"");
    let container = Box::run(&image, &["--entrypoint", "/bin/sh"], &["-c", &entrypoint, SHIM]).await;
    let (shim, hello) = container.connect().await;
    assert_eq!(hello.facts.pid, 1);
    let ours = unique_seconds();
    let outcome =
        container.step(&shim, &script_step("s", &format!("setsid sleep {ours} & kill -9 $PPID; exit 2"))).await;
    assert_eq!(outcome.exit, StepExit::Code(2));
    assert!(processes_with(&ours).is_empty());
    assert_eq!(processes_with(&sleep).len(), 2, "the entrypoint's own daemons were ended");
}

#[tokio::test]
async fn a_neighbour_in_the_process_namespace_is_not_heard() {
    let image = Image::busybox();
    // Here the test itself is such a neighbour.
    let container = Box::run(&image, &["--pid", "host"], &[SHIM]).await;
    let deadline = Instant::now() + Duration::from_secs(3);
    let refused = ShimClient::connect(&container.job.paths.run, &container.job.key, deadline).await;
    let error = refused.err().unwrap();
    assert!(matches!(error, ShimError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn the_key_stays_with_the_first_who_brought_it() {
    let image = Image::busybox();
    let container = Box::run(&image, &[], &[SHIM]).await;
    let (shim, hello) = container.connect().await;
    let deadline = Instant::now() + Duration::from_secs(3);
    let other = ShimKey::generate().unwrap();
    assert!(ShimClient::connect(&container.job.paths.run, &other, deadline).await.is_err());
    drop(shim);
    let (shim, again) = container.connect().await;
    assert_eq!(again.instance, hello.instance);
    let script = "cat /proc/1/environ >/dev/null && echo READ; cat /proc/1/mem >/dev/null && echo READ; cat /proc/1/fd/3 && echo READ";
    let outcome = container.step(&shim, &script_step("s", script)).await;
    assert_eq!(outcome.stdout, "", "root of a container reads the shim");
    docker(&["restart", "-t", "5", &container.id]);
    let keyed = ShimClient::connect_keyed(
        &container.job.paths.run,
        &container.job.key,
        Instant::now() + Duration::from_secs(20),
    );
    assert!(matches!(keyed.await.err().unwrap(), ShimError::Unkeyed { .. }), "another shim is told from the first");
}

#[tokio::test]
async fn an_engine_that_stops_the_container_leaves_a_result() {
    let image = Image::busybox();
    let container = Box::run(&image, &[], &[SHIM]).await;
    let (shim, _) = container.connect().await;
    let mut watch = shim.watch().await.unwrap();
    let gate = Gate::new(&container.job.paths.run, "gate");
    shim.start(&script_step("s", "echo begun; echo > /.forgehand/run/gate; sleep 1000")).await.unwrap();
    gate.word().await;
    let begin = std::time::Instant::now();
    docker(&["stop", "-t", "30", &container.id]);
    assert!(begin.elapsed() < Duration::from_secs(25), "the engine had to kill it");
    soon(watch.gone()).await;
    let outcome = soon(read_step(&container.job.paths.run, &id("s"))).await.unwrap();
    assert_eq!((outcome.exit, outcome.stdout.as_str()), (StepExit::StoppedByEngine, "begun\n"));
    let run = RunDir::open(&container.job.paths.run).unwrap();
    assert_eq!(run.end_of_shim().as_deref(), Some("stopped by the engine"));
}

#[tokio::test]
async fn a_killed_container_leaves_the_output_and_no_result() {
    let image = Image::busybox();
    let container = Box::run(&image, &[], &[SHIM]).await;
    let (shim, _) = container.connect().await;
    let mut watch = shim.watch().await.unwrap();
    let gate = Gate::new(&container.job.paths.run, "gate");
    shim.start(&script_step("s", "echo begun; echo > /.forgehand/run/gate; sleep 1000")).await.unwrap();
    gate.word().await;
    docker(&["kill", &container.id]);
    soon(watch.gone()).await;
    let mut reader = SpoolReader::open(&container.job.paths.run, &id("s")).unwrap();
    assert!(matches!(soon(reader.next()).await.unwrap(), SpoolEvent::Frame { bytes, .. } if bytes == "begun\n"));
    assert!(RunDir::open(&container.job.paths.run).unwrap().exit_of(&id("s")).unwrap().is_none());
    // Started again, the shim does not run the step a second time.
    docker(&["start", &container.id]);
    let (shim, _) = container.connect().await;
    let state = soon(shim.start(&script_step("s", "echo twice"))).await.unwrap();
    assert_eq!(format!("{state:?}"), "Ended(Unknown)");
}

#[tokio::test]
async fn a_fork_bomb_within_the_containers_limit_is_put_out() {
    let image = Image::busybox();
    let container = Box::run(&image, &["--pids-limit", "60"], &[SHIM]).await;
    let (shim, _) = container.connect().await;
    let mut step = script_step("s", "bomb() { bomb & bomb; }; (bomb) 2>/dev/null & sleep 1000");
    step.timeout = Some(Duration::from_millis(700));
    step.grace = Duration::from_millis(200);
    let outcome = container.step(&shim, &step).await;
    assert_eq!(outcome.record.left_behind, 0, "{:?}", outcome.exit);
    assert_eq!(container.step(&shim, &script_step("next", "echo on")).await.stdout, "on\n");
}

#[tokio::test]
async fn a_step_at_the_memory_limit_dies_and_its_shim_does_not() {
    let image = Image::busybox();
    let options = ["--memory", "160m", "--memory-swap", "160m"];
    let container = Box::run(&image, &options, &[SHIM]).await;
    let (shim, _) = container.connect().await;
    let outcome = container.step(&shim, &script_step("score", "cat /proc/self/oom_score_adj")).await;
    assert_eq!(outcome.stdout, "0\n");
    let outcome = container.step(&shim, &script_step("s", "exec tail /dev/zero")).await;
    assert_eq!(outcome.exit, StepExit::OomKilled);
    let outcome = container.step(&shim, &script_step("own", "exit 137")).await;
    assert_eq!(outcome.exit, StepExit::Code(137), "the code alone is no proof");
}

struct Network(String);

impl Drop for Network {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["network", "rm", &self.0]).output();
    }
}

#[tokio::test]
async fn services_are_found_by_name_whatever_nsswitch_says() {
    let image = Image::busybox();
    let network = Network(format!("forgehand-shim-test-{}", unique_seconds().replace('.', "-")));
    docker(&["network", "create", "--label", "forgehand-shim-test", &network.0]);
    let serve = ["httpd", "-f", "-p", "8080"];
    let service = Box::run(&image, &["--network", &network.0, "--network-alias", "web"], &serve).await;
    let options = ["--network", &network.0, "--add-host", "listed:127.0.0.1"];
    let container = Box::run(&image, &options, &[SHIM]).await;
    let (shim, _) = container.connect().await;
    let limit = Duration::from_secs(20);
    let brief = Duration::from_millis(300);
    let (by_alias, closed, listed, unknown) = soon(async {
        tokio::join!(
            shim.probe_tcp("web", 8080, limit),
            shim.probe_tcp("web", 8081, brief),
            shim.probe_tcp("listed", 8080, brief),
            shim.probe_tcp("nobody", 8080, brief),
        )
    })
    .await;
    assert_eq!(by_alias, Ok(()));
    assert!(closed.as_ref().unwrap_err().contains("refused"), "{closed:?}");
    assert!(listed.as_ref().unwrap_err().contains("127.0.0.1"), "{listed:?}");
    assert!(unknown.as_ref().unwrap_err().contains("nobody"), "{unknown:?}");
    drop(container);
    drop(service);
}

#[tokio::test]
async fn a_step_is_one_message() {
    let image = Image::busybox();
    let container = Box::run(&image, &[], &[SHIM]).await;
    let (shim, _) = container.connect().await;
    let begin = std::time::Instant::now();
    for round in 0..20 {
        let outcome = container.step(&shim, &script_step(&format!("s{round}"), "true")).await;
        assert_eq!(outcome.exit, StepExit::Code(0));
    }
    println!("a trivial script in a container, from the call to its end: {:?}", begin.elapsed() / 20);
    let begin = std::time::Instant::now();
    let mut step = script_step("output", "busybox dd if=/dev/zero bs=65536 count=4096");
    step.cwd = PathBuf::from("/").display().to_string();
    soon(shim.start(&step)).await.unwrap();
    let mut reader = SpoolReader::open(&container.job.paths.run, &step.id).unwrap();
    let mut total = 0;
    while let SpoolEvent::Frame { bytes, .. } = soon(reader.next()).await.unwrap() {
        total += bytes.len();
    }
    println!("256 MiB out of a container: {:.0} MB/s", total as f64 / 1e6 / begin.elapsed().as_secs_f64());
}
