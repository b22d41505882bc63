//! What the connection manager and router do to a response's headers before they go downstream.

use std::time::Instant;

use super::head::{RequestHead, ResponseHead};
use super::header_id::HeaderId;
use crate::config::listener::{HttpSettings, ServerHeader};
use crate::upstream::local::Local;

/// Router part, for responses that came from an upstream: service time in milliseconds.
pub fn mark_upstream(response: &mut ResponseHead, settings: &HttpSettings, service_ms: u64) {
    if settings.suppress_envoy_headers {
        response.block.retain(|_, name, _| !name.starts_with(b"x-envoy-"));
        return;
    }
    let mut text = itoa::Buffer::new();
    response.block.replace(HeaderId::EnvoyUpstreamServiceTime, text.format(service_ms).as_bytes());
}

/// Connection manager part, for every response.
pub fn finish(
    response: &mut ResponseHead,
    request: &RequestHead,
    settings: &HttpSettings,
    local: &Local,
    now: Instant,
) {
    if response.block.get(HeaderId::Date).is_none() {
        local.with_date(now, |date| response.block.add(HeaderId::Date, date));
    }
    match &settings.server_header {
        ServerHeader::Overwrite(name) => {
            response.block.replace(HeaderId::Server, name.as_bytes());
        }
        ServerHeader::AppendIfAbsent(name) if response.block.get(HeaderId::Server).is_none() => {
            response.block.add(HeaderId::Server, name.as_bytes());
        }
        ServerHeader::AppendIfAbsent(_) | ServerHeader::PassThrough => {}
    }
    if settings.always_set_request_id_in_response
        && let Some(id) = request.block.get(HeaderId::RequestId)
    {
        response.block.set(b"x-request-id", id);
    }
    if let Some(via) = &settings.via {
        response.block.append(b"via", via.as_bytes());
    }
}
