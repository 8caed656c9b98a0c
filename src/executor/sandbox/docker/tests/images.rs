//! Images of the tests, made of Debian's static busybox.

use bollard::query_parameters::CreateImageOptions;
use tokio::sync::OnceCell;

use crate::executor::sandbox::docker::Docker;
use crate::executor::sandbox::docker::engine::LOOK;

/// A shell.
pub(super) const SH: &str = "forgehand-test/sh:1";
/// A shell behind an entrypoint that prints a line.
pub(super) const ENTRY: &str = "forgehand-test/entry:1";
/// A shell behind an entrypoint that prints a line and ends with 3.
pub(super) const BAD_ENTRY: &str = "forgehand-test/bad-entry:1";
/// A shell whose user is 1000.
pub(super) const USER: &str = "forgehand-test/user:1";
/// A web server on port 80 that shows its environment.
pub(super) const HTTPD: &str = "forgehand-test/httpd:1";
/// Exposes port 80, says goodbye and ends.
pub(super) const CRASH: &str = "forgehand-test/crash:1";
/// A web server with a health check of its own, well after its start.
pub(super) const HEALTH: &str = "forgehand-test/health:1";

const ALL: [(&str, &[&str]); 7] = [
    (SH, &["CMD [\"/bin/sh\"]"]),
    (ENTRY, &["ENTRYPOINT [\"/entry.sh\"]", "CMD [\"/bin/sh\"]"]),
    (BAD_ENTRY, &["ENTRYPOINT [\"/bad-entry.sh\"]", "CMD [\"/bin/sh\"]"]),
    (USER, &["USER 1000", "CMD [\"/bin/sh\"]"]),
    (HTTPD, &["EXPOSE 80", "CMD [\"httpd\",\"-f\",\"-p\",\"80\",\"-h\",\"/www\"]"]),
    (CRASH, &["EXPOSE 80", "CMD [\"sh\",\"-c\",\"echo service-says-goodbye; exit 1\"]"]),
    (
        HEALTH,
        &[
            "CMD [\"sh\",\"-c\",\"sleep 2; touch /healthy; exec sleep 600\"]",
            "HEALTHCHECK --interval=1s --timeout=5s --retries=30 CMD test -f /healthy",
        ],
    ),
];

/// Makes those that are missing, once a process.
pub(super) async fn build(docker: &Docker) {
    static BUILT: OnceCell<()> = OnceCell::const_new();
    BUILT
        .get_or_init(|| async {
            for (name, changes) in ALL {
                import(docker, name, changes).await;
            }
        })
        .await;
}

/// Makes an image where it is missing.
pub(super) async fn import(docker: &Docker, name: &str, changes: &[&str]) {
    if docker.engine().api().inspect_image(name).await.is_ok() {
        return;
    }
    let (repo, tag) = name.rsplit_once(':').unwrap();
    let mut changes: Vec<String> = changes.iter().map(|change| (*change).to_owned()).collect();
    changes.push("ENV PATH=/bin".into());
    let options = CreateImageOptions {
        from_src: Some("-".into()),
        repo: Some(repo.into()),
        tag: Some(tag.into()),
        changes,
        ..CreateImageOptions::default()
    };
    let body = bollard::body_full(root_fs(name).into());
    let stream = docker.engine().api().create_image(Some(options), Some(body), None);
    docker.engine().drain("importing", LOOK, stream, |_| {}).await.unwrap();
}

/// busybox with its applets. `mark` makes each image's layer its own.
fn root_fs(mark: &str) -> Vec<u8> {
    let busybox = std::fs::read("/bin/busybox").expect("busybox-static is installed");
    let applets = std::process::Command::new("/bin/busybox").arg("--list").output().unwrap().stdout;
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |name: &str, mode: u32, content: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        header.set_entry_type(if name.ends_with('/') { tar::EntryType::Directory } else { tar::EntryType::Regular });
        tar.append_data(&mut header, name, content).unwrap();
    };
    for folder in ["bin/", "tmp/", "etc/", "root/", "www/", "www/cgi-bin/"] {
        add(folder, if folder == "tmp/" { 0o1777 } else { 0o755 }, b"");
    }
    add("bin/busybox", 0o755, &busybox);
    add("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\nu:x:1000:1000:u:/tmp:/bin/sh\n");
    add("etc/group", 0o644, b"root:x:0:\nu:x:1000:\n");
    add("etc/mark", 0o644, mark.as_bytes());
    add("entry.sh", 0o755, b"#!/bin/sh\necho entrypoint-ran\nexport FROM_ENTRY=yes\nexec \"$@\"\n");
    add("bad-entry.sh", 0o755, b"#!/bin/sh\necho bad-entry; exit 3\n");
    add("www/index.html", 0o644, b"served\n");
    let cgi = "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'; tr '\\0' '\\n' </proc/1/environ\n";
    add("www/cgi-bin/env", 0o755, cgi.as_bytes());
    for applet in String::from_utf8(applets).unwrap().lines().filter(|applet| *applet != "busybox") {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        tar.append_link(&mut header, format!("bin/{applet}"), "busybox").unwrap();
    }
    tar.into_inner().unwrap()
}
