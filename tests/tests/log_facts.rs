//! What access logs tell of connections, moments, metadata and traces: over both data planes, value by value.

use std::net::SocketAddr;

use outrigger_tests::access_log::AccessLog;
use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, manager_of, prefix_route, route_config, tcp_listener, terminate_tls,
    virtual_host, with_static,
};
use outrigger_tests::client::h1::Connection;
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::mesh::request;
use outrigger_tests::netns::Place;
use outrigger_tests::ports::Port;
use outrigger_tests::tls::{Authority, Identity, connect};
use outrigger_tests::upstream::{Echo, TcpEcho, Upstream};
use outrigger_tests::{Result, on_both_data_planes, on_data_plane};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

on_both_data_planes!(
    certificates_of_both_connections,
    moments_follow_each_other,
    metadata_of_the_configuration,
    metadata_keeps_its_type_in_json,
    the_local_time_zone,
    patterns_of_times,
    queries_are_decoded,
    what_is_never_there,
    connections_without_requests,
);

// Envoy forgets the hosts of earlier attempts once one of them has answered.
on_data_plane!(outrigger_alone, Outrigger, hosts_that_were_attempted);

fn to(cluster: &str) -> Value {
    route_config("r", &[virtual_host("v", &["*"], &[prefix_route("/", cluster)])])
}

fn identity(authority: &Authority, name: &str, more: &[&str]) -> Result<Identity> {
    let (uri, dns) = (format!("spiffe://mesh/{name}"), format!("{name}.local"));
    let names: Vec<&str> = [&*uri, &*dns].into_iter().chain(more.iter().copied()).collect();
    authority.issue_with(&names, |parameters| {
        parameters.serial_number = Some(rcgen::SerialNumber::from(0xab_cdef_u64));
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
    })
}

/// A cluster's TLS with an identity of its own.
fn originate_tls(authority: &Authority, identity: &Identity, sni: &str) -> Value {
    json!({"name": "tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "sni": sni,
        "common_tls_context": {
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
            "tls_certificates": [{"certificate_chain": {"inline_string": identity.certificate},
                                  "private_key": {"inline_string": identity.key}}],
            "validation_context": {"trusted_ca": {"inline_string": authority.certificate()}},
        },
    }})
}

const CERTIFICATES: &[&str] = &[
    "DOWNSTREAM_LOCAL_URI_SAN",
    "DOWNSTREAM_LOCAL_DNS_SAN",
    "DOWNSTREAM_LOCAL_IP_SAN",
    "DOWNSTREAM_LOCAL_SUBJECT",
    "DOWNSTREAM_PEER_IP_SAN",
    "DOWNSTREAM_PEER_EMAIL_SAN",
    "DOWNSTREAM_PEER_CHAIN_SERIALS",
    "DOWNSTREAM_PEER_SERIAL",
    "DOWNSTREAM_TLS_SESSION_ID",
    "UPSTREAM_TLS_VERSION",
    "UPSTREAM_SERVER_NAME",
    "UPSTREAM_PEER_SUBJECT",
    "UPSTREAM_PEER_ISSUER",
    "UPSTREAM_PEER_URI_SAN",
    "UPSTREAM_PEER_DNS_SAN",
    "UPSTREAM_PEER_IP_SAN",
    "UPSTREAM_LOCAL_URI_SAN",
    "UPSTREAM_LOCAL_DNS_SAN",
    "UPSTREAM_LOCAL_IP_SAN",
    "UPSTREAM_PEER_CERT_V_END(%Y)",
    "UPSTREAM_TLS_SESSION_ID",
    // Each is compared with its twin below.
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1",
    "DOWNSTREAM_PEER_FINGERPRINT_1",
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256",
    "DOWNSTREAM_PEER_FINGERPRINT_256",
    "DOWNSTREAM_TLS_GROUP",
    "UPSTREAM_TLS_GROUP",
    "UPSTREAM_TLS_CIPHER",
    "UPSTREAM_PEER_CERT",
];

/// One sidecar before another, mutual TLS on both connections of the first.
async fn certificates_of_both_connections(plane: DataPlane) -> Result<()> {
    let (front, back, upstream) = (Port::lease()?, Port::lease()?, Upstream::start(Echo::new("a"))?);
    let (authority, log) = (Authority::new()?, AccessLog::of(CERTIFICATES)?);
    let validation = json!({"trusted_ca": {"inline_string": authority.certificate()}});
    let secure = |name: &str, at: SocketAddr, cluster: &str, identity: &Identity| {
        let mut listener = http_listener(name, at, inline(to(cluster)));
        listener["filter_chains"][0]["transport_socket"] = terminate_tls(identity, &["http/1.1"]);
        let config = &mut listener["filter_chains"][0]["transport_socket"]["typed_config"];
        config["common_tls_context"]["validation_context"] = validation.clone();
        listener
    };
    let mut first = secure("front", front.address(), "back", &identity(&authority, "front", &["127.0.0.1"])?);
    manager_of(&mut first)["access_log"] = log.config();
    let second = secure("back", back.address(), "a", &identity(&authority, "back", &["10.9.8.7"])?);
    let mut to_back = cluster("back", &[back.address()]);
    to_back["transport_socket"] =
        originate_tls(&authority, &identity(&authority, "middle", &["10.1.1.1"])?, "back.local");
    let clusters = [to_back, cluster("a", &[upstream.address()])];
    let _sidecar = plane.launch()?.start(&with_static(&[first, second], &clusters)).await?;
    let mail = rcgen::string::Ia5String::try_from("a@b.c")?;
    let client = authority.issue_with(&["client.local", "10.1.2.3", "fd00::1"], |parameters| {
        parameters.subject_alt_names.push(rcgen::SanType::Rfc822Name(mail));
        parameters.serial_number = Some(rcgen::SerialNumber::from(0x1234_u64));
        parameters.not_after = rcgen::date_time_ymd(2044, 2, 3);
    })?;
    let config = authority.client(&["http/1.1"], Some(&client))?;
    let mut connection =
        Connection::over(connect(&Place::Host, front.address(), "front.local", config).await?);
    assert_eq!(connection.exchange("GET / HTTP/1.1\r\nHost: svc\r\n\r\n").await?.status, 200);
    let lines = log.lines(1).await?;
    let told: Vec<_> = lines[0].split('|').collect();
    let year = told[19];
    assert!(year.len() == 4 && year > "2026", "{told:?}");
    assert_eq!(
        told[..21],
        [
            "spiffe://mesh/front",
            "front.local",
            "127.0.0.1",
            "CN=front",
            "10.1.2.3,fd00::1",
            "a@b.c",
            "1234",
            "1234",
            "-",
            "TLSv1.3",
            "back.local",
            "CN=back",
            "CN=test authority",
            "spiffe://mesh/back",
            "back.local",
            "10.9.8.7",
            "spiffe://mesh/middle",
            "middle.local",
            "10.1.1.1",
            year,
            "-",
        ]
    );
    assert_eq!((told[21].len(), told[23].len()), (40, 64));
    assert_eq!((told[21], told[23]), (told[22], told[24]));
    assert!(told[25..27].iter().all(|group| group.starts_with("X25519") || *group == "P-256"), "{told:?}");
    assert!(told[27].starts_with("TLS_"), "{told:?}");
    assert!(told[28].starts_with("-----BEGIN%20CERTIFICATE-----%0A"), "{told:?}");
    Ok(())
}

/// In the order in which they come to pass, from the connection's beginning on.
const MOMENTS: &[&str] = &[
    "DS_RX_BEG",
    "DS_RX_HDR_END",
    "US_CX_BEG",
    "US_CX_END",
    "US_TX_BEG",
    "US_TX_END",
    "US_RX_BEG",
    "US_RX_BODY_BEG",
    "US_RX_END",
    "DS_TX_END",
];

async fn moments_follow_each_other(plane: DataPlane) -> Result<()> {
    let (port, upstream) = (Port::lease()?, Upstream::start(Echo::new("a"))?);
    let since = |point: &&str| format!("COMMON_DURATION(DS_CX_BEG:{point}:ns)");
    let mut operators: Vec<String> = MOMENTS.iter().map(since).collect();
    let more = [
        "COMMON_DURATION(DS_RX_BEG:DS_TX_BEG:ns)",
        "COMMON_DURATION(DS_HS_BEG:DS_HS_END:us)",
        "COMMON_DURATION(US_CX_BEG:US_HS_END:us)",
        "COMMON_DURATION(DS_CX_BEG:DS_CX_END:us)",
        "COMMON_DURATION(DS_TX_END:DS_CX_BEG:ns)",
        "COMMON_DURATION(DS_RX_BEG:US_CX_BEG:us)",
        "DOWNSTREAM_HANDSHAKE_DURATION",
        "UPSTREAM_CONNECTION_POOL_READY_DURATION",
    ];
    operators.extend(more.map(str::to_owned));
    let log = AccessLog::of(&operators.iter().map(String::as_str).collect::<Vec<_>>())?;
    let mut listener = http_listener("in", port.address(), inline(to("a")));
    manager_of(&mut listener)["access_log"] = log.config();
    let _sidecar =
        plane.launch()?.start(&with_static(&[listener], &[cluster("a", &[upstream.address()])])).await?;
    let mut connection = Connection::open(port.address()).await?;
    for _ in 0..2 {
        let asked = "POST / HTTP/1.1\r\nHost: svc\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(connection.exchange(asked).await?.status, 200);
    }
    let lines = log.lines(2).await?;
    let told: Vec<_> = lines[0].split('|').collect();
    let moments: Vec<u64> =
        told[..MOMENTS.len()].iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
    assert!(moments.is_sorted(), "{MOMENTS:?}: {moments:?}");
    assert!(told[10].parse::<u64>().is_ok(), "{told:?}");
    // No TLS, the connection goes on, and nothing ends before it began.
    assert_eq!(told[11..15], ["-"; 4]);
    assert!(told[15].parse::<u64>().is_ok(), "a new connection: {told:?}");
    assert_eq!(told[16], "-");
    assert!(told[17].parse::<u64>().is_ok(), "{told:?}");
    let again: Vec<_> = lines[1].split('|').collect();
    assert_eq!(again[15], "-", "the connection was there before the request");
    Ok(())
}

fn marked(mut message: Value, text: &str) -> Value {
    let inner = json!({"list": [1, "two", true, null], "half": 1.5});
    message["metadata"] = json!({"filter_metadata": {
        "com.test": {"name": text, "number": 5, "inner": inner},
        "envoy.lb": {"stage": text},
    }});
    message
}

/// Metadata everywhere, and a log on the connection manager.
fn everything_marked(at: SocketAddr, upstream: SocketAddr, log: Value) -> Value {
    let routes = [
        marked(json!({"match": {"prefix": "/none"}, "direct_response": {"status": 200}}), "direct"),
        marked(prefix_route("/", "a"), "route"),
    ];
    let table = route_config("r", &[marked(virtual_host("v", &["*"], &routes), "host")]);
    let mut listener = marked(http_listener("in", at, inline(table)), "listener");
    listener["filter_chains"][0] = marked(listener["filter_chains"][0].clone(), "chain");
    manager_of(&mut listener)["access_log"] = log;
    let mut cluster = marked(cluster("a", &[upstream]), "cluster");
    let endpoint = &mut cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0];
    *endpoint = marked(endpoint.clone(), "endpoint");
    with_static(&[listener], &[cluster])
}

const METADATA: &[&str] = &[
    "METADATA(ROUTE:com.test:name)",
    "METADATA(VIRTUAL_HOST:com.test:name)",
    "METADATA(CLUSTER:com.test:name)",
    "METADATA(UPSTREAM_HOST:com.test:name)",
    "METADATA(LISTENER:com.test:name)",
    "METADATA(LISTENER_FILTER_CHAIN:com.test:name)",
    "METADATA(DYNAMIC:com.test:name)",
    "CLUSTER_METADATA(com.test:number)",
    "CLUSTER_METADATA(com.test:inner:list)",
    "CLUSTER_METADATA(com.test:inner:half)",
    "CLUSTER_METADATA(com.test:inner:none)",
    "CLUSTER_METADATA(com.test:name:deeper)",
    "CLUSTER_METADATA(com.none)",
    "UPSTREAM_METADATA(envoy.lb)",
    "UPSTREAM_METADATA(envoy.lb:stage)",
    "DYNAMIC_METADATA(com.test)",
    "FILTER_STATE(some.key:PLAIN)",
    "UPSTREAM_FILTER_STATE(some.key)",
];

async fn metadata_of_the_configuration(plane: DataPlane) -> Result<()> {
    let (port, upstream, log) = (Port::lease()?, Upstream::start(Echo::new("a"))?, AccessLog::of(METADATA)?);
    let bootstrap = everything_marked(port.address(), upstream.address(), log.config());
    let _sidecar = plane.launch()?.start(&bootstrap).await?;
    for path in ["/", "/none"] {
        assert_eq!(request(port.address(), "svc", path, &[]).await?.status, 200);
    }
    let lines = log.lines(2).await?;
    assert_eq!(
        lines[0].split('|').collect::<Vec<_>>(),
        [
            "route",
            "host",
            "cluster",
            "endpoint",
            "listener",
            "chain",
            "-",
            "5",
            r#"[1,"two",true,null]"#,
            "1.5",
            "-",
            "-",
            "-",
            r#"{"stage":"endpoint"}"#,
            "endpoint",
            "-",
            "-",
            "-",
        ]
    );
    let direct: Vec<_> = lines[1].split('|').collect();
    assert_eq!(direct[..6], ["direct", "host", "-", "-", "listener", "chain"]);
    Ok(())
}

async fn metadata_keeps_its_type_in_json(plane: DataPlane) -> Result<()> {
    let (port, upstream, log) = (Port::lease()?, Upstream::start(Echo::new("a"))?, AccessLog::of(&[])?);
    let mut config = log.config();
    config[0]["typed_config"]["log_format"] = json!({
        "json_format": {
            "whole": "%CLUSTER_METADATA(com.test:inner)%",
            "number": "%CLUSTER_METADATA(com.test:number)%",
            "text": "%CLUSTER_METADATA(com.test:name)%",
            "none": "%CLUSTER_METADATA(com.test:none)%",
            "within": "<%CLUSTER_METADATA(com.test:number)%>",
        },
        "formatters": [{"name": "metadata", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.formatter.metadata.v3.Metadata"}}],
    });
    let bootstrap = everything_marked(port.address(), upstream.address(), config);
    let _sidecar = plane.launch()?.start(&bootstrap).await?;
    assert_eq!(request(port.address(), "svc", "/", &[]).await?.status, 200);
    let line: Value = serde_json::from_str(&log.lines(1).await?[0])?;
    let inner = json!({"list": [1, "two", true, null], "half": 1.5});
    assert_eq!(line, json!({"whole": inner, "number": 5, "text": "cluster", "none": null, "within": "<5>"}));
    Ok(())
}

/// A host that answers 503, one that nobody is at, and one that answers 200.
async fn hosts_that_were_attempted(plane: DataPlane) -> Result<()> {
    let bad = Upstream::start(outrigger_tests::upstream::Scripted::answering(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
    ))?;
    let (port, good, log) = (
        Port::lease()?,
        Upstream::start(Echo::new("a"))?,
        AccessLog::of(&[
            "UPSTREAM_HOSTS_ATTEMPTED",
            "UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT",
            "UPSTREAM_HOST_NAMES_ATTEMPTED",
            "UPSTREAM_CONNECTION_IDS_ATTEMPTED",
            "UPSTREAM_CONNECTION_ID",
            "UPSTREAM_REQUEST_ATTEMPT_COUNT",
        ])?,
    );
    let mut route = prefix_route("/", "a");
    route["route"]["retry_policy"] = json!({"retry_on": "5xx", "num_retries": 1,
        "retry_host_predicate": [{"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"}}],
        "host_selection_retry_max_attempts": 5});
    let table = route_config("r", &[virtual_host("v", &["*"], &[route])]);
    let mut listener = http_listener("in", port.address(), inline(table));
    manager_of(&mut listener)["access_log"] = log.config();
    // Both are asked in turn, whoever comes first.
    let both = cluster("a", &[bad.address(), good.address()]);
    let _sidecar = plane.launch()?.concurrency(1).start(&with_static(&[listener], &[both])).await?;
    for _ in 0..2 {
        assert_eq!(request(port.address(), "svc", "/", &[]).await?.status, 200);
    }
    let lines = log.lines(2).await?;
    let retried = lines.iter().map(|line| line.split('|').collect::<Vec<_>>()).find(|told| told[5] == "2");
    let told = retried.ok_or_else(|| format!("none was retried: {lines:?}"))?;
    let (bad, good) = (bad.address(), good.address());
    assert_eq!(told[0], format!("{bad},{good}"));
    assert_eq!(told[1], "127.0.0.1,127.0.0.1");
    assert_eq!(told[2], told[0]);
    let (first, last) = told[3].split_once(',').ok_or("no two connections")?;
    assert!(first != last && last == told[4], "{told:?}");
    Ok(())
}

async fn the_local_time_zone(plane: DataPlane) -> Result<()> {
    let operators =
        ["START_TIME_LOCAL", "START_TIME_LOCAL(%z %Z)", "EMIT_TIME_LOCAL(%H)", "START_TIME(%H %z)"];
    let (port, upstream, log) =
        (Port::lease()?, Upstream::start(Echo::new("a"))?, AccessLog::of(&operators)?);
    let mut listener = http_listener("in", port.address(), inline(to("a")));
    manager_of(&mut listener)["access_log"] = log.config();
    let bootstrap = with_static(&[listener], &[cluster("a", &[upstream.address()])]);
    // Without summer time.
    let _sidecar = plane.launch()?.env("TZ", "Asia/Kolkata").start(&bootstrap).await?;
    assert_eq!(request(port.address(), "svc", "/", &[]).await?.status, 200);
    let lines = log.lines(1).await?;
    let told: Vec<_> = lines[0].split('|').collect();
    assert!(told[0].ends_with("+0530") && told[0].len() == "2026-11-21T09:56:30.737+0530".len(), "{told:?}");
    assert_eq!(told[1], "+0530 IST");
    let hour = |text: &str| text.get(..2).and_then(|text| text.parse::<u32>().ok()).ok_or("no hour");
    let ahead = (24 + hour(told[2])? - hour(told[3])?) % 24;
    assert!((5..=6).contains(&ahead) && told[3].ends_with(" +0000"), "{told:?}");
    Ok(())
}

/// strftime's conversions as the C library prints them, and those with which Envoy's time library extends them.
async fn patterns_of_times(plane: DataPlane) -> Result<()> {
    let patterns = [
        "%s",
        "%9f",
        "%S.%3f",
        "%E3S",
        "%S.%6f",
        "%E6S",
        "%6f",
        "%E6f",
        "%Y",
        "%E4Y",
        "%Ez",
        "%E*z",
        "%ET",
        "%E*S",
        "%E*f",
        "%G %g %V %U %W %P",
    ];
    let operators = patterns.map(|pattern| format!("START_TIME({pattern})"));
    let operators: Vec<&str> = operators.iter().map(String::as_str).collect();
    let (port, upstream, log) =
        (Port::lease()?, Upstream::start(Echo::new("a"))?, AccessLog::of(&operators)?);
    let mut listener = http_listener("in", port.address(), inline(to("a")));
    manager_of(&mut listener)["access_log"] = log.config();
    let bootstrap = with_static(&[listener], &[cluster("a", &[upstream.address()])]);
    let _sidecar = plane.launch()?.start(&bootstrap).await?;
    request(port.address(), "svc", "/", &[]).await?;
    let lines = log.lines(1).await?;
    let told: Vec<_> = lines[0].split('|').collect();
    for at in [2, 4, 6, 8] {
        assert_eq!(told[at], told[at + 1], "{} {}", patterns[at], patterns[at + 1]);
    }
    assert_eq!(told[10..13], ["+00:00", "+00:00:00", "T"]);
    let fraction = told[1].trim_end_matches('0');
    let seconds = told[2].split('.').next().unwrap_or_default();
    let whole = if fraction.is_empty() { seconds.to_owned() } else { format!("{seconds}.{fraction}") };
    assert_eq!(told[13], whole);
    assert_eq!(told[14], if fraction.is_empty() { "0" } else { fraction });
    let mut date = std::process::Command::new("date");
    date.env("LC_ALL", "C").args(["-u", "-d", &format!("@{}", told[0]), &format!("+{}", patterns[15])]);
    assert_eq!(told[15], String::from_utf8(date.output()?.stdout)?.trim_end());
    Ok(())
}

async fn queries_are_decoded(plane: DataPlane) -> Result<()> {
    let operators = ["QUERY_PARAM(a)", "QUERY_PARAM(b)", "QUERY_PARAMS", "QUERY_PARAMS(DECODED)", "PATH(NQ)"];
    let (port, upstream, log) =
        (Port::lease()?, Upstream::start(Echo::new("a"))?, AccessLog::of(&operators)?);
    let mut listener = http_listener("in", port.address(), inline(to("a")));
    manager_of(&mut listener)["access_log"] = log.config();
    let _sidecar =
        plane.launch()?.start(&with_static(&[listener], &[cluster("a", &[upstream.address()])])).await?;
    for path in ["/p?%61=x%20y%2541&b=%41%3C%7e", "/p?b=%zz%4&c", "/p"] {
        assert_eq!(request(port.address(), "svc", path, &[]).await?.status, 200);
    }
    assert_eq!(
        log.lines(3).await?,
        [
            "x y%41|A<~|%61=x%20y%2541&b=%41%3C%7e|a=x%20y%41&b=A%3C~|/p",
            "-|%zz%4|b=%zz%4&c|b=zz4&c|/p",
            "-|-|-|-|/p",
        ]
    );
    Ok(())
}

/// Facts of features that nobody has configured, and the empty text where Envoy prints that.
async fn what_is_never_there(plane: DataPlane) -> Result<()> {
    let operators = [
        "TLS_JA3_FINGERPRINT",
        "TLS_JA4_FINGERPRINT",
        "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
        "CONNECTION_TERMINATION_DETAILS",
        "VIRTUAL_CLUSTER_NAME",
        "TRACE_ID",
        "SPAN_ID",
        "ROUNDTRIP_DURATION",
        "BYTES_RETRANSMITTED",
        "PACKETS_RETRANSMITTED",
        "CUSTOM_FLAGS",
        "DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID",
        "UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID",
        "DOWNSTREAM_DIRECT_LOCAL_ADDRESS",
        "DOWNSTREAM_DIRECT_LOCAL_PORT",
        "UPSTREAM_CLUSTER",
        "UPSTREAM_CLUSTER_RAW",
    ];
    let (port, upstream, log) =
        (Port::lease()?, Upstream::start(Echo::new("a"))?, AccessLog::of(&operators)?);
    let mut listener = http_listener("in", port.address(), inline(to("a")));
    manager_of(&mut listener)["access_log"] = log.config();
    let mut renamed = cluster("a", &[upstream.address()]);
    renamed["alt_stat_name"] = json!("another");
    let _sidecar = plane.launch()?.start(&with_static(&[listener], &[renamed])).await?;
    assert_eq!(request(port.address(), "svc", "/", &[]).await?.status, 200);
    let at = port.address();
    let expected = format!("-|-|-|-|-|-|-|-|0|0||||{at}|{}|another|a", at.port());
    assert_eq!(log.lines(1).await?, [expected]);
    Ok(())
}

async fn connections_without_requests(plane: DataPlane) -> Result<()> {
    let operators = [
        "COMMON_DURATION(DS_RX_BEG:US_CX_BEG:us)",
        "COMMON_DURATION(US_CX_BEG:US_CX_END:us)",
        "COMMON_DURATION(DS_CX_BEG:DS_CX_END:us)",
        "UPSTREAM_CONNECTION_ID",
        "STREAM_ID",
        "COMMON_DURATION(DS_RX_BEG:DS_RX_HDR_END:us)",
        "COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)",
        "METADATA(CLUSTER:com.test:name)",
        "METADATA(LISTENER:com.test:name)",
        "METADATA(ROUTE:com.test:name)",
        "UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT",
    ];
    let (port, upstream, log) = (Port::lease()?, Upstream::start(TcpEcho)?, AccessLog::of(&operators)?);
    let mut listener = marked(tcp_listener("in", port.address(), "a"), "listener");
    listener["filter_chains"][0]["filters"][0]["typed_config"]["access_log"] = log.config();
    let marked = marked(cluster("a", &[upstream.address()]), "cluster");
    let _sidecar = plane.launch()?.start(&with_static(&[listener], &[marked])).await?;
    let mut stream = tokio::net::TcpStream::connect(port.address()).await?;
    stream.write_all(b"hello").await?;
    stream.read_exact(&mut [0; 5]).await?;
    drop(stream);
    let lines = log.lines(1).await?;
    let told: Vec<_> = lines[0].split('|').collect();
    assert!(told[..4].iter().all(|number| number.parse::<u64>().is_ok()), "{told:?}");
    assert_eq!(told[4].len(), 36, "{told:?}");
    assert_eq!(told[5..], ["-", "-", "cluster", "listener", "-", "127.0.0.1"]);
    Ok(())
}
