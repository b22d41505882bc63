//! Expressions in access logs, as filters of logs and as conditions of access rules: over both data planes, value by
//! value.

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
use outrigger_tests::tls::{Authority, connect};
use outrigger_tests::upstream::{Echo, TcpEcho, Upstream};
use outrigger_tests::{Result, on_both_data_planes};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

on_both_data_planes!(
    attributes_of_a_request,
    values_and_their_text,
    failures_are_missing_values,
    types_are_kept_in_json,
    texts_are_cut,
    what_expressions_may_do_is_configured,
    answers_of_our_own,
    connections_without_requests,
    certificates,
    filters_by_expression,
    conditions_of_access,
);

/// Expressions with what they print.
type Cases<'c> = &'c [(&'c str, &'c str)];

fn log_of(cases: Cases<'_>) -> Result<AccessLog> {
    let operators: Vec<_> = cases.iter().map(|(source, _)| format!("CEL({source})")).collect();
    AccessLog::of(&operators.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Compares value by value, so that a failure names the expression.
fn assert_told(line: &str, cases: Cases<'_>) {
    let told: Vec<_> = line.split('|').collect();
    assert_eq!(told.len(), cases.len(), "{line}");
    for ((source, wanted), told) in cases.iter().zip(told) {
        assert_eq!(told, *wanted, "{source}");
    }
}

fn metadata(text: &str) -> Value {
    json!({"filter_metadata": {"com.test": {
        "name": text, "number": 5, "half": 1.5, "yes": true, "list": [1, "two"], "inner": {"a": "b"},
    }}})
}

/// Metadata everywhere, an answer of our own below `/own`, and nothing at all below `/none`.
fn everything_marked(at: SocketAddr, upstream: SocketAddr, log: Value) -> Value {
    let mut route = prefix_route("/", "a");
    route["name"] = json!("all");
    route["match"]["headers"] = json!([{"name": "x-none", "present_match": true, "invert_match": true}]);
    route["metadata"] = metadata("route");
    let own = json!({"match": {"prefix": "/own"}, "direct_response": {"status": 403}});
    let mut host = virtual_host("v", &["*"], &[own, route]);
    host["metadata"] = metadata("host");
    let mut listener = http_listener("in", at, inline(route_config("r", &[host])));
    listener["metadata"] = metadata("listener");
    listener["traffic_direction"] = json!("INBOUND");
    listener["filter_chains"][0]["name"] = json!("chain");
    manager_of(&mut listener)["access_log"] = log;
    let mut cluster = cluster("a", &[upstream]);
    cluster["metadata"] = metadata("cluster");
    cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["metadata"] = metadata("endpoint");
    with_static(&[listener], &[cluster])
}

/// The line of one request.
async fn line_of(
    plane: DataPlane,
    log: &AccessLog,
    config: Value,
    path: &str,
    fields: &[&str],
) -> Result<String> {
    let (port, upstream) = (Port::lease()?, Upstream::start(Echo::new("a"))?);
    let bootstrap = everything_marked(port.address(), upstream.address(), config);
    let _sidecar = plane.launch()?.start(&bootstrap).await?;
    request(port.address(), "svc.example:80", path, fields).await?;
    Ok(log.lines(1).await?.remove(0))
}

async fn attributes_of_a_request(plane: DataPlane) -> Result<()> {
    let marks = "filter_metadata { key: \"com.test\" value { fields { key: \"half\" value { number_value: 1.5 } } \
                 fields { key: \"inner\" value { struct_value { fields { key: \"a\" value { string_value: \"b\" } } \
                 } } } fields { key: \"list\" value { list_value { values { number_value: 1 } values { string_value: \
                 \"two\" } } } } fields { key: \"name\" value { string_value: \"route\" } } fields { key: \"number\" \
                 value { number_value: 5 } } fields { key: \"yes\" value { bool_value: true } } } } ";
    // In the line `"` is escaped by us, and by Envoy not at all.
    let marks = match plane {
        DataPlane::Envoy => marks.to_owned(),
        DataPlane::Outrigger => marks.replace('"', "\\x22"),
    };
    let cases: Cases<'_> = &[
        ("request.path", "/a/b?x=1&y=2"),
        ("request.url_path", "/a/b"),
        ("request.query", "x=1&y=2"),
        ("request.host", "svc.example:80"),
        ("request.scheme", "http"),
        ("request.method", "GET"),
        ("request.useragent", "agent"),
        ("request.referer", "-"),
        ("request.id == request.headers['x-request-id']", "true"),
        ("request.headers['x-a']", "one,two"),
        ("request.headers['X-A']", "one,two"),
        ("request.headers[':path']", "/a/b?x=1&y=2"),
        ("request.headers.host", "svc.example:80"),
        ("request.headers['x-empty'] == ''", "true"),
        ("request.headers['nope']", "-"),
        ("'x-a' in request.headers", "true"),
        ("'nope' in request.headers", "false"),
        ("has(request.headers.nope)", "false"),
        ("has(request.path) && !has(request.referer)", "true"),
        ("request.headers", "CelMap value"),
        ("request.size", "0"),
        ("request.total_size == request.headers_bytes", "true"),
        ("request.protocol", "HTTP/1.1"),
        ("request.time > timestamp('2024-01-01T00:00:00Z')", "true"),
        ("request.duration > duration('0s') && request.duration < duration('1m')", "true"),
        ("response.code", "200"),
        ("response.code >= 200 && response.code < 300", "true"),
        ("response.size > 0 && response.total_size > response.size", "true"),
        ("response.headers[':status']", "200"),
        ("response.headers['content-type']", "application/json"),
        ("response.trailers['nope']", "-"),
        ("response.flags", "0"),
        ("response.grpc_status", "2"),
        ("response.code_details", "via_upstream"),
        ("response.backend_latency < request.duration", "true"),
        ("source.address.startsWith('127.0.0.1:')", "true"),
        ("source.port > 0", "true"),
        ("destination.address.endsWith('0')  ? 1 : 1", "1"),
        ("connection.mtls", "false"),
        ("connection.requested_server_name", ""),
        ("connection.tls_version", "-"),
        ("connection.subject_peer_certificate", "-"),
        ("connection.transport_failure_reason", "-"),
        ("connection.id >= 0u", "true"),
        ("upstream.address.startsWith('127.0.0.1:')", "true"),
        ("upstream.port > 0", "true"),
        ("upstream.local_address.startsWith('127.0.0.1:')", "true"),
        ("upstream.transport_failure_reason", ""),
        ("upstream.request_attempt_count", "1"),
        ("upstream.cx_pool_ready_duration >= duration('0s')", "true"),
        ("upstream.tls_version", "-"),
        ("xds.cluster_name", "a"),
        ("xds.route_name", "all"),
        ("xds.virtual_host_name", "v"),
        ("xds.filter_chain_name", "chain"),
        ("xds.listener_direction", "1"),
        ("xds.route_metadata", &marks),
        ("xds.route_metadata.filter_metadata['com.test']['name']", "route"),
        ("xds.virtual_host_metadata.filter_metadata['com.test'].name", "host"),
        ("xds.cluster_metadata.filter_metadata['com.test'].name", "cluster"),
        ("xds.upstream_host_metadata.filter_metadata['com.test'].name", "endpoint"),
        ("xds.listener_metadata.filter_metadata['com.test'].name", "listener"),
        ("xds.route_metadata.filter_metadata", "CelMap value"),
        ("xds.route_metadata.filter_metadata['com.test'].list", "CelList value"),
        ("xds.route_metadata.filter_metadata['com.test'].list[1]", "two"),
        ("xds.route_metadata.filter_metadata['com.test'].list == [1, 'two']", "true"),
        ("xds.route_metadata.filter_metadata['com.test'].inner == {'a': 'b'}", "true"),
        ("xds.route_metadata.filter_metadata['com.test'].number + 1.0", "6"),
        ("xds.route_metadata.filter_metadata['com.test'].half", "1.5"),
        ("xds.route_metadata.filter_metadata['com.test'].yes", "true"),
        ("xds.route_metadata.filter_metadata['none'].name", "-"),
        ("has(xds.route_metadata.filter_metadata)", "true"),
        ("metadata", ""),
        ("metadata.filter_metadata['none']", "-"),
        ("has(metadata.filter_metadata)", "false"),
        ("filter_state['none']", "-"),
        ("'none' in filter_state", "false"),
    ];
    let log = log_of(cases)?;
    let fields = ["user-agent: agent", "x-a: one", "x-empty:", "x-a: two"];
    assert_told(&line_of(plane, &log, log.config(), "/a/b?x=1&y=2", &fields).await?, cases);
    Ok(())
}

async fn values_and_their_text(plane: DataPlane) -> Result<()> {
    let cases: Cases<'_> = &[
        ("-9223372036854775808", "-9223372036854775808"),
        ("0xffu", "255"),
        ("1234567.0", "1.23457e+06"),
        ("0.1 + 0.2", "0.3"),
        ("1e-7", "1e-07"),
        ("-0.0", "-0"),
        ("1.0 / 0.0", "inf"),
        ("null", "NULL"),
        ("r'a' == 'a' && b'a' != 'a'", "true"),
        ("'\\u00e9\\x41\\101'", "\u{e9}AA"),
        ("b'\\x41'", "A"),
        ("[1]", "CelList value"),
        ("{}", "CelMap value"),
        ("type(1)", "CelType value"),
        ("type('a') == string", "true"),
        ("1 + 2 * 3 - 4 / 2 % 3", "5"),
        ("1 == 1.0 && 1u == 1 && 1 != '1'", "true"),
        ("9223372036854775807 == 9223372036854775808.0", "true"),
        ("0.0 / 0.0 < 1", "false"),
        ("true ? 2 : false ? 4 : 5", "2"),
        ("1.0 in [1] && 1u in {1: 2} && 'a' in {'a': 1}", "true"),
        ("[1, 2][1.0] + {1: 3}[1u]", "5"),
        ("size('\u{e9}') + b'ab'.size() + size([1]) + size({'a': 1})", "5"),
        ("'abc'.matches('b.') && matches('abc', '^a') && !'abc'.matches('^b')", "true"),
        ("int(' 12') + int(1.9) + int(-1.9) + int(true)", "13"),
        ("uint(1.5) + uint('5')", "6"),
        ("double('1.5') + double(1)", "2.5"),
        ("bool('TRUE') && bool('t') && !bool('0')", "true"),
        ("duration('1h2m3.5s')", "1h2m3.5s"),
        ("duration('-1.5ms')", "-1.5ms"),
        ("duration('999999ns')", "999.999us"),
        ("duration('.5s') + duration('1.s') - duration('0')", "1.5s"),
        ("timestamp('2024-01-02t03:04:05.678+02:00')", "2024-01-02T01:04:05.678+00:00"),
        ("timestamp(1704164645) - duration('24h')", "2024-01-01T03:04:05+00:00"),
        ("timestamp('2024-01-02T03:04:05Z') - timestamp('2024-01-01T03:04:05Z')", "24h"),
        ("int(timestamp('2024-01-02T03:04:05Z'))", "1704164645"),
        ("timestamp('2024-03-02T03:04:05Z').getDayOfYear()", "61"),
        ("timestamp('2024-03-02T03:04:05Z').getDayOfWeek()", "6"),
        ("timestamp('2024-03-02T03:04:05Z').getMonth()", "2"),
        (
            "timestamp('2024-03-02T03:04:05Z').getDate() - timestamp('2024-03-02T03:04:05Z').getDayOfMonth()",
            "1",
        ),
        ("timestamp('2024-03-02T03:04:05Z').getHours('-05:30')", "21"),
        ("duration('-3h2m1s').getMinutes()", "-182"),
        ("duration('1s5ms').getMilliseconds()", "5"),
        ("1 // the rest is a comment", "1"),
    ];
    let log = log_of(cases)?;
    assert_told(&line_of(plane, &log, log.config(), "/", &[]).await?, cases);
    Ok(())
}

async fn failures_are_missing_values(plane: DataPlane) -> Result<()> {
    let cases: Cases<'_> = &[
        ("1 / 0", "-"),
        ("5 % 0", "-"),
        ("9223372036854775807 + 1", "-"),
        ("1u - 2u", "-"),
        ("1 + 2.0", "-"),
        ("-true", "-"),
        ("!1", "-"),
        ("'a' + 'b'", "-"),
        ("'a' < 1", "-"),
        ("1 < 2 < 3", "-"),
        ("'a' in 'abc'", "-"),
        ("size(1)", "-"),
        ("[1][1]", "-"),
        ("[1][-1]", "-"),
        ("{'a': 1}.b", "-"),
        ("{'a': 1, 'a': 2}", "-"),
        ("{1.5: 1}", "-"),
        ("'a'.b", "-"),
        ("1 ? 2 : 3", "-"),
        ("int('0x10')", "-"),
        ("int(1e30)", "-"),
        ("uint(-1)", "-"),
        ("bool('maybe')", "-"),
        ("timestamp('2024-02-30T03:04:05Z')", "-"),
        ("timestamp('2024-01-02')", "-"),
        ("duration('1d')", "-"),
        ("duration('1000000000h')", "-"),
        ("[request.referer]", "-"),
        ("request.referer == null", "-"),
        ("request.referer == 'a' || true", "true"),
        ("request.referer == 'a' || false", "-"),
        ("1 && false", "false"),
        ("1 && true", "-"),
        ("1 || true", "true"),
        ("true ? 1 : 1 / 0", "1"),
    ];
    let log = log_of(cases)?;
    assert_told(&line_of(plane, &log, log.config(), "/", &[]).await?, cases);
    Ok(())
}

/// A log's configuration in JSON.
fn as_json(log: &AccessLog, template: Value) -> Value {
    let mut config = log.config();
    config[0]["typed_config"]["log_format"] = json!({"json_format": template});
    config
}

async fn types_are_kept_in_json(plane: DataPlane) -> Result<()> {
    let log = AccessLog::of(&[])?;
    let template = json!({
        "int": "%TYPED_CEL(response.code)%",
        "uint": "%TYPED_CEL(upstream.request_attempt_count)%",
        "double": "%TYPED_CEL(1.5)%",
        "whole": "%TYPED_CEL(2.0)%",
        "bool": "%TYPED_CEL(connection.mtls)%",
        "text": "%TYPED_CEL(request.path)%",
        "bytes": "%TYPED_CEL(b'abc')%",
        "null": "%TYPED_CEL(null)%",
        "missing": "%TYPED_CEL(request.referer)%",
        "list": "%TYPED_CEL([1, 'x', 2.5, null, duration('-1.5s')])%",
        "map": "%TYPED_CEL({'b': [true], 'a': request.method, '1': {2: timestamp('2024-01-02T03:04:05.1Z')}})%",
        "no_key": "%TYPED_CEL({true: 1})%",
        "no_value": "%TYPED_CEL([int])%",
        "fields": "%TYPED_CEL(xds.route_metadata.filter_metadata['com.test'])%",
        "message": "%TYPED_CEL(xds.cluster_metadata)%",
        "trailers": "%TYPED_CEL(response.trailers)%",
        "as_text": "%CEL(response.code)%",
        "map_as_text": "%CEL({'a': 1})%",
        "missing_as_text": "%CEL(request.referer)%",
        "within": "<%TYPED_CEL(response.code)%> <%CEL(request.referer)%>",
    });
    let line = line_of(plane, &log, as_json(&log, template), "/\"", &[]).await?;
    let marked = |text| metadata(text)["filter_metadata"]["com.test"].clone();
    let wanted = json!({
        "int": 200,
        "uint": 1,
        "double": 1.5,
        "whole": 2,
        "bool": false,
        "text": "/\"",
        "bytes": "YWJj",
        "null": null,
        "missing": null,
        "list": [1, "x", 2.5, null, "-1.500s"],
        "map": {"b": [true], "a": "GET", "1": {"2": "2024-01-02T03:04:05.100Z"}},
        "no_key": null,
        "no_value": null,
        "fields": marked("route"),
        "message": metadata("cluster"),
        "trailers": {},
        "as_text": "200",
        "map_as_text": "CelMap value",
        "missing_as_text": null,
        "within": "<200> <->",
    });
    assert_eq!(serde_json::from_str::<Value>(&line)?, wanted);
    Ok(())
}

async fn texts_are_cut(plane: DataPlane) -> Result<()> {
    let log = AccessLog::of(&[])?;
    let template = json!({
        "text": "%CEL(request.path):3%",
        "number": "%CEL(response.code):2%",
        "missing": "%CEL(request.referer):2%",
        "typed": "%TYPED_CEL(request.path):3%",
        "typed_number": "%TYPED_CEL(response.code):2%",
    });
    let line = line_of(plane, &log, as_json(&log, template), "/long", &[]).await?;
    let wanted = json!({"text": "/lo", "number": "20", "missing": null, "typed": "/lo", "typed_number": 200});
    assert_eq!(serde_json::from_str::<Value>(&line)?, wanted);
    Ok(())
}

async fn what_expressions_may_do_is_configured(plane: DataPlane) -> Result<()> {
    let cases: Cases<'_> = &[
        ("request.method + ' ' + request.path", "GET /a,b"),
        ("b'a' + b'b'", "ab"),
        ("[1] + [2]", "-"),
        ("string(response.code) + string(1234567.0) + string(1.5)", "2001.234567e+061.5"),
        ("string(duration('1h1ms'))", "3600.001s"),
        ("string(timestamp('2024-01-02T03:04:05.1Z'))", "2024-01-02T03:04:05.100Z"),
        ("string(b'\\xff')", "-"),
        ("request.path.upperAscii() + 'ABC'.lowerAscii()", "/A,Babc"),
        ("request.path.split(',')[1]", "b"),
        ("'a,b,c'.split(',', 2)[1]", "b,c"),
        ("size('abc'.split(''))", "3"),
        ("'aba'.replace('a', 'xx') + 'aba'.replace('a', 'x', 1) + 'aba'.replace('', '.')", "xxbxxxba.a.b.a."),
    ];
    let log = log_of(cases)?;
    let mut config = log.config();
    config[0]["typed_config"]["log_format"]["formatters"] = json!([{"name": "envoy.formatter.cel", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.formatter.cel.v3.Cel",
        "cel_config": {
            "enable_string_conversion": true, "enable_string_concat": true, "enable_string_functions": true,
        },
    }}]);
    assert_told(&line_of(plane, &log, config, "/a,b", &[]).await?, cases);
    Ok(())
}

/// Of an answer that no host has given, and of a request that no route fits.
async fn answers_of_our_own(plane: DataPlane) -> Result<()> {
    const ASKED: &[&str] = &[
        "response.code",
        "response.flags",
        "response.code_details",
        "response.backend_latency",
        "upstream.address",
        "upstream.port",
        "upstream.local_address",
        "upstream.request_attempt_count",
        "xds.route_name",
        "xds.virtual_host_name",
        "xds.cluster_name",
        "xds.cluster_metadata",
        "xds.upstream_host_metadata",
        "xds.route_metadata.filter_metadata",
        "xds.virtual_host_metadata.filter_metadata['com.test'].name",
    ];
    let own = [
        "403",
        "0",
        "direct_response",
        "-",
        "-",
        "-",
        "-",
        "0",
        "",
        "v",
        "-",
        "-",
        "-",
        "CelMap value",
        "host",
    ];
    // Envoy remembers the virtual host that had no route, too.
    let (name, mark) = match plane {
        DataPlane::Envoy => ("v", "host"),
        DataPlane::Outrigger => ("-", "-"),
    };
    let none =
        ["404", "256", "route_not_found", "-", "-", "-", "-", "0", "-", name, "-", "-", "-", "-", mark];
    for (path, wanted, fields) in [("/own", own, &[][..]), ("/", none, &["x-none: 1"][..])] {
        let cases: Vec<_> = ASKED.iter().copied().zip(wanted).collect();
        let log = log_of(&cases)?;
        assert_told(&line_of(plane, &log, log.config(), path, fields).await?, &cases);
    }
    Ok(())
}

async fn connections_without_requests(plane: DataPlane) -> Result<()> {
    let cases: Cases<'_> = &[
        ("request.path", "-"),
        ("request.headers['a']", "-"),
        ("size(request.headers)", "0"),
        ("request.protocol", "-"),
        ("request.size", "4"),
        ("response.code", "-"),
        ("response.size > 4", "true"),
        ("source.address.startsWith('127.0.0.1:')", "true"),
        ("upstream.port > 0", "true"),
        ("xds.cluster_name", "a"),
        ("xds.route_name", "-"),
        ("xds.listener_direction", "0"),
    ];
    let (port, upstream, log) = (Port::lease()?, Upstream::start(TcpEcho)?, log_of(cases)?);
    let mut listener = tcp_listener("in", port.address(), "a");
    listener["filter_chains"][0]["filters"][0]["typed_config"]["access_log"] = log.config();
    let bootstrap = with_static(&[listener], &[cluster("a", &[upstream.address()])]);
    let _sidecar = plane.launch()?.start(&bootstrap).await?;
    let mut connection = tokio::net::TcpStream::connect(port.address()).await?;
    connection.write_all(b"ping").await?;
    connection.read_exact(&mut [0; 4]).await?;
    drop(connection);
    assert_told(&log.lines(1).await?[0], cases);
    Ok(())
}

async fn certificates(plane: DataPlane) -> Result<()> {
    let authority = Authority::new()?;
    let server = authority.issue(&["svc", "spiffe://mesh/svc"])?;
    let client = authority.issue_with(&["spiffe://mesh/client", "client.local"], |parameters| {
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "client");
    })?;
    const ASKED: &[&str] = &[
        "connection.mtls",
        "connection.tls_version",
        "connection.requested_server_name",
        "connection.subject_peer_certificate",
        "connection.uri_san_peer_certificate",
        "connection.dns_san_peer_certificate",
        "connection.uri_san_local_certificate",
        "connection.dns_san_local_certificate",
        "size(connection.sha256_peer_certificate_digest)",
    ];
    let known = [
        "true",
        "TLSv1.3",
        "svc",
        "CN=client",
        "spiffe://mesh/client",
        "client.local",
        "spiffe://mesh/svc",
        "svc",
        "64",
    ];
    let nobody = ["false", "TLSv1.3", "svc", "", "-", "-", "spiffe://mesh/svc", "svc", "-"];
    let cases = |wanted: [&'static str; 9]| ASKED.iter().copied().zip(wanted).collect::<Vec<_>>();
    let (port, upstream, log) = (Port::lease()?, Upstream::start(Echo::new("a"))?, log_of(&cases(known))?);
    let hosts = [virtual_host("v", &["*"], &[prefix_route("/", "a")])];
    let mut secure = http_listener("in", port.address(), inline(route_config("r", &hosts)));
    manager_of(&mut secure)["access_log"] = log.config();
    secure["filter_chains"][0]["transport_socket"] = terminate_tls(&server, &["http/1.1"]);
    let context = &mut secure["filter_chains"][0]["transport_socket"]["typed_config"]["common_tls_context"];
    context["validation_context"] = json!({"trusted_ca": {"inline_string": authority.certificate()}});
    secure["listener_filters"] = json!([{"name": "tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"}}]);
    let bootstrap = with_static(&[secure], &[cluster("a", &[upstream.address()])]);
    let _sidecar = plane.launch()?.start(&bootstrap).await?;
    for identity in [Some(&client), None] {
        let config = authority.client(&["http/1.1"], identity)?;
        let mut connection = Connection::over(connect(&Place::Host, port.address(), "svc", config).await?);
        assert_eq!(connection.exchange("GET / HTTP/1.1\r\nHost: svc\r\n\r\n").await?.status, 200);
    }
    let lines = log.lines(2).await?;
    assert_told(&lines[0], &cases(known));
    assert_told(&lines[1], &cases(nobody));
    Ok(())
}

async fn filters_by_expression(plane: DataPlane) -> Result<()> {
    let log = AccessLog::of(&["REQ(:PATH)"])?;
    let mut config = log.config();
    config[0]["filter"] = json!({"extension_filter": {"name": "envoy.access_loggers.extension_filters.cel",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
        "expression": "response.code >= 400 && request.headers['x-who'] == 'me' || request.url_path == '/last'",
    }}});
    let (port, upstream) = (Port::lease()?, Upstream::start(Echo::new("a"))?);
    let bootstrap = everything_marked(port.address(), upstream.address(), config);
    let _sidecar = plane.launch()?.start(&bootstrap).await?;
    // Without the header the expression fails, which is as good as false.
    for (path, fields) in [
        ("/one", &["x-who: me"][..]),
        ("/own/two", &[][..]),
        ("/own/three", &["x-who: you"][..]),
        ("/own/four", &["x-who: me"][..]),
        ("/last?now", &[][..]),
    ] {
        request(port.address(), "svc", path, fields).await?;
    }
    // What came before a line that is there was logged before it, if at all.
    assert_eq!(log.lines(2).await?, ["/own/four", "/last?now"]);
    Ok(())
}

/// `request.headers['x-who'] == 'me' || request.url_path.startsWith('/open')`, as parsers of the language leave it.
fn parsed() -> Value {
    let name = |name: &str| json!({"ident_expr": {"name": name}});
    let text = |text: &str| json!({"const_expr": {"string_value": text}});
    let call = |function: &str, args: Value| json!({"call_expr": {"function": function, "args": args}});
    let of_request = |field: &str| json!({"select_expr": {"operand": name("request"), "field": field}});
    let who = call("_[_]", json!([of_request("headers"), text("x-who")]));
    let open = json!({"call_expr": {
        "target": of_request("url_path"), "function": "startsWith", "args": [text("/open")]}});
    call("_||_", json!([call("_==_", json!([who, text("me")])), open]))
}

async fn conditions_of_access(plane: DataPlane) -> Result<()> {
    let (port, upstream) = (Port::lease()?, Upstream::start(Echo::new("a"))?);
    let hosts = [virtual_host("v", &["*"], &[prefix_route("/", "a")])];
    let mut listener = http_listener("in", port.address(), inline(route_config("r", &hosts)));
    let any = json!([{"any": true}]);
    let rbac = json!({"name": "envoy.filters.http.rbac", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
        "rules": {"policies": {"p": {"permissions": any, "principals": any, "condition": parsed()}}},
    }});
    let filters = manager_of(&mut listener)["http_filters"].as_array_mut().ok_or("no filters")?;
    filters.insert(0, rbac);
    let bootstrap = with_static(&[listener], &[cluster("a", &[upstream.address()])]);
    let _sidecar = plane.launch()?.start(&bootstrap).await?;
    for (path, fields, status) in [
        ("/", &["x-who: me"][..], 200),
        ("/", &["x-who: you"][..], 403),
        ("/", &[][..], 403),
        ("/open/door", &[][..], 200),
    ] {
        let answer = request(port.address(), "svc", path, fields).await?;
        assert_eq!(answer.status, status, "{path} {fields:?}");
    }
    Ok(())
}
