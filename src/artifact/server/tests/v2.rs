//! Version 2, in JSON and in binary.

use super::super::protobuf::{Field, Writer, fields};
use super::*;

async fn finalize(job: &Job, key: &str, size: Value) -> (StatusCode, Value) {
    job.call("FinalizeCacheEntryUpload", json!({"key": key, "version": "v", "size_bytes": size})).await
}

async fn fetched(job: &Job, body: Value) -> Option<(String, Vec<u8>)> {
    let (status, answer) = job.call("GetCacheEntryDownloadURL", body).await;
    assert_eq!(status, StatusCode::OK);
    if answer["ok"] != true {
        return None;
    }
    let bytes = job.http.get(answer["signed_download_url"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(bytes.status(), StatusCode::OK);
    Some((answer["matched_key"].as_str().unwrap().to_owned(), bytes.bytes().await.unwrap().to_vec()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_put_at_once_is_kept_when_its_size_is_right() {
    let place = Place::new().await;
    let job = place.job("a");
    assert_eq!(fetched(&job, json!({"key": "k", "version": "v"})).await, None);
    let url = job.created("k", "v").await;
    assert!(url.contains('?'), "clients add to the query: {url}");
    let (status, said) = job.call("CreateCacheEntry", json!({"key": "k", "version": "v"})).await;
    assert_eq!((status, &said["code"]), (StatusCode::CONFLICT, &json!("already_exists")));
    let bytes = noise(2, 2 << 20);
    let put = place.http.put(&url).header("x-ms-blob-type", "BlockBlob").body(bytes.clone()).send().await.unwrap();
    assert_eq!(put.status(), StatusCode::CREATED);
    assert!(put.headers().contains_key("x-ms-request-id"), "Azure's clients want it");
    let (status, said) = finalize(&job, "k", json!("12")).await;
    assert_eq!((status, &said["code"]), (StatusCode::BAD_REQUEST, &json!("invalid_argument")));
    assert_eq!(fetched(&job, json!({"key": "k", "version": "v"})).await, None);
    let (status, first) = finalize(&job, "k", json!(bytes.len().to_string())).await;
    assert_eq!((status, &first["ok"]), (StatusCode::OK, &json!(true)));
    assert!(first["entry_id"].as_str().unwrap().parse::<u64>().unwrap() > 0);
    assert_eq!(finalize(&job, "k", json!(bytes.len())).await.1, first, "a client whose answer was lost");
    let (key, found) =
        fetched(&job, json!({"metadata": null, "key": "none", "restoreKeys": ["x", "K"], "version": "v"}))
            .await
            .unwrap();
    assert!(key == "k" && found == bytes);
    assert_eq!(job.content(&["k"], "v").await.unwrap(), bytes, "both versions see the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_are_what_the_list_says() {
    let place = Place::new().await;
    let job = place.job("a");
    let url = job.created("k", "v").await;
    for (id, text) in [("Yg==", "world"), ("YQ==", "not this"), ("YQ==", "hello "), ("Yw==", "never listed")] {
        assert_eq!(
            job.put(&format!("{url}&comp=block&blockid={}", id.replace('=', "%3D")), text).await,
            StatusCode::CREATED
        );
    }
    let list = |ids: &[&str]| {
        let blocks: String = ids.iter().map(|id| format!("<Latest>{id}</Latest>")).collect();
        format!("<?xml version=\"1.0\"?><BlockList>{blocks}</BlockList>")
    };
    let put_list = |text: String| job.put(&*format!("{url}&comp=blocklist").leak(), text);
    assert_eq!(finalize(&job, "k", json!(11)).await.0, StatusCode::BAD_REQUEST, "nobody has said what it is");
    assert_eq!(put_list(list(&["YQ==", "eA=="])).await, StatusCode::BAD_REQUEST, "there is no such block");
    assert_eq!(put_list("nonsense".into()).await, StatusCode::BAD_REQUEST);
    assert_eq!(put_list(list(&["YQ==", "Yg==", "Yg=="])).await, StatusCode::CREATED);
    assert_eq!(finalize(&job, "k", json!(16)).await.0, StatusCode::OK);
    let (_, found) = fetched(&job, json!({"key": "k", "version": "v"})).await.unwrap();
    assert_eq!(found, b"hello worldworld");
    let found = job.find(&["k"], "v").await.unwrap();
    let across = job.http.get(found["archiveLocation"].as_str().unwrap()).header("x-ms-range", "bytes=4-7");
    assert_eq!(across.send().await.unwrap().bytes().await.unwrap(), "o wo", "a range over two blocks");
    assert_eq!(place.spooled(), 1, "what is fetched; nothing of what was uploaded");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_binary_form_says_the_same() {
    let place = Place::new().await;
    let job = place.job("a");
    let call = |method: &str, body: Vec<u8>| {
        let request = job.ask(Method::POST, &format!("twirp/{SERVICE}/{method}"));
        let request = request.header("Content-Type", "application/protobuf").body(body).send();
        async { request.await.unwrap().bytes().await.unwrap() }
    };
    let text = |bytes: &[u8], field: u64| {
        let all = fields(bytes).unwrap();
        all.iter().find(|(number, _)| *number == field).map(|(_, field)| field.text().unwrap().to_owned())
    };
    let key = || Writer::default().text(2, "sccache/a/b");
    let created = call("CreateCacheEntry", key().text(3, "v").into_bytes()).await;
    assert_eq!(fields(&created).unwrap()[0], (1, Field::Number(1)));
    assert_eq!(job.put(&text(&created, 2).unwrap(), "object").await, StatusCode::CREATED);
    let kept = call("FinalizeCacheEntryUpload", key().number(3, 6).text(4, "v").into_bytes()).await;
    assert!(matches!(fields(&kept).unwrap()[..], [(1, Field::Number(1)), (2, Field::Number(1..))]));
    let ask = Writer::default().text(2, "none").text(3, "zzz").text(3, "sccache/").text(4, "v").into_bytes();
    let found = call("GetCacheEntryDownloadURL", ask).await;
    assert_eq!(text(&found, 3).as_deref(), Some("sccache/a/b"));
    let object = place.http.get(text(&found, 2).unwrap()).send().await.unwrap();
    assert_eq!(object.text().await.unwrap(), "object");
    let missing = call("GetCacheEntryDownloadURL", Writer::default().text(2, "none").text(4, "v").into_bytes()).await;
    assert_eq!(missing.len(), 0, "a message of nothing but defaults");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_call_is_refused_in_words() {
    let place = Place::new().await;
    let job = place.job("a");
    assert_eq!(job.call("DropEverything", json!({})).await.1["code"], "bad_route");
    for body in [json!({"key": 1}), json!({"key": "k", "version": "v", "restore_keys": "x"}), json!({"key": "k"})] {
        assert_eq!(job.call("GetCacheEntryDownloadURL", body).await.1["code"], "invalid_argument");
    }
    for size in [json!(-1), json!("x"), json!(1e40), json!("99999999999999999999999")] {
        assert_eq!(finalize(&job, "k", size).await.1["code"], "invalid_argument");
    }
    assert_eq!(finalize(&job, "k", json!(1)).await.1["code"], "not_found");
    let artifacts = job.ask(Method::POST, "twirp/github.actions.results.api.v1.ArtifactService/CreateArtifact");
    let answer = artifacts.json(&json!({})).send().await.unwrap();
    assert_eq!(
        (answer.status(), &answer.json::<Value>().await.unwrap()["code"]),
        (StatusCode::NOT_IMPLEMENTED, &json!("unimplemented"))
    );
    let url = job.created("k", "v").await;
    let append = place.http.put(&url).header("x-ms-blob-type", "AppendBlob").send().await.unwrap();
    assert_eq!(append.status(), StatusCode::BAD_REQUEST);
    assert_eq!(job.put(&format!("{url}&comp=lease"), "").await, StatusCode::BAD_REQUEST);
    assert_eq!(job.put(&format!("{url}&comp=block&blockid=!"), "").await, StatusCode::BAD_REQUEST);
}
