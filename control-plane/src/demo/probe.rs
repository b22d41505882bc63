//! Requests made up from route conditions, and which route a request takes.
//!
//! Only conditions that can be fulfilled without guessing are: a regular expression is not, and says so.

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::graph::service::Behind;
use crate::model::{
    GrpcMatch, HeaderMatch, HttpMatch, HttpMethod, HttpScheme, PathMatch, Resource, RouteBody, RouteSpec,
    ValueMatch,
};

/// Stands for anything.
const ANY: &str = "outrigger-demo";

/// A request to a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Method.
    pub method: Method,
    /// Path without the query.
    pub path: String,
    /// Query; empty for none.
    pub query: String,
    /// Headers.
    pub headers: HeaderMap,
    /// The route it is meant for; none for a service without routes.
    pub route: Option<String>,
    /// Nodes that may answer, with their weights.
    pub targets: Vec<(String, u32)>,
}

impl Probe {
    fn get(path: &str) -> Self {
        Self {
            method: Method::GET,
            path: path.to_owned(),
            query: String::new(),
            headers: HeaderMap::new(),
            route: None,
            targets: Vec::new(),
        }
    }

    /// Path and query.
    pub fn path_and_query(&self) -> String {
        if self.query.is_empty() { self.path.clone() } else { format!("{}?{}", self.path, self.query) }
    }
}

/// A request for each way that leads through a port of a service; for a way without request, why.
pub fn probes(behind: &Behind<'_>) -> Vec<Result<Probe, String>> {
    match behind {
        Behind::Node(target) => {
            vec![Ok(Probe { targets: vec![(target.node.meta.name.clone(), 1)], ..Probe::get("/hello") })]
        }
        Behind::Routes(routes) => (0..routes.len()).map(|at| of_route(routes, at)).collect(),
    }
}

fn of_route(routes: &[&Resource<RouteSpec>], at: usize) -> Result<Probe, String> {
    let route = routes[at];
    let name = &route.meta.name;
    let refuse = |why: String| format!("route \"{name}\" {why}");
    let mut probe = fulfil(&route.spec.body).map_err(refuse)?;
    for earlier in &routes[..at] {
        match matches(&earlier.spec.body, &probe) {
            Some(false) => {}
            Some(true) => {
                return Err(refuse(format!(
                    "comes after \"{}\", which takes its requests",
                    earlier.meta.name
                )));
            }
            None => {
                return Err(refuse(format!("comes after \"{}\", a regular expression", earlier.meta.name)));
            }
        }
    }
    let targets = route.spec.body.targets().iter().filter(|t| t.weight > 0);
    probe.targets = targets.map(|t| (t.virtual_node.name.clone(), t.weight)).collect();
    if probe.targets.is_empty() {
        return Err(refuse("has no target with a weight".to_owned()));
    }
    probe.route = Some(name.clone());
    Ok(probe)
}

fn fulfil(body: &RouteBody) -> Result<Probe, String> {
    match body {
        RouteBody::Http { matching, .. } => fulfil_http(matching),
        RouteBody::Grpc { matching, .. } => fulfil_grpc(matching),
        RouteBody::Tcp { .. } => Ok(Probe::get("/hello")),
    }
}

fn fulfil_http(matching: &HttpMatch) -> Result<Probe, String> {
    let mut probe = Probe::get(&fulfil_path(matching.path.as_ref())?);
    match matching.method {
        Some(HttpMethod::Connect | HttpMethod::Trace | HttpMethod::Head) => {
            return Err("asks for a method that the sample services do not answer".to_owned());
        }
        Some(method) => probe.method = Method::from_bytes(method.name().as_bytes()).unwrap_or_default(),
        None => {}
    }
    if matching.scheme == Some(HttpScheme::Https) {
        return Err("asks for https, which the demo does not speak".to_owned());
    }
    fulfil_headers(&matching.headers, &mut probe.headers)?;
    let pair = |name: &str, value: Option<&str>| format!("{name}={}", value.unwrap_or(ANY));
    let query = matching.query.iter().map(|q| pair(&q.name, q.exact.as_deref()));
    probe.query = query.collect::<Vec<_>>().join("&");
    Ok(probe)
}

fn fulfil_path(path: Option<&PathMatch>) -> Result<String, String> {
    match path {
        None => Ok("/hello".to_owned()),
        Some(PathMatch::Prefix(prefix)) if prefix.ends_with('/') => Ok(format!("{prefix}hello")),
        Some(PathMatch::Prefix(path) | PathMatch::Exact(path)) => Ok(path.clone()),
        Some(PathMatch::Regex(_)) => Err("asks for a path by regular expression".to_owned()),
    }
}

fn fulfil_grpc(matching: &GrpcMatch) -> Result<Probe, String> {
    let service = matching.service.as_deref().unwrap_or("outrigger.Demo");
    let method = matching.method.as_deref().unwrap_or("Check");
    let mut probe = Probe { method: Method::POST, ..Probe::get(&format!("/{service}/{method}")) };
    probe.headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    fulfil_headers(&matching.metadata, &mut probe.headers)?;
    Ok(probe)
}

fn fulfil_headers(conditions: &[HeaderMatch], headers: &mut HeaderMap) -> Result<(), String> {
    for condition in conditions {
        let Some(value) = fulfil_value(condition)? else { continue };
        let name = HeaderName::from_bytes(condition.name.as_bytes());
        let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(&value)) else {
            return Err(format!("asks for \"{}\", which is no ordinary header", condition.name));
        };
        headers.insert(name, value);
    }
    Ok(())
}

/// A value that fulfils a condition; none where the header must be missing.
fn fulfil_value(condition: &HeaderMatch) -> Result<Option<String>, String> {
    Ok(match (&condition.value, condition.invert) {
        (None, true) => None,
        (None, false) | (Some(_), true) => Some(ANY.to_owned()),
        (Some(ValueMatch::Exact(v) | ValueMatch::Prefix(v) | ValueMatch::Suffix(v)), false) => {
            Some(v.clone())
        }
        (Some(ValueMatch::Range { start, .. }), false) => Some(start.to_string()),
        (Some(ValueMatch::Regex(_)), false) => {
            return Err(format!("asks for header \"{}\" by regular expression", condition.name));
        }
    })
}

/// Whether a request fulfils a route's conditions; none where a regular expression decides.
fn matches(body: &RouteBody, probe: &Probe) -> Option<bool> {
    let headers = |conditions: &[HeaderMatch]| all(conditions.iter().map(|c| has_header(c, probe)));
    match body {
        RouteBody::Http { matching, .. } => {
            let method = matching.method.is_none_or(|m| m.name() == probe.method.as_str());
            let scheme = matching.scheme != Some(HttpScheme::Https);
            let query = matching.query.iter().all(|q| has_query(&q.name, q.exact.as_deref(), probe));
            let plain = Some(method && scheme && query);
            all([plain, has_path(matching.path.as_ref(), probe), headers(&matching.headers)].into_iter())
        }
        RouteBody::Grpc { matching, .. } => {
            let (service, method) = probe.path.trim_start_matches('/').split_once('/')?;
            let same = matching.service.as_deref().is_none_or(|s| s == service)
                && matching.method.as_deref().is_none_or(|m| m == method);
            all([Some(same), headers(&matching.metadata)].into_iter())
        }
        RouteBody::Tcp { .. } => Some(true),
    }
}

/// One condition that fails decides; else one that is unknown makes the whole unknown.
fn all(mut conditions: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    conditions
        .try_fold(Some(true), |so_far, condition| match condition {
            Some(false) => Err(()),
            Some(true) => Ok(so_far),
            None => Ok(None),
        })
        .unwrap_or(Some(false))
}

fn has_path(path: Option<&PathMatch>, probe: &Probe) -> Option<bool> {
    match path {
        None => Some(true),
        Some(PathMatch::Prefix(prefix)) => Some(probe.path.starts_with(prefix)),
        Some(PathMatch::Exact(exact)) => Some(probe.path == *exact),
        Some(PathMatch::Regex(_)) => None,
    }
}

fn has_query(name: &str, value: Option<&str>, probe: &Probe) -> bool {
    let mut pairs = probe.query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.any(|(n, v)| n == name && value.is_none_or(|value| value == v))
}

fn has_header(condition: &HeaderMatch, probe: &Probe) -> Option<bool> {
    let actual = probe.headers.get(&condition.name).and_then(|v| v.to_str().ok());
    let (Some(wanted), Some(actual)) = (&condition.value, actual) else {
        let present = actual.is_some();
        return Some(condition.value.is_none() && present != condition.invert);
    };
    let fulfilled = match wanted {
        ValueMatch::Exact(v) => actual == v,
        ValueMatch::Prefix(v) => actual.starts_with(v),
        ValueMatch::Suffix(v) => actual.ends_with(v),
        ValueMatch::Range { start, end } => actual.parse::<i64>().is_ok_and(|n| (*start..*end).contains(&n)),
        ValueMatch::Regex(_) => return None,
    };
    Some(fulfilled != condition.invert)
}
