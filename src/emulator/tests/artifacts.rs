use std::io::Write;

use reqwest::multipart::{Form, Part};

use super::*;

const ZIP: &[u8] = b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

impl House {
    async fn upload(&self, id: u64, token: &str, query: &str, form: Form) -> Response {
        let path = format!("jobs/{id}/artifacts?{query}");
        self.call(Method::POST, &path).header("JOB-TOKEN", token).multipart(form).send().await.unwrap()
    }

    async fn download(&self, id: u64, token: &str, query: &str) -> Response {
        self.call(Method::GET, &format!("jobs/{id}/artifacts{query}")).header("JOB-TOKEN", token).send().await.unwrap()
    }
}

fn form(bytes: &[u8]) -> Form {
    Form::new().part("file", Part::bytes(bytes.to_vec()).file_name("artifacts.zip"))
}

const ARCHIVE: &str = "artifact_format=zip&artifact_type=archive&expire_in=1+week";

#[tokio::test]
async fn an_archive_goes_up_and_comes_down_through_the_object_storage() {
    let house = House::new(EmulatorOptions::default()).await;
    let (id, token) = house.running_job(house.script()).await;
    assert_eq!(house.upload(id, &token, ARCHIVE, form(ZIP)).await.status(), 201);
    assert_eq!(
        house.upload(id, &token, ARCHIVE, form(ZIP)).await.status(),
        201,
        "the same bytes again are a repetition"
    );
    let kept = house.forge.job(id).unwrap();
    let archive = kept.artifact("archive").unwrap();
    assert_eq!((archive.filename.as_str(), archive.expire_in.as_str(), archive.size), ("artifacts.zip", "1 week", 22));

    let redirect = house.download(id, &token, "?direct_download=true").await;
    assert_eq!(redirect.status(), 302);
    let location = text(&redirect, "location");
    let stored = house.http.get(&location).send().await.unwrap();
    assert_eq!(stored.bytes().await.unwrap(), ZIP);
    let part = house.http.get(&location).header("Range", "bytes=0-1").send().await.unwrap();
    assert_eq!((part.status().as_u16(), text(&part, "content-range")), (206, "bytes 0-1/22".into()));
    assert_eq!(house.rules_broken(), Vec::<String>::new());
    let leaky = house.http.get(&location).header("JOB-TOKEN", &token).send().await.unwrap();
    assert_eq!(leaky.status(), 400);
    assert!(house.rules_broken()[0].contains("object storage"));
    assert_eq!(house.http.get(location.split('?').next().unwrap()).send().await.unwrap().status(), 403);

    assert_eq!(house.download(id, &token, "").await.bytes().await.unwrap(), ZIP);
    house.finish(id, &token, "success").await;
    assert_eq!(house.download(id, &token, "").await.status(), 403, "the token ends with its job");
}

#[tokio::test]
async fn uploads_that_are_not_one_file_are_refused() {
    let house = House::new(EmulatorOptions { artifact_limit: 1000, ..Default::default() }).await;
    let (id, token) = house.running_job(house.script()).await;
    let two = form(ZIP).part("file", Part::bytes(ZIP).file_name("b.zip"));
    assert_eq!(house.upload(id, &token, ARCHIVE, two).await.status(), 400);
    assert_eq!(house.upload(id, &token, ARCHIVE, Form::new().text("file", "x")).await.status(), 400);
    assert_eq!(house.upload(id, &token, ARCHIVE, Form::new()).await.status(), 400);
    assert_eq!(house.upload(id, &token, ARCHIVE, form(&[b'P'; 5_000_000])).await.status(), 413);
    let plain = house.call(Method::POST, &format!("jobs/{id}/artifacts?{ARCHIVE}")).header("JOB-TOKEN", &token);
    assert_eq!(plain.body("x").send().await.unwrap().status(), 400);
    assert!(house.forge.job(id).unwrap().artifacts.is_empty());
    assert_eq!(
        std::fs::read_dir(house.forge.world().dir.join("artifacts")).unwrap().count(),
        1,
        "only the first file of two"
    );
}

#[tokio::test]
async fn a_second_artifact_of_a_type_is_refused() {
    let house = House::new(EmulatorOptions::default()).await;
    let (id, token) = house.running_job(house.script()).await;
    assert_eq!(house.upload(id, &token, ARCHIVE, form(ZIP)).await.status(), 201);
    assert_eq!(house.upload(id, &token, ARCHIVE, form(b"PK other")).await.status(), 400);
    assert_eq!(house.upload(id, &token, "artifact_format=zip&artifact_type=nonsense", form(ZIP)).await.status(), 400);
    assert_eq!(house.upload(id, "glcbt-x", ARCHIVE, form(ZIP)).await.status(), 403);
}

#[tokio::test]
async fn a_dotenv_report_becomes_variables_of_the_jobs_that_depend_on_it() {
    let house = House::new(EmulatorOptions::default()).await;
    let (id, token) = house.running_job(house.script()).await;
    let report = |text: &str| {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(text.as_bytes()).unwrap();
        Form::new().part("file", Part::bytes(packed.finish().unwrap()).file_name(".env.gz"))
    };
    let query = "artifact_format=gzip&artifact_type=dotenv";
    assert_eq!(house.upload(id, &token, query, report("not a pair\n")).await.status(), 400);
    assert_eq!(house.upload(id, &token, query, report("VERSION=1.2\n")).await.status(), 201);
    house.finish(id, &token, "success").await;
    let (next, _) = house.running_job(JobSpec::new(house.project, "next", json!({ "dependencies": ["job"] }))).await;
    let variables = house.forge.response(next)["variables"].clone();
    assert!(variables.as_array().unwrap().iter().any(|v| v["key"] == "VERSION" && v["value"] == "1.2"));
}
