//! gRPC checks: `grpc.health.v1.Health/Check`, one message each way, written by hand because it is a single field.
//! Source: Envoy `GrpcHealthCheckerImpl`; gRPC "Health Checking Protocol".

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, TE, USER_AGENT};
use http::{HeaderValue, Method, Request};
use http_body_util::Full;

use super::connection::{self, Answer, Connection, NoAnswer};
use super::http::{CHECKER, absolute};
use super::probe::Target;
use super::state::Outcome;
use crate::config::health::GrpcCheck;

const PATH: &str = "/grpc.health.v1.Health/Check";
/// `HealthCheckResponse.ServingStatus.SERVING`.
const SERVING: u64 = 1;
/// A response is a frame's head and one number.
const MAX_ANSWER: usize = 1024;

/// A host asked over gRPC.
#[derive(Default)]
pub(super) struct GrpcProbe {
    connection: Option<Connection>,
}

impl GrpcProbe {
    pub(super) async fn ask(&mut self, settings: &GrpcCheck, target: &Target) -> Outcome {
        let Ok(request) = request(settings, target) else { return Outcome::NETWORK };
        match connection::exchange(&mut self.connection, target, true, request, MAX_ANSWER).await {
            Ok(answer) if is_serving(&answer) => Outcome::PASSED,
            Ok(_) => Outcome::UNHEALTHY,
            Err(NoAnswer) => Outcome::NETWORK,
        }
    }

    pub(super) fn close(&mut self) {
        self.connection = None;
    }
}

fn request(settings: &GrpcCheck, target: &Target) -> Result<Request<Full<Bytes>>, NoAnswer> {
    let mut request = Request::new(Full::new(message(&settings.service_name)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = absolute(target, target.authority(&settings.authority), PATH)?;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.insert(USER_AGENT, CHECKER);
    connection::add(headers, &settings.headers);
    Ok(request)
}

/// `HealthCheckRequest { service = 1 }` behind gRPC's frame head.
fn message(service: &str) -> Bytes {
    const SERVICE: u8 = 1 << 3 | 2;
    let mut field = BytesMut::new();
    if !service.is_empty() {
        field.put_u8(SERVICE);
        put_varint(&mut field, service.len() as u64);
        field.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::with_capacity(5 + field.len());
    framed.put_u8(0);
    framed.put_u32(field.len() as u32);
    framed.put_slice(&field);
    framed.freeze()
}

fn put_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Status 200, `grpc-status` 0 (in trailers, or in the head of an answer without a message) and SERVING.
fn is_serving(answer: &Answer) -> bool {
    let status = answer.trailers.get("grpc-status").or_else(|| answer.head.headers().get("grpc-status"));
    answer.head.status().as_u16() == 200
        && status.is_some_and(|status| status.as_bytes() == b"0")
        && serving_status(&answer.body) == Some(SERVING)
}

/// Field 1 of the one uncompressed message; `None` when the bytes are something else. Other fields are skipped when
/// they are numbers, which is all that the message could grow without breaking its readers.
fn serving_status(body: &[u8]) -> Option<u64> {
    let (head, message) = body.split_at_checked(5)?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    if head[0] != 0 || length as usize != message.len() {
        return None;
    }
    let (mut rest, mut status) = (message, 0);
    while !rest.is_empty() {
        let (key, value) = (varint(&mut rest)?, varint(&mut rest)?);
        match key {
            0x08 => status = value,
            other if other & 7 == 0 => {}
            _ => return None,
        }
    }
    Some(status)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_names_the_service() {
        assert_eq!(&message("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&message("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let long = message(&"x".repeat(200));
        assert_eq!(long[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 1]);
    }

    #[test]
    fn the_answer_is_read_or_refused() {
        assert_eq!(serving_status(&[0, 0, 0, 0, 2, 8, 1]), Some(SERVING));
        assert_eq!(serving_status(&[0, 0, 0, 0, 2, 8, 2]), Some(2));
        assert_eq!(serving_status(&[0, 0, 0, 0, 0]), Some(0));
        assert_eq!(serving_status(&[0, 0, 0, 0, 4, 16, 5, 8, 1]), Some(SERVING));
        for bad in [&[][..], &[0, 0, 0], &[1, 0, 0, 0, 2, 8, 1], &[0, 0, 0, 0, 9, 8, 1], &[0, 0, 0, 0, 1, 8]]
        {
            assert_eq!(serving_status(bad), None, "{bad:?}");
        }
        assert_eq!(
            serving_status(&[0, 0, 0, 0, 12, 8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]),
            None
        );
    }
}
