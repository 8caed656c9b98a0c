//! Servers that are slow, wrong, or mean it ill: each call ends, with an error that says what was wrong.

use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::*;
use crate::outbound::test_server::{Received, Reply, TestServer};

/// Far above every limit of these tests, and far below what a call without one would take.
const SOON: std::time::Duration = std::time::Duration::from_secs(45);

struct Hostile {
    runtime: Runtime,
    server: TestServer,
    started: Instant,
}

impl Hostile {
    fn that(answers: impl Fn(usize, &Received) -> Reply + Send + Sync + 'static) -> Self {
        let runtime = runtime();
        let server = runtime.block_on(TestServer::start(answers));
        Self { runtime, server, started: Instant::now() }
    }

    fn remote(&self) -> Remote {
        open_at(&self.runtime, self.server.url().as_str())
    }

    /// The call's error, which came in time.
    fn fails<T: std::fmt::Debug>(&self, outcome: Result<T, LevelError>) -> String {
        let text = said(&outcome.unwrap_err());
        assert!(self.started.elapsed() < SOON, "too late: {text}");
        assert!(!text.contains('\n') && text.len() < 1000, "{text}");
        text
    }
}

fn open_at(runtime: &Runtime, endpoint: &str) -> Remote {
    let config = RemoteConfig {
        endpoint: Some(endpoint.parse().unwrap()),
        access_key_id: Some(ACCESS_KEY.to_owned()),
        secret_access_key: Some(crate::config::remote::SecretText(SECRET_KEY.into())),
        deadline_seconds: 3,
        listing_seconds: 3,
        ..at("s3://ci/p")
    };
    Remote::open(&config, door(), runtime.handle().clone()).unwrap()
}

fn object(announced: usize, sent: &str) -> Reply {
    Reply::Bytes(
        format!("HTTP/1.1 200 OK\r\nContent-Length: {announced}\r\nLast-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\nETag: \"e\"\r\nConnection: close\r\n\r\n{sent}")
            .into_bytes(),
    )
}

#[test]
fn a_server_that_never_answers() {
    let hostile = Hostile::that(|_, _| Reply::Silence);
    let remote = hostile.remote();
    let text = hostile.fails(remote.read(&name("a"), 10, &never()));
    assert!(text.contains("took longer than 3 s") && text.contains("s3://ci/p"), "{text}");
    let from = file_of(10);
    let text = hostile.fails(remote.upload(&name("a"), from.path(), &never()));
    assert!(text.contains("took longer than 3 s"), "{text}");
    let text = hostile.fails(remote.list("", &mut |_| {}, &never()));
    assert!(text.contains("took longer than 3 s"), "{text}");
}

#[test]
fn an_interrupt_ends_the_wait_for_a_server_that_never_answers() {
    let hostile = Hostile::that(|_, _| Reply::Silence);
    let remote = hostile.remote();
    let interrupt = never();
    let raised = interrupt.clone();
    let server = &hostile.server;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while server.seen().is_empty() {
                std::thread::yield_now();
            }
            raised.raise();
        });
        let outcome = remote.read(&name("a"), 10, &interrupt);
        assert!(matches!(outcome, Err(LevelError::Interrupted)), "{outcome:?}");
    });
}

#[test]
fn a_server_that_closes_half_way() {
    let hostile = Hostile::that(|_, _| object(100, "only a part"));
    let text = hostile.fails(hostile.remote().read(&name("a"), 1000, &never()));
    assert!(text.contains("reading `a`"), "{text}");
    assert!(hostile.server.seen().len() > 1, "the rest is asked for again");
}

#[test]
fn a_server_that_sends_more_than_may_be() {
    let hostile = Hostile::that(|_, _| object(11, "more than 5"));
    let text = hostile.fails(hostile.remote().read(&name("a"), 5, &never()));
    assert!(text.contains("more than the 5 bytes"), "{text}");
}

#[test]
fn a_server_that_does_not_say_how_much_it_sends() {
    let hostile = Hostile::that(|_, _| {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nLast-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\nETag: \"e\"\r\n\r\n";
        Reply::Bytes(format!("{head}5\r\nhello\r\n0\r\n\r\n").into_bytes())
    });
    hostile.fails(hostile.remote().read(&name("a"), 5, &never()));
}

#[test]
fn a_server_that_answers_garbage() {
    let hostile = Hostile::that(|_, _| Reply::new(200, &[], "<ListBucketResult><Contents><Key>\u{1b}[31m"));
    let text = hostile.fails(hostile.remote().list("", &mut |_| {}, &never()));
    assert!(text.contains("listing"), "{text}");
    let hostile = Hostile::that(|_, _| Reply::Bytes(b"SSH-2.0-OpenSSH_9.9\r\n".to_vec()));
    hostile.fails(hostile.remote().write(&name("a"), b"1", &never()));
}

#[test]
fn a_server_that_shouts() {
    let hostile = Hostile::that(|_, _| Reply::new(403, &[], &"\u{1b}[2J evil\n".repeat(100_000)));
    let text = hostile.fails(hostile.remote().write(&name("a"), b"1", &never()));
    assert!(text.contains("403") && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn a_server_that_points_elsewhere() {
    let elsewhere = Hostile::that(|_, _| object(2, "hi"));
    let location = elsewhere.server.url().to_string();
    let hostile = Hostile::that(move |_, _| Reply::new(307, &[("Location", &location)], ""));
    let text = hostile.fails(hostile.remote().read(&name("a"), 10, &never()));
    assert!(text.contains("points elsewhere"), "{text}");
    assert!(elsewhere.server.seen().is_empty(), "nobody goes there with our signature");
}

#[test]
fn a_server_that_is_good_after_a_while() {
    let hostile = Hostile::that(|number, _| match number {
        0 => Reply::new(503, &[("Retry-After", "1")], "<Error><Code>SlowDown</Code></Error>"),
        _ => object(2, "hi"),
    });
    assert_eq!(hostile.remote().read(&name("a"), 10, &never()).unwrap().as_deref(), Some(&b"hi"[..]));
}

#[test]
fn a_server_that_is_always_busy() {
    let hostile =
        Hostile::that(|_, _| Reply::new(503, &[("Retry-After", "3600")], "<Error><Code>SlowDown</Code></Error>"));
    let text = hostile.fails(hostile.remote().read(&name("a"), 10, &never()));
    assert!(text.contains("took longer") || text.contains("SlowDown"), "{text}");
}

#[test]
fn a_server_that_is_not_there() {
    let hostile = Hostile::that(|_, _| Reply::Silence);
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let remote = open_at(&hostile.runtime, &format!("http://{address}"));
    let text = hostile.fails(remote.read(&name("a"), 10, &never()));
    assert!(text.contains("refuses connections") || text.contains("took longer"), "{text}");
}

fn page(keys: &[&str], next: Option<&str>) -> Reply {
    let contents: String = keys
        .iter()
        .map(|key| {
            format!(
                "<Contents><Key>{key}</Key><Size>1</Size><LastModified>2024-01-01T00:00:00Z</LastModified></Contents>"
            )
        })
        .collect();
    let next = next.map(|token| format!("<NextContinuationToken>{token}</NextContinuationToken>")).unwrap_or_default();
    Reply::new(200, &[], &format!("<ListBucketResult>{contents}{next}</ListBucketResult>"))
}

#[test]
fn pages_are_followed_by_their_tokens_and_names_that_are_none_are_left_out() {
    let hostile = Hostile::that(|_, request| match request.target.contains("continuation-token=two") {
        false => page(&["p/a", "p/..hidden", "p/b c", "q/a", "elsewhere", "p"], Some("two")),
        true => page(&["p/z"], None),
    });
    let found: Vec<String> = listed(&hostile.remote(), "").into_iter().map(|(name, _)| name).collect();
    assert_eq!(found, ["..hidden", "a", "z"]);
}

#[test]
fn a_key_that_leads_elsewhere_does_not_hide_the_others() {
    // What a server does that has these keys.
    let keys = ["p/a", "p/b//c", "p/d/../e", "p/f", "p/g"];
    let hostile = Hostile::that(move |_, request| {
        let url = url::Url::parse(&format!("http://h{}", request.target)).unwrap();
        let query = |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        let (after, most) = (query("start-after").unwrap_or_default(), query("max-keys").unwrap().parse().unwrap());
        let left: Vec<&str> = keys.iter().copied().filter(|key| *key > after.as_str()).collect();
        let now = &left[..left.len().min(most)];
        page(now, (now.len() < left.len()).then_some("more"))
    });
    let found: Vec<String> = listed(&hostile.remote(), "").into_iter().map(|(name, _)| name).collect();
    assert_eq!(found, ["a", "f", "g"]);
}

#[test]
fn a_listing_without_end() {
    let hostile = Hostile::that(|_, _| page(&["p/a"], Some("again")));
    let text = hostile.fails(hostile.remote().list("", &mut |_| {}, &never()));
    assert!(text.contains("without end"), "{text}");
    let hostile = Hostile::that(|number, _| page(&["p/a"], Some(&number.to_string())));
    let text = hostile.fails(hostile.remote().list("", &mut |_| {}, &never()));
    assert!(text.contains("took longer than 3 s"), "{text}");
}

/// A server that sends `head` and then `piece` again and again, for as long as anybody listens.
fn endless(runtime: &Runtime, head: &'static str, piece: Vec<u8>, pause: std::time::Duration) -> String {
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let piece = piece.clone();
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let mut alive = stream.write_all(head.as_bytes()).await.is_ok();
                while alive {
                    alive = stream.write_all(&piece).await.is_ok();
                    tokio::time::sleep(pause).await;
                }
            });
        }
    });
    format!("http://{address}")
}

#[test]
fn a_body_without_end() {
    let hostile = Hostile::that(|_, _| Reply::Silence);
    let chunk = [b"10000\r\n".to_vec(), vec![b'x'; 0x10000], b"\r\n".to_vec()].concat();
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let endpoint = endless(&hostile.runtime, head, chunk, std::time::Duration::ZERO);
    let remote = open_at(&hostile.runtime, &endpoint);
    let text = hostile.fails(remote.list("", &mut |_| {}, &never()));
    assert!(text.contains("larger than") || text.contains("took longer"), "{text}");
    hostile.fails(remote.read(&name("a"), 1000, &never()));
}

#[test]
fn a_body_that_drips() {
    let hostile = Hostile::that(|_, _| Reply::Silence);
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\nLast-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\nETag: \"e\"\r\n\r\n";
    let endpoint = endless(&hostile.runtime, head, b"x".to_vec(), std::time::Duration::from_millis(200));
    let text = hostile.fails(open_at(&hostile.runtime, &endpoint).read(&name("a"), 1_000_000, &never()));
    assert!(text.contains("took longer than 3 s"), "{text}");
}
