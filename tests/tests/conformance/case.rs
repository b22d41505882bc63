//! A case is a request; a group is the configuration that its cases meet.

use bytes::Bytes;
use serde_json::Value;

/// How a request travels to the data plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// HTTP/1.1, written as given.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Request {
    pub over: Over,
    pub method: String,
    pub target: String,
    /// Empty: no Host header (HTTP/1).
    pub host: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<Bytes>,
    /// Bytes that follow an HTTP/1 head as they are.
    pub raw_body: &'static str,
}

impl Request {
    /// A request over HTTP/1.1 to host `svc`.
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            over: Over::Http1,
            method: method.to_owned(),
            target: target.to_owned(),
            host: "svc".to_owned(),
            headers: Vec::new(),
            body: None,
            raw_body: "",
        }
    }

    /// With another host.
    pub fn host(mut self, host: &str) -> Self {
        self.host = host.to_owned();
        self
    }

    /// With one more header line.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a body of known length.
    pub fn body(mut self, text: &str) -> Self {
        self.body = Some(Bytes::copy_from_slice(text.as_bytes()));
        self
    }

    /// With these bytes after the head and no length of ours (HTTP/1).
    pub fn raw_body(mut self, bytes: &'static str) -> Self {
        self.raw_body = bytes;
        self
    }

    /// Over HTTP/2.
    pub fn http2(mut self) -> Self {
        self.over = Over::Http2;
        self
    }
}

/// A `GET`.
pub fn get(target: &str) -> Request {
    Request::new("GET", target)
}

/// A unary gRPC call with one empty message, over HTTP/2.
pub fn grpc(method: &str) -> Request {
    let request = Request::new("POST", method).http2().body("\0\0\0\0\0");
    request.with("content-type", "application/grpc").with("te", "trailers")
}

/// A named request.
#[derive(Debug, Clone)]
pub struct Case {
    /// Unique within its group.
    pub name: String,
    pub request: Request,
}

/// A configuration and the requests it is tried with: one listener.
#[derive(Debug)]
pub struct Group {
    /// Unique within its section.
    pub name: String,
    /// Settings of the connection manager, `route_config` among them; they replace the defaults by field.
    pub manager: Value,
    /// Clusters of its own, beside those of [`crate::world::World`].
    pub clusters: Vec<Value>,
    pub cases: Vec<Case>,
}

impl Group {
    /// A group with this route table.
    pub fn new(name: &str, route_config: Value) -> Self {
        let manager = serde_json::json!({ "route_config": route_config });
        Self { name: name.to_owned(), manager, clusters: Vec::new(), cases: Vec::new() }
    }

    /// Sets a field of the connection manager.
    pub fn set(mut self, field: &str, value: Value) -> Self {
        self.manager[field] = value;
        self
    }

    /// Adds a cluster; its name must not occur elsewhere in the section.
    pub fn cluster(mut self, cluster: Value) -> Self {
        self.clusters.push(cluster);
        self
    }

    /// Adds a case.
    pub fn case(mut self, name: impl Into<String>, request: Request) -> Self {
        self.add(name, request);
        self
    }

    /// Adds a case.
    pub fn add(&mut self, name: impl Into<String>, request: Request) {
        self.cases.push(Case { name: name.into(), request });
    }
}
