//! An authorization service, over gRPC (`envoy.service.auth.v3.Authorization/Check`) and over HTTP, on the same port.
//!
//! The request that is judged says in its header `x-judge` (JSON) what the verdict is, or the metadata of the question
//! does; without it all is well:
//! `{"code", "status", "headers": [[name, value, append, action]], "body", "long": bytes over HTTP, "remove": [name], "response": [...],
//! "query": [[name, value]], "drop_query": [name], "metadata", "error": true, "grpc_status", "garbage": true,
//! "hang": true, "busy": number of the first questions that get 503}`. With `"saw": true` the upstream learns in `x-saw` what the service was shown.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use outrigger_xds_protos::pb::envoy::service::auth::v3::attribute_context::HttpRequest;
use outrigger_xds_protos::pb::envoy::service::auth::v3::check_response::HttpResponse;
use outrigger_xds_protos::pb::envoy::service::auth::v3::{
    AttributeContext, CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
};
use outrigger_xds_protos::pb::google::protobuf::value::Kind;
use outrigger_xds_protos::pb::google::protobuf::{ListValue, Struct, Value as Any};
use outrigger_xds_protos::v3::core::{HeaderValue as Header, HeaderValueOption, QueryParameter};
use outrigger_xds_protos::v3::types::HttpStatus;
use outrigger_xds_protos::v3::{Status, wkt};
use prost::Message;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::{Behaviour, Counts};

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;

/// See the module.
#[derive(Debug, Default)]
pub struct Judge {
    seen: Seen,
}

/// What was asked so far.
#[derive(Debug, Clone, Default)]
pub struct Seen(Arc<Mutex<Vec<Value>>>);

impl Seen {
    /// Every question, in order of arrival.
    pub fn all(&self) -> Vec<Value> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Judge {
    /// What is asked; usable while the service runs.
    pub fn seen(&self) -> Seen {
        self.seen.clone()
    }
}

impl Behaviour for Judge {
    async fn serve(self: Arc<Self>, stream: TcpStream, counts: Arc<Counts>) {
        let service = service_fn(move |request| {
            counts.request();
            answer(self.seen.clone(), request)
        });
        // The peer's resets are the tests' business, not errors here.
        let _ =
            auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
    }
}

async fn answer(seen: Seen, request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let is_grpc = head.headers.get("content-type").is_some_and(|kind| kind == "application/grpc");
    let (shown, verdict) = if is_grpc {
        let check = CheckRequest::decode(body.get(5..).unwrap_or_default()).unwrap_or_default();
        let attributes = check.attributes.unwrap_or_default();
        let http = attributes.request.clone().and_then(|request| request.http).unwrap_or_default();
        let own = head.headers.get("x-judge").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let verdict = http.headers.get("x-judge").cloned().or(own);
        (described(&attributes, &http, &head.headers), verdict)
    } else {
        let verdict = head.headers.get("x-judge").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let shown = json!({
            "method": head.method.as_str(), "path": head.uri.to_string(), "headers": lines(&head.headers),
            "body": String::from_utf8_lossy(&body),
        });
        (shown, verdict)
    };
    let asked = {
        let mut all = seen.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(shown.clone());
        all.len() as u64
    };
    let verdict: Option<String> = verdict;
    let verdict: Value =
        verdict.and_then(|text: String| serde_json::from_str(&text).ok()).unwrap_or_default();
    if verdict["hang"] == true {
        std::future::pending::<()>().await;
    }
    if verdict["busy"].as_u64().is_some_and(|busy| asked <= busy) {
        let mut busy = Response::new(Full::default().boxed_unsync());
        *busy.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
        return Ok(busy);
    }
    Ok(if is_grpc { over_grpc(&verdict, &shown) } else { over_http(&verdict, &shown) })
}

/// The question less what differs from run to run.
fn described(attributes: &AttributeContext, http: &HttpRequest, metadata: &HeaderMap) -> Value {
    let peer = |peer: &Option<
        outrigger_xds_protos::pb::envoy::service::auth::v3::attribute_context::Peer,
    >| {
        let peer = peer.clone().unwrap_or_default();
        json!({"principal": peer.principal, "service": peer.service, "certificate": peer.certificate.len()})
    };
    let mut headers: Vec<_> = http.headers.iter().filter(|(name, _)| is_stable(name)).collect();
    headers.sort();
    let mut raw: Vec<_> = http.header_map.iter().flat_map(|map| &map.headers).collect();
    raw.retain(|header| is_stable(&header.key));
    raw.sort_by(|one, other| one.key.cmp(&other.key));
    let raw: Vec<_> =
        raw.iter().map(|header| (&header.key, String::from_utf8_lossy(&header.raw_value))).collect();
    let context: std::collections::BTreeMap<_, _> = attributes.context_extensions.iter().collect();
    let namespaces = attributes.metadata_context.iter().flat_map(|it| &it.filter_metadata);
    let namespaces: std::collections::BTreeMap<_, _> =
        namespaces.map(|(name, fields)| (name, from_struct(fields))).collect();
    let metadata: std::collections::BTreeMap<_, _> = metadata
        .iter()
        .filter(|(name, _)| *name != "x-forwarded-for")
        .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes())))
        .collect();
    json!({
        "method": http.method, "path": http.path, "host": http.host, "scheme": http.scheme,
        "protocol": http.protocol, "body": http.body, "raw_body": String::from_utf8_lossy(&http.raw_body),
        "headers": headers, "raw_headers": raw, "context": context, "metadata_context": namespaces,
        "source": peer(&attributes.source), "destination": peer(&attributes.destination),
        "sni": attributes.tls_session.as_ref().map(|session| &session.sni), "metadata": metadata,
        "timed": attributes.request.as_ref().is_some_and(|request| request.time.is_some()),
    })
}

fn is_stable(name: &str) -> bool {
    !matches!(name, "x-request-id" | "x-judge" | "x-case" | ":authority")
}

fn lines(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let mut lines: Vec<_> = headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    lines.retain(|(name, _)| is_stable(name) && name != "host");
    lines.sort();
    lines
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|one| one.as_str().map(str::to_owned)).collect()
}

fn options(value: &Value) -> Vec<HeaderValueOption> {
    #[allow(deprecated, reason = "services still send it")]
    let option = |one: &Value| HeaderValueOption {
        header: Some(Header {
            key: one[0].as_str().unwrap_or_default().to_owned(),
            value: one[1].as_str().unwrap_or_default().to_owned(),
            raw_value: Vec::new(),
        }),
        append: one[2].as_bool().map(|value| wkt::BoolValue { value }),
        append_action: one[3].as_i64().unwrap_or_default() as i32,
        keep_empty_value: false,
    };
    value.as_array().into_iter().flatten().map(option).collect()
}

fn over_grpc(verdict: &Value, shown: &Value) -> Response<Body> {
    let code = verdict["code"].as_i64().unwrap_or_default() as i32;
    let denied = || DeniedHttpResponse {
        status: verdict["status"].as_i64().map(|code| HttpStatus { code: code as i32 }),
        headers: options(&verdict["headers"]),
        body: verdict["body"].as_str().unwrap_or_default().to_owned(),
    };
    let http_response = match (code, verdict["error"] == true) {
        (0, _) => HttpResponse::OkResponse(ok(verdict, shown)),
        (_, false) => HttpResponse::DeniedResponse(denied()),
        (_, true) => HttpResponse::ErrorResponse(denied()),
    };
    let response = CheckResponse {
        status: Some(Status { code, ..Status::default() }),
        dynamic_metadata: verdict["metadata"].as_object().map(to_struct),
        http_response: Some(http_response),
    };
    let mut message = response.encode_to_vec();
    if verdict["garbage"] == true {
        message = vec![0xff; 40];
    }
    let mut framed = vec![0];
    framed.extend((message.len() as u32).to_be_bytes());
    framed.extend(message);
    let status = verdict["grpc_status"].as_u64().unwrap_or_default();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(status));
    let body = Full::new(Bytes::from(framed)).with_trailers(async move { Some(Ok(trailers)) });
    let mut answer = Response::new(body.boxed_unsync());
    answer.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    answer
}

#[allow(deprecated, reason = "the message has a field that services no longer use")]
fn ok(verdict: &Value, shown: &Value) -> OkHttpResponse {
    let mut headers = options(&verdict["headers"]);
    if verdict["saw"] == true {
        headers.extend(options(&json!([["x-saw", shown.to_string()]])));
    }
    let parameter = |one: &Value| QueryParameter {
        key: one[0].as_str().unwrap_or_default().to_owned(),
        value: one[1].as_str().unwrap_or_default().to_owned(),
    };
    OkHttpResponse {
        headers,
        headers_to_remove: texts(&verdict["remove"]),
        response_headers_to_add: options(&verdict["response"]),
        query_parameters_to_set: verdict["query"].as_array().into_iter().flatten().map(parameter).collect(),
        query_parameters_to_remove: texts(&verdict["drop_query"]),
        dynamic_metadata: None,
    }
}

fn over_http(verdict: &Value, shown: &Value) -> Response<Body> {
    let text = match verdict["long"].as_u64() {
        Some(length) => "x".repeat(length as usize),
        None => verdict["body"].as_str().unwrap_or_default().to_owned(),
    };
    let mut answer = Response::new(Full::new(Bytes::from(text)).boxed_unsync());
    let status = verdict["status"].as_u64().and_then(|status| u16::try_from(status).ok());
    if let Some(Ok(status)) = status.map(http::StatusCode::from_u16) {
        *answer.status_mut() = status;
    }
    let headers = answer.headers_mut();
    for one in verdict["headers"].as_array().into_iter().flatten() {
        let (name, value) = (one[0].as_str().unwrap_or_default(), one[1].as_str().unwrap_or_default());
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    }
    if verdict["saw"] == true
        && let Ok(value) = HeaderValue::from_str(&shown.to_string())
    {
        headers.append("x-saw", value);
    }
    answer
}

fn to_struct(map: &serde_json::Map<String, Value>) -> Struct {
    Struct { fields: map.iter().map(|(name, value)| (name.clone(), to_any(value))).collect() }
}

fn to_any(value: &Value) -> Any {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(flag) => Kind::BoolValue(*flag),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(values) => Kind::ListValue(ListValue { values: values.iter().map(to_any).collect() }),
        Value::Object(map) => Kind::StructValue(to_struct(map)),
    };
    Any { kind: Some(kind) }
}

fn from_struct(fields: &Struct) -> Value {
    fields.fields.iter().map(|(name, value)| (name.clone(), from_any(value))).collect()
}

fn from_any(value: &Any) -> Value {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(flag)) => json!(flag),
        Some(Kind::NumberValue(number)) => json!(number),
        Some(Kind::StringValue(text)) => json!(text),
        Some(Kind::ListValue(list)) => list.values.iter().map(from_any).collect(),
        Some(Kind::StructValue(fields)) => from_struct(fields),
    }
}
