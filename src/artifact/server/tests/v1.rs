//! Version 1.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_came_in_any_order_and_over_each_other_is_fetched_as_it_was() {
    let place = Place::new().await;
    let job = place.job("a");
    assert_eq!(job.find(&["k"], "v").await, None);
    let bytes = noise(1, 3 << 20);
    let id = job.reserved("k", "v").await;
    // The last part first, parts that overlap, one that comes twice, several at the same time.
    let part = |from: usize, to: usize| {
        let (range, body) = (format!("bytes {from}-{}/*", to - 1), bytes[from..to].to_vec());
        let job = &job;
        async move { assert_eq!(job.write(id, &range, &body).await, StatusCode::NO_CONTENT) }
    };
    part(2 << 20, 3 << 20).await;
    assert_eq!(job.commit(id, 3 << 20).await, StatusCode::BAD_REQUEST, "a gap");
    tokio::join!(part(0, 900_000), part(700_000, 2_000_000), part(1_900_000, 2_200_000), part(0, 900_000));
    assert_eq!(job.commit(id, (3 << 20) - 1).await, StatusCode::BAD_REQUEST, "another size");
    assert_eq!(job.find(&["k"], "v").await, None, "nothing is seen before it is whole");
    assert_eq!(job.commit(id, 3 << 20).await, StatusCode::NO_CONTENT);
    assert_eq!(job.commit(id, 3 << 20).await, StatusCode::NO_CONTENT, "a client whose answer was lost");
    assert_eq!(job.write(id, "bytes 0-0/*", b"x").await, StatusCode::NOT_FOUND, "it is written once");

    let found = job.find(&["k"], "v").await.unwrap();
    assert_eq!((&found["cacheKey"], &found["scope"]), (&json!("k"), &json!("refs/heads/main")));
    assert_eq!((&found["result"], &found["cacheVersion"]), (&json!("hit"), &json!("v")));
    let url = found["archiveLocation"].as_str().unwrap();
    // As the clients do: without a token, whole, in parts, and its head alone.
    let whole = place.http.get(url).send().await.unwrap();
    assert_eq!(whole.content_length(), Some(3 << 20));
    assert!(whole.bytes().await.unwrap() == bytes, "the bytes are others");
    let head = place.http.head(url).send().await.unwrap();
    assert_eq!((head.status(), head.headers()["content-length"].to_str().unwrap()), (StatusCode::OK, "3145728"));
    let part = place.http.get(url).header("Range", "bytes=1000000-1000009").send().await.unwrap();
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.headers()["content-range"], "bytes 1000000-1000009/3145728");
    assert_eq!(part.bytes().await.unwrap(), bytes[1_000_000..1_000_010]);
    let none = place.http.get(url).header("Range", "bytes=3145728-").send().await.unwrap();
    assert_eq!(none.status(), StatusCode::RANGE_NOT_SATISFIABLE);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_is_written_once_and_by_one() {
    let place = Place::new().await;
    let (one, other) = (place.job("one"), place.job("other"));
    let id = one.reserved("Key", "v").await;
    // As go-actions-cache and the toolkit read it.
    let refused = other.reserve("Key", "v").await;
    assert_eq!(refused.status(), StatusCode::CONFLICT);
    let said: Value = refused.json().await.unwrap();
    assert!(said["message"].as_str().unwrap().contains("already exists"), "{said}");
    assert!(said["typeKey"].as_str().unwrap().contains("AlreadyExists"), "{said}");
    assert_eq!(one.write(id, "bytes 0-2/*", b"one").await, StatusCode::NO_CONTENT);
    assert_eq!(one.commit(id, 3).await, StatusCode::NO_CONTENT);
    assert_eq!(other.reserve("Key", "v").await.status(), StatusCode::CONFLICT);
    assert_eq!(other.reserve("KEY", "v").await.status(), StatusCode::CONFLICT, "keys that differ in case alone");
    assert_eq!(other.reserve("Key", "w").await.status(), StatusCode::CREATED, "another version");
    assert_eq!(other.content(&["key"], "v").await.unwrap(), b"one");
    // Of ten at once one begins.
    let at_once = futures_util::future::join_all((0..10).map(|_| other.reserve("new", "v"))).await;
    assert_eq!(at_once.iter().filter(|answer| answer.status() == StatusCode::CREATED).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exact_key_comes_first_then_the_newest_that_begins_so() {
    let place = Place::new().await;
    let job = place.job("a");
    for key in ["npm-linux-1", "npm-linux-2", "npm-mac-3", "npm"] {
        place.pass(10);
        job.save(key, "v", key.as_bytes()).await;
    }
    place.pass(10);
    job.save("npm-linux-9", "w", b"of another version").await;
    assert_eq!(job.found(&["npm-linux-1", "npm-"], "v").await.as_deref(), Some("npm-linux-1"));
    assert_eq!(job.found(&["none", "npm-linux-", "npm-"], "v").await.as_deref(), Some("npm-linux-2"));
    assert_eq!(job.found(&["none", "npm-"], "v").await.as_deref(), Some("npm-mac-3"));
    assert_eq!(job.found(&["npm"], "v").await.as_deref(), Some("npm"), "itself before those that begin so");
    assert_eq!(job.found(&["NPM-LINUX-"], "v").await.as_deref(), Some("npm-linux-2"));
    assert_eq!(job.found(&["none", "pm-"], "v").await, None);
    assert_eq!(job.found(&["npm-linux-1"], "x").await, None);
    let listed = job.ask(Method::GET, "_apis/artifactcache/caches?key=npm-linux").send().await.unwrap();
    assert_eq!(listed.json::<Value>().await.unwrap()["totalCount"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_all_kinds_and_an_empty_entry() {
    let place = Place::new().await;
    let job = place.job("a");
    for key in ["ä ö/ü?&=+%41#", "../../etc/passwd", "a\u{7f}b", "\u{10ffff}", &"x".repeat(512)] {
        job.save(key, "v ,v", key.as_bytes()).await;
        assert_eq!(job.content(&[key], "v ,v").await.unwrap(), key.as_bytes());
    }
    let id = job.reserved("empty", "v").await;
    assert_eq!(job.commit(id, 0).await, StatusCode::NO_CONTENT);
    assert_eq!(job.content(&["empty"], "v").await.unwrap(), b"");
    for (key, version) in [("", "v"), ("k", ""), ("a,b", "v"), (&*"x".repeat(513), "v"), ("k", &"x".repeat(513))] {
        assert_eq!(job.reserve(key, version).await.status(), StatusCode::BAD_REQUEST, "{key} {version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_outlive_the_server_and_nothing_else_does() {
    let Place { temp, store, server, http, now } = Place::new().await;
    let place = Place { server, temp, store, http, now };
    let job = place.job("a");
    job.save("k", "v", b"kept").await;
    let id = job.reserved("half", "v").await;
    job.write(id, "bytes 0-3/*", b"half").await;
    drop(job);
    let Place { temp, store, server, http, now } = place;
    server.close().await;
    assert!(!temp.path().join("spool").exists());
    let server = Place::serve(&temp, &store, Limits::default(), clock(&now)).await;
    let place = Place { server, temp, store, http, now };
    let job = place.job("b");
    assert_eq!(job.content(&["k"], "v").await.unwrap(), b"kept");
    assert_eq!(job.find(&["half"], "v").await, None);
}
