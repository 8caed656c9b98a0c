//! Pulls from a real registry with authentication, on loopback (Debian's docker-registry).

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use bollard::auth::DockerCredentials;
use bollard::query_parameters::{CreateImageOptions, PushImageOptions, RemoveImageOptions, TagImageOptions};

use super::fixtures::{Case, House};
use super::images;
use crate::executor::sandbox::docker::PrepareError;
use crate::executor::sandbox::docker::engine::CHANGE;
use crate::pipeline::definition::{ImageSpec, PullPolicy, RegistryCredential};
use crate::pipeline::{FailureReason, JobFailure, ProjectId, Secret};

const USER: &str = "builder";
/// Its base64 differs between the two alphabets.
const PASSWORD: &str = "pass?????>>>>>";
const HTPASSWD: &str = "builder:$2y$05$abcdefghijklmnopqrstuuhkiifWRnT/h75XEMuz/3m3vBxOXBVve\n";

/// A registry that wants a password, with one image in it.
struct Registry {
    process: Child,
    host: String,
    _folder: tempfile::TempDir,
}

impl Registry {
    async fn start(house: &House) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let passwords = folder.path().join("htpasswd");
        std::fs::write(&passwords, HTPASSWD).unwrap();
        // A port that is free now; the registry takes it at once.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {0}/data}}, delete: {{enabled: true}}}}\n\
             http: {{addr: 127.0.0.1:{port}}}\nauth: {{htpasswd: {{realm: test, path: {0}/htpasswd}}}}\n",
            folder.path().display()
        );
        let file = folder.path().join("config.yml");
        std::fs::write(&file, config).unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Debian's docker-registry is installed");
        let registry = Self { process, host: format!("127.0.0.1:{port}"), _folder: folder };
        tokio::time::timeout(Duration::from_secs(30), async {
            while tokio::net::TcpStream::connect(&registry.host).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
        .expect("the registry answers");
        registry.push(house).await;
        registry
    }

    fn image(&self) -> String {
        format!("{}/team/sh:1", self.host)
    }

    async fn push(&self, house: &House) {
        let engine = house.docker.engine();
        let repo = format!("{}/team/sh", self.host);
        let tag = TagImageOptions { repo: Some(repo.clone()), tag: Some("1".into()) };
        engine.call("tagging", CHANGE, engine.api().tag_image(images::SH, Some(tag))).await.unwrap();
        self.move_there(house, &repo).await;
    }

    /// Pushes the image `REPO:1` and takes it off the machine.
    async fn move_there(&self, house: &House, repo: &str) {
        let engine = house.docker.engine();
        let credentials = DockerCredentials {
            username: Some(USER.into()),
            password: Some(PASSWORD.into()),
            ..DockerCredentials::default()
        };
        let options = PushImageOptions { tag: Some("1".into()), ..PushImageOptions::default() };
        let stream = engine.api().push_image(repo, Some(options), Some(credentials));
        engine.drain("pushing", CHANGE, stream, |_| {}).await.unwrap();
        let options = Some(RemoveImageOptions::default());
        let _ = engine.api().remove_image(&format!("{repo}:1"), options, None).await;
    }

    /// Takes the image's name off the machine.
    async fn forget(&self, house: &House) {
        let options = Some(RemoveImageOptions::default());
        let _ = house.docker.engine().api().remove_image(&self.image(), options, None).await;
    }

    async fn stop(mut self, house: &House) {
        self.forget(house).await;
        self.end();
    }

    fn end(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    fn case(&self, house: &House, policies: &[PullPolicy]) -> Case {
        let mut case = house.case("echo pulled");
        let pull_policies = policies.to_vec();
        case.job.image = Some(ImageSpec { name: self.image(), pull_policies, ..ImageSpec::default() });
        case
    }

    fn credential(&self, password: &str) -> RegistryCredential {
        RegistryCredential { registry: self.host.clone(), username: USER.into(), password: password.into() }
    }

    fn docker_config(&self) -> String {
        let auth = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
        format!(r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#, self.host)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.end();
    }
}

async fn refusal(house: &House, case: &Case) -> JobFailure {
    match house.start(case).await {
        Err(PrepareError::Failed(failure)) => failure,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_source_of_credentials_opens_the_registry() {
    let config = tempfile::tempdir().unwrap();
    let helpers = tempfile::tempdir().unwrap();
    let house = House::with(|settings| {
        settings.auth.config = Some(config.path().to_owned());
        settings.auth.helper_path = Some(format!("{}:/usr/bin:/bin", helpers.path().display()).into());
    })
    .await;
    let registry = Registry::start(&house).await;
    let pulls = async |change: &dyn Fn(&mut Case)| {
        registry.forget(&house).await;
        let mut case = registry.case(&house, &[PullPolicy::IfNotPresent]);
        change(&mut case);
        assert_eq!(house.run(&case).await.1, "pulled", "{}", house.log.text());
    };

    pulls(&|case| case.job.registry_auth.job = vec![registry.credential(PASSWORD)]).await;
    assert!(house.log.text().contains("credentials from the job payload"), "{}", house.log.text());

    let variable = Secret::new(registry.docker_config());
    pulls(&|case| case.job.registry_auth.docker_config = Some(variable.clone())).await;
    assert!(house.log.text().contains("credentials from $DOCKER_AUTH_CONFIG"));

    let helper = helpers.path().join("docker-credential-test");
    let script = format!(
        "#!/bin/sh\nread server; [ \"$1 $server\" = \"get {}\" ] || {{ echo credentials not found in native keychain; exit 1; }}\n\
         echo '{{\"ServerURL\":\"x\",\"Username\":\"{USER}\",\"Secret\":\"{PASSWORD}\"}}'\n",
        registry.host
    );
    std::fs::write(&helper, script).unwrap();
    std::fs::set_permissions(&helper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for text in [format!(r#"{{"credHelpers":{{"{}":"test"}}}}"#, registry.host), r#"{"credsStore":"test"}"#.to_owned()]
    {
        let variable = Secret::new(text);
        pulls(&|case| case.job.registry_auth.docker_config = Some(variable.clone())).await;
    }

    std::fs::write(config.path().join("config.json"), registry.docker_config()).unwrap();
    pulls(&|_| {}).await;
    assert!(house.log.text().contains("credentials from the runner's Docker configuration"));
    assert!(!house.log.text().contains(PASSWORD));
    registry.stop(&house).await;
    house.leave().await;
}

#[tokio::test]
async fn who_lacks_credentials_is_told_so_and_gets_nothing() {
    let house = House::new().await;
    let registry = Registry::start(&house).await;
    let mut case = registry.case(&house, &[PullPolicy::IfNotPresent]);
    for auth in [vec![], vec![registry.credential("wrong")]] {
        case.job.registry_auth.job = auth;
        let refused = refusal(&house, &case).await;
        assert_eq!(refused.reason, FailureReason::RunnerConfigurationError, "{refused}");
        assert!(refused.message.contains(&registry.image()), "{refused}");
    }
    case.job.registry_auth.job = vec![registry.credential(PASSWORD)];
    case.job.image = Some(ImageSpec { name: format!("{}/team/absent:1", registry.host), ..ImageSpec::default() });
    assert_eq!(refusal(&house, &case).await.reason, FailureReason::RunnerConfigurationError);
    registry.stop(&house).await;
    house.leave().await;
}

#[tokio::test]
async fn an_image_that_needed_credentials_is_not_lent_to_other_projects() {
    let house = House::new().await;
    let mut registry = Registry::start(&house).await;
    let mut ours = registry.case(&house, &[PullPolicy::IfNotPresent]);
    ours.job.registry_auth.job = vec![registry.credential(PASSWORD)];
    assert_eq!(house.run(&ours).await.1, "pulled");
    ours.job.registry_auth.job.clear();
    assert_eq!(house.run(&ours).await.1, "pulled", "its own Owner needs no credentials again");

    for policy in [PullPolicy::IfNotPresent, PullPolicy::Never] {
        let mut theirs = registry.case(&house, &[policy]);
        theirs.job.owner.project = ProjectId::new("8");
        let refused = refusal(&house, &theirs).await;
        assert_eq!(refused.reason, FailureReason::RunnerConfigurationError, "{refused}");
    }

    let mut welcome = registry.case(&house, &[PullPolicy::Never]);
    welcome.job.owner.project = ProjectId::new("9");
    welcome.job.registry_auth.job = vec![registry.credential(PASSWORD)];
    assert_eq!(house.run(&welcome).await.1, "pulled", "the registry accepts its credentials");

    // The record outlives the agent, and a registry that is away vouches for nobody.
    registry.end();
    let mut theirs = registry.case(&house, &[PullPolicy::Never]);
    theirs.job.owner.project = ProjectId::new("8");
    refusal(&house, &theirs).await;
    welcome.job.registry_auth.job.clear();
    assert_eq!(house.run(&welcome).await.1, "pulled");
    registry.stop(&house).await;
    house.leave().await;
}

#[tokio::test]
async fn policies_are_tried_in_order() {
    use PullPolicy::{Always, IfNotPresent, Never};
    let house = House::new().await;
    let mut registry = Registry::start(&house).await;
    let case = |policies: &[PullPolicy]| {
        let mut case = registry.case(&house, policies);
        case.job.registry_auth.job = vec![registry.credential(PASSWORD)];
        case
    };
    let (never, fallback, present, always) =
        (case(&[Never]), case(&[Never, IfNotPresent]), case(&[IfNotPresent]), case(&[Always, IfNotPresent]));
    let pulls = || house.log.text().matches("Pulling docker image").count();

    refusal(&house, &never).await;
    assert_eq!(pulls(), 0);
    house.run(&fallback).await;
    assert_eq!(pulls(), 1);
    assert!(house.log.text().contains("Attempt #2: Trying \"if-not-present\" pull policy"), "{}", house.log.text());
    house.run(&never).await;
    house.run(&present).await;
    assert_eq!(pulls(), 1);
    house.run(&always).await;
    assert_eq!(pulls(), 2);

    registry.end();
    house.run(&always).await;
    let log = house.log.text();
    assert!(log.contains("trying again in") && log.contains("could not be reached"), "{log}");
    registry.forget(&house).await;
    assert_eq!(refusal(&house, &present).await.reason, FailureReason::RunnerExternalDependencyFailure);
    house.leave().await;
}

#[tokio::test]
async fn a_pull_says_how_much_it_brings() {
    let house = House::new().await;
    let registry = Registry::start(&house).await;
    let repo = format!("{}/team/random", registry.host);
    import_random(&house, &repo, 3 << 20).await;
    registry.move_there(&house, &repo).await;
    let mut case = registry.case(&house, &[PullPolicy::IfNotPresent]);
    case.job.registry_auth.job = vec![registry.credential(PASSWORD)];
    case.job.image = Some(ImageSpec { name: format!("{repo}:1"), ..ImageSpec::default() });
    // Nothing in it can be started.
    assert!(house.start(&case).await.is_err());
    let log = house.log.text();
    // What cannot be compressed, and a little for the archive around it.
    assert!(log.contains(&format!("Image {repo}:1 brings 3.0 MiB in 1 layer")), "{log}");
    let options = Some(RemoveImageOptions::default());
    let _ = house.docker.engine().api().remove_image(&format!("{repo}:1"), options, None).await;
    registry.stop(&house).await;
    house.leave().await;
}

/// An image of one layer, which no other image has and which cannot be compressed.
async fn import_random(house: &House, repo: &str, size: usize) {
    let mut content = vec![0; size];
    rand::fill(&mut content[..]);
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(size as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, "random", content.as_slice()).unwrap();
    let options = CreateImageOptions {
        from_src: Some("-".into()),
        repo: Some(repo.into()),
        tag: Some("1".into()),
        ..CreateImageOptions::default()
    };
    let body = bollard::body_full(archive.into_inner().unwrap().into());
    let stream = house.docker.engine().api().create_image(Some(options), Some(body), None);
    house.docker.engine().drain("importing", CHANGE, stream, |_| {}).await.unwrap();
}
