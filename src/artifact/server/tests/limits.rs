//! How much jobs may ask.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::*;

/// What a block counts as at least.
const UNIT: u64 = 4096;

#[tokio::test(flavor = "multi_thread")]
async fn a_job_begins_so_many_entries_and_what_it_gives_up_is_removed() {
    let place = Place::with(Limits { reserve_bytes: 0, job_uploads: 2, ..Limits::default() }).await;
    let (job, other) = (place.job("a"), place.job("b"));
    job.reserved("1", "v").await;
    let id = job.reserved("2", "v").await;
    assert_eq!(job.reserve("3", "v").await.status(), StatusCode::TOO_MANY_REQUESTS);
    other.reserved("3", "v").await;
    assert_eq!(job.write(id, "bytes 0-0/*", b"x").await, StatusCode::NO_CONTENT);
    assert_eq!(job.commit(id, 1).await, StatusCode::NO_CONTENT);
    job.reserved("4", "v").await;
    assert_eq!(place.spooled(), 3);
    let uploads = &place.server.shared.uploads;
    uploads.sweep(Instant::now());
    assert_eq!(place.spooled(), 3, "they were touched just now");
    drop(other);
    place.spooled_only(2).await;
    uploads.sweep(Instant::now() + Limits::default().idle + Duration::from_secs(1));
    assert_eq!(place.spooled(), 0);
    job.reserved("1", "v").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_an_entry_of_a_job_and_of_all_jobs_are_bounded() {
    let limits = Limits { reserve_bytes: 0, entry_bytes: 100 * UNIT, job_bytes: 150 * UNIT, ..Limits::default() };
    let limits = Limits { upload_bytes: 200 * UNIT, ..limits };
    let place = Place::with(limits).await;
    let (job, other) = (place.job("a"), place.job("b"));
    let bytes = |units: u64| vec![b'x'; (units * UNIT) as usize];
    let range = |units: u64| format!("bytes 0-{}/*", units * UNIT - 1);
    let (one, two) = (job.reserved("1", "v").await, job.reserved("2", "v").await);
    assert_eq!(job.write(one, &range(101), &bytes(101)).await, StatusCode::BAD_REQUEST);
    assert_eq!(job.write(one, &range(100), &bytes(100)).await, StatusCode::NO_CONTENT);
    assert_eq!(job.write(one, &range(100), &bytes(100)).await, StatusCode::NO_CONTENT, "again takes no more");
    assert_eq!(job.write(two, &range(51), &bytes(51)).await, StatusCode::INSUFFICIENT_STORAGE);
    assert_eq!(job.write(two, &range(50), &bytes(50)).await, StatusCode::NO_CONTENT);
    let blob = other.created("3", "v").await;
    assert_eq!(other.put(&blob, bytes(101)).await, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(other.put(&blob, bytes(51)).await, StatusCode::INSUFFICIENT_STORAGE, "all jobs together");
    assert_eq!(other.put(&blob, bytes(50)).await, StatusCode::CREATED);
    assert_eq!(job.commit(one, 100 * UNIT).await, StatusCode::NO_CONTENT);
    // What is kept gives its room back.
    let rest = format!("{blob}&comp=block&blockid=YQ%3D%3D");
    assert_eq!(other.put(&rest, bytes(100)).await, StatusCode::CREATED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_takes_nothing_and_says_so() {
    let place = Place::with(Limits { reserve_bytes: u64::MAX / 2, ..Limits::default() }).await;
    let job = place.job("a");
    let id = job.reserved("1", "v").await;
    assert_eq!(job.write(id, "bytes 0-0/*", b"x").await, StatusCode::INSUFFICIENT_STORAGE);
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_that_nobody_reads_give_way() {
    let place = Place::with(Limits { reserve_bytes: 0, download_bytes: 1000, ..Limits::default() }).await;
    let job = place.job("a");
    for key in ["1", "2", "3"] {
        job.save(key, "v", &[key.as_bytes()[0]; 600]).await;
    }
    for key in ["1", "2", "3", "1"] {
        assert_eq!(job.content(&[key], "v").await.unwrap(), [key.as_bytes()[0]; 600]);
        assert_eq!(place.spooled(), 1);
    }
    job.save("big", "v", &[b'x'; 1001]).await;
    let found = job.find(&["big"], "v").await.unwrap();
    let answer = job.http.get(found["archiveLocation"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_are_counted_and_an_empty_one_takes_room_too() {
    let limits = Limits { reserve_bytes: 0, job_blocks: 3, job_bytes: 2 * UNIT, ..Limits::default() };
    let place = Place::with(limits.clone()).await;
    let (job, other) = (place.job("a"), place.job("b"));
    let url = job.created("k", "v").await;
    let block = |url: &str, id: &str| format!("{url}&comp=block&blockid={id}%3D%3D");
    for id in ["YQ", "Yg"] {
        assert_eq!(job.put(&block(&url, id), "").await, StatusCode::CREATED);
    }
    assert_eq!(job.put(&block(&url, "Yw"), "").await, StatusCode::INSUFFICIENT_STORAGE);
    let url = other.created("k2", "v").await;
    assert_eq!(other.put(&block(&url, "YQ"), "").await, StatusCode::CREATED, "another job's are its own");
    let place = Place::with(Limits { job_bytes: 100 * UNIT, ..limits }).await;
    let job = place.job("a");
    let (one, two) = (job.created("1", "v").await, job.created("2", "v").await);
    for url in [block(&one, "YQ"), block(&one, "Yg"), block(&two, "YQ")] {
        assert_eq!(job.put(&url, "x").await, StatusCode::CREATED);
    }
    assert_eq!(job.put(&block(&two, "Yg"), "x").await, StatusCode::TOO_MANY_REQUESTS, "in all that it uploads");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_asks_often_forgets_its_own_addresses_and_nobody_elses() {
    let place = Place::with(Limits { reserve_bytes: 0, job_tickets: 2, ..Limits::default() }).await;
    let (job, other) = (place.job("a"), place.job("b"));
    job.save("k", "v", b"content").await;
    let mut urls = Vec::new();
    for asker in [&other, &job, &job, &job] {
        urls.push(asker.find(&["k"], "v").await.unwrap()["archiveLocation"].as_str().unwrap().to_owned());
    }
    let mut answers = Vec::new();
    for url in &urls {
        answers.push(place.http.get(url).send().await.unwrap().status());
    }
    assert_eq!(answers, [StatusCode::OK, StatusCode::NOT_FOUND, StatusCode::OK, StatusCode::OK]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_has_its_share_of_what_is_fetched() {
    let place = Place::with(Limits { reserve_bytes: 0, job_download_bytes: 1000, ..Limits::default() }).await;
    let (job, other) = (place.job("a"), place.job("b"));
    for key in ["1", "2", "3"] {
        job.save(key, "v", &[key.as_bytes()[0]; 600]).await;
    }
    assert!(other.content(&["3"], "v").await.is_some());
    for key in ["1", "2", "1"] {
        assert_eq!(job.content(&[key], "v").await.unwrap(), [key.as_bytes()[0]; 600]);
        assert_eq!(place.spooled(), 2, "its own copies give way, not those of others");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_nobody_reads_is_given_up() {
    let length = 32 << 20;
    let limits = Limits { reserve_bytes: 0, download_bytes: length + 1000, ..Limits::default() };
    let place = Place::with(Limits { unread: Duration::from_millis(300), ..limits }).await;
    let job = place.job("a");
    job.save("big", "v", &noise(1, length as usize)).await;
    job.save("small", "v", &[b'x'; 2000]).await;
    let found = job.find(&["big"], "v").await.unwrap();
    let url = found["archiveLocation"].as_str().unwrap();
    let (address, path) = url.trim_start_matches("http://").split_once('/').unwrap();
    let mut stalled = TcpStream::connect(address).await.unwrap();
    stalled.write_all(format!("GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
    stalled.read_exact(&mut [0; 12]).await.unwrap();
    let found = job.find(&["small"], "v").await.unwrap();
    let small = found["archiveLocation"].as_str().unwrap();
    let first = place.http.get(small).send().await.unwrap().status();
    assert_eq!(first, StatusCode::SERVICE_UNAVAILABLE, "the copy that is being read takes the room");
    let room = async { while place.http.get(small).send().await.unwrap().status() != StatusCode::OK {} };
    tokio::time::timeout(Duration::from_secs(60), room).await.expect("the copy stays as if it were read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_has_so_many_connections() {
    let place = Place::with(Limits { reserve_bytes: 0, peer_connections: 1, ..Limits::default() }).await;
    let address = place.server.url().trim_start_matches("http://").trim_end_matches('/').to_owned();
    let mut first = TcpStream::connect(&address).await.unwrap();
    first.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    first.read_exact(&mut [0; 12]).await.unwrap();
    let mut second = TcpStream::connect(&address).await.unwrap();
    let heard = second.read(&mut [0; 12]).await;
    assert!(matches!(heard, Ok(0) | Err(_)), "it is hung up on: {heard:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_entries_says_how_many_there_are() {
    let place = Place::new().await;
    let job = place.job("a");
    for at in 0..101 {
        job.save(&format!("k{at}"), "v", b"x").await;
    }
    let listed = job.ask(Method::GET, "_apis/artifactcache/caches?key=k").send().await.unwrap();
    let listed: Value = listed.json().await.unwrap();
    assert_eq!((&listed["totalCount"], listed["artifactCaches"].as_array().unwrap().len()), (&json!(101), 100));
}
