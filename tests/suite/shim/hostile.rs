//! What a job can try, and how little comes of it.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use forgehand::executor::sandbox::host::{HostReattached, HostSandbox};
use forgehand::executor::sandbox::shim::{RunDirError, ShimError, SpoolError, StepExit};
use tokio::time::Instant;

use super::*;

/// Puts something else in a file's place.
type Spoil<'a> = Box<dyn Fn() + 'a>;

fn shortly() -> Instant {
    Instant::now() + Duration::from_millis(300)
}

#[tokio::test]
async fn who_does_not_hold_the_key_is_not_obeyed() {
    let house = House::new().await;
    let other = ShimKey::generate().unwrap();
    let error = soon(ShimClient::connect_keyed(house.run_dir(), &other, shortly())).await.err().unwrap();
    assert!(error.to_string().contains("does not accept the job's key"), "{error}");
    let error = soon(ShimClient::connect(house.run_dir(), &other, shortly())).await.err().unwrap();
    assert!(error.to_string().contains("does not accept the job's key"), "{error}");
    let folder = std::fs::File::open(house.run_dir()).unwrap();
    let socket = format!("/proc/self/fd/{}/shim.sock", std::os::fd::AsRawFd::as_raw_fd(&folder));
    for noise in [&b""[..], b"\0\0\0\0", &[0xff; 100], &[b'{'; 5000], b"GET / HTTP/1.1\r\n\r\n"] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        let _ = stream.write_all(noise);
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty(), "it answered {answer:?}");
    }
    // More than it serves at once: the agent gets in all the same when they are gone.
    let crowd: Vec<UnixStream> = (0..100).filter_map(|_| UnixStream::connect(&socket).ok()).collect();
    drop(crowd);
    assert_eq!(house.script("echo still here").await.stdout, "still here\n");
    assert!(house.shim.steps().await.unwrap().iter().all(|(step, _)| *step == id("s")));
    house.close().await;
}

#[tokio::test]
async fn a_replaced_socket_leads_nowhere_and_the_step_is_followed_by_its_files() {
    let house = House::new().await;
    let (gate, go) = (Gate::new(&house.job.paths.private, "gate"), Gate::new(&house.job.paths.private, "go"));
    let socket = house.run_dir().join("shim.sock");
    let script = format!("echo > {}; read _ < {}; echo told", gate.path(), go.path());
    house.shim.start(&script_step("s", &script)).await.unwrap();
    gate.word().await;
    std::fs::remove_file(&socket).unwrap();
    let kinds: [(&str, Spoil<'_>); 4] = [
        ("symlink", Box::new(|| std::os::unix::fs::symlink("/var/run/docker.sock", &socket).unwrap())),
        ("fifo", Box::new(|| drop(Gate::new(house.run_dir(), "shim.sock")))),
        ("file", Box::new(|| std::fs::write(&socket, "x").unwrap())),
        ("folder", Box::new(|| std::fs::create_dir(&socket).unwrap())),
    ];
    for (kind, make) in kinds {
        make();
        let found = soon(ShimClient::connect_keyed(house.run_dir(), &house.job.key, shortly())).await;
        let error = found.err().unwrap();
        assert!(matches!(error, ShimError::RunDir(RunDirError::Kind { .. })), "{kind}: {error}");
        if std::fs::remove_file(&socket).is_err() {
            std::fs::remove_dir(&socket).unwrap();
        }
    }
    go.open().await;
    assert_eq!(house.outcome(&id("s")).await.unwrap().stdout, "told\n");
    // No way to the shim is left but its process.
    house.close().await;
}

#[tokio::test]
async fn a_spool_that_the_job_damages_is_an_error_and_no_panic() {
    for (damage, expected) in [
        (": > s.spool", "Shrunk"),
        ("head -c 4096 /dev/urandom >> s.spool; echo more", "Broken"),
        ("head -c 64 /dev/zero | dd of=s.spool seek=20 bs=1 conv=notrunc 2>/dev/null", ""),
        ("rm -f s.spool", ""),
        ("rm -f s.spool; ln -s /etc/passwd s.spool", ""),
    ] {
        let house = House::new().await;
        let (gate, go) = (Gate::new(&house.job.paths.private, "gate"), Gate::new(&house.job.paths.private, "go"));
        let run = house.run_dir().display();
        let script = format!("echo first; echo > {}; read _ < {}; cd {run}; {damage}; exit 0", gate.path(), go.path());
        house.shim.start(&script_step("s", &script)).await.unwrap();
        let mut reader = SpoolReader::open(house.run_dir(), &id("s")).unwrap();
        gate.word().await;
        let SpoolEvent::Frame { bytes, .. } = soon(reader.next()).await.unwrap() else { panic!("no output") };
        assert_eq!(&bytes[..], b"first\n");
        go.open().await;
        let end = loop {
            match soon(reader.next()).await {
                Ok(SpoolEvent::Ended(exit)) => break Ok(exit),
                Ok(_) => {}
                Err(error) => break Err(error),
            }
        };
        match end {
            Err(error @ (SpoolError::Shrunk { .. } | SpoolError::Broken { .. })) => {
                assert!(format!("{error:?}").starts_with(expected), "{damage}: {error:?}");
                assert!(error.to_string().contains("the job changed"), "{error}");
            }
            // What was read before, or through a handle that the job cannot take away, is read to its end.
            other => assert!(expected.is_empty() && matches!(other, Ok(StepExit::Code(0))), "{damage}: {other:?}"),
        }
        house.close().await;
    }
}

#[tokio::test]
async fn an_exit_file_in_the_way_of_the_true_one_harms_the_job_at_most() {
    for (trick, harmed) in [
        ("mkfifo s.exit", false),
        ("ln -s /etc/passwd s.exit", false),
        ("rm -f .s.exit", false),
        ("rm -f .s.exit; mkfifo .s.exit", false),
        ("mkdir s.exit; touch s.exit/x", true),
    ] {
        let house = House::new().await;
        let script = format!("cd {}; {trick}; exit 6", house.run_dir().display());
        house.shim.start(&script_step("s", &script)).await.unwrap();
        match house.outcome(&id("s")).await {
            Ok(outcome) => assert!(!harmed && outcome.exit == StepExit::Code(6), "{trick}: {outcome:?}"),
            // A reader that looks while the trick stands and the true file is not there yet.
            Err(SpoolError::RunDir(RunDirError::Kind { .. } | RunDirError::Content { .. })) => {}
            Err(error) => panic!("{trick}: {error}"),
        }
        house.close().await;
    }
}

#[tokio::test]
async fn a_fork_bomb_is_put_out() {
    let house = Job::new().await.start_as(Some("nobody")).await;
    let mut step = script_step("s", "ulimit -u 300; sleep 1000 & bomb() { bomb | bomb & }; bomb; wait; sleep 1000");
    step.timeout = Some(Duration::from_millis(700));
    step.grace = Duration::from_millis(300);
    let outcome = house.step(&step).await;
    assert_eq!(outcome.record.left_behind, 0, "{:?}", outcome.exit);
    let mark =
        format!("{}={}", forgehand::executor::sandbox::shim::process::MARK_VARIABLE, leftovers::mark(house.run_dir()));
    let all = tree::snapshot().unwrap();
    let marked = |p: &&tree::Process| {
        let environment = std::fs::read(format!("/proc/{}/environ", p.pid)).unwrap_or_default();
        p.lives && p.pid != house.pid() && environment.split(|b| *b == 0).any(|entry| entry == mark.as_bytes())
    };
    assert_eq!(all.iter().filter(marked).count(), 0);
    assert_eq!(house.step(&script_step("next", "echo on")).await.stdout, "on\n");
    house.close().await;
}

#[tokio::test]
async fn a_step_that_kills_its_keeper_is_still_followed_and_ended() {
    let house = House::new().await;
    let sleep = unique_seconds();
    let outcome = house.script(&format!("kill -9 $PPID; (setsid sleep {sleep} &); echo alive; exit 5")).await;
    assert_eq!((outcome.exit, outcome.stdout.as_str()), (StepExit::Code(5), "alive\n"));
    assert!(processes_with(&sleep).is_empty(), "what it left runs on");
    house.close().await;
}

#[tokio::test]
async fn a_job_that_kills_its_shim_is_found_out_and_leaves_nothing() {
    let house = House::new().await;
    let sleep = unique_seconds();
    let mut watch = house.shim.watch().await.unwrap();
    let script = format!("(env -i setsid sleep {sleep} &); kill -9 {}; sleep {sleep}", house.pid());
    let _ = house.shim.start(&script_step("s", &script)).await;
    soon(watch.gone()).await;
    let found = soon(HostSandbox::reattach(&house.record, house.run_dir(), &house.job.key)).await.unwrap();
    let HostReattached::Gone { cause } = found else { panic!("it cannot be alive") };
    assert!(cause.contains("killed or crashed"), "{cause}");
    soon(HostSandbox::remove(&house.record, &house.job.paths, &house.job.key)).await.unwrap();
    assert!(processes_with(&sleep).is_empty(), "the job runs on");
}

#[tokio::test]
async fn no_process_of_the_job_can_look_into_the_shim() {
    let house = Job::new().await.start_as(Some("nobody")).await;
    let pid = house.pid();
    let script = format!(
        "cat /proc/{pid}/environ && echo ENVIRON; cat /proc/{pid}/maps && echo MAPS; ls /proc/{pid}/fd && echo FDS; \
         head -c 1 /proc/{pid}/mem && echo MEM; head -c 1 /proc/$PPID/mem && echo KEEPER; true"
    );
    let outcome = house.script(&script).await;
    assert_eq!((outcome.exit, outcome.stdout.as_str()), (StepExit::Code(0), ""), "{}", outcome.stderr);
    assert_eq!(outcome.stderr.matches("ermission denied").count(), 5, "{}", outcome.stderr);
    house.close().await;
}

#[tokio::test]
async fn the_binary_started_again_by_a_job_serves_nobody() {
    let house = House::new().await;
    let shim = house.run_dir().parent().unwrap().join("forgehand-shim");
    let outcome = house.step(&argv_step("s", &[shim.to_str().unwrap()])).await;
    assert_eq!(outcome.exit, StepExit::Code(1));
    assert!(outcome.stderr.contains("another shim serves it"), "{}", outcome.stderr);
    assert_eq!(house.step(&script_step("next", "echo on")).await.stdout, "on\n");
    house.close().await;
}
