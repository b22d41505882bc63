//! No header forges a line or a field of an access log, in text, in JSON, on standard output, at a service, or in a trace.

use std::time::Duration;

use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, manager_of, over_http2, prefix_route, route_config, virtual_host,
    with_static,
};
use outrigger_tests::client::h1::Connection;
use outrigger_tests::collector::Collector;
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::hostile::{VALUES, is_command};
use outrigger_tests::log_service::LogService;
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Echo, Upstream};
use outrigger_tests::{Result, on_data_plane, wait};
use serde_json::{Value, json};

on_data_plane!(
    outrigger,
    Outrigger,
    hostile_values_stay_in_their_fields,
    hostile_values_are_one_entry_and_one_span_each
);

/// Fields of Envoy's default format that hold what a client sent.
const FIELDS: &[&str] =
    &["user-agent", "x-forwarded-for", "x-request-id", "x-envoy-original-path", "referer"];

fn stream_log(format: Option<Value>) -> Value {
    let mut config = json!({
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"});
    if let Some(format) = format {
        config["log_format"] = format;
    }
    json!({"name": "envoy.access_loggers.stdout", "typed_config": config})
}

async fn start(plane: DataPlane, port: &Port, upstream: &Upstream) -> Result<Sidecar> {
    let hosts = [virtual_host("v", &["*"], &[prefix_route("/", "a")])];
    let mut listener = http_listener("ingress", port.address(), inline(route_config("r", &hosts)));
    let fields = json!({"json_format": {
        "response_code": "%RESPONSE_CODE%",
        "agent": "%REQ(USER-AGENT)%",
        "referer": "%REQ(REFERER)%",
        "forwarded": "%REQ(X-FORWARDED-FOR)%",
        "id": "%REQ(X-REQUEST-ID)%",
        "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
        "mixed": "agent %REQ(USER-AGENT)% of %REQ(:AUTHORITY)%",
    }});
    manager_of(&mut listener)["access_log"] = json!([stream_log(None), stream_log(Some(fields))]);
    plane.launch()?.start(&with_static(&[listener], &[cluster("a", &[upstream.address()])])).await
}

/// The fields of a line in the default format; quoted ones lose their quotes.
fn fields(line: &str) -> Vec<&str> {
    let mut fields = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => rest.split_once(' ').unwrap_or((rest, "")),
        };
        fields.push(field);
        rest = if rest.starts_with('"') { after.strip_prefix(' ').unwrap_or(after) } else { after };
    }
    fields
}

async fn hostile_values_stay_in_their_fields(plane: DataPlane) -> Result<()> {
    let (port, upstream) = (Port::lease()?, Upstream::start(Echo::new("a"))?);
    let mut sidecar = start(plane, &port, &upstream).await?;
    let mut sent = 0;
    for value in VALUES {
        for field in FIELDS {
            let mut request = format!("GET /p HTTP/1.1\r\nHost: shop\r\n{field}: ").into_bytes();
            request.extend_from_slice(value);
            request.extend_from_slice(b"\r\n\r\n");
            let mut client = Connection::open(port.address()).await?;
            client.send(&request).await?;
            let status = client.response().await?.status;
            assert!([200, 400].contains(&status), "{status} to {field}: {value:?}");
            sent += 1;
        }
    }
    let complete = |sidecar: &mut Sidecar| {
        let out = sidecar.process().stdout();
        (out.lines().count() >= 2 * sent).then_some(out)
    };
    let out =
        wait::until("both logs", Duration::from_secs(15), || std::future::ready(complete(&mut sidecar)))
            .await?;
    let (objects, lines): (Vec<_>, Vec<_>) = out.lines().partition(|line| line.starts_with('{'));
    assert_eq!((objects.len(), lines.len()), (sent, sent), "one line per request and logger: {out}");
    assert!(!out.chars().any(|char| is_command(char) && char != '\n'), "{out:?}");
    for line in lines {
        let fields = fields(line);
        // Time, request line, status, flags, four numbers, five quoted values.
        assert_eq!(fields.len(), 13, "{line}: {fields:?}");
        assert!(["200", "400"].contains(&fields[2]), "{line}");
    }
    for object in objects {
        let object: Value = serde_json::from_str(object)?;
        assert_eq!(object.as_object().map(serde_json::Map::len), Some(7), "{object}");
        assert!([json!(200), json!(400)].contains(&object["response_code"]), "{object}");
    }
    Ok(())
}

/// An access-log service and a Zipkin collector: as many entries and spans as requests, each whole.
async fn hostile_values_are_one_entry_and_one_span_each(plane: DataPlane) -> Result<()> {
    let (port, upstream) = (Port::lease()?, Upstream::start(Echo::new("a"))?);
    let (logs, collector) = (LogService::start().await?, Collector::start().await?);
    let hosts = [virtual_host("v", &["*"], &[prefix_route("/", "a")])];
    let mut listener = http_listener("ingress", port.address(), inline(route_config("r", &hosts)));
    let manager = manager_of(&mut listener);
    manager["access_log"] = json!([{"name": "service", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
        "additional_request_headers_to_log": ["x-hostile"],
        "common_config": {"log_name": "l", "transport_api_version": "V3", "buffer_flush_interval": "0.05s",
            "grpc_service": {"envoy_grpc": {"cluster_name": "logs"}},
            "custom_tags": [{"tag": "hostile", "request_header": {"name": "x-hostile"}}]},
    }}]);
    manager["tracing"] = json!({
        "custom_tags": [{"tag": "hostile", "request_header": {"name": "x-hostile"}}],
        "provider": {"name": "zipkin", "typed_config": {
            "@type": "type.googleapis.com/envoy.config.trace.v3.ZipkinConfig", "collector_cluster": "spans",
            "collector_endpoint": "/spans", "collector_endpoint_version": "HTTP_JSON"}}});
    let clusters = [
        cluster("a", &[upstream.address()]),
        over_http2(cluster("logs", &[logs.address()])),
        cluster("spans", &[collector.address()]),
    ];
    let _sidecar = plane.launch()?.start(&with_static(&[listener], &clusters)).await?;
    let mut taken = 0;
    for value in VALUES {
        let head = b"GET /p HTTP/1.1\r\nHost: shop\r\nx-hostile: ";
        let mut client = Connection::open(port.address()).await?;
        client.send([&head[..], value, b"\r\n\r\n"].concat()).await?;
        taken += usize::from(client.response().await?.status == 200);
    }
    assert!(taken >= 7, "most of it is legal in a field: {taken}");
    let is_whole = |value: &String| !value.is_empty();
    let entries = logs.until_requests(taken).await?;
    let of_requests = entries.iter().filter_map(|entry| {
        let tags = &entry.common_properties.as_ref()?.custom_tags;
        Some((entry.request.as_ref()?.request_headers.get("x-hostile")?, tags.get("hostile")?))
    });
    assert_eq!(of_requests.filter(|(header, tag)| is_whole(header) && is_whole(tag)).count(), taken);
    assert_eq!(entries.iter().filter(|entry| entry.request.is_some()).count(), entries.len());
    let spans = |received: &[outrigger_tests::collector::Received]| -> Result<Vec<Value>> {
        let batches = received.iter().map(|one| serde_json::from_slice::<Vec<Value>>(&one.body));
        Ok(batches.collect::<Result<Vec<_>, _>>()?.concat())
    };
    let tagged = |all: &[Value]| all.iter().filter(|span| span["tags"]["hostile"].is_string()).count();
    let all = |received: &[outrigger_tests::collector::Received]| {
        spans(received).is_ok_and(|all| tagged(&all) >= taken)
    };
    let received = collector.until("every span", all).await?;
    let found = spans(&received)?;
    assert_eq!(tagged(&found), taken);
    assert!(found.iter().all(|span| span["id"].as_str().is_some_and(|id| id.len() == 16)), "{found:?}");
    Ok(())
}
