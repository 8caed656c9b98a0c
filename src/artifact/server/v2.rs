//! Version 2: the calls of `CacheService`, in JSON and in binary (`actions/toolkit: packages/cache` from 4 on, buildkit, sccache). Content
//! is uploaded to and fetched from signed addresses, see [`super::blob`].

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};

use super::answer::{json as answer, of_type};
use super::body;
use super::protobuf::{Field, Writer, fields};
use super::refusal::Refusal;
use super::shared::Shared;
use super::upload::Kind;

/// The service whose calls are answered.
const SERVICE: &str = "github.actions.results.api.v1.CacheService";

/// Bytes of a call.
const SMALL: usize = 64 << 10;

/// How a message is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Binary,
}

/// What a call says. Each has only some of these.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    key: String,
    version: String,
    restore_keys: Vec<String>,
    size: Option<u64>,
}

/// What is answered: fields by their names and numbers.
struct Answered(Vec<(u64, &'static str, Value)>);

/// `POST twirp/SERVICE/METHOD`.
pub(super) async fn call(
    State(shared): State<Arc<Shared>>,
    Path((service, method)): Path<(String, String)>,
    request: Request,
) -> Response {
    match try_call(&shared, &service, &method, request).await {
        Ok((form, answered)) => answered.into_response(form),
        Err(refused) => refused.into_response(),
    }
}

/// A refusal in the form of Twirp (`twitchtv/twirp: docs/errors.md`), whatever the form of the call.
struct Refused {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let code = match &refusal {
            Refusal::Unauthenticated | Refusal::Over => "unauthenticated",
            Refusal::BadSignature => "permission_denied",
            Refusal::Unknown(_) => "not_found",
            Refusal::Exists => "already_exists",
            Refusal::Invalid(_) | Refusal::TooLarge { .. } | Refusal::Cut => "invalid_argument",
            Refusal::TooMany(_) | Refusal::NoRoom(_) => "resource_exhausted",
            Refusal::Busy(_) => "unavailable",
            Refusal::Slow => "deadline_exceeded",
            Refusal::Failed(_) => "internal",
        };
        Self { status: refusal.status(), code, message: refusal.message() }
    }
}

impl Refused {
    fn into_response(self) -> Response {
        answer(self.status, &json!({"code": self.code, "msg": self.message}))
    }

    fn bad_route(message: String) -> Self {
        Self { status: StatusCode::NOT_FOUND, code: "bad_route", message }
    }
}

async fn try_call(
    shared: &Arc<Shared>,
    service: &str,
    method: &str,
    request: Request,
) -> Result<(Form, Answered), Refused> {
    // First of all: nobody learns anything without a token.
    let asking = shared.asking(request.headers())?;
    if service != SERVICE {
        let message = "this server keeps caches and nothing else".to_owned();
        return Err(Refused { status: StatusCode::NOT_IMPLEMENTED, code: "unimplemented", message });
    }
    let form = form_of(request.headers()).ok_or_else(|| {
        Refused::bad_route("`Content-Type` is neither application/json nor application/protobuf".into())
    })?;
    let numbers = match method {
        "CreateCacheEntry" => Numbers { key: 2, version: 3, size: 0, restore_keys: 0 },
        "FinalizeCacheEntryUpload" => Numbers { key: 2, version: 4, size: 3, restore_keys: 0 },
        "GetCacheEntryDownloadURL" => Numbers { key: 2, version: 4, size: 0, restore_keys: 3 },
        _ => return Err(Refused::bad_route("there is no such call".into())),
    };
    let bytes = body::small(request.into_body(), SMALL, &shared.limits).await?;
    let said = match form {
        Form::Json => said_in_json(&bytes)?,
        Form::Binary => said_in_binary(&bytes, &numbers)?,
    };
    let answered = match method {
        "CreateCacheEntry" => {
            let name = shared.name(&asking.grant, &said.key, &said.version)?;
            let upload = shared.reserve(&asking.grant, name, Kind::Blocks, None).await?;
            vec![(1, "ok", true.into()), (2, "signed_upload_url", shared.upload_url(&upload).into())]
        }
        "FinalizeCacheEntryUpload" => {
            let size = said.size.unwrap_or_default();
            let name = shared.name(&asking.grant, &said.key, &said.version)?;
            let entry = match shared.uploads.by_name(&asking.grant, &name) {
                Ok(upload) => shared.keep(upload, size).await?,
                // A client whose answer was lost asks again.
                Err(unknown) => {
                    let kept = shared.kept_by_job(&asking.grant, name).await?;
                    kept.filter(|(_, bytes)| *bytes == size).ok_or(unknown)?.0
                }
            };
            // As all numbers of 64 bits, in JSON a text.
            vec![(1, "ok", true.into()), (2, "entry_id", entry.to_string().into())]
        }
        _ => {
            let keys: Vec<String> = std::iter::once(said.key).chain(said.restore_keys).collect();
            match shared.find(&asking.grant, &said.version, &keys).await? {
                None => vec![(1, "ok", false.into())],
                Some(entry) => {
                    let key = entry.key.clone();
                    let url = shared.download_url(&asking.grant, entry);
                    vec![(1, "ok", true.into()), (2, "signed_download_url", url.into()), (3, "matched_key", key.into())]
                }
            }
        }
    };
    Ok((form, Answered(answered)))
}

fn form_of(headers: &HeaderMap) -> Option<Form> {
    let media_type = headers.get(CONTENT_TYPE)?.to_str().ok()?.split(';').next()?.trim().to_ascii_lowercase();
    match media_type.as_str() {
        "application/json" => Some(Form::Json),
        "application/protobuf" => Some(Form::Binary),
        _ => None,
    }
}

/// The numbers of the fields of a call; 0: it has none.
struct Numbers {
    key: u64,
    version: u64,
    size: u64,
    restore_keys: u64,
}

/// Names are as in the definition or in camel case, numbers of 64 bits are texts or numbers; what is absent has its default
/// value, what is not known is passed over (proto3's JSON mapping).
fn said_in_json(bytes: &[u8]) -> Result<Said, Refusal> {
    let wrong = |what: &str| Refusal::Invalid(format!("`{what}` of the call is not understood"));
    let call: Map<String, Value> = serde_json::from_slice(bytes).map_err(|_| wrong("the JSON"))?;
    let field = |name: &str, other: &str| call.get(name).or_else(|| call.get(other)).filter(|value| !value.is_null());
    let text = |name: &str| match field(name, name) {
        None => Ok(String::new()),
        Some(value) => value.as_str().map(str::to_owned).ok_or_else(|| wrong(name)),
    };
    let restore_keys = match field("restore_keys", "restoreKeys") {
        None => Some(Vec::new()),
        Some(keys) => keys.as_array().and_then(|keys| keys.iter().map(|key| Some(key.as_str()?.to_owned())).collect()),
    };
    let size = match field("size_bytes", "sizeBytes") {
        None => None,
        Some(Value::String(text)) => Some(text.parse().map_err(|_| wrong("size_bytes"))?),
        Some(value) => Some(value.as_u64().ok_or_else(|| wrong("size_bytes"))?),
    };
    Ok(Said {
        key: text("key")?,
        version: text("version")?,
        restore_keys: restore_keys.ok_or_else(|| wrong("restore_keys"))?,
        size,
    })
}

fn said_in_binary(bytes: &[u8], numbers: &Numbers) -> Result<Said, Refusal> {
    let wrong = || Refusal::Invalid("the call is no message of protocol buffers".into());
    let text = |field: Field<'_>| field.text().map(str::to_owned).ok_or_else(wrong);
    let mut said = Said::default();
    for (number, field) in fields(bytes).ok_or_else(wrong)? {
        match (number, field) {
            (0, _) => return Err(wrong()),
            (at, field) if at == numbers.key => said.key = text(field)?,
            (at, field) if at == numbers.version => said.version = text(field)?,
            (at, field) if at == numbers.restore_keys => said.restore_keys.push(text(field)?),
            // Below zero it would be a number that no entry has the size of.
            (at, Field::Number(size)) if at == numbers.size => said.size = Some(size),
            _ => {}
        }
    }
    Ok(said)
}

impl Answered {
    fn into_response(self, form: Form) -> Response {
        match form {
            Form::Json => {
                let body: Map<String, Value> =
                    self.0.into_iter().map(|(_, name, value)| (name.to_owned(), value)).collect();
                answer(StatusCode::OK, &Value::Object(body))
            }
            Form::Binary => {
                let message =
                    self.0.into_iter().fold(Writer::default(), |message, (number, name, value)| match value {
                        Value::Bool(is_so) => message.number(number, is_so.into()),
                        Value::String(text) if name == "entry_id" => {
                            message.number(number, text.parse().unwrap_or_default())
                        }
                        Value::String(text) => message.text(number, &text),
                        _ => message,
                    });
                of_type(StatusCode::OK, "application/protobuf", message.into_bytes())
            }
        }
    }
}
