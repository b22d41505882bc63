//! Runs the groups of a section on one data plane.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use outrigger_tests::Result;
use outrigger_tests::access_log::AccessLog;
use outrigger_tests::bootstrap::{http_listener, manager_of, with_static};
use outrigger_tests::client::{h1, h2};
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::ports::Port;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::case::{Group, Over, Request};
use crate::observe::{self, Answer, CASE_HEADER, OPERATORS, Observation};
use crate::sections::Groups;
use crate::world::World;

/// Observations by `section/group/case`.
pub type Observations = BTreeMap<String, Observation>;

/// A group with its listener's place.
struct Stage {
    group: Group,
    port: Port,
    log: AccessLog,
}

impl Stage {
    fn new(group: Group) -> Result<Self> {
        Ok(Self { group, port: Port::lease()?, log: AccessLog::of(OPERATORS)? })
    }

    fn listener(&self) -> Value {
        let mut listener =
            http_listener(&self.group.name, self.port.address(), ("access_log", self.log.config()));
        let manager = manager_of(&mut listener);
        for (field, value) in self.group.manager.as_object().into_iter().flatten() {
            manager[field] = value.clone();
        }
        if manager["route_config"]["name"].is_null() {
            manager["route_config"]["name"] = json!(self.group.name);
        }
        listener
    }
}

/// Starts `plane` with all groups and runs every case. Groups run side by side, the cases of a group one by one.
pub async fn section(plane: DataPlane, section: &str, groups: Groups) -> Result<Observations> {
    let world = World::start()?;
    let stages = groups(&world).into_iter().map(Stage::new).collect::<Result<Vec<_>>>()?;
    let listeners: Vec<_> = stages.iter().map(Stage::listener).collect();
    let own = stages.iter().flat_map(|stage| stage.group.clusters.clone());
    let clusters: Vec<_> = world.clusters().into_iter().chain(own).collect();
    let bootstrap = with_static(&listeners, &clusters);
    let sidecar = plane.launch()?.log_level("warning").start(&bootstrap).await?;
    let mut addresses: Vec<(String, String)> = Vec::new();
    for (name, address) in world.addresses() {
        addresses.push((address.to_string(), format!("<{name}>")));
    }
    let mut running = JoinSet::new();
    for stage in stages {
        let mut known = addresses.clone();
        known.push((stage.port.address().to_string(), "<listener>".to_owned()));
        known.push((stage.port.number().to_string(), "<port>".to_owned()));
        running.spawn(run_group(section.to_owned(), stage, known));
    }
    let mut all = Observations::new();
    while let Some(group) = running.join_next().await {
        let group = group?.map_err(|error| format!("{plane:?}: {error}"))?;
        for (name, observation) in group {
            if all.insert(name.clone(), observation).is_some() {
                return Err(format!("two cases are named {name}").into());
            }
        }
    }
    drop(sidecar);
    Ok(all)
}

async fn run_group(
    section: String,
    stage: Stage,
    known: Vec<(String, String)>,
) -> Result<Vec<(String, Observation)>> {
    let mut seen = Vec::new();
    for (number, case) in stage.group.cases.iter().enumerate() {
        let name = format!("{section}/{}/{}", stage.group.name, case.name);
        let mut observation = Observation::new();
        match send(stage.port.address(), &case.request, number).await {
            Ok(answer) => observe::answer(&mut observation, &answer, &case.request.headers),
            Err(_) => drop(observation.insert("status".into(), "(no answer)".into())),
        }
        seen.push((name, observation));
    }
    let mut lines = whole_log(&stage.log, seen.len()).await?;
    for (number, (name, observation)) in seen.iter_mut().enumerate() {
        // What could not be read as a request has no case header; such lines come in the order of their cases.
        let ours = format!("{number}|");
        let mut told: Vec<_> = lines.extract_if(.., |line| line.starts_with(&ours)).collect();
        if told.is_empty() {
            let at = lines.iter().position(|line| line.starts_with("-|"));
            told.push(lines.remove(at.ok_or_else(|| format!("no log line for {name}"))?));
        }
        for line in &told {
            observe::log_line(observation, line.split_once('|').map_or("", |(_, rest)| rest));
        }
        for value in observation.values_mut() {
            for (address, name) in &known {
                *value = value.replace(address, name);
            }
        }
    }
    Ok(seen)
}

/// The log once every case has its last line; a redirect that was followed inside has a line before.
async fn whole_log(log: &AccessLog, cases: usize) -> Result<Vec<String>> {
    let mut expected = cases;
    loop {
        let lines = log.lines(expected).await?;
        let followed = lines.iter().filter(|line| line.ends_with("|internal_redirect")).count();
        if lines.len() >= cases + followed {
            return Ok(lines);
        }
        expected = cases + followed;
    }
}

async fn send(at: SocketAddr, request: &Request, number: usize) -> Result<Answer> {
    match request.over {
        Over::Http1 => send_http1(at, request, number).await,
        Over::Http2 => send_http2(at, request, number).await,
    }
}

async fn send_http1(at: SocketAddr, request: &Request, number: usize) -> Result<Answer> {
    let Request { method, target, host, headers, body, raw_body, .. } = request;
    let mut bytes = format!("{method} {target} HTTP/1.1\r\n");
    if !host.is_empty() {
        bytes += &format!("Host: {host}\r\n");
    }
    bytes += &format!("{CASE_HEADER}: {number}\r\n");
    for (name, value) in headers {
        bytes += &format!("{name}: {value}\r\n");
    }
    if let Some(body) = body {
        bytes += &format!("Content-Length: {}\r\n", body.len());
    }
    let mut bytes = (bytes + "\r\n").into_bytes();
    bytes.extend_from_slice(body.as_deref().unwrap_or_default());
    bytes.extend_from_slice(raw_body.as_bytes());
    let mut connection = h1::Connection::open(at).await?;
    connection.send(bytes).await?;
    let response = loop {
        let response = connection.response_to(method).await?;
        if response.status >= 200 || response.status == 101 {
            break response;
        }
    };
    let h1::Response { status, headers, body, trailers, .. } = response;
    Ok(Answer { status, headers, body, trailers })
}

async fn send_http2(at: SocketAddr, request: &Request, number: usize) -> Result<Answer> {
    let Request { method, target, host, headers, body, .. } = request;
    let mut builder = http::Request::builder().method(method.as_str()).uri(format!("http://{host}{target}"));
    builder = builder.header(CASE_HEADER, number);
    for (name, value) in headers {
        builder = builder.header(name, value);
    }
    let mut connection = h2::Connection::open(at).await?;
    let response = connection.exchange(builder.body(body.clone().unwrap_or_default())?).await?;
    let pairs = |map: &http::HeaderMap| {
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        map.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
    };
    Ok(Answer {
        status: response.status.as_u16(),
        headers: pairs(&response.headers),
        trailers: pairs(&response.trailers),
        body: response.body.to_vec(),
    })
}
