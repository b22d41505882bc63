use super::*;
use crate::base::error::ResponseFlags;
use crate::observe::record::Subject;
use crate::observe::test_record::{Exchange, request, response};

fn line(format: &str, record: &Record<'_>) -> String {
    let mut out = Vec::new();
    Format::parse(format).unwrap().render_log(record, b"-", &mut out);
    String::from_utf8(out).unwrap()
}

fn example(format: &str) -> String {
    line(format, &Exchange::example().record())
}

/// The list that definitions are checked against holds what this knows.
#[test]
fn every_listed_operator_is_one() {
    for name in outrigger_grammar::operators::all() {
        if let Err(refused) = Format::parse(&format!("%{name}%")) {
            assert!(!refused.0.contains("unknown operator"), "{refused}");
        }
    }
}

#[test]
fn the_default_line_is_envoys() {
    assert_eq!(
        example(DEFAULT_LOG_FORMAT),
        "[2026-11-21T02:47:52.193Z] \"GET /server_info?a=%22b HTTP/1.1\" 200 - 0 124580 7 6 \"-\" \"curl/8\" \
         \"87612c0c-a74c-4211-b0c4-9f3e0df9beaf\" \"127.0.0.1:18080\" \"127.0.0.1:19901\"\n"
    );
}

#[test]
fn headers_take_alternatives_lengths_and_pseudo_names() {
    assert_eq!(example("%REQ(nope?:METHOD)%|%REQ(user-agent):2%|%REQ(HOST)%"), "GET|cu|127.0.0.1:18080");
    assert_eq!(example("[%REQ(x-empty)%][%REQ(nope)%]"), "[][-]");
    assert_eq!(example("%RESP(:STATUS)% %RESP(content-length)% %REQ(content-length)%"), "200 124580 -");
    assert_eq!(example("%REQ_WITHOUT_QUERY(:PATH)%"), "/server_info");
    assert_eq!(example("%REQUEST_HEADER(:path)%"), "/server_info?a=%22b");
    assert_eq!(example("%STREAM_ID%"), "87612c0c-a74c-4211-b0c4-9f3e0df9beaf");
}

#[test]
fn addresses_print_whole_ip_and_port() {
    assert_eq!(
        example(
            "%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_REMOTE_PORT%"
        ),
        "10.0.0.1:48104 10.0.0.1 48104"
    );
    assert_eq!(
        example("%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%"),
        "[::1]:18080 ::1"
    );
    assert_eq!(example("%UPSTREAM_REMOTE_ADDRESS% %UPSTREAM_LOCAL_PORT%"), "127.0.0.1:19901 58334");
    assert_eq!(example("%UPSTREAM_HOST_NAME% %UPSTREAM_HOST_NAME_WITHOUT_PORT%"), "hh hh");
    let exchange = Exchange::example();
    let failed = Record { upstream: None, ..exchange.record() };
    assert_eq!(line("%UPSTREAM_REMOTE_ADDRESS% %UPSTREAM_HOST%", &failed), "- 127.0.0.1:19901");
}

#[test]
fn durations_come_from_recorded_points() {
    assert_eq!(
        example(
            "%REQUEST_DURATION% %REQUEST_TX_DURATION% %RESPONSE_DURATION% %RESPONSE_TX_DURATION% %DURATION%"
        ),
        "0 1 6 1 7"
    );
    assert_eq!(example("%COMMON_DURATION(DS_RX_BEG:US_RX_BEG:us)%"), "6000");
    let exchange = Exchange::example();
    let mut record = exchange.record();
    record.timing.upstream_first_byte = None;
    assert_eq!(line("%RESPONSE_DURATION%", &record), "-");
}

#[test]
fn flags_join_and_details_are_one_word() {
    let exchange = Exchange::example();
    let mut record = exchange.record();
    record.flags = ResponseFlags::UPSTREAM_CONNECTION_FAILURE;
    record.flags.insert(ResponseFlags::UPSTREAM_RETRY_LIMIT_EXCEEDED);
    record.details = "upstream_reset{Connection refused}";
    assert_eq!(line("%RESPONSE_FLAGS%", &record), "URX,UF");
    assert_eq!(line("%RESPONSE_CODE_DETAILS%", &record), "upstream_reset{Connection_refused}");
    assert_eq!(
        line("%RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)%", &record),
        "upstream_reset{Connection refused}"
    );
    assert_eq!(
        line("%RESPONSE_FLAGS_LONG%", &record),
        "UpstreamRetryLimitExceeded,UpstreamConnectionFailure"
    );
}

#[test]
fn grpc_status_comes_from_trailers_headers_or_http() {
    let mut exchange = Exchange::example();
    let forms = "%GRPC_STATUS% %GRPC_STATUS(SNAKE_STRING)% %GRPC_STATUS_NUMBER%";
    assert_eq!(line(forms, &exchange.record()), "- - -", "not a gRPC request");
    exchange.request = request("POST", "/s/m", "h", &[("content-type", "application/grpc+proto")]);
    exchange.response = response(503, &[]);
    assert_eq!(line(forms, &exchange.record()), "Unavailable UNAVAILABLE 14");
    exchange.response = response(200, &[("grpc-status", "12")]);
    assert_eq!(line(forms, &exchange.record()), "Unimplemented UNIMPLEMENTED 12");
    exchange.trailers.append(b"grpc-status", b"1");
    assert_eq!(line(forms, &exchange.record()), "Canceled CANCELLED 1");
    exchange.trailers.set(b"grpc-status", b"77");
    assert_eq!(line(forms, &exchange.record()), "77 77 77");
}

#[test]
fn paths_and_queries() {
    let exchange = Exchange::example();
    let rewritten = Record { original_path: Some(b"/old?x=1"), ..exchange.record() };
    let paths = "%PATH% %PATH(NQ)% %PATH(WQ:ORIG)% %PATH(NQ:PATH)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%";
    assert_eq!(line(paths, &rewritten), "/old?x=1 /old /old?x=1 /server_info /old?x=1");
    assert_eq!(
        example("%PATH(WQ:ORIG)% %QUERY_PARAM(a)% %QUERY_PARAM(b)% %QUERY_PARAMS%"),
        "- \\x22b - a=%22b"
    );
}

#[test]
fn constants_fold_and_percent_is_doubled() {
    let constant = |source: &str| Format::parse(source).unwrap().as_constant().map(<[u8]>::to_vec);
    assert_eq!(constant("50%%").unwrap(), b"50%");
    assert_eq!(constant("").unwrap(), b"");
    assert!(constant("%HOSTNAME%").is_some_and(|name| !name.is_empty()));
    assert_eq!(constant("%ENVIRONMENT(SURELY_NOT_SET)%").unwrap(), b"-");
    assert_eq!(constant("x-%PROTOCOL%"), None);
}

#[test]
fn nothing_a_peer_sends_breaks_a_line_or_a_field() {
    let mut exchange = Exchange::example();
    let evil = b"a\"b\\c\r\n[2026] \"GET / HTTP/1.1\" \x1b[31m\x00 caf\xc3\xa9 \xff \xc2\x85";
    exchange.request.block.set(b"user-agent", evil);
    let mut out = Vec::new();
    Format::parse(DEFAULT_LOG_FORMAT).unwrap().render_log(&exchange.record(), b"-", &mut out);
    let line = String::from_utf8(out).unwrap();
    assert_eq!(line.matches('\n').count(), 1);
    assert_eq!(line.matches('"').count(), 12);
    assert!(line.contains(r"a\x22b\x5cc\x0d\x0a[2026]"), "{line}");
    assert!(line.contains(r"\x1b[31m\x00 café \xff \xc2\x85"), "{line}");
}

#[test]
fn header_values_keep_their_text_but_no_control_characters() {
    let mut exchange = Exchange::example();
    exchange.request.block.set(b"user-agent", b"a\"b\\c\r\nx: y\t\xff");
    let mut out = Vec::new();
    let format = Format::parse("%REQ(user-agent)%|%REQ(nope)%").unwrap();
    format.render(&exchange.record(), b"", &mut out);
    assert_eq!(out, b"a\"b\\cx: y\t\xff|");
}

#[test]
fn values_are_capped() {
    let mut exchange = Exchange::example();
    exchange.request.block.set(b"user-agent", &vec![b'x'; 20_000]);
    assert_eq!(line("%REQ(user-agent)%", &exchange.record()).len(), MAX_VALUE);
}

#[test]
fn tcp_records_have_no_http_facts() {
    let exchange = Exchange::example();
    let tcp = Record {
        request: None,
        response: None,
        trailers: None,
        subject: Subject::TcpSession,
        protocol: None,
        status: 0,
        ..exchange.record()
    };
    assert_eq!(
        line("%REQ(:METHOD)% %PROTOCOL% %RESPONSE_CODE% %ACCESS_LOG_TYPE%", &tcp),
        "- - 0 TcpConnectionEnd"
    );
    assert_eq!(line("%PATH% %QUERY_PARAMS% %GRPC_STATUS% %RESP(:STATUS)%", &tcp), "- - - -");
}

#[test]
fn bytes_on_the_wire_are_those_of_the_record() {
    let sides = "%DOWNSTREAM_WIRE_BYTES_RECEIVED% %DOWNSTREAM_WIRE_BYTES_SENT% %DOWNSTREAM_HEADER_BYTES_RECEIVED% %DOWNSTREAM_HEADER_BYTES_SENT%";
    assert_eq!(example(sides), "90 124700 60 100");
    assert_eq!(example(&sides.replace("DOWNSTREAM", "UPSTREAM")), "124650 130 70 110");
    for (source, measures) in [(sides, true), ("%BYTES_SENT% %DURATION%", false), ("plain", false)] {
        assert_eq!(Format::parse(source).unwrap().measures(), measures, "{source}");
    }
}

#[test]
fn refusals_name_the_operator() {
    for (format, part) in [
        ("%NOPE%", "%NOPE%"),
        ("%DYNAMIC_METADATA%", "%DYNAMIC_METADATA%"),
        ("%DYNAMIC_METADATA(a::b)%", "%DYNAMIC_METADATA%"),
        ("%CLUSTER_METADATA(a:b):3%", "%CLUSTER_METADATA%"),
        ("%METADATA(NOBODY:a:b)%", "NOBODY"),
        ("%FILTER_STATE(a:BOTH)%", "%FILTER_STATE%"),
        ("%DOWNSTREAM_CX_RTT%", "%DOWNSTREAM_CX_RTT%"),
        ("%DOWNSTREAM_WIRE_BYTES_SENT:3%", "%DOWNSTREAM_WIRE_BYTES_SENT%"),
        ("%UPSTREAM_PEER_CERT(x)%", "%UPSTREAM_PEER_CERT%"),
        ("%CEL(request.paths)%", "%CEL%: there is no attribute request.paths"),
        ("%DURATION(ms)%", "%DURATION%"),
        ("%DURATION:3%", "%DURATION%"),
        ("%REQ%", "%REQ%"),
        ("%REQ()%", "%REQ%"),
        ("%REQ(a?b?c)%", "%REQ%"),
        ("%REQ(a)", "%REQ"),
        ("%RESPONSE_CODE", "%RESPONSE_CODE"),
        ("100%", "%%"),
        ("%lower%", "%%"),
        ("%START_TIME(%Q)%", "%Q"),
        ("%COMMON_DURATION(DS_RX_BEG:US_NO_BEG:ms)%", "US_NO_BEG"),
        ("%GRPC_STATUS(X)%", "%GRPC_STATUS%"),
        ("%PATH(XX)%", "%PATH%"),
    ] {
        let error = Format::parse(format).unwrap_err().0;
        assert!(error.contains(part), "{format}: {error}");
    }
}

#[test]
fn unique_ids_are_version_4_uuids() {
    let (first, second) = (example("%UNIQUE_ID%"), example("%UNIQUE_ID%"));
    assert_eq!((first.len(), &first[14..15]), (36, "4"));
    assert_ne!(first, second);
}

proptest::proptest! {
    #[test]
    fn no_format_panics(source in ".{0,60}|(%[A-Z_]{1,12}(\\([a-z:?)%]{0,8}\\))?(:[0-9]{1,3})?%?){1,4}") {
        if let Ok(format) = Format::parse(&source) {
            let exchange = Exchange::example();
            format.render_log(&exchange.record(), b"-", &mut Vec::new());
        }
    }

    #[test]
    fn no_value_escapes_its_field(value in proptest::collection::vec(0u8..=255, 0..64)) {
        let mut exchange = Exchange::example();
        exchange.request.block.set(b"user-agent", &value);
        let mut out = Vec::new();
        Format::parse("\"%REQ(user-agent)%\"\n").unwrap().render_log(&exchange.record(), b"-", &mut out);
        let text = String::from_utf8(out).unwrap();
        proptest::prop_assert_eq!(text.matches('"').count(), 2);
        proptest::prop_assert!(text.trim_end_matches('\n').chars().all(|char| !crate::base::text::is_command(char)));
    }
}
