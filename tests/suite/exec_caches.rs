//! The cache server of `forgehand exec`, as tools in `run` steps meet it.

use std::fs;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::support::agent::said;
use crate::support::docker;

/// One request by bash alone: METHOD PATH HEADERS BODY, then the answer as it came.
const ASK: &str = r#"
          ask() {
            local rest=${ACTIONS_CACHE_URL#http://}; rest=${rest%/}
            exec 3<>"/dev/tcp/${rest%:*}/${rest##*:}"
            printf '%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%bContent-Length: %d\r\n\r\n%s' "$1" "$2" "$3" "${#4}" "$4" >&3
            cat <&3 | tr -d '\r'
            exec 3>&-
          }
          auth="Authorization: Bearer $ACTIONS_RUNTIME_TOKEN\r\n"
          call() { ask POST "/twirp/github.actions.results.api.v1.CacheService/$1" "${auth}Content-Type: application/json\r\n" "$2"; }
          field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }
"#;

struct Place {
    folder: TempDir,
}

impl Place {
    fn new(jobs: &str) -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        let workflows = place.folder.path().join("project/.github/workflows");
        fs::create_dir_all(&workflows).unwrap();
        let jobs = jobs.replace("          ASK\n", ASK);
        fs::write(workflows.join("ci.yml"), format!("on: push\ndefaults: {{run: {{shell: bash}}}}\njobs:\n{jobs}"))
            .unwrap();
        place
    }

    fn exec(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_forgehand"));
        command.arg("--state-dir").arg(self.folder.path().join("state"));
        command.args(["exec", ".github/workflows/ci.yml", "--image", "case/bash:1"]).args(words);
        command.current_dir(self.folder.path().join("project")).stdin(Stdio::null()).output().unwrap()
    }
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

const SAVE_AND_RESTORE: &str = r#"
  save:
    runs-on: x
    steps:
      - run: |
          ASK
          echo "token [$ACTIONS_RUNTIME_TOKEN] v2 [$ACTIONS_CACHE_SERVICE_V2]"
          found=$(call GetCacheEntryDownloadURL '{"key":"deps-1","version":"v"}')
          case $found in *'"ok":true'*) echo "there already"; exit 0 ;; esac
          url=$(call CreateCacheEntry '{"key":"deps-1","version":"v"}' | field signed_upload_url)
          ask PUT "/${url#"$ACTIONS_RESULTS_URL"}" 'x-ms-blob-type: BlockBlob\r\n' 'the archive' | head -n 1
          call FinalizeCacheEntryUpload '{"key":"deps-1","version":"v","size_bytes":"11"}' | tail -n 1
          call CreateCacheEntry '{"key":"deps-1","version":"v"}' | head -n 1
  restore:
    runs-on: x
    needs: save
    steps:
      - run: |
          ASK
          found=$(ask GET '/_apis/artifactcache/cache?keys=deps-2,deps-&version=v' "$auth" '')
          echo "matched $(echo "$found" | field cacheKey)"
          url=$(echo "$found" | field archiveLocation)
          ask GET "/${url#"$ACTIONS_CACHE_URL"}" 'Range: bytes=4-\r\n' '' | tail -n 1
          echo
"#;

fn saves_and_restores(words: &[&str]) {
    let place = Place::new(SAVE_AND_RESTORE);
    let first = place.exec(words);
    let text = printed(&first);
    assert!(first.status.success(), "{}", said(&first));
    assert!(text.contains("token [***] v2 [true]"), "{text}");
    assert!(text.contains("HTTP/1.1 201") && text.contains("\"ok\":true") && text.contains("HTTP/1.1 409"), "{text}");
    assert!(text.contains("matched deps-1") && text.contains("archive"), "{text}");
    // Another run finds what the first one kept.
    let second = place.exec(words);
    let text = printed(&second);
    assert!(text.contains("there already") && text.contains("matched deps-1") && text.contains("archive"), "{text}");
    let left = fs::read_dir(place.folder.path().join("state/exec/runs")).unwrap().count();
    assert_eq!(left, 0, "nothing of the runs is left");
}

#[test]
fn tools_in_containers_keep_entries_from_job_to_job_and_run_to_run() {
    docker::build_images();
    saves_and_restores(&[]);
}

#[test]
fn tools_on_the_host_keep_entries_from_job_to_job_and_run_to_run() {
    saves_and_restores(&["--executor", "host"]);
}

#[test]
fn a_job_with_services_on_a_network_of_its_own_reaches_the_server() {
    docker::build_images();
    let place = Place::new(
        r#"
  a:
    runs-on: x
    container: case/bash:1
    services: {web: {image: 'case/httpd:1'}}
    steps:
      - run: |
          ASK
          ask GET '/_apis/artifactcache/cache?keys=k&version=v' "$auth" '' | head -n 1
"#,
    );
    let output = place.exec(&[]);
    assert!(printed(&output).contains("HTTP/1.1 204"), "{}", said(&output));
}

#[test]
fn without_a_server_a_run_goes_on_and_the_file_has_the_last_word() {
    docker::build_images();
    let place = Place::new(
        r#"
  a:
    runs-on: x
    env: {ACTIONS_RESULTS_URL: 'http://elsewhere/'}
    steps: [{run: 'echo "[$ACTIONS_CACHE_URL] [$ACTIONS_RESULTS_URL]"'}]
"#,
    );
    let config = place.folder.path().join("forgehand.toml");
    let with = |value: &str| {
        fs::write(&config, format!("[exec]\ncache_server = '{value}'\n")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_forgehand"));
        command.arg("--config").arg(&config).arg("--state-dir").arg(place.folder.path().join("state"));
        command.args(["exec", ".github/workflows/ci.yml", "--image", "case/bash:1"]);
        command.current_dir(place.folder.path().join("project")).stdin(Stdio::null()).output().unwrap()
    };
    let off = with("off");
    assert!(printed(&off).contains("[] [http://elsewhere/]"), "{}", said(&off));
    // An address of documentation (RFC 5737): no machine has it.
    let unusable = with("192.0.2.1");
    assert!(printed(&unusable).contains("[] [http://elsewhere/]"), "{}", said(&unusable));
    assert!(String::from_utf8_lossy(&unusable.stderr).contains("exec.cache_server"), "{}", said(&unusable));
    let there = with("127.0.0.1");
    assert!(printed(&there).contains("[http://127.0.0.1:"), "{}", said(&there));
    assert!(printed(&there).contains("[http://elsewhere/]"), "{}", said(&there));
    assert_eq!(with("0.0.0.0").status.code(), Some(2));
}
