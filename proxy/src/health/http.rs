//! HTTP checks. Source: Envoy `HttpHealthCheckerImpl`.

use std::ops::Range;

use http::header::{HOST, USER_AGENT};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderValue, Request, Uri};
use http_body_util::Full;

use super::connection::{self, Answer, Connection, NoAnswer};
use super::payload;
use super::probe::Target;
use super::state::{Failure, Outcome};
use crate::base::matcher::StringMatch;
use crate::config::health::{HealthCheck, HttpCheck};

/// What Envoy's checks call themselves.
pub(super) const CHECKER: HeaderValue = HeaderValue::from_static("Envoy/HC");

/// A host asked over HTTP.
#[derive(Default)]
pub(super) struct HttpProbe {
    connection: Option<Connection>,
}

impl HttpProbe {
    pub(super) async fn ask(
        &mut self,
        settings: &HttpCheck,
        check: &HealthCheck,
        target: &Target,
    ) -> Outcome {
        let Ok(request) = request(settings, target) else { return Outcome::NETWORK };
        let keep = if settings.receive.is_empty() { 0 } else { settings.receive_limit };
        let slot = &mut self.connection;
        match connection::exchange(slot, target, settings.http2, request, keep).await {
            Ok(answer) => judge(settings, &answer, |wanted| {
                target.registry.shared().inc(check.stats.verify_cluster);
                wanted.matches(service(answer.head.headers()))
            }),
            Err(NoAnswer) => Outcome::NETWORK,
        }
    }

    pub(super) fn close(&mut self) {
        self.connection = None;
    }
}

fn request(settings: &HttpCheck, target: &Target) -> Result<Request<Full<bytes::Bytes>>, NoAnswer> {
    let authority = target.authority(&settings.host);
    let mut request = Request::new(Full::new(settings.send.clone()));
    *request.method_mut() = settings.method.clone();
    *request.uri_mut() = match settings.http2 {
        true => absolute(target, authority, &settings.path)?,
        false => settings.path.parse::<PathAndQuery>()?.into(),
    };
    let headers = request.headers_mut();
    if !settings.http2 {
        headers.insert(HOST, HeaderValue::from_str(authority)?);
    }
    headers.insert(USER_AGENT, CHECKER);
    connection::add(headers, &settings.headers);
    for name in &settings.removed {
        headers.remove(name);
    }
    Ok(request)
}

/// The target of an HTTP/2 request. A cluster name that no authority can be is replaced by the address.
pub(super) fn absolute(target: &Target, authority: &str, path: &str) -> Result<Uri, NoAnswer> {
    let authority: Authority = match authority.parse() {
        Ok(authority) => authority,
        Err(_) => target.address_text().parse()?,
    };
    Ok(Uri::builder().scheme(target.scheme()).authority(authority).path_and_query(path).build()?)
}

/// What the response says about the host; `is_service` compares the service it says it is.
fn judge(settings: &HttpCheck, answer: &Answer, is_service: impl Fn(&StringMatch) -> bool) -> Outcome {
    let (status, headers) = (answer.head.status().as_u16(), answer.head.headers());
    if !payload::is_in_order(&answer.body, &settings.receive) {
        return unhealthy(status);
    }
    if !is_in(&settings.expected, status) {
        return Outcome::Failed {
            failure: Failure::Active,
            retriable: is_in(&settings.retriable, status),
            status,
            excluded: headers.contains_key("x-envoy-immediate-health-check-fail"),
        };
    }
    if settings.service_name.as_ref().is_some_and(|wanted| !is_service(wanted)) {
        return unhealthy(status);
    }
    Outcome::Passed { degraded: headers.contains_key("x-envoy-degraded") }
}

fn unhealthy(status: u16) -> Outcome {
    Outcome::Failed { failure: Failure::Active, retriable: false, excluded: false, status }
}

fn is_in(ranges: &[Range<u16>], status: u16) -> bool {
    ranges.iter().any(|range| range.contains(&status))
}

fn service(headers: &HeaderMap) -> &[u8] {
    headers.get("x-envoy-upstream-healthchecked-cluster").map_or(b"", HeaderValue::as_bytes)
}
