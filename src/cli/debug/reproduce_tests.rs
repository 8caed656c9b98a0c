use super::*;
use crate::executor::evidence::{LimitsEvidence, NetworkEvidence, Places, StepEnding};
use crate::executor::stage::Stage;
use crate::pipeline::FailureReason;

fn entry(name: &str, value: Option<&str>, kind: EnvKind) -> EnvEntry {
    EnvEntry { name: name.into(), value: value.map(str::to_owned), kind }
}

fn evidence() -> Evidence {
    Evidence {
        at: jiff::Timestamp::UNIX_EPOCH,
        stage: Stage::Steps,
        reason: FailureReason::ScriptFailure,
        message: "exit code 1".into(),
        exit_code: Some(1),
        step: Some(StepEvidence {
            number: 0,
            name: "script".into(),
            ending: StepEnding::Code(1),
            cwd: "/builds/g/p".into(),
            env: vec![
                entry("PLAIN", Some("it's $(reboot) `x`"), EnvKind::Plain),
                entry("TOKEN", None, EnvKind::Secret),
                entry("LINES", Some("a\nb"), EnvKind::Plain),
                entry("LONG", None, EnvKind::Long),
            ],
            has_files: true,
            script_is_masked: false,
            script_is_cut: false,
        }),
        executor: "docker".into(),
        image: Some("busybox".into()),
        container: Some(ContainerEvidence {
            id: "0123456789abcdef".into(),
            image_id: "sha256:aa".into(),
            image_digest: Some("busybox@sha256:bb".into()),
            entrypoint: vec!["/bin/env".into(), "-u".into(), "A B".into()],
            user: "1000:1000".into(),
            limits: LimitsEvidence { memory: Some(1 << 30), nano_cpus: Some(1_500_000_000), ..Default::default() },
            mounts: vec![
                MountEvidence {
                    kind: "bind".into(),
                    source: "/s/builds/1".into(),
                    target: "/builds".into(),
                    role: MountRole::Workspace,
                    ..Default::default()
                },
                MountEvidence {
                    kind: "bind".into(),
                    source: "/etc/pki, more".into(),
                    target: "/pki".into(),
                    read_only: true,
                    role: MountRole::Other,
                },
                MountEvidence { source: "/run".into(), role: MountRole::Own, ..Default::default() },
            ],
            network_mode: "forgehand-net".into(),
            networks: vec![NetworkEvidence {
                name: "forgehand-net".into(),
                aliases: vec!["build".into(), "0123456789ab".into()],
                address: None,
            }],
            ..Default::default()
        }),
        services: Vec::new(),
        places: Places { workspace: "/s/builds/1".into(), builds: "/builds".into(), project: "/builds/g/p".into() },
        disks: Vec::new(),
        memory_available: None,
        timeout: 3600,
        log_tail: Vec::new(),
        gaps: Vec::new(),
    }
}

fn files<'a>(checkout: Option<&'a Path>) -> Files<'a> {
    Files { launcher: Path::new("/s/logs/k.run"), script: Path::new("/s/logs/k.script"), checkout, name: "k" }
}

/// The words of a shell command.
fn words(command: &str) -> Vec<String> {
    let output = std::process::Command::new("sh").args(["-c", &format!("printf '%s\\n' {command}")]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn the_line_is_what_the_step_ran_in_and_every_word_survives_the_shell() {
    let made = of(&evidence(), &files(None)).unwrap();
    assert!(!made.command.contains('\n'));
    let words = words(&made.command);
    for expected in [
        ["--user", "1000:1000"],
        ["--memory", "1073741824"],
        ["--cpus", "1.5"],
        ["-v", "/s/builds/1:/builds"],
        ["--mount", "type=bind,\"source=/etc/pki, more\",target=/pki,readonly"],
        ["-v", "/s/logs/k.run:/forgehand/run:ro"],
        ["-w", "/builds/g/p"],
        ["-e", "PLAIN=it's $(reboot) `x`"],
        ["-e", "TOKEN"],
        ["--entrypoint", "/bin/env"],
    ] {
        assert!(words.windows(2).any(|pair| pair == expected), "{expected:?} in {words:?}");
    }
    assert_eq!(words[words.len() - 4..], ["busybox@sha256:bb", "-u", "A B", "/forgehand/run"]);
    // The launcher sets the one, nobody the other.
    assert!(words.iter().all(|word| !word.starts_with("LINES") && !word.starts_with("LONG")));
    assert!(made.notes.iter().any(|note| note.contains("LONG")));
    assert_eq!(made.secrets, ["TOKEN"]);
    assert!(!made.command.contains("--network"), "the job's network is gone");
}

#[test]
fn services_and_a_copy_of_the_checkout_are_made_first() {
    let mut evidence = evidence();
    evidence.services.push(ContainerEvidence {
        image_id: "sha256:db".into(),
        service: vec!["postgres".into()],
        env: vec![entry("POSTGRES_DB", Some("x"), EnvKind::Plain)],
        command: vec!["-c".into(), "a b".into()],
        ..Default::default()
    });
    let made = of(&evidence, &files(Some(Path::new("/home/me/it's mine")))).unwrap();
    assert_eq!(made.prepare[0], "docker network create forgehand-debug-k");
    assert_eq!(
        made.prepare[1],
        "docker run -d --network forgehand-debug-k --network-alias postgres -e POSTGRES_DB=x --entrypoint '' sha256:db -c 'a b'"
            .replace("--entrypoint '' ", "")
    );
    assert!(made.prepare[2].starts_with("tree=$(mktemp -d) && cp -a '/home/me/it'\\''s mine/.' "), "{made:?}");
    let words = words(&made.command);
    assert!(words.contains(&"/home/me/it's mine:/builds/g/p".to_owned()), "{words:?}");
    assert!(words.windows(2).any(|pair| pair == ["--network-alias", "build"]));
    assert!(!words.contains(&"0123456789ab".to_owned()));
}

#[test]
fn an_image_without_a_digest_is_named_by_its_id_and_a_cleared_entrypoint_stays_cleared() {
    let mut evidence = evidence();
    let container = evidence.container.as_mut().unwrap();
    (container.image_digest, container.entrypoint) = (None, vec![String::new()]);
    container.image_entrypoint = vec!["/entry".into()];
    let command = of(&evidence, &files(None)).unwrap().command;
    assert!(command.ends_with("--entrypoint '' sha256:aa /forgehand/run"), "{command}");
    evidence.step = None;
    assert_eq!(of(&evidence, &files(None)), None);
}

#[test]
fn paths_of_the_machine_with_a_colon_are_mounted_by_the_long_form() {
    let given = Files { launcher: Path::new("/s/a:b/k.run"), ..files(Some(Path::new("/home/me/a:b"))) };
    let made = of(&evidence(), &given).unwrap();
    let words = words(&made.command.replace("${tree:?run the command before it}", "/t"));
    let long = ["--mount", "type=bind,source=/s/a:b/k.run,target=/forgehand/run,readonly"];
    assert!(words.windows(2).any(|pair| pair == long), "{words:?}");
    assert!(!made.command.contains("/home/me/a:b"), "only the copy is mounted: {}", made.command);
}
