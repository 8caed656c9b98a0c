//! An entry is written once, whoever else writes it.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn of_two_servers_of_one_store_one_keeps_an_entry_of_a_name() {
    let place = Place::new().await;
    let limits = store::Limits { reserve_bytes: 0, ..store::Limits::default() };
    let root = place.temp.path().join("store");
    let store = Arc::new(Store::open(&root, limits, None, clock(&place.now)).unwrap());
    let other_place = ServerPlace {
        address: Ipv4Addr::LOCALHOST.into(),
        folder: place.temp.path().join("other-spool"),
        locks: place.temp.path().join("locks"),
        store,
        limits: Limits { reserve_bytes: 0, ..Limits::default() },
        clock: clock(&place.now),
    };
    let other = CacheServer::start(other_place).await.unwrap();
    let one = place.job("one");
    let two = Place::admitted(&other, &place.http, &member(), "two", "refs/heads/main", &[]);
    for round in 0..10 {
        let key = format!("k{round}");
        let (first, second) = (one.reserved(&key, "v").await, two.reserved(&key, "v").await);
        assert_eq!(one.write(first, "bytes 0-2/*", b"one").await, StatusCode::NO_CONTENT);
        assert_eq!(two.write(second, "bytes 0-2/*", b"two").await, StatusCode::NO_CONTENT);
        let both = tokio::join!(one.commit(first, 3), two.commit(second, 3));
        let winner: &[u8] = match both {
            (StatusCode::NO_CONTENT, StatusCode::CONFLICT) => b"one",
            (StatusCode::CONFLICT, StatusCode::NO_CONTENT) => b"two",
            other => panic!("{other:?}"),
        };
        assert_eq!(one.content(&[&key], "v").await.unwrap(), winner);
        assert_eq!(two.content(&[&key], "v").await.unwrap(), winner);
    }
    other.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_of_an_entry_that_is_being_kept_is_not_free_when_its_job_ends() {
    let place = Place::new().await;
    let (job, other) = (place.job("a"), place.job("b"));
    let id = job.reserved("k", "v").await;
    assert_eq!(job.write(id, "bytes 0-0/*", b"x").await, StatusCode::NO_CONTENT);
    let uploads = &place.server.shared.uploads;
    let upload = uploads.by_id(id).unwrap();
    let _sealed = upload.seal(1).unwrap();
    drop(job);
    assert_eq!(other.reserve("k", "v").await.status(), StatusCode::CONFLICT);
    uploads.finish(&upload, None);
    other.reserved("k", "v").await;
}
