//! Services: a real one, one that never gets well, one with a name that is none.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use super::house::{House, several};

/// The image with Debian's redis-server.
const REDIS: &str = "forgehand-test/redis:1";

#[test]
fn a_real_server_is_reached_by_its_alias_and_one_that_never_listens_is_a_warning() {
    build_redis();
    let mut house = House::with(several().env("FORGEHAND_DOCKER__WAIT_FOR_SERVICES_TIMEOUT", "5s"));
    let redis = json!({ "services": [{ "name": REDIS, "alias": "database cache" }] });
    let talk = "printf 'SET k forty-two\\r\\nGET k\\r\\nQUIT\\r\\n' | nc";
    let real = house.queue(&[&format!("{talk} database 6379"), &format!("{talk} cache 6379")], redis);
    let deaf = json!({ "services": [{ "name": REDIS, "alias": "deaf", "command": ["--port", "6399"] }] });
    let deaf = house.queue(&["echo went-on"], deaf);
    let nowhere = json!({ "services": [{ "name": REDIS, "alias": "bad name/..;x" }, { "name": "" }] });
    let nowhere = house.queue(&["echo went-on-too"], nowhere);

    let real = house.end(real);
    real.succeeded().kept_quiet_about("WARNING");
    assert_eq!(real.log.text.matches("forty-two").count(), 4, "two answers, two echoed commands: {}", real.log.text);
    // Its output is shown, for that is where the reason stands.
    let debug = json!([{ "key": "CI_DEBUG_SERVICES", "value": "true", "public": true },
        { "key": "GIT_STRATEGY", "value": "none" }, { "key": "SAID", "value": "Ready to accept", "masked": true }]);
    let heard = house
        .queue(&["echo spoken"], json!({ "services": [{ "name": REDIS, "alias": "database" }], "variables": debug }));
    house
        .end(heard)
        .succeeded()
        .said("[service:forgehand-test__redis-forgehand-test-redis-database] ")
        .said("[MASKED] connections")
        .said("spoken");
    house.end(deaf).succeeded().said("went-on").said("6379").said("Ready to accept connections");
    let nowhere = house.end(nowhere);
    assert!(["success", "failed"].contains(&nowhere.view.state), "{}", nowhere.log.text);
    house.close();
}

/// Makes the image: the program, what it is linked with, nothing else.
fn build_redis() {
    let known = Command::new("docker").args(["image", "inspect", REDIS]).output().expect("docker runs");
    if known.status.success() {
        return;
    }
    let program = "/usr/bin/redis-server";
    assert!(Path::new(program).exists(), "{program} is missing; run scripts/setup");
    let linked = Command::new("ldd").arg(program).output().expect("ldd runs");
    let linked = String::from_utf8_lossy(&linked.stdout).into_owned();
    let mut files: BTreeSet<&str> = linked.split_whitespace().filter(|word| word.starts_with('/')).collect();
    files.insert(program);
    let dir = tempfile::tempdir().expect("a folder");
    for file in files {
        let to = dir.path().join(file.trim_start_matches('/'));
        fs::create_dir_all(to.parent().expect("below a folder")).expect("a folder");
        fs::copy(file, to).expect("the file is copied");
    }
    let mut tar =
        Command::new("tar").arg("-C").arg(dir.path()).args(["-c", "."]).stdout(Stdio::piped()).spawn().expect("tar");
    let import = Command::new("docker")
        .args(["import", "--change", "EXPOSE 6379"])
        .args(["--change", "ENTRYPOINT [\"/usr/bin/redis-server\",\"--bind\",\"0.0.0.0\",\"--protected-mode\",\"no\"]"])
        .args(["-", REDIS])
        .stdin(tar.stdout.take().expect("piped"))
        .output()
        .expect("docker runs");
    assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
    tar.wait().expect("tar ends");
}
