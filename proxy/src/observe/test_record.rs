//! Records for tests: an exchange as the data path would report it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::connection::UpstreamConnection;
use super::record::{Closes, Record, RecordMetadata, Subject, Timing};
use super::trace::id::{SpanId, TraceId};
use super::trace::span::Span;
use crate::base::error::ResponseFlags;
use crate::config::cluster::Host;
use crate::http::codec::Measured;
use crate::http::head::{BodyLength, HeaderBlock, Method, RequestHead, ResponseHead, Version};

/// Owns what a record borrows.
pub(crate) struct Exchange {
    pub request: RequestHead,
    pub response: ResponseHead,
    pub trailers: HeaderBlock,
    pub host: Arc<Host>,
    pub upstream: UpstreamConnection,
    pub timing: Timing,
}

/// A recorded span with a caller, before any try.
pub(crate) fn span() -> Span {
    Span {
        trace_id: TraceId::parse_xray(b"1-5759e988-bd862e3fe1be46a994272793").unwrap(),
        id: SpanId(0x6b55_dcc4_9793_4f1a),
        parent: Some(SpanId(0x5399_5c3f_42cd_8ad8)),
        sampled: true,
        forced: false,
        rule: None,
        asked: false,
        operation: None,
        attempts: Vec::new(),
    }
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(crate) fn request(method: &str, path: &str, authority: &str, fields: &[(&str, &str)]) -> RequestHead {
    let mut block = HeaderBlock::default();
    let method_text = block.push_text(method.as_bytes());
    let path = block.push_text(path.as_bytes());
    let authority = block.push_text(authority.as_bytes());
    fields.iter().for_each(|(name, value)| block.append(name.as_bytes(), value.as_bytes()));
    RequestHead {
        block,
        method: Method::of(method.as_bytes()),
        method_text,
        path,
        authority,
        https: false,
        version: Version::Http11,
        body: BodyLength::None,
        upgrade: None,
        expects_continue: false,
        accepts_trailers: false,
    }
}

pub(crate) fn response(status: u16, fields: &[(&str, &str)]) -> ResponseHead {
    let mut block = HeaderBlock::default();
    fields.iter().for_each(|(name, value)| block.append(name.as_bytes(), value.as_bytes()));
    ResponseHead { block, status, version: Version::Http11, body: BodyLength::Fixed(124_580), upgrade: None }
}

impl Exchange {
    /// `GET /server_info?a=%22b` answered 200 by 127.0.0.1:19901.
    pub fn example() -> Self {
        let started = Instant::now();
        let after = |ms| Some(started + Duration::from_millis(ms));
        let request_id = ("x-request-id", "87612c0c-a74c-4211-b0c4-9f3e0df9beaf");
        let plain = Host::at(1, addr("127.0.0.1:19901"));
        let host = Arc::new(Host { hostname: "hh".into(), ..plain });
        Self {
            request: request(
                "GET",
                "/server_info?a=%22b",
                "127.0.0.1:18080",
                &[("user-agent", "curl/8"), request_id, ("x-empty", "")],
            ),
            response: response(200, &[("x-envoy-upstream-service-time", "6")]),
            trailers: HeaderBlock::default(),
            upstream: UpstreamConnection {
                id: 7,
                host: host.clone(),
                local_address: Some(addr("127.0.0.1:58334")),
                begun: started,
                connected: started,
                secured: None,
                tls: None,
            },
            host,
            timing: Timing {
                started_at: SystemTime::UNIX_EPOCH + Duration::from_micros(1_795_229_272_193_788),
                started,
                request_complete: after(0),
                pool_ready: after(1),
                upstream_begun: after(1),
                upstream_sent: after(1),
                upstream_first_byte: after(6),
                upstream_body: after(6),
                upstream_complete: after(6),
                response_begun: after(6),
                finished: after(7),
            },
        }
    }

    pub fn record(&self) -> Record<'_> {
        Record {
            subject: Subject::Request,
            at_listener: false,
            downstream_failure: "",
            request: Some(&self.request),
            original_path: None,
            response: Some(&self.response),
            trailers: Some(&self.trailers),
            status: self.response.status,
            flags: ResponseFlags::NONE,
            details: "via_upstream",
            upstream_failure: "",
            protocol: Some(Version::Http11),
            upstream_protocol: Some(Version::Http2),
            bytes_received: 0,
            bytes_sent: 124_580,
            downstream_wire: Measured {
                received: 90,
                sent: 124_700,
                heads_received: 60,
                heads_sent: 100,
                ..Measured::default()
            },
            upstream_wire: Measured {
                received: 124_650,
                sent: 130,
                heads_received: 70,
                heads_sent: 110,
                ..Measured::default()
            },
            closes: Closes::default(),
            termination: "",
            timing: self.timing,
            upstream_host: Some(&self.host),
            upstream: Some(&self.upstream),
            earlier: &[],
            downstream: None,
            metadata: RecordMetadata::default(),
            cluster: "up",
            cluster_alias: None,
            route_name: "main",
            virtual_host: "v",
            filter_chain: "",
            attempts: 1,
            downstream_direct_remote: addr("10.0.0.9:48104"),
            downstream_remote: addr("10.0.0.1:48104"),
            downstream_local: addr("[::1]:18080"),
            server_name: "",
            tls: None,
            peer: None,
            trace: None,
            connection_id: 3,
            local_reply_body: b"",
            health_check: false,
            dynamic: None,
        }
    }
}
