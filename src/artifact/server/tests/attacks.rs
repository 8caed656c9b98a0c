//! Who may read, write and learn of what: every trust of an attacker against every trust of a victim, in the same project, in another
//! one and at another forge. And requests that are made to break something.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;

const TRUSTS: [Trust; 3] = [Trust::Protected, Trust::Member, Trust::Fork];
const SCOPE: &str = "refs/heads/main";

/// Design, section 8: inside a project, what is trusted as much or more.
fn may_read(reader: &Owner, writer: &Owner) -> bool {
    let level = |owner: &Owner| TRUSTS.iter().position(|trust| *trust == owner.trust).unwrap();
    reader.forge == writer.forge && reader.project == writer.project && level(writer) <= level(reader)
}

fn owners() -> Vec<(&'static str, Owner)> {
    let of = |trust| {
        [
            ("same project", owner("https://forge.example.com", "1", trust)),
            ("other project", owner("https://forge.example.com", "2", trust)),
            ("other forge", owner("https://other.example.com", "1", trust)),
        ]
    };
    TRUSTS.into_iter().flat_map(of).collect()
}

/// What an answer tells: status, headers but for times and numbers, body.
async fn told(answer: Response) -> (StatusCode, String) {
    (answer.status(), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_reads_writes_or_learns_what_his_owner_may_not() {
    let mut cells = 0;
    for trust in TRUSTS {
        let victim = owner("https://forge.example.com", "1", trust);
        for (at, attacker) in owners() {
            let label = format!("{} of {at} against {trust}", attacker.trust);
            attack(&attacker, &victim, &label).await;
            cells += 1;
        }
    }
    assert_eq!(cells, 27);
}

/// One job against another that runs for the same ref. The attacker knows everything: keys, numbers, versions.
async fn attack(attacker_owner: &Owner, victim_owner: &Owner, label: &str) {
    let place = Place::new().await;
    let victim = place.job_of(victim_owner, "victim", SCOPE, &[]);
    let attacker = place.job_of(attacker_owner, "attacker", SCOPE, &[SCOPE]);
    let (reads, is_same) = (may_read(attacker_owner, victim_owner), attacker_owner == victim_owner);
    victim.save("deps", "v", b"the victim's").await;
    let half = victim.reserved("half", "v").await;
    assert_eq!(victim.write(half, "bytes 0-3/*", b"half").await, StatusCode::NO_CONTENT);
    let blob = victim.created("blob", "v").await;

    // Read, by each version.
    let read = attacker.content(&["deps"], "v").await;
    assert_eq!(read.as_deref(), reads.then_some(&b"the victim's"[..]), "{label}");
    let (_, answer) = attacker.call("GetCacheEntryDownloadURL", json!({"key": "de", "version": "v"})).await;
    assert_eq!(answer["ok"] == true, reads, "{label}");
    // Exists? What cannot be read answers as what is not there at all.
    if !reads {
        let find =
            |key: &str| attacker.ask(Method::GET, &format!("_apis/artifactcache/cache?keys={key}&version=v")).send();
        assert_eq!(told(find("deps").await.unwrap()).await, told(find("never").await.unwrap()).await, "{label}");
        let list = attacker.ask(Method::GET, "_apis/artifactcache/caches?key=").send().await.unwrap();
        assert_eq!(list.json::<Value>().await.unwrap()["totalCount"], 0, "{label}");
    }
    // Uploads of others, by number and by name: the answer is that for what was never there, even to other jobs of the owner.
    let write = |id: u64| {
        let request = attacker.ask(Method::PATCH, &format!("_apis/artifactcache/caches/{id}"));
        request.header("Content-Range", "bytes 0-3/*").body("evil").send()
    };
    assert_eq!(told(write(half).await.unwrap()).await, told(write(half ^ 1).await.unwrap()).await, "{label}");
    assert_eq!(write(half).await.unwrap().status(), StatusCode::NOT_FOUND);
    assert_eq!(attacker.commit(half, 4).await, StatusCode::NOT_FOUND, "{label}");
    let finalize = json!({"key": "blob", "version": "v", "size_bytes": 0});
    assert_eq!(attacker.call("FinalizeCacheEntryUpload", finalize).await.1["code"], "not_found", "{label}");
    // Write: the names are free for everybody but the victim's own owner, and nothing of the victim's changes by it.
    for key in ["deps", "half"] {
        let reserved = attacker.reserve(key, "v").await;
        let wanted = if is_same { StatusCode::CONFLICT } else { StatusCode::CREATED };
        assert_eq!(reserved.status(), wanted, "{label}: {key}");
        if let Some(id) = reserved.json::<Value>().await.unwrap()["cacheId"].as_u64() {
            assert_eq!(attacker.write(id, "bytes 0-3/*", b"evil").await, StatusCode::NO_CONTENT);
            assert_eq!(attacker.commit(id, 4).await, StatusCode::NO_CONTENT, "{label}");
        }
    }
    assert_eq!(victim.content(&["deps"], "v").await.unwrap(), b"the victim's", "{label}");
    let sees_other = victim.found(&["half"], "v").await.is_some();
    assert_eq!(sees_other, !is_same && may_read(victim_owner, attacker_owner), "{label}");
    assert_eq!(victim.commit(half, 4).await, StatusCode::NO_CONTENT, "{label}");
    assert_eq!(victim.content(&["half"], "v").await.unwrap(), b"half", "{label}");
    assert_eq!(victim.put(&blob, "x").await, StatusCode::CREATED, "{label}: the address still holds");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_token_of_a_running_job_nothing_is_told() {
    let place = Place::new().await;
    let job = place.job("a");
    job.save("k", "v", b"x").await;
    let found = job.find(&["k"], "v").await.unwrap()["archiveLocation"].as_str().unwrap().to_owned();
    let upload = job.created("new", "v").await;
    let dead = Job {
        token: job.token.clone(),
        url: job.url.clone(),
        http: job.http.clone(),
        admission: place.job("b").admission,
    };
    let forged = format!("{}x", job.token);
    let none = "e30.e30.";
    drop(job);
    for token in [dead.token.clone(), forged, none.to_owned(), String::new()] {
        let asker = Job { token, url: dead.url.clone(), http: dead.http.clone(), admission: place.job("c").admission };
        assert_eq!(asker.reserve("k", "v").await.status(), StatusCode::UNAUTHORIZED);
        for path in ["cache?keys=k&version=v", "caches?key=k"] {
            let answer = asker.ask(Method::GET, &format!("_apis/artifactcache/{path}")).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        }
        assert_eq!(
            asker.call("GetCacheEntryDownloadURL", json!({"key": "k", "version": "v"})).await.0,
            StatusCode::UNAUTHORIZED
        );
        let clean = asker.ask(Method::POST, "_apis/artifactcache/clean").send().await.unwrap();
        assert_eq!(clean.status(), StatusCode::UNAUTHORIZED);
    }
    assert_eq!(
        place.http.get(&found).send().await.unwrap().status(),
        StatusCode::NOT_FOUND,
        "addresses end with the job"
    );
    assert_eq!(dead.put(&upload, "x").await, StatusCode::NOT_FOUND);
    let fresh = place.job("d");
    assert_eq!(fresh.found(&["k"], "v").await.as_deref(), Some("k"));
    place.pass(3601);
    assert_eq!(fresh.reserve("z", "v").await.status(), StatusCode::UNAUTHORIZED, "its time is over");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_holds_for_what_it_was_given_out_for() {
    let place = Place::new().await;
    let job = place.job("a");
    job.save("one", "v", b"one").await;
    job.save("two", "v", b"two").await;
    let address = |key: &'static str| {
        let job = &job;
        async move { job.find(&[key], "v").await.unwrap()["archiveLocation"].as_str().unwrap().to_owned() }
    };
    let (one, two) = (address("one").await, address("two").await);
    let upload = job.created("new", "v").await;
    let (head, query) = one.split_once('?').unwrap();
    let (other_head, _) = two.split_once('?').unwrap();
    let (upload_head, upload_query) = upload.split_once('?').unwrap();
    let number = head.rsplit('/').next().unwrap();
    for wrong in [
        head.to_owned(),
        format!("{other_head}?{query}"),
        format!("{head}?{upload_query}"),
        format!("{head}?{}", query.replace("exp=1", "exp=9")),
        format!("{head}?{}0", &query[..query.len() - 1]),
        format!("{}+{number}?{query}", &head[..head.len() - number.len()]),
        format!("{}%2e%2e/{number}?{query}", &head[..head.len() - number.len()]),
        format!("{head}/../{number}?{query}x"),
    ] {
        let status = place.http.get(&wrong).send().await.unwrap().status();
        assert!(matches!(status, StatusCode::FORBIDDEN | StatusCode::NOT_FOUND), "{wrong}: {status}");
    }
    for wrong in [upload_head.to_owned(), format!("{upload_head}?{query}"), format!("{upload_head}1?{upload_query}")] {
        assert_eq!(job.put(&wrong, "x").await, StatusCode::FORBIDDEN, "{wrong}");
    }
    assert_eq!(place.http.get(&one).send().await.unwrap().text().await.unwrap(), "one");
    place.pass(3599);
    let fresh = place.job("b").find(&["one"], "v").await.unwrap()["archiveLocation"].as_str().unwrap().to_owned();
    place.pass(2);
    assert_eq!(place.http.get(&one).send().await.unwrap().status(), StatusCode::FORBIDDEN, "expired");
    assert_ne!(place.http.get(&fresh).send().await.unwrap().status(), StatusCode::OK, "its job is over");
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_and_sizes_that_lie_are_refused() {
    let place = Place::new().await;
    let job = place.job("a");
    let id = job.reserved("k", "v").await;
    for range in [
        "",
        "bytes 0-0",
        "bytes 3-1/*",
        "bytes 0-18446744073709551615/*",
        "bytes 18446744073709551615-18446744073709551615/*",
        "bytes 18446744073709551610-18446744073709551614/*",
        "bytes 10737418240-10737418243/*",
        "bytes -1-2/*",
        "bytes 0-1,3-4/*",
    ] {
        assert_eq!(job.write(id, range, b"four").await, StatusCode::BAD_REQUEST, "{range}");
    }
    assert_eq!(job.write(id, "bytes 0-9/*", b"four").await, StatusCode::BAD_REQUEST, "fewer bytes");
    assert_eq!(job.write(id, "bytes 0-1/*", b"four").await, StatusCode::BAD_REQUEST, "more bytes");
    assert_eq!(job.commit(id, 2).await, StatusCode::BAD_REQUEST, "what was refused does not count");
    assert_eq!(job.write(id, "bytes 10737418236-10737418239/*", b"four").await, StatusCode::NO_CONTENT);
    assert_eq!(job.commit(id, 10 << 30).await, StatusCode::BAD_REQUEST, "a hole of ten gigabytes");
    for size in ["10737418241", "18446744073709551615"] {
        let body = format!("{{\"key\":\"big\",\"version\":\"v\",\"cacheSize\":{size}}}");
        let request = job.ask(Method::POST, "_apis/artifactcache/caches").header("Content-Type", "application/json");
        assert_eq!(request.body(body).send().await.unwrap().status(), StatusCode::BAD_REQUEST);
    }
    for body in ["", "[]", "{\"size\":-1}", "{\"size\":1e300}", "{\"size\":99999999999999999999}", "\u{0}"] {
        let request = job.ask(Method::POST, &format!("_apis/artifactcache/caches/{id}")).body(body);
        assert_eq!(request.send().await.unwrap().status(), StatusCode::BAD_REQUEST, "{body}");
    }
    let long = job.ask(Method::POST, "_apis/artifactcache/caches").body(vec![b' '; 1 << 20]);
    assert_eq!(long.send().await.unwrap().status(), StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_path_leads_anywhere_else() {
    let place = Place::new().await;
    let job = place.job("a");
    for path in [
        "_apis/artifactcache/caches/..%2f..%2fetc%2fpasswd",
        "_apis/artifactcache/caches/0",
        "_apis/artifactcache/caches/18446744073709551616",
        "_apis/artifactcache/caches/+1",
        "_apis/artifactcache/caches/1%00",
    ] {
        let request = job.ask(Method::PATCH, path).header("Content-Range", "bytes 0-3/*").body("evil");
        assert_eq!(request.send().await.unwrap().status(), StatusCode::NOT_FOUND, "{path}");
    }
    for path in ["", "_apis", "_apis/artifactcache/artifacts/", "spool/x", "%2e%2e/%2e%2e/etc/passwd", "//etc/passwd"] {
        assert_eq!(job.ask(Method::GET, path).send().await.unwrap().status(), StatusCode::NOT_FOUND, "{path}");
    }
}

/// Says `head` and nothing more, and reads until the server hangs up.
async fn say(url: &str, head: &str) -> String {
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A reset is a hang-up, too.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_is_given_up_and_what_came_of_it_is_gone() {
    let limits = Limits { reserve_bytes: 0, pause: Duration::from_millis(200), ..Limits::default() };
    let place = Place::with(limits).await;
    let job = place.job("a");
    let id = job.reserved("k", "v").await;
    let token = &job.token;
    let head = format!(
        "PATCH /_apis/artifactcache/caches/{id} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Range: bytes 0-99/*\r\n\
         Content-Length: 100\r\nConnection: close\r\n\r\nhalf"
    );
    let answer = say(&job.url, &head).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    let head = format!(
        "POST /_apis/artifactcache/caches HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: 100\r\n\
         Connection: close\r\n\r\n{{"
    );
    let answer = say(&job.url, &head).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert_eq!(job.commit(id, 4).await, StatusCode::BAD_REQUEST, "half a part is none");
    // More headers than anybody sends, and a head without an end.
    let many: String = (0..200).map(|at| format!("X-{at}: y\r\n")).collect();
    let answer = say(&job.url, &format!("GET / HTTP/1.1\r\nHost: x\r\n{many}Connection: close\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let answer = say(&job.url, &format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}", "y".repeat(400 << 10))).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
}
