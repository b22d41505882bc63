use super::*;
use crate::base::error::ResponseFlags;
use crate::base::metadata::DynamicMetadata;
use crate::observe::format::Escape;
use crate::observe::test_record::{Exchange, request};

const ALL: Dialect = Dialect { conversion: true, concatenation: true, functions: true };

/// Printed over a record; `-` for an error.
fn over(source: &str, dialect: Dialect, record: &Record<'_>) -> String {
    let program = Program::parse(source, dialect).unwrap_or_else(|error| panic!("{source}: {error}"));
    let mut out = Vec::new();
    if !program.print(record, &mut Out::new(&mut out, Escape::Body, usize::MAX)) {
        return "-".to_owned();
    }
    String::from_utf8(out).unwrap()
}

fn print(source: &str) -> String {
    over(source, Dialect::default(), &Exchange::example().record())
}

fn json(source: &str) -> String {
    let program = Program::parse(source, Dialect::default()).unwrap();
    let (exchange, mut out) = (Exchange::example(), Vec::new());
    if !program.write_json(&exchange.record(), usize::MAX, &mut out) {
        return "missing".to_owned();
    }
    String::from_utf8(out).unwrap()
}

/// Every answer is Envoy's (1.40), where it is not said otherwise.
fn assert_printed(cases: &[(&str, &str)]) {
    for (source, wanted) in cases {
        assert_eq!(print(source), *wanted, "{source}");
    }
}

#[test]
fn values_are_printed_as_envoy_does() {
    assert_printed(&[
        ("-1", "-1"),
        ("18446744073709551615u", "18446744073709551615"),
        ("1.5", "1.5"),
        ("-1.5e3", "-1500"),
        ("100000.0", "100000"),
        ("1234567.0", "1.23457e+06"),
        ("0.1 + 0.2", "0.3"),
        ("1e-7", "1e-07"),
        ("0.0001", "0.0001"),
        ("-0.0", "-0"),
        ("1.0 / 0.0", "inf"),
        ("-1.0 / 0.0", "-inf"),
        ("0.0 / 0.0", "nan"),
        ("true", "true"),
        ("null", "NULL"),
        ("'a'", "a"),
        ("b'a'", "a"),
        ("[1]", "CelList value"),
        ("{'a': 1}", "CelMap value"),
        ("type(1)", "CelType value"),
        ("duration('1h2m3.5s')", "1h2m3.5s"),
        ("duration('90m')", "1h30m"),
        ("duration('36h')", "36h"),
        ("duration('100ms')", "100ms"),
        ("duration('1.5us')", "1.5us"),
        ("duration('999999ns')", "999.999us"),
        ("duration('-1.5ms')", "-1.5ms"),
        ("duration('59.999999999s')", "59.999999999s"),
        ("duration('0s')", "0"),
        ("timestamp('2024-01-02T03:04:05Z')", "2024-01-02T03:04:05+00:00"),
        ("timestamp('2024-01-02t03:04:05.678+02:00')", "2024-01-02T01:04:05.678+00:00"),
        ("timestamp('9999-12-31T23:59:59Z') + duration('1s')", "10000-01-01T00:00:00+00:00"),
    ]);
}

#[test]
fn arithmetic_keeps_to_its_types_and_bounds() {
    assert_printed(&[
        ("1 + 2 * 3 - 4 / 2 % 3", "5"),
        ("-5 / 2", "-2"),
        ("-5 % 3", "-2"),
        ("1u + 2u", "3"),
        ("2.5 * 2.0", "5"),
        ("1 + 2.0", "-"),
        ("1 + 2u", "-"),
        ("5 / 0", "-"),
        ("5 % 0", "-"),
        ("5.5 % 2.0", "-"),
        ("9223372036854775807 + 1", "-"),
        ("-(-9223372036854775807 - 1)", "-"),
        ("1u - 2u", "-"),
        ("-1u", "-"),
        ("-true", "-"),
        ("'a' + 'b'", "-"),
        ("[1] + [2]", "-"),
        ("duration('1s') - duration('2s')", "-1s"),
        ("timestamp('2024-01-02T03:04:05Z') - timestamp('2024-01-01T03:04:05Z')", "24h"),
        ("duration('1h') * 2", "-"),
        ("duration('80000000h') + duration('80000000h')", "-"),
    ]);
}

#[test]
fn comparison_goes_across_numbers_and_no_further() {
    assert_printed(&[
        ("1 == 1.0 && 1 == 1u && 1.0 == 1u", "true"),
        ("1 < 2.5 && 1 < 2u && 3 > 2.5 && -1 < 0u", "true"),
        ("9223372036854775807 == 9223372036854775808.0", "true"),
        ("9223372036854775807 < 9223372036854777856.0", "true"),
        ("0.0 / 0.0 == 0.0 / 0.0", "false"),
        ("0.0 / 0.0 < 1", "false"),
        ("1 == '1'", "false"),
        ("1 != '1'", "true"),
        ("true == 1", "false"),
        ("true < false", "false"),
        ("'a' < 'b'", "true"),
        ("'a' < 1", "-"),
        ("'a' < b'b'", "-"),
        ("1 < 2 < 3", "-"),
        ("null == null", "true"),
        ("null == 1", "false"),
        ("[1, 2] == [1.0, 2u]", "true"),
        ("[1] == [1, 2]", "false"),
        ("{'a': 1} == {'a': 1.0}", "true"),
        ("{'a': 1} == {'b': 1}", "false"),
        ("type(1) == int && type('a') == string && type(null) == null_type", "true"),
        ("duration('1s') < duration('2s')", "true"),
    ]);
}

#[test]
fn logic_gets_over_failures_that_do_not_decide() {
    assert_printed(&[
        ("1 / 0 == 1 || true", "true"),
        ("true || 1 / 0 == 1", "true"),
        ("1 / 0 == 1 && false", "false"),
        ("1 / 0 == 1 && true", "-"),
        ("1 / 0 == 1 || false", "-"),
        ("1 && false", "false"),
        ("1 && true", "-"),
        ("1 || true", "true"),
        ("!1", "-"),
        ("true ? 1 : 1 / 0", "1"),
        ("1 ? 1 : 2", "-"),
        ("request.referer == 'a' || true", "true"),
    ]);
}

#[test]
fn lists_and_maps_are_looked_into() {
    assert_printed(&[
        ("[1, 2][0]", "1"),
        ("[1, 2][1.0]", "2"),
        ("[1, 2][1u]", "2"),
        ("[1, 2][2]", "-"),
        ("[1][-1]", "-"),
        ("[1][0.5]", "-"),
        ("{'a': 1}.a", "1"),
        ("{1: 'x'}[1.0]", "x"),
        ("{'a': 1}.b", "-"),
        ("{'a': 1, 'a': 2}", "-"),
        ("{1.5: 1}", "-"),
        ("{'a': request.referer}", "-"),
        ("has({'a': 1}.a)", "true"),
        ("has({'a': 1}.b)", "false"),
        ("1 in [1, 2]", "true"),
        ("1.0 in [1]", "true"),
        ("1u in {1: 2}", "true"),
        ("'a' in 'abc'", "-"),
        ("1.foo", "-"),
        ("'a'[0]", "-"),
    ]);
}

#[test]
fn functions_of_texts_and_sizes() {
    assert_printed(&[
        ("size('a\u{e9}')", "2"),
        ("b'\\xff'.size()", "1"),
        ("size([1, 2])", "2"),
        ("size({'a': 1})", "1"),
        ("size(1)", "-"),
        ("'abc'.contains('b') && contains('abc', 'c')", "true"),
        ("'abc'.startsWith('a') && 'abc'.endsWith('c') && 'a'.contains('')", "true"),
        ("'abc'.contains(1)", "-"),
        ("'abc'.matches('^a.*c$') && 'abc'.matches('b') && !'a\\nb'.matches('a.b')", "true"),
        ("1.matches('1')", "-"),
        ("dyn(1)", "1"),
    ]);
    for (source, wanted) in [
        ("'a' + 'b'", "ab"),
        ("b'a' + b'b'", "ab"),
        ("'a' + 1", "-"),
        ("'aBc'.lowerAscii() + 'aBc\u{e9}'.upperAscii()", "abcABC\u{e9}"),
        ("'aba'.replace('a', 'xx')", "xxbxx"),
        ("'aba'.replace('a', 'x', 1)", "xba"),
        ("'aba'.replace('a', 'x', 0)", "aba"),
        ("'aba'.replace('a', 'x', -1)", "xbx"),
        ("'aba'.replace('', 'x')", "xaxbxax"),
        ("'a,b,c'.split(',')[1]", "b"),
        ("'a,b,c'.split(',', 2)[1]", "b,c"),
        ("size('a,b,c'.split(',', 0))", "0"),
        ("size(''.split(','))", "1"),
        ("size('a\u{e9}c'.split(''))", "3"),
        ("'abc'.split('', 2)[1]", "bc"),
        ("'abc'.split(1)", "-"),
    ] {
        assert_eq!(over(source, ALL, &Exchange::example().record()), wanted, "{source}");
    }
}

#[test]
fn what_is_made_is_bounded() {
    let mut exchange = Exchange::example();
    exchange.request.block.set(b"user-agent", &[b'a'; 1000]);
    let mut source = "request.useragent".to_owned();
    for _ in 0..2 {
        source = format!("({source}).replace('a', request.useragent)");
    }
    assert_eq!(over(&source, ALL, &exchange.record()), "-");
    let sum = vec!["request.useragent"; 40].join(" + ");
    assert_eq!(over(&format!("size({sum})"), ALL, &exchange.record()), "40000");
    exchange.request.block.set(b"user-agent", &[b'a'; 5000]);
    assert_eq!(over(&format!("size({sum})"), ALL, &exchange.record()), "-");
    assert_eq!(over("size(request.useragent.split(''))", ALL, &exchange.record()), "-");
}

#[test]
fn types_are_converted() {
    assert_printed(&[
        ("int('12')", "12"),
        ("int(' 1')", "1"),
        ("int('0x10')", "-"),
        ("int(1.9)", "1"),
        ("int(-1.9)", "-1"),
        ("int(1e30)", "-"),
        ("int(true)", "1"),
        ("int(timestamp('2024-01-02T03:04:05Z'))", "1704164645"),
        ("uint('5')", "5"),
        ("uint(-1)", "-"),
        ("uint(1.5)", "1"),
        ("uint(-1.5)", "-"),
        ("double('1.5')", "1.5"),
        ("double('1e400')", "inf"),
        ("double('x')", "-"),
        ("bool('TRUE') && bool('t') && bool('1')", "true"),
        ("bool('x')", "-"),
        ("bytes('a')", "a"),
        ("timestamp(1704164645)", "2024-01-02T03:04:05+00:00"),
        ("timestamp('2024-01-02')", "-"),
        ("timestamp('2024-01-02T03:04:05.1234567éZ')", "-"),
        ("timestamp('2024-01-02T03:04:05.12345678éZ')", "-"),
        ("timestamp('2024-01-0éT03:04:05Z')", "-"),
        ("duration('1.12345678és')", "-"),
        ("timestamp('2024-01-02T03:04:05')", "-"),
        ("timestamp('2024-02-30T03:04:05Z')", "-"),
        ("timestamp('2024-13-02T03:04:05Z')", "-"),
        ("timestamp('2024-01-02T03:04:05.Z')", "-"),
        ("duration('.5s')", "500ms"),
        ("duration('1.s')", "1s"),
        ("duration('+1s')", "1s"),
        ("duration('1')", "-"),
        ("duration('')", "-"),
        ("duration('1d')", "-"),
        ("duration('1h 2m')", "-"),
        ("duration('1000000000h')", "-"),
    ]);
    for (source, wanted) in [
        ("string(1.0)", "1"),
        ("string(1234567.0)", "1.234567e+06"),
        ("string(123456.7)", "123456.7"),
        ("string(0.1 + 0.2)", "0.30000000000000004"),
        ("string(0.00001)", "1e-05"),
        ("string(b'a')", "a"),
        ("string(b'\\xff')", "-"),
        ("string(null)", "-"),
        ("string(duration('1h1ms'))", "3600.001s"),
        ("string(duration('-1500ms'))", "-1.500s"),
        ("string(timestamp('2024-01-02T03:04:05.1Z'))", "2024-01-02T03:04:05.100Z"),
    ] {
        assert_eq!(over(source, ALL, &Exchange::example().record()), wanted, "{source}");
    }
}

#[test]
fn moments_have_parts() {
    let moment = "timestamp('2024-03-02T03:04:05.678Z')";
    for (call, wanted) in [
        ("getFullYear()", "2024"),
        ("getMonth()", "2"),
        ("getDate()", "2"),
        ("getDayOfMonth()", "1"),
        ("getDayOfWeek()", "6"),
        ("getDayOfYear()", "61"),
        ("getHours()", "3"),
        ("getMinutes()", "4"),
        ("getSeconds()", "5"),
        ("getMilliseconds()", "678"),
        ("getHours('+02:00')", "5"),
        ("getHours('-05:30')", "21"),
        ("getDate('-05:30')", "1"),
        ("getHours('UTC')", "3"),
    ] {
        assert_eq!(print(&format!("{moment}.{call}")), wanted, "{call}");
    }
    assert_printed(&[
        ("duration('3h2m1s').getMinutes()", "182"),
        ("duration('-3h2m1s').getMinutes()", "-182"),
        ("duration('1s5ms').getMilliseconds()", "5"),
        ("duration('1h').getFullYear()", "-"),
        ("duration('1h').getHours('UTC')", "-"),
    ]);
}

#[test]
fn requests_are_told() {
    assert_printed(&[
        ("request.path", "/server_info?a=%22b"),
        ("request.url_path", "/server_info"),
        ("request.query", "a=%22b"),
        ("request.host", "127.0.0.1:18080"),
        ("request.scheme", "http"),
        ("request.method", "GET"),
        ("request.referer", "-"),
        ("request.useragent", "curl/8"),
        ("request.headers['User-Agent']", "curl/8"),
        ("request.headers[':path']", "/server_info?a=%22b"),
        ("request.headers.host", "127.0.0.1:18080"),
        ("request.headers['x-empty'] == ''", "true"),
        ("request.headers['nope']", "-"),
        ("'x-empty' in request.headers", "true"),
        ("has(request.headers.nope)", "false"),
        ("has(request.referer)", "false"),
        ("request.headers", "CelMap value"),
        ("request.time", "2026-11-21T02:47:52.193788+00:00"),
        ("request.duration", "7ms"),
        ("request.size", "0"),
        ("request.protocol", "HTTP/1.1"),
        ("response.code >= 200 && response.code < 300", "true"),
        ("response.size", "124580"),
        ("response.headers[':status']", "200"),
        ("response.headers['content-length']", "124580"),
        ("response.flags", "0"),
        ("response.grpc_status", "2"),
        ("response.code_details", "via_upstream"),
        ("response.backend_latency", "5ms"),
        ("response.trailers", "CelMap value"),
        ("source.address", "10.0.0.1:48104"),
        ("destination.address", "[::1]:18080"),
        ("destination.port", "18080"),
        ("connection.mtls", "false"),
        ("connection.id == 3u", "true"),
        ("connection.requested_server_name", ""),
        ("connection.tls_version", "-"),
        ("upstream.address", "127.0.0.1:19901"),
        ("upstream.port", "19901"),
        ("upstream.local_address", "127.0.0.1:58334"),
        ("upstream.request_attempt_count", "1"),
        ("upstream.cx_pool_ready_duration", "1ms"),
        ("upstream.transport_failure_reason", ""),
        ("xds.cluster_name", "up"),
        ("xds.route_name", "main"),
        ("xds.virtual_host_name", "v"),
        ("xds.filter_chain_name", ""),
        ("xds.listener_direction", "-"),
        ("xds.upstream_host_metadata", "NULL"),
        ("xds.upstream_host_metadata.filter_metadata", "-"),
        ("xds.cluster_metadata", ""),
        ("filter_state['a']", "-"),
        ("'a' in filter_state", "false"),
    ]);
}

#[test]
fn lines_of_a_name_are_joined() {
    let mut exchange = Exchange::example();
    exchange.request = request("POST", "/a?b#c", "h", &[("x-a", "one"), ("x-b", "-"), ("x-a", "two")]);
    let record = exchange.record();
    let print = |source| over(source, Dialect::default(), &record);
    assert_eq!(print("request.headers['x-a']"), "one,two");
    assert_eq!(print("size(request.headers)"), "6");
    assert_eq!(print("request.query"), "b");
    let program = Program::parse("request.headers", Dialect::default()).unwrap();
    let mut out = Vec::new();
    assert!(program.write_json(&record, 3, &mut out));
    let wanted = r#"{":authority":"h",":method":"POS",":path":"/a?",":scheme":"htt","x-a":"one","x-b":"-"}"#;
    assert_eq!(String::from_utf8(out).unwrap(), wanted);
}

#[test]
fn nothing_is_told_of_what_has_not_happened() {
    let exchange = Exchange::example();
    let mut record = exchange.record();
    (record.request, record.response, record.protocol) = (None, None, None);
    (record.upstream_host, record.upstream, record.status, record.details) = (None, None, 0, "");
    (record.virtual_host, record.cluster, record.route_name) = ("", "", "");
    for source in [
        "request.path",
        "request.url_path",
        "request.query",
        "request.headers['a']",
        "request.protocol",
        "response.code",
        "response.code_details",
        "upstream.address",
        "upstream.port",
        "upstream.local_address",
        "xds.route_name",
        "xds.virtual_host_name",
        "xds.cluster_name",
        "xds.route_metadata",
        "xds.cluster_metadata.filter_metadata['a']",
        "xds.upstream_host_metadata",
    ] {
        assert_eq!(over(source, Dialect::default(), &record), "-", "{source}");
    }
    assert_eq!(over("size(request.headers)", Dialect::default(), &record), "0");
    assert!(!Program::parse("request.path != 'a'", Dialect::default()).unwrap().holds(&record));
}

#[test]
fn flags_have_envoys_numbers() {
    let exchange = Exchange::example();
    let mut record = exchange.record();
    record.flags = ResponseFlags::NO_ROUTE_FOUND;
    assert_eq!(over("response.flags", Dialect::default(), &record), "256");
    record.flags.insert(ResponseFlags::NO_CLUSTER_FOUND);
    assert_eq!(over("response.flags", Dialect::default(), &record), "16777472");
    let named: std::collections::BTreeSet<_> = attribute::FLAGS.iter().map(|(flag, _)| flag.0).collect();
    assert_eq!(named, ResponseFlags::ALL.iter().map(|(flag, ..)| flag.0).collect());
}

#[test]
fn metadata_is_looked_into_and_printed() {
    let fields =
        serde_json::json!({"k": "v\"'", "n": 3, "f": 1.5, "b": true, "l": [1, "x", null], "s": {"t": "u"}});
    let mut dynamic = DynamicMetadata::default();
    dynamic.merge("dyn", fields.as_object().cloned().unwrap());
    let exchange = Exchange::example();
    let record = Record { dynamic: Some(&dynamic), ..exchange.record() };
    for (source, wanted) in [
        ("metadata.filter_metadata['dyn']['k']", "v\"'"),
        ("metadata.filter_metadata.dyn.n", "3"),
        ("metadata.filter_metadata.dyn.n == 3 && metadata.filter_metadata.dyn.n + 1.0 == 4.0", "true"),
        ("metadata.filter_metadata.dyn.n + 1", "-"),
        ("metadata.filter_metadata.dyn.l[1]", "x"),
        ("metadata.filter_metadata.dyn.l[2]", "NULL"),
        ("metadata.filter_metadata.dyn.l == [1, 'x', null]", "true"),
        ("1 in metadata.filter_metadata.dyn.l", "true"),
        ("metadata.filter_metadata.dyn.s == {'t': 'u'}", "true"),
        ("metadata.filter_metadata.dyn.s", "CelMap value"),
        ("metadata.filter_metadata.dyn.none", "-"),
        ("metadata.filter_metadata.none.k", "-"),
        ("has(metadata.filter_metadata.dyn.k)", "true"),
        ("has(metadata.filter_metadata.none)", "false"),
        ("has(metadata.filter_metadata)", "true"),
        ("metadata == metadata", "true"),
        (
            "metadata",
            "filter_metadata { key: \"dyn\" value { fields { key: \"b\" value { bool_value: true } } \
             fields { key: \"f\" value { number_value: 1.5 } } \
             fields { key: \"k\" value { string_value: \"v\\\"\\'\" } } \
             fields { key: \"l\" value { list_value { values { number_value: 1 } values { string_value: \"x\" } \
             values { null_value: NULL_VALUE } } } } fields { key: \"n\" value { number_value: 3 } } \
             fields { key: \"s\" value { struct_value { fields { key: \"t\" value { string_value: \"u\" } } } } } \
             } } ",
        ),
    ] {
        assert_eq!(over(source, Dialect::default(), &record), wanted, "{source}");
    }
    let program = Program::parse("metadata", Dialect::default()).unwrap();
    let mut out = Vec::new();
    assert!(program.write_json(&record, usize::MAX, &mut out));
    let wanted = serde_json::json!({"filter_metadata": {"dyn": fields}});
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&out).unwrap(), wanted);
}

#[test]
fn typed_values_keep_their_types() {
    for (source, wanted) in [
        ("1", "1"),
        ("1.5", "1.5"),
        ("2.0", "2"),
        ("-0.0", "0"),
        ("1.0 / 0.0", "null"),
        ("'a\"\\n'", r#""a\"\n""#),
        ("true", "true"),
        ("null", "null"),
        ("[1, 'x', 2.5, null]", r#"[1,"x",2.5,null]"#),
        ("{'b': [true], 'a': 1}", r#"{"a":1,"b":[true]}"#),
        ("{2: 1, 1u: 2}", r#"{"1":2,"2":1}"#),
        ("{true: 1}", "missing"),
        ("b'abc'", r#""YWJj""#),
        ("duration('-1.5s')", r#""-1.500s""#),
        ("timestamp('2024-01-02T03:04:05.000001Z')", r#""2024-01-02T03:04:05.000001Z""#),
        ("[int]", "missing"),
        ("request.referer", "missing"),
        ("response.trailers", "{}"),
        ("connection.id", "3"),
    ] {
        assert_eq!(json(source), wanted, "{source}");
    }
}

proptest::proptest! {
    #[test]
    fn no_expression_panics(source in "([a-z]{1,4}|[0-9]{1,3}|'[a-z]{0,3}'|[-+*/%!?:.,(){}\\[\\]<>=&| ]|request\\.(path|time|headers)|in|u){0,24}") {
        if let Ok(program) = Program::parse(&source, ALL) {
            let exchange = Exchange::example();
            program.print(&exchange.record(), &mut Out::new(&mut Vec::new(), Escape::Text, 64));
            program.write_json(&exchange.record(), 64, &mut Vec::new());
        }
    }
}
