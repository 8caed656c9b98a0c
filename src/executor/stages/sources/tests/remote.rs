//! Remotes that refuse, break or have not what was asked for.

use super::super::SourcesError;
use super::super::testing::git_server::Behaviour;
use super::super::testing::house::House;
use crate::pipeline::Secret;

#[tokio::test]
async fn a_commit_that_is_not_there_is_an_error_that_says_why() {
    let house = House::new().await;
    house.usual_repository();
    let (result, log) = house.get(&house.spec("app", &"1".repeat(40))).await;
    let error = result.expect_err("no such commit");
    assert!(error.to_string().contains("GIT_DEPTH is too small"), "{error}");
    assert!(log.contains(&format!("fatal: reference is not a tree: {}", "1".repeat(40))), "{log}");
    assert!(error.may_retry());
}

#[tokio::test]
async fn a_commit_beyond_the_depth_is_not_there_though_the_mirror_has_it() {
    let house = House::new().await;
    let repository = house.usual_repository();
    let mut spec = house.spec("app", &repository.run(&["rev-parse", "HEAD~10"]));
    spec.depth = 0;
    house.get_well(&spec).await;
    spec.depth = 5;
    spec.strategy = crate::pipeline::definition::SourceStrategy::Clone;
    let error = house.get(&spec).await.0.expect_err("too shallow");
    assert!(error.to_string().contains("5 commits of history"), "{error}");
}

#[tokio::test]
async fn a_ref_that_is_gone_is_gits_own_message() {
    let house = House::new().await;
    let sha = house.usual_repository().head();
    let mut spec = house.spec("app", &sha);
    spec.refspecs = vec!["+refs/pipelines/7:refs/pipelines/7".to_owned()];
    let (result, log) = house.get(&spec).await;
    assert!(result.is_err());
    assert!(log.contains("couldn't find remote ref refs/pipelines/7"), "{log}");
}

#[tokio::test]
async fn refusals_of_the_remote_are_passed_on() {
    for (status, words) in [(403, "403"), (404, "not found"), (500, "500")] {
        let house = House::new().await;
        let sha = house.usual_repository().head();
        house.forge.behave(Behaviour::Refuse(status));
        let (result, log) = house.get(&house.spec("app", &sha)).await;
        let error = result.expect_err("refused");
        assert!(log.contains(words), "{status}: {log}");
        assert!(error.exit_code() == Some(128) && error.may_retry(), "{status}: {error}");
        assert!(!log.contains("copy of this repository"), "the mirror is not to blame: {log}");
        // Nothing of it is in the way of the next attempt.
        house.forge.behave(Behaviour::Serve);
        house.get_well(&house.spec("app", &sha)).await;
    }
}

#[tokio::test]
async fn without_credentials_git_does_not_ask_anybody() {
    let house = House::new().await;
    let sha = house.usual_repository().head();
    house.forge.require("user", "password");
    let (result, log) = house.get(&house.spec("app", &sha)).await;
    assert!(matches!(result, Err(SourcesError::Failed { .. })));
    assert!(log.contains("could not read Username") && log.contains("terminal prompts disabled"), "{log}");
}

#[tokio::test]
async fn nobody_answers() {
    let house = House::new().await;
    let sha = house.usual_repository().head();
    let mut spec = house.spec("app", &sha);
    spec.url = "http://127.0.0.1:1/app.git".to_owned();
    let (result, log) = house.get(&spec).await;
    assert!(result.is_err());
    assert!(log.contains("unable to access 'http://127.0.0.1:1/app.git/'"), "{log}");
}

#[tokio::test]
async fn what_the_job_may_not_say_is_refused_before_anything_is_touched() {
    let house = House::new().await;
    let sha = house.usual_repository().head();
    house.get_well(&house.spec("app", &sha)).await;
    let mut spec = house.spec("app", &sha);
    spec.fetch_flags = vec!["--upload-pack=touch /tmp/x".to_owned()];
    let error = house.get(&spec).await.0.expect_err("refused");
    assert!(matches!(&error, SourcesError::Refused { setting, .. } if setting == "GIT_FETCH_EXTRA_FLAGS"), "{error}");
    assert!(!error.may_retry());
    assert_eq!(house.read("second.txt"), "two\n");
}

#[tokio::test]
async fn the_proxy_is_used_and_resolves_names() {
    let mut house = House::new().await;
    let sha = house.usual_repository().head();
    let mut spec = house.spec("app", &sha);
    spec.url = "http://forge.invalid/app.git".to_owned();
    let proxy = house.forge.url().replace("http://", "http://proxy-user:proxy-password@");
    house.network.env = vec![("http_proxy".to_owned(), Secret::new(proxy)), ("OTHER".to_owned(), Secret::new("x"))];
    let log = house.get_well(&spec).await;
    assert!(!log.contains("proxy-password"), "{log}");
    let seen = house.forge.seen();
    assert!(!seen.is_empty());
    assert!(
        seen.iter().all(|request| request.headers.get("user-agent").is_some_and(|agent| agent == "forgehand test"))
    );
}

#[tokio::test]
async fn a_forge_with_a_certificate_of_a_private_authority() {
    let mut house = House::new().await;
    let sha = house.usual_repository().head();
    let port = house.forge.url().rsplit(':').next().expect("a port").to_owned();
    let (url, certificate) = tls_in_front_of(&format!("127.0.0.1:{port}")).await;
    let mut spec = house.spec("app", &sha);
    spec.url = format!("{url}/app.git");
    let (result, log) = house.get(&spec).await;
    assert!(result.is_err() && log.contains("certificate"), "{log}");
    let file = house.dir.path().join("authority.pem");
    std::fs::write(&file, certificate).expect("written");
    house.network.ca_file = Some(file);
    house.get_well(&spec).await;
}

/// Takes TLS connections and passes what comes on to `to`. Returns the address and the certificate.
async fn tls_in_front_of(to: &str) -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a certificate");
    let key = rustls_pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let config = rustls::ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a configuration");
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://{}", listener.local_addr().expect("an address"));
    let to = to.to_owned();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, to) = (acceptor.clone(), to.clone());
            tokio::spawn(async move {
                let mut inner = tokio::net::TcpStream::connect(to).await.expect("connected");
                if let Ok(mut outer) = acceptor.accept(stream).await {
                    let _ = tokio::io::copy_bidirectional(&mut outer, &mut inner).await;
                }
            });
        }
    });
    (url, made.cert.pem())
}
