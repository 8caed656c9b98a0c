//! Registrations, and what every call carries.

use super::*;

async fn register(token: &str, options: &RegisterOptions, server: &TestServer) -> Result<register::Registered, String> {
    let mut settings = settings(server.url());
    settings.token = Secret::new(token);
    register::register(&outbound(), &settings, options).await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_contact_is_a_call_of_the_runners_api_and_tells_the_time() {
    let headers = [("Date", "Thu, 26 Nov 2026 10:00:00 GMT")];
    let server = TestServer::start(move |_, _| Reply::new(403, &headers, "")).await;
    let told = register::contact(&outbound(), &settings(server.url()), Duration::from_secs(5)).await.unwrap();
    assert_eq!(told.map(|time| time.to_string()).as_deref(), Some("2026-11-26T10:00:00Z"));
    let seen: Vec<_> = server.seen().iter().map(|request| format!("{} {}", request.method, request.target)).collect();
    assert_eq!(seen, ["POST /api/v4/runners/verify"]);
}

#[tokio::test]
async fn the_user_agent_has_the_shape_that_the_official_runners_has() {
    let server = TestServer::start(|_, _| Reply::new(204, &[], "")).await;
    poll(&forge(&server)).await.unwrap();
    let agent = server.seen()[0].header("user-agent").unwrap().to_owned();
    let details =
        agent.strip_prefix(&format!("forgehand {} (", crate::VERSION)).and_then(|rest| rest.strip_suffix(')'));
    let details: Vec<_> = details.unwrap_or_default().split("; ").collect();
    assert!(details.len() == 3 && details[2].starts_with("linux/"), "{agent}");
}

#[tokio::test]
async fn a_runner_token_is_verified_and_kept() {
    let server = TestServer::start(|_, _| {
        Reply::json(200, &json!({"id": 9, "token": "glrt-x", "token_expires_at": "2027-01-01T00:00:00Z"}))
    })
    .await;
    let registered = register("glrt-x", &RegisterOptions::default(), &server).await.unwrap();
    assert_eq!(registered.runner_id, Some(9));
    assert_eq!(registered.token.token.expose(), "glrt-x");
    assert!(registered.token.expires_at.is_some());
    let request = &server.seen()[0];
    assert_eq!(request.target, "/api/v4/runners/verify");
    assert_eq!(request.json()["info"]["features"]["cancel_gracefully"], true);
    let options = RegisterOptions { tags: vec!["a".into()], ..RegisterOptions::default() };
    assert!(register("glrt-x", &options, &server).await.unwrap_err().contains("--labels"));
}

#[tokio::test]
async fn a_registration_token_makes_a_runner() {
    let server =
        TestServer::start(|_, _| Reply::json(201, &json!({"id": 9, "token": "new", "token_expires_at": null}))).await;
    let options = RegisterOptions { description: "box".into(), tags: vec!["a".into(), "b".into()] };
    let registered = register("GR1348941x", &options, &server).await.unwrap();
    assert_eq!(registered.token.token.expose(), "new");
    assert!(registered.token.expires_at.is_none());
    let body = server.seen()[0].json();
    assert_eq!(
        (&body["tag_list"], &body["run_untagged"], &body["description"]),
        (&json!("a,b"), &json!(false), &json!("box"))
    );
}

#[tokio::test]
async fn an_old_token_is_tried_as_both() {
    let server = TestServer::start(|_, request| match request.target.as_str() {
        "/api/v4/runners/verify" => Reply::json(403, &json!({"message": "403 Forbidden"})),
        _ => Reply::json(201, &json!({"id": 1, "token": "new"})),
    })
    .await;
    assert_eq!(register("plain", &RegisterOptions::default(), &server).await.unwrap().token.token.expose(), "new");
}

#[tokio::test]
async fn very_old_servers_answer_plain_text_and_web_pages_are_no_answer() {
    let server = TestServer::start(|number, _| match number {
        0 => Reply::new(200, &[("Content-Type", "text/plain")], "200"),
        _ => Reply::new(200, &[("Content-Type", "text/html")], "<html>"),
    })
    .await;
    assert_eq!(register("glrt-x", &RegisterOptions::default(), &server).await.unwrap().token.token.expose(), "glrt-x");
    assert!(
        register("glrt-x", &RegisterOptions::default(), &server)
            .await
            .unwrap_err()
            .contains("is this the address of a GitLab")
    );
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    for (token, status, word) in [
        ("glrt-x", 403_u16, "create a runner"),
        ("GR1348941x", 410, "registration tokens"),
        ("glrt-x", 502, "try again later"),
    ] {
        let server = TestServer::start(move |_, _| Reply::json(status, &json!({"message": "no"}))).await;
        let error = register(token, &RegisterOptions::default(), &server).await.unwrap_err();
        assert!(error.contains(word) && !error.contains(token), "{status}: {error}");
    }
    let server = TestServer::start(|_, _| Reply::json(422, &json!({"message": "orphaned"}))).await;
    assert!(matches!(register::verify(&outbound(), &settings(server.url())).await, Ok(Verified::Orphaned(_))));
}

#[tokio::test]
async fn unregistering_takes_away_the_machine_or_the_runner() {
    let server = TestServer::start(|_, _| Reply::new(204, &[], "")).await;
    let settings = settings(server.url());
    register::unregister(&outbound(), &settings, Unregister::ThisMachine).await.unwrap();
    register::unregister(&outbound(), &settings, Unregister::Runner).await.unwrap();
    let seen = server.seen();
    assert_eq!((seen[0].method.as_str(), seen[0].target.as_str()), ("DELETE", "/api/v4/runners/managers"));
    assert_eq!(seen[0].json(), json!({"token": "glrt-secret", "system_id": "s_c2d22f638c25"}));
    assert_eq!(seen[1].json(), json!({"token": "glrt-secret"}));
}

#[tokio::test]
async fn a_token_is_renewed_and_its_new_life_is_known() {
    let server = TestServer::start(|_, _| {
        Reply::json(201, &json!({"token": "glrt-new", "token_expires_at": "2027-01-01T00:00:00Z"}))
    })
    .await;
    let settings = settings(server.url());
    let renewed = register::reset_token(&outbound(), &settings, &Secret::new("glrt-secret")).await.unwrap();
    assert_eq!(renewed.token.expose(), "glrt-new");
    assert_eq!(renewed.expires_at, Some("2027-01-01T00:00:00Z".parse().unwrap()));
    assert_eq!(server.seen()[0].header("runner-token"), Some("glrt-secret"));
}
