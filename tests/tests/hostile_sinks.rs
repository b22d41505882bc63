//! No name and no header forges a line, a label or a field: in statistics on every way out, in traces, in event logs, in
//! answers of the admin endpoint, and on the picture of the mesh.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, manager_of, prefix_route, route_config, virtual_host, with_static,
};
use outrigger_tests::client::h1::Connection;
use outrigger_tests::collector::{Collector, Received};
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::hostile::{NAMES, VALUES, is_command};
use outrigger_tests::mesh::request;
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Echo, Upstream};
use outrigger_tests::{Result, emf, on_data_plane, wait};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

on_data_plane!(
    outrigger,
    Outrigger,
    names_forge_no_statistic,
    names_forge_no_event,
    names_forge_no_metric_document,
    headers_forge_no_span_of_opentelemetry,
    headers_forge_no_span_of_datadog,
    headers_forge_nothing_that_is_watched,
    lines_and_names_forge_no_explanation,
);

const LIMIT: Duration = Duration::from_secs(20);
/// Clusters whose host answers.
const ANSWERED: usize = NAMES.len().div_ceil(2);

/// One cluster per name, each with a route of its own; every second one has a host that is dead.
struct Scene {
    port: Port,
    sidecar: Sidecar,
    statsd: [Agent; 2],
    events: TempDir,
    _upstream: Upstream,
    _dead: Port,
}

/// Statistics of two of them must not fall together: they are numbered.
fn name(at: usize) -> String {
    format!("{at}-{}", NAMES[at])
}

fn sink(kind: &str, name: &str, agent: &Agent) -> Value {
    let address =
        json!({"socket_address": {"address": "127.0.0.1", "port_value": agent.port, "protocol": "UDP"}});
    json!({"name": name, "typed_config": {
        "@type": format!("type.googleapis.com/envoy.config.metrics.v3.{kind}"), "address": address}})
}

impl Scene {
    async fn start(plane: DataPlane) -> Result<Self> {
        let (port, dead, upstream) = (Port::lease()?, Port::lease()?, Upstream::start(Echo::new("a"))?);
        let statsd = [Agent::start()?, Agent::start()?];
        let events = tempfile::tempdir()?;
        let all = || (0..NAMES.len()).map(|at| (at, name(at)));
        let routes: Vec<_> = all()
            .map(|(at, name)| {
                let mut route = prefix_route(&format!("/{at}/"), &name);
                route["name"] = json!(name);
                route
            })
            .collect();
        let clusters: Vec<_> = all()
            .map(|(at, name)| {
                let host = if at % 2 == 0 { upstream.address() } else { dead.address() };
                let mut one = cluster(&name, &[host]);
                one["outlier_detection"] =
                    json!({"consecutive_local_origin_failure": 1, "split_external_local_origin_errors": true,
                        "enforcing_consecutive_local_origin_failure": 100, "max_ejection_percent": 100});
                one["health_checks"] = json!([{"timeout": "1s", "interval": "60s", "unhealthy_threshold": 1,
                    "healthy_threshold": 1, "tcp_health_check": {}, "always_log_health_check_failures": true,
                    "event_log_path": events.path().join("checks")}]);
                one
            })
            .collect();
        let hosts = [virtual_host(NAMES[0], &["*"], &routes)];
        let mut listener = http_listener(NAMES[2], port.address(), inline(route_config(NAMES[1], &hosts)));
        listener["traffic_direction"] = json!("OUTBOUND");
        manager_of(&mut listener)["stat_prefix"] = json!(NAMES[3]);
        let mut bootstrap = with_static(&[listener], &clusters);
        bootstrap["cluster_manager"] =
            json!({"outlier_detection": {"event_log_path": events.path().join("ejections")}});
        bootstrap["stats_flush_interval"] = json!("0.1s");
        bootstrap["stats_sinks"] = json!([
            sink("StatsdSink", "envoy.stat_sinks.statsd", &statsd[0]),
            sink("DogStatsdSink", "envoy.stat_sinks.dog_statsd", &statsd[1]),
        ]);
        bootstrap["node"]["id"] = json!("mesh/shop/virtualNode/cart");
        let launch = plane.launch()?.env("OUTRIGGER_EMF", "stdout").env("OUTRIGGER_EMF_INTERVAL_S", "1");
        let launch = launch.env("OUTRIGGER_EMF_METRICS", "default,envoy_cluster_upstream_rq_total");
        let sidecar = launch.start(&bootstrap).await?;
        let scene = Self { port, sidecar, statsd, events, _upstream: upstream, _dead: dead };
        for (at, name) in NAMES.iter().enumerate() {
            let status = request(scene.port.address(), "shop", &format!("/{at}/"), &[]).await?.status;
            assert_eq!(status, if at % 2 == 0 { 200 } else { 503 }, "{name:?}");
        }
        Ok(scene)
    }

    async fn page(&self, path: &str) -> Result<String> {
        let answer = self.sidecar.get(path).await?;
        assert_eq!(answer.status, 200, "{path}");
        Ok(answer.text())
    }
}

/// `name{label="value",...} number`, with values escaped as the exposition format demands.
fn is_sample(line: &str) -> bool {
    let is_name =
        |text: &str| !text.is_empty() && text.chars().all(|char| char.is_ascii_alphanumeric() || char == '_');
    let Some((name, rest)) = line.split_once('{') else { return false };
    let mut rest = rest;
    while let Some((label, value)) = rest.split_once("=\"").filter(|(label, _)| is_name(label)) {
        let _ = label;
        let mut escaped = false;
        let end = value.char_indices().find(|(_, char)| {
            let ends = *char == '"' && !escaped;
            escaped = *char == '\\' && !escaped;
            ends
        });
        let Some((end, _)) = end else { return false };
        rest = value[end + 1..].strip_prefix(',').unwrap_or(&value[end + 1..]);
    }
    let number = rest.strip_prefix("} ").map(str::parse::<f64>);
    is_name(name) && !name.contains("forged") && matches!(number, Some(Ok(_)))
}

fn check_prometheus(page: &str) {
    for line in page.split('\n').filter(|line| !line.is_empty()) {
        let is_type = line.strip_prefix("# TYPE ").is_some_and(|rest| rest.split(' ').count() == 2);
        assert!(is_type || is_sample(line), "{line:?}");
    }
}

/// `name:value|kind`, then a rate and tags.
fn check_statsd(line: &str) -> Result<()> {
    let parts: Vec<_> = line.split('|').collect();
    let (name, value) = parts[0].split_once(':').ok_or_else(|| format!("no value: {line:?}"))?;
    assert!(name.starts_with("envoy.") && value.parse::<f64>().is_ok(), "{line:?}");
    assert!(["c", "g", "ms"].contains(&parts[1]), "{line:?}");
    for part in &parts[2..] {
        match part.strip_prefix('#') {
            Some(tags) => assert!(tags.split(',').all(|tag| tag.starts_with("envoy.")), "{line:?}"),
            None => assert!(part.starts_with('@'), "{line:?}"),
        }
    }
    assert!(parts.len() <= 4 && !line.chars().any(is_command), "{line:?}");
    Ok(())
}

/// Reads all the time: statistics of many names are more than a socket keeps.
struct Agent {
    port: u16,
    heard: Receiver<Vec<u8>>,
}

impl Agent {
    fn start() -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        let (port, (told, heard)) = (socket.local_addr()?.port(), channel());
        std::thread::spawn(move || {
            let mut datagram = vec![0; 65536];
            while let Ok(length) = socket.recv(&mut datagram) {
                // An empty one ends it, and so does the end of the test.
                if length == 0 || told.send(datagram[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Ok(Self { port, heard })
    }

    /// What was heard, up to now: the sender has ended.
    fn lines(&self) -> Result<Vec<String>> {
        let (end, start) = (UdpSocket::bind("127.0.0.1:0")?, Instant::now());
        let mut lines = Vec::new();
        while start.elapsed() < LIMIT {
            // One may be lost like any other datagram; one too many finds nobody.
            let _ = end.send_to(&[], ("127.0.0.1", self.port));
            loop {
                match self.heard.recv_timeout(Duration::from_secs(1)) {
                    Ok(datagram) => {
                        lines.extend(String::from_utf8_lossy(&datagram).split('\n').map(str::to_owned));
                    }
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => return Ok(lines),
                }
            }
        }
        Err(format!("no end after {LIMIT:?} and {} lines", lines.len()).into())
    }
}

async fn names_forge_no_statistic(plane: DataPlane) -> Result<()> {
    let mut scene = Scene::start(plane).await?;
    check_prometheus(&scene.page("/stats/prometheus").await?);
    let series = scene.page("/stats/prometheus?filter=cluster.*upstream_rq_total").await?;
    let counted = series.lines().filter(|line| line.starts_with("envoy_cluster_upstream_rq_total{"));
    assert_eq!(counted.count(), NAMES.len(), "{series}");
    let objects: Value = serde_json::from_str(&scene.page("/stats?format=json").await?)?;
    let text = scene.page("/stats").await?;
    let lines: Vec<_> = text.lines().collect();
    for line in &lines {
        let (name, _) = line.rsplit_once(": ").ok_or_else(|| format!("{line:?} is no statistic"))?;
        assert!(name.contains('.') && !name.starts_with("forged"), "{line:?}");
    }
    let told = objects["stats"].as_array().map_or(0, Vec::len);
    assert!(lines.len() >= told, "{} lines, {told} in JSON", lines.len());
    for line in scene.page("/clusters").await?.lines() {
        assert!(line.contains("::") && line.starts_with(|char: char| char.is_ascii_digit()), "{line:?}");
    }
    for path in ["/config_dump", "/clusters?format=json", "/listeners?format=json"] {
        serde_json::from_str::<Value>(&scene.page(path).await?)
            .map_err(|error| format!("{path}: {error}"))?;
    }
    let listeners = scene.page("/listeners").await?;
    assert_eq!(listeners.lines().count(), 1, "{listeners:?}");
    scene.sidecar.terminate(LIMIT).await?;
    for (agent, tagged) in scene.statsd.iter().zip([false, true]) {
        let lines = agent.lines()?;
        assert!(lines.len() > NAMES.len(), "{lines:?}");
        lines.iter().try_for_each(|line| check_statsd(line))?;
        let clusters: BTreeSet<_> = lines
            .iter()
            .filter(|line| line.contains("cluster.upstream_rq_total") && line.contains("#"))
            .map(|line| line.split_once('#').map_or("", |(_, tags)| tags))
            .collect();
        assert_eq!(clusters.len(), if tagged { ANSWERED } else { 0 }, "{clusters:?}");
    }
    Ok(())
}

/// Every line is an object with exactly one event of a cluster that exists.
async fn objects(path: &Path, least: usize) -> Result<Vec<Value>> {
    let read = || {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        std::future::ready((text.ends_with('\n') && text.lines().count() >= least).then_some(text))
    };
    let text = wait::until("events", LIMIT, read).await?;
    assert!(!text.chars().any(|char| is_command(char) && char != '\n'), "{text:?}");
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

async fn names_forge_no_event(plane: DataPlane) -> Result<()> {
    let scene = Scene::start(plane).await?;
    let names: BTreeSet<String> = (0..NAMES.len()).map(name).collect();
    for event in objects(&scene.events.path().join("ejections"), 1).await? {
        assert!(names.contains(event["cluster_name"].as_str().unwrap_or_default()), "{event}");
    }
    for event in objects(&scene.events.path().join("checks"), NAMES.len()).await? {
        assert!(names.contains(event["cluster_name"].as_str().unwrap_or_default()), "{event}");
    }
    Ok(())
}

async fn names_forge_no_metric_document(plane: DataPlane) -> Result<()> {
    let mut scene = Scene::start(plane).await?;
    scene.sidecar.terminate(LIMIT).await?;
    let out = scene.sidecar.process().stdout();
    let lines: Vec<_> = out.lines().filter(|line| !line.is_empty()).collect();
    assert!(lines.iter().all(|line| line.starts_with("{\"_aws\":{\"Timestamp\":")), "{lines:?}");
    let documents = emf::documents(&out)?;
    assert_eq!(documents.len(), lines.len());
    // Each request is told once, in whatever interval it fell; those that reached nobody were answered by us.
    for (metric, requests) in
        [("envoy_cluster_upstream_rq_total", ANSWERED), ("RequestCountPerTarget", NAMES.len())]
    {
        assert_eq!(emf::sum(&documents, metric, &[]), requests as u64, "{metric}: {out}");
    }
    emf::hold_against_schema(&documents)
}

fn tracing(provider: &str, config: Value) -> Value {
    let mut config = config;
    config["@type"] = json!(format!("type.googleapis.com/envoy.config.trace.v3.{provider}"));
    json!({
        "custom_tags": [{"tag": "hostile", "request_header": {"name": "x-hostile"}}],
        "provider": {"name": provider, "typed_config": config},
    })
}

/// Sends every value in several fields; how many requests were taken.
async fn ask(at: &Port) -> Result<usize> {
    let mut taken = 0;
    for value in VALUES {
        let mut client = Connection::open(at.address()).await?;
        let fields = [&b"\r\nUser-Agent: "[..], value, b"\r\nX-Hostile: ", value, b"\r\n\r\n"].concat();
        client.send([&b"GET /p?"[..], b"q HTTP/1.1\r\nHost: shop", &fields].concat()).await?;
        taken += usize::from(client.response().await?.status == 200);
    }
    assert!(taken >= 7, "most of it is legal in a field: {taken}");
    Ok(taken)
}

struct Traced {
    port: Port,
    collector: Collector,
    _sidecar: Sidecar,
    _upstream: Upstream,
}

impl Traced {
    async fn start(plane: DataPlane, tracing: Value) -> Result<Self> {
        let (port, upstream) = (Port::lease()?, Upstream::start(Echo::new("a"))?);
        let collector = Collector::start().await?;
        let hosts = [virtual_host("v", &["*"], &[prefix_route("/", "a")])];
        let mut listener = http_listener("ingress", port.address(), inline(route_config("r", &hosts)));
        manager_of(&mut listener)["tracing"] = tracing;
        let clusters = [cluster("a", &[upstream.address()]), cluster("spans", &[collector.address()])];
        let sidecar = plane.launch()?.start(&with_static(&[listener], &clusters)).await?;
        Ok(Self { port, collector, _sidecar: sidecar, _upstream: upstream })
    }

    /// All that `read` finds in what arrives, once it is as much as was sent.
    async fn found<T>(&self, count: usize, read: impl Fn(&[u8]) -> Result<Vec<T>>) -> Result<Vec<T>> {
        let all = |received: &[Received]| -> Result<Vec<T>> {
            let mut found = Vec::new();
            for one in received {
                found.extend(read(&one.body)?);
            }
            Ok(found)
        };
        let enough = |received: &[Received]| all(received).map_or(true, |found| found.len() >= count);
        all(&self.collector.until("every span", enough).await?)
    }
}

/// Fields of a protobuf message: numbers and contents; those that are no bytes have none.
fn fields(mut message: &[u8]) -> Result<Vec<(u64, &[u8])>> {
    fn varint(message: &mut &[u8]) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = message.split_first().ok_or("a number is cut")?;
            *message = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a number without end".into())
    }
    let mut found = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message)?;
        let length = match key & 7 {
            0 => {
                varint(&mut message)?;
                0
            }
            1 => 8,
            2 => usize::try_from(varint(&mut message)?)?,
            5 => 4,
            other => return Err(format!("wire type {other}").into()),
        };
        let (content, rest) = message.split_at_checked(length).ok_or("a field is cut")?;
        found.push((key >> 3, content));
        message = rest;
    }
    Ok(found)
}

fn below(message: &[u8], field: u64) -> Result<Vec<&[u8]>> {
    Ok(fields(message)?
        .into_iter()
        .filter(|(number, _)| *number == field)
        .map(|(_, content)| content)
        .collect())
}

/// The attribute `hostile` of each span that has it. Every text in spans is UTF-8, every attribute is there once.
fn hostile_of_opentelemetry(body: &[u8]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for resource in below(body, 1)? {
        for scope in below(resource, 2)? {
            for span in below(scope, 2)? {
                assert_eq!((below(span, 1)?[0].len(), below(span, 2)?[0].len()), (16, 8));
                let mut keys = BTreeSet::new();
                for attribute in below(span, 9)? {
                    let key = std::str::from_utf8(below(attribute, 1)?[0])?;
                    assert!(keys.insert(key), "{key} is there twice");
                    for text in below(below(attribute, 2)?[0], 1)? {
                        let text = std::str::from_utf8(text)?;
                        found.extend((key == "hostile").then(|| text.to_owned()));
                    }
                }
            }
        }
    }
    Ok(found)
}

async fn headers_forge_no_span_of_opentelemetry(plane: DataPlane) -> Result<()> {
    let http = json!({"http_uri": {"uri": "http://spans/v1/traces", "cluster": "spans", "timeout": "1s"}});
    let traced = Traced::start(
        plane,
        tracing("OpenTelemetryConfig", json!({"http_service": http, "service_name": "s"})),
    )
    .await?;
    let taken = ask(&traced.port).await?;
    let found = traced.found(taken, hostile_of_opentelemetry).await?;
    assert_eq!(found.len(), taken, "{found:?}");
    Ok(())
}

/// One value of MessagePack, and what follows it. Every text is UTF-8.
fn message_pack(bytes: &[u8]) -> Result<(Value, &[u8])> {
    fn size(bytes: &[u8], width: usize) -> Result<(usize, &[u8])> {
        let (size, rest) = bytes.split_at_checked(width).ok_or("a size is cut")?;
        Ok((size.iter().fold(0, |size, byte| size << 8 | usize::from(*byte)), rest))
    }
    fn text(bytes: &[u8], length: usize) -> Result<(Value, &[u8])> {
        let (text, rest) = bytes.split_at_checked(length).ok_or("a text is cut")?;
        Ok((json!(std::str::from_utf8(text)?), rest))
    }
    fn list(mut bytes: &[u8], count: usize) -> Result<(Vec<Value>, &[u8])> {
        let mut items = Vec::new();
        for _ in 0..count {
            let (item, rest) = message_pack(bytes)?;
            items.push(item);
            bytes = rest;
        }
        Ok((items, bytes))
    }
    fn map(bytes: &[u8], count: usize) -> Result<(Value, &[u8])> {
        let (items, rest) = list(bytes, 2 * count)?;
        let pair = |pair: &[Value]| Some((pair[0].as_str()?.to_owned(), pair[1].clone()));
        let members: serde_json::Map<_, _> =
            items.chunks(2).map(pair).collect::<Option<_>>().ok_or("a key that is no text")?;
        assert_eq!(members.len(), count, "a key is there twice");
        Ok((members.into(), rest))
    }
    let (kind, rest) = bytes.split_first().ok_or("nothing is left")?;
    match *kind {
        small @ 0..0x80 => Ok((json!(small), rest)),
        short @ 0x80..0x90 => map(rest, usize::from(short & 0xf)),
        short @ 0x90..0xa0 => list(rest, usize::from(short & 0xf)).map(|(items, rest)| (items.into(), rest)),
        short @ 0xa0..0xc0 => text(rest, usize::from(short & 0x1f)),
        0xcf => {
            let (number, rest) = rest.split_at_checked(8).ok_or("a number is cut")?;
            Ok((json!(u64::from_be_bytes(number.try_into()?)), rest))
        }
        0xda => size(rest, 2).and_then(|(length, rest)| text(rest, length)),
        0xdd => {
            let (count, rest) = size(rest, 4)?;
            list(rest, count).map(|(items, rest)| (items.into(), rest))
        }
        0xde => size(rest, 2).and_then(|(count, rest)| map(rest, count)),
        other => Err(format!("kind {other:#x}").into()),
    }
}

fn hostile_of_datadog(body: &[u8]) -> Result<Vec<String>> {
    let (traces, rest) = message_pack(body)?;
    assert!(rest.is_empty(), "{rest:?} follows");
    let spans =
        traces.as_array().into_iter().flatten().flat_map(|trace| trace.as_array().into_iter().flatten());
    let tagged = spans.filter_map(|span| Some(span["meta"]["hostile"].as_str()?.to_owned()));
    Ok(tagged.collect())
}

async fn headers_forge_no_span_of_datadog(plane: DataPlane) -> Result<()> {
    let config = json!({"collector_cluster": "spans", "service_name": "shop"});
    let traced = Traced::start(plane, tracing("DatadogConfig", config)).await?;
    let taken = ask(&traced.port).await?;
    let found = traced.found(taken, hostile_of_datadog).await?;
    assert_eq!(found.len(), taken, "{found:?}");
    Ok(())
}

async fn headers_forge_nothing_that_is_watched(plane: DataPlane) -> Result<()> {
    let traced = Traced::start(plane, json!({})).await?;
    let mut stream = TcpStream::connect(traced._sidecar.admin()).await?;
    stream.write_all(b"GET /tap HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
    let mut watcher = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        wait::within("the head", LIMIT, watcher.read_line(&mut head)).await??;
    }
    for value in VALUES {
        let mut client = Connection::open(traced.port.address()).await?;
        let fields = [&b"\r\nX-Request-Id: "[..], value, b"\r\n\r\n"].concat();
        client.send([&b"GET /p HTTP/1.1\r\nHost: shop"[..], &fields].concat()).await?;
        let answered = client.response().await?.status;
        let line = loop {
            let mut line = String::new();
            wait::within("a line", LIMIT, watcher.read_line(&mut line)).await??;
            if line.starts_with('{') {
                break line;
            }
        };
        assert!(!line.trim_end().chars().any(is_command), "{line:?}");
        let object: Value = serde_json::from_str(&line)?;
        assert_eq!(
            (&object["status"], object.as_object().map(|all| all.len())),
            (&json!(answered), Some(20))
        );
    }
    Ok(())
}

/// Every line of an explanation is one of its own.
fn check_explanation(text: &str) {
    for line in text.lines().filter(|line| !line.is_empty()) {
        let begins = ["details: ", "  cause: ", "  now:   ", "  next:  ", "UF (", "UH (", "NR ("];
        assert!(begins.iter().any(|begin| line.starts_with(begin)), "{line:?} in {text}");
        assert!(!line.chars().any(is_command), "{line:?}");
    }
}

async fn lines_and_names_forge_no_explanation(plane: DataPlane) -> Result<()> {
    let scene = Scene::start(plane).await?;
    let encode = |text: &[u8]| text.iter().map(|byte| format!("%{byte:02x}")).collect::<Vec<_>>().concat();
    for at in 0..NAMES.len() {
        let name = encode(name(at).as_bytes());
        for flag in ["UF", "UH", "NR"] {
            let path = format!("/explain?flag={flag}&cluster={name}&authority={name}&details={name}");
            check_explanation(&scene.page(&path).await?);
        }
        let json = scene.page(&format!("/explain?flag=UF&format=json&cluster={name}")).await?;
        serde_json::from_str::<Value>(&json)?;
    }
    for value in VALUES {
        let line = [&b"[2026-10-03T10:00:00.000Z] \"GET / HTTP/1.1\" 503 UF upstream_"[..], value].concat();
        let text = String::from_utf8_lossy(&line).into_owned();
        check_explanation(&scene.page(&format!("/explain?line={}", encode(text.as_bytes()))).await?);
    }
    Ok(())
}
