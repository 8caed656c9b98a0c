//! `[runners.cache]`: where a gitlab-runner keeps caches for others of its fleet. (protocols/gitlab.md 11.)

use toml_edit::{Item, Table, value};
use url::Url;

use super::taken::Taken;
use crate::config::remote::RemoteUrl;
use crate::pipeline::Secret;

/// What of a bucket has no counterpart.
const BUCKET_LEFT: [(&str, &str); 5] = [
    ("dualstack", "not supported; name the address in `endpoint` of `[registration.runner_cache.remote]`"),
    ("accelerate", "not supported; name the address in `endpoint` of `[registration.runner_cache.remote]`"),
    ("partsize", "parts are as large as a transfer needs"),
    ("rolearn", "not supported; give the machine a role, or keys, that may use the bucket"),
    ("uploadrolearn", "not supported; jobs do not see the bucket's keys at all"),
];

/// Takes over what the runner's caches need, and returns the bucket's secret, which is not to stand in the file.
pub(super) fn convert(runner: &mut Taken, table: &mut Table) -> Option<Secret> {
    if runner.text("cache_dir").is_some() {
        runner.note("cache_dir", "caches are kept by the agent, outside of jobs; `dir` in `[store]` moves them")
    }
    let mut cache = Taken::new(runner.table("cache")?, "cache");
    let (shared, path) = (cache.flag("shared") == Some(true), cache.text("path"));
    if cache.number("maxuploadedarchivesize").is_some_and(|size| size > 0) {
        cache.note(
            "MaxUploadedArchiveSize",
            "archives have no limit of their own; `max_size` in `[store]` limits what is kept on this machine",
        );
    }
    let bucket = match cache.text("type").as_deref() {
        None => None,
        Some("s3") => cache.table("s3").and_then(|bucket| convert_bucket(Taken::new(bucket, "cache.s3"), &mut cache)),
        Some(other) => {
            cache.note("Type", format!("`{other}` is not taken over: caches are kept on this machine and begin empty"));
            None
        }
    };
    for unused in ["s3", "gcs", "azure"] {
        cache.value(unused);
    }
    let secret = bucket.and_then(|Bucket { remote, secret }| {
        let mut ours = Table::new();
        ours.extend(path.map(|path| ("path", value(path))));
        ours.insert("shared", value(shared));
        ours.insert("remote", Item::Table(remote));
        table.insert("runner_cache", Item::Table(ours));
        secret
    });
    runner.take_notes(cache);
    secret
}

/// The table `remote`, and the secret that belongs to it.
struct Bucket {
    remote: Table,
    secret: Option<Secret>,
}

fn convert_bucket(mut theirs: Taken, cache: &mut Taken) -> Option<Bucket> {
    let bucket = read_bucket(&mut theirs);
    if bucket.is_none() {
        theirs.leave_rest();
    }
    theirs.leave(&BUCKET_LEFT);
    cache.take_notes(theirs);
    bucket
}

fn read_bucket(theirs: &mut Taken) -> Option<Bucket> {
    let stays = "caches are kept on this machine and begin empty";
    let Some(name) = theirs.text("bucketname") else {
        theirs.note("BucketName", format!("there is none: {stays}"));
        return None;
    };
    let url = format!("s3://{name}");
    if let Err(why) = url.parse::<RemoteUrl>() {
        theirs.note("BucketName", format!("`{name}`: {why}; {stays}"));
        return None;
    }
    let mut remote = Table::new();
    remote.insert("url", value(url));
    read_address(theirs, &mut remote)?;
    remote.extend(theirs.text("bucketlocation").map(|region| ("region", value(region))));
    read_encryption(theirs, &mut remote);
    let secret = read_identity(theirs, &mut remote);
    Some(Bucket { remote, secret })
}

/// The server: Amazon's where none is named. `None`: it is none that could be asked.
fn read_address(theirs: &mut Taken, remote: &mut Table) -> Option<()> {
    let is_open = theirs.flag("insecure") == Some(true);
    let address = theirs.text("serveraddress");
    let is_amazon = address.as_deref().is_none_or(|address| address.trim_end_matches(":443") == "s3.amazonaws.com");
    // With others the bucket stands in the path, unless the file says something else.
    let is_google = address.as_deref().is_some_and(|address| address.starts_with("storage.googleapis.com"));
    let path_style = theirs.flag("pathstyle").unwrap_or(!is_amazon && !is_google);
    remote.insert("path_style", value(path_style));
    let Some(address) = address.filter(|_| !is_amazon) else { return Some(()) };
    let scheme = if is_open { "http" } else { "https" };
    let endpoint = if address.contains("://") { address.clone() } else { format!("{scheme}://{address}") };
    let Ok(endpoint) = endpoint.parse::<Url>().map_err(drop).and_then(|url| url.has_host().then_some(url).ok_or(()))
    else {
        theirs.note(
            "ServerAddress",
            format!("`{address}` is no address: caches are kept on this machine and begin empty"),
        );
        return None;
    };
    if endpoint.scheme() == "http" {
        remote.insert("allow_http", value(true));
    }
    remote.insert("endpoint", value(endpoint.as_str().trim_end_matches('/')));
    Some(())
}

fn read_encryption(theirs: &mut Taken, remote: &mut Table) {
    let key = theirs.text("serversideencryptionkeyid");
    let Some(kind) = theirs.text("serversideencryption") else { return };
    match (kind.to_ascii_uppercase().as_str(), key) {
        ("S3" | "AES256", _) => {
            remote.insert("encryption", value("AES256"));
        }
        ("KMS" | "AWS:KMS", Some(key)) => {
            remote.insert("encryption", value("aws:kms"));
            remote.insert("kms_key_id", value(key));
        }
        _ => theirs
            .note("ServerSideEncryption", format!("`{kind}` is not supported so: the bucket's own setting decides")),
    }
}

/// Who we are at the server: whoever the machine is, where no keys are named.
fn read_identity(theirs: &mut Taken, remote: &mut Table) -> Option<Secret> {
    let by_role = theirs.text("authenticationtype").is_some_and(|kind| kind.eq_ignore_ascii_case("iam"));
    let (id, secret) = (theirs.text("accesskey"), theirs.text("secretkey"));
    if theirs.text("sessiontoken").is_some() {
        theirs.note("SessionToken", "its keys are valid for a while only and are not taken over: write lasting ones into `[registration.runner_cache.remote]`, or give the machine a role");
        return None;
    }
    let (id, secret) = id.zip(secret).filter(|_| !by_role)?;
    remote.insert("access_key_id", value(id));
    Some(Secret::new(secret))
}
