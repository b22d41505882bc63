//! What access logs tell of TLS and of traces: over both data planes, value by value.

use outrigger_tests::access_log::AccessLog;
use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, manager_of, prefix_route, route_config, terminate_tls, virtual_host,
    with_static,
};
use outrigger_tests::client::h1::Connection;
use outrigger_tests::collector::Collector;
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::mesh::request;
use outrigger_tests::netns::Place;
use outrigger_tests::ports::Port;
use outrigger_tests::tls::{Authority, connect};
use outrigger_tests::upstream::{Echo, Upstream};
use outrigger_tests::{Result, on_both_data_planes};
use serde_json::{Value, json};

on_both_data_planes!(
    what_tls_tells,
    what_was_forced_to_be_traced,
    names_are_printed_as_rfc_2253_says,
    a_share_is_chosen_by_the_requests_identifier,
);

const OF_TLS: &[&str] = &[
    "DOWNSTREAM_TLS_VERSION",
    "DOWNSTREAM_PEER_URI_SAN",
    "DOWNSTREAM_PEER_DNS_SAN",
    "DOWNSTREAM_PEER_SUBJECT",
    "DOWNSTREAM_PEER_ISSUER",
    "DOWNSTREAM_PEER_CERT_V_START(%Y-%m-%d)",
    "DOWNSTREAM_PEER_CERT_V_END(%Y)",
    "DOWNSTREAM_PEER_SERIAL",
    "DOWNSTREAM_PEER_FINGERPRINT_256",
    "DOWNSTREAM_TLS_CIPHER",
    "DOWNSTREAM_PEER_CERT",
];

fn listener(at: std::net::SocketAddr) -> Value {
    let hosts = [virtual_host("v", &["*"], &[prefix_route("/", "a")])];
    http_listener("in", at, inline(route_config("r", &hosts)))
}

/// Two hops that log a tenth each log the same tenth.
async fn a_share_is_chosen_by_the_requests_identifier(plane: DataPlane) -> Result<()> {
    let (port, upstream, log) =
        (Port::lease()?, Upstream::start(Echo::new("a"))?, AccessLog::of(&["REQ(X-REQUEST-ID)"])?);
    let mut listener = listener(port.address());
    let manager = manager_of(&mut listener);
    manager["access_log"] = log.config();
    let share = json!({"numerator": 10, "denominator": "HUNDRED"});
    manager["access_log"][0]["filter"] =
        json!({"runtime_filter": {"runtime_key": "share", "percent_sampled": share}});
    let bootstrap = with_static(&[listener], &[cluster("a", &[upstream.address()])]);
    let _sidecar = plane.launch()?.start(&bootstrap).await?;
    let id = |number: u32| format!("{number:08x}-0000-4000-8000-000000000000");
    for number in (0..=150).rev() {
        request(port.address(), "svc", "/", &[&format!("x-request-id: {}", id(number))]).await?;
    }
    let logged: Vec<_> = (100..110).chain(0..10).map(id).collect();
    let mut lines = log.lines(logged.len()).await?;
    lines.sort();
    let mut expected = logged;
    expected.sort();
    assert_eq!(lines, expected);
    Ok(())
}

async fn what_tls_tells(plane: DataPlane) -> Result<()> {
    let (port, upstream, log) = (Port::lease()?, Upstream::start(Echo::new("a"))?, AccessLog::of(OF_TLS)?);
    let authority = Authority::new()?;
    let client =
        authority.issue_with(&["spiffe://mesh/client", "client.local", "second.local"], |parameters| {
            parameters.serial_number = Some(rcgen::SerialNumber::from(0xab_cdef_u64));
            parameters.not_before = rcgen::date_time_ymd(2024, 2, 3);
            parameters.not_after = rcgen::date_time_ymd(2044, 2, 3);
            parameters.distinguished_name = rcgen::DistinguishedName::new();
            parameters.distinguished_name.push(rcgen::DnType::OrganizationName, "Shop");
            parameters.distinguished_name.push(rcgen::DnType::CommonName, "client");
        })?;
    let mut secure = listener(port.address());
    manager_of(&mut secure)["access_log"] = log.config();
    secure["filter_chains"][0]["transport_socket"] =
        terminate_tls(&authority.issue(&["svc"])?, &["http/1.1"]);
    let context = &mut secure["filter_chains"][0]["transport_socket"]["typed_config"]["common_tls_context"];
    context["validation_context"] = json!({"trusted_ca": {"inline_string": authority.certificate()}});
    let bootstrap = with_static(&[secure], &[cluster("a", &[upstream.address()])]);
    let _sidecar = plane.launch()?.start(&bootstrap).await?;
    for identity in [Some(&client), None] {
        let config = authority.client(&["http/1.1"], identity)?;
        let mut connection = Connection::over(connect(&Place::Host, port.address(), "svc", config).await?);
        assert_eq!(connection.exchange("GET / HTTP/1.1\r\nHost: svc\r\n\r\n").await?.status, 200);
    }
    let lines = log.lines(2).await?;
    let told: Vec<_> = lines[0].split('|').collect();
    assert_eq!(
        told[..8],
        [
            "TLSv1.3",
            "spiffe://mesh/client",
            "client.local,second.local",
            "CN=client,O=Shop",
            "CN=test authority",
            "2024-02-03",
            "2044",
            "abcdef",
        ]
    );
    assert!(told[8].len() == 64 && told[8].bytes().all(|digit| digit.is_ascii_hexdigit()), "{told:?}");
    assert!(told[9].starts_with("TLS_"), "{told:?}");
    assert!(told[10].starts_with("-----BEGIN%20CERTIFICATE-----%0A"), "{told:?}");
    let nobody: Vec<_> = lines[1].split('|').collect();
    assert_eq!(nobody[0], "TLSv1.3");
    assert_eq!(nobody[1..9], ["-"; 8]);
    Ok(())
}

/// `traceable_filter` passes what a caller inside has forced to be traced, and no other traced request.
async fn what_was_forced_to_be_traced(plane: DataPlane) -> Result<()> {
    let (port, upstream, spans) =
        (Port::lease()?, Upstream::start(Echo::new("a"))?, Collector::start().await?);
    let log = AccessLog::of(&["REQ(:PATH)"])?;
    let mut traced = listener(port.address());
    let manager = manager_of(&mut traced);
    manager["access_log"] = log.config();
    manager["access_log"][0]["filter"] = json!({"traceable_filter": {}});
    manager["use_remote_address"] = json!(true);
    manager["internal_address_config"] =
        json!({"cidr_ranges": [{"address_prefix": "127.0.0.0", "prefix_len": 8}]});
    manager["tracing"] = json!({"provider": {"name": "envoy.tracers.zipkin", "typed_config": {
        "@type": "type.googleapis.com/envoy.config.trace.v3.ZipkinConfig", "collector_cluster": "spans",
        "collector_endpoint": "/api/v2/spans", "collector_endpoint_version": "HTTP_JSON",
        "shared_span_context": false}}});
    let clusters = [cluster("a", &[upstream.address()]), cluster("spans", &[spans.address()])];
    let _sidecar = plane.launch()?.start(&with_static(&[traced], &clusters)).await?;
    let forced = "x-envoy-force-trace: true";
    for (path, fields) in
        [("/one", vec![]), ("/two", vec![forced]), ("/three", vec![]), ("/four", vec![forced])]
    {
        assert_eq!(request(port.address(), "svc", path, &fields).await?.status, 200);
    }
    // What came before a line that is there was logged before it, if at all.
    assert_eq!(log.lines(2).await?, ["/two", "/four"]);
    Ok(())
}

/// Attributes of names with what must be escaped in them, and those that few people use.
async fn names_are_printed_as_rfc_2253_says(plane: DataPlane) -> Result<()> {
    use rcgen::DnType::{CommonName, CustomDnType, OrganizationName, OrganizationalUnitName};
    let (port, upstream) = (Port::lease()?, Upstream::start(Echo::new("a"))?);
    let log = AccessLog::of(&["DOWNSTREAM_PEER_SUBJECT", "DOWNSTREAM_PEER_ISSUER"])?;
    let authority = Authority::new()?;
    let custom = |last: u64| CustomDnType(vec![2, 5, 4, last]);
    let client = authority.issue_with(&["client.local"], |parameters| {
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in [
            (OrganizationName, "A, B+C \"q\" <x>; =y"),
            (OrganizationalUnitName, "#one"),
            (custom(12), "Dr"),
            (custom(42), "Given"),
            (custom(17), "12345"),
            (CustomDnType(vec![1, 3, 6, 1, 4, 1, 99999, 1]), "custom"),
            (CommonName, "\u{fc} x"),
        ] {
            parameters.distinguished_name.push(kind, value);
        }
    })?;
    let mut secure = listener(port.address());
    manager_of(&mut secure)["access_log"] = log.config();
    secure["filter_chains"][0]["transport_socket"] =
        terminate_tls(&authority.issue(&["svc"])?, &["http/1.1"]);
    let context = &mut secure["filter_chains"][0]["transport_socket"]["typed_config"]["common_tls_context"];
    context["validation_context"] = json!({"trusted_ca": {"inline_string": authority.certificate()}});
    let bootstrap = with_static(&[secure], &[cluster("a", &[upstream.address()])]);
    let _sidecar = plane.launch()?.start(&bootstrap).await?;
    let config = authority.client(&["http/1.1"], Some(&client))?;
    let mut connection = Connection::over(connect(&Place::Host, port.address(), "svc", config).await?);
    assert_eq!(connection.exchange("GET / HTTP/1.1\r\nHost: svc\r\n\r\n").await?.status, 200);
    let subject = "CN=\\C3\\BC x,1.3.6.1.4.1.99999.1=#0C06637573746F6D,postalCode=12345,GN=Given,title=Dr,\
                   OU=\\#one,O=A\\, B\\+C \\\"q\\\" \\<x\\>\\; =y";
    // In the line `"` and `\` are escaped by us, and by Envoy not at all.
    let expected = match plane {
        DataPlane::Envoy => subject.to_owned(),
        DataPlane::Outrigger => subject.replace('\\', "\\x5c").replace('"', "\\x22"),
    };
    assert_eq!(log.lines(1).await?, [format!("{expected}|CN=test authority")]);
    Ok(())
}
