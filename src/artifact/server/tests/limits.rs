//! How much jobs may ask.

use tokio::time::Instant;

use super::*;

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
    assert_eq!(X);
    uploads.sweep(Instant::now() + Limits::default().idle + Duration::from_secs(1));
    assert_eq!(place.spooled(), 0);
    job.reserved("1", "v").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_an_entry_of_a_job_and_of_all_jobs_are_bounded() {
    let limits = Limits { reserve_bytes: 0, entry_bytes: 100, job_bytes: 150, upload_bytes: 200, ..Limits::default() };
    let place = Place::with(limits).await;
    let (job, other) = (place.job("a"), place.job("b"));
    let bytes = [b'x'; 101];
    let (one, two) = (job.reserved("1", "v").await, job.reserved("2", "v").await);
    assert_eq!(job.write(one, "bytes 0-100/*", &bytes).await, StatusCode::BAD_REQUEST);
    assert_eq!(job.write(one, "bytes 0-99/*", &bytes[..100]).await, StatusCode::NO_CONTENT);
    assert_eq!(job.write(one, "bytes 0-99/*", &bytes[..100]).await, StatusCode::NO_CONTENT, "again takes no more");
    assert_eq!(job.write(two, "bytes 0-50/*", &bytes[..51]).await, StatusCode::INSUFFICIENT_STORAGE);
    assert_eq!(job.write(two, "bytes 0-49/*", &bytes[..50]).await, StatusCode::NO_CONTENT);
    let blob = other.created("3", "v").await;
    assert_eq!(other.put(&blob, vec![b'x'; 101]).await, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(other.put(&blob, vec![b'x'; 51]).await, StatusCode::INSUFFICIENT_STORAGE, "all jobs together");
    assert_eq!(other.put(&blob, vec![b'x'; 50]).await, StatusCode::CREATED);
    assert_eq!(job.commit(one, 100).await, StatusCode::NO_CONTENT);
    // What is kept gives its room back.
    let rest = format!("{blob}&comp=block&blockid=YQ%3D%3D");
    assert_eq!(other.put(&rest, vec![b'x'; 100]).await, StatusCode::CREATED);
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
