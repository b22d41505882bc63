use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::config::listener::Direction;
use crate::observe::platform::Platform;
use crate::observe::record::Record;
use crate::observe::test_record::{Exchange, request, response, span};
use crate::observe::trace::attempt::AttemptSpan;
use crate::observe::trace::id::{SpanId, TraceId};
use crate::observe::trace::span::Span;
use crate::observe::trace::tag::{CustomTag, TagValue};

mod awsxray;

fn settings(form: Form, attempts: bool) -> Settings {
    Settings {
        target: Target::Address("127.0.0.1".into(), 4317),
        authority: "".into(),
        secure: false,
        path: "/".into(),
        service: "shop/cart".into(),
        node_id: "id".into(),
        form,
        attempts,
        sampling: Sampling::Manager,
        propagation: Propagation::of(&[]),
    }
}

/// The document of one exchange that was answered 503 by the second host tried.
fn document(form: Form, tries: bool, direction: Direction) -> Vec<u8> {
    tagged(form, tries, direction, &[])
}

/// The same with tags.
fn tagged(form: Form, tries: bool, direction: Direction, tags: &[CustomTag]) -> Vec<u8> {
    let mut exchange = Exchange::example();
    exchange.request = request("GET", "/items?x=1", "price.local", &[("user-agent", "curl/8")]);
    exchange.response.status = 503;
    let started = exchange.timing.started;
    let host = Exchange::example().host;
    let attempt = |id, from, to: Option<u64>, status| AttemptSpan {
        ended: to.map(|to| started + Duration::from_millis(to)),
        status,
        failure: (status == 0).then(|| "connection_timeout".into()),
        ..AttemptSpan::begun(SpanId(id), started + Duration::from_millis(from), host.clone())
    };
    let attempts = if tries { vec![attempt(1, 0, Some(2), 0), attempt(2, 3, None, 503)] } else { Vec::new() };
    let trace_id = TraceId::parse_hex(b"4efaaf4d1e8720b39541901950019ee5").unwrap();
    let (span, record) = (Span { trace_id, attempts, ..span() }, Record { attempts: 2, ..exchange.record() });
    let finished = Finished {
        route: None,
        operation: None,
        span: &span,
        record: &record,
        head: &exchange.request,
        start: 1_755_366_385_126_112,
        end: 1_755_366_385_133_112,
        direction,
        tags,
        max_path: 256,
    };
    let mut out = Vec::new();
    encode(&settings(form, tries), &finished, &mut out);
    out
}

/// Fields of a protobuf message: number, and bytes or a number.
#[derive(Clone, Debug, PartialEq)]
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        number |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            break;
        }
    }
    number
}

fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let take = |bytes: &mut &[u8], count: usize| {
            let (taken, rest) = bytes.split_at(count);
            *bytes = rest;
            taken.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
        };
        let field = match key & 7 {
            0 => Field::Number(varint(&mut bytes)),
            1 => Field::Number(take(&mut bytes, 8)),
            5 => Field::Number(take(&mut bytes, 4)),
            2 => {
                let length = varint(&mut bytes) as usize;
                let (taken, rest) = bytes.split_at(length);
                bytes = rest;
                Field::Bytes(taken)
            }
            other => panic!("wire type {other}"),
        };
        all.push((key >> 3, field));
    }
    all
}

fn bytes<'a>(message: &[(u64, Field<'a>)], number: u64) -> Vec<&'a [u8]> {
    let wanted = message.iter().filter(|(field, _)| *field == number);
    wanted
        .map(|(_, field)| if let Field::Bytes(bytes) = field { *bytes } else { panic!("{field:?}") })
        .collect()
}

fn number(message: &[(u64, Field<'_>)], wanted: u64) -> Option<u64> {
    message.iter().find_map(|(field, value)| match value {
        Field::Number(number) if *field == wanted => Some(*number),
        _ => None,
    })
}

/// `KeyValue`s with text or numbers.
fn attributes(message: &[(u64, Field<'_>)], field: u64) -> BTreeMap<String, Value> {
    let pair = |pair: &[u8]| {
        let pair = fields(pair);
        let value = fields(bytes(&pair, 2)[0]);
        let text = |bytes: &[u8]| json!(String::from_utf8(bytes.to_vec()).unwrap());
        let value = match (number(&value, 3), bytes(&value, 5).first()) {
            (Some(number), _) => json!(number),
            (None, Some(list)) => {
                bytes(&fields(list), 1).into_iter().map(|one| text(bytes(&fields(one), 1)[0])).collect()
            }
            (None, None) => text(bytes(&value, 1)[0]),
        };
        (String::from_utf8(bytes(&pair, 1)[0].to_vec()).unwrap(), value)
    };
    bytes(message, field).into_iter().map(pair).collect()
}

#[test]
fn an_opentelemetry_request_with_tries() {
    let one = document(Form::OtlpGrpc, true, Direction::Outbound);
    let place = Platform::default();
    let frame = otlp::frame(&settings(Form::OtlpGrpc, true), &place, [&one[..], &one[..]].into_iter());
    let request = fields(&frame);
    let resource_spans = fields(bytes(&request, 1)[0]);
    let resource = attributes(&fields(bytes(&resource_spans, 1)[0]), 1);
    assert_eq!(resource["service.name"], "shop/cart");
    let scope_spans = fields(bytes(&resource_spans, 2)[0]);
    assert_eq!(bytes(&fields(bytes(&scope_spans, 1)[0]), 1), [b"outrigger"]);
    let spans: Vec<_> = bytes(&scope_spans, 2).into_iter().map(fields).collect();
    assert_eq!(spans.len(), 6, "two documents of a request and its two tries");
    let (hop, tries) = (&spans[0], &spans[1..3]);
    let trace = 0x4efa_af4d_1e87_20b3_9541_9019_5001_9ee5_u128.to_be_bytes();
    assert!(spans.iter().all(|span| bytes(span, 1) == [trace]));
    assert_eq!(bytes(hop, 4), [0x5399_5c3f_42cd_8ad8_u64.to_be_bytes()]);
    assert_eq!((number(hop, 6), number(hop, 7)), (Some(2), Some(1_755_366_385_126_112_000)));
    let told = attributes(hop, 9);
    assert_eq!((&told["http.request.method"], &told["url.path"]), (&json!("GET"), &json!("/items")));
    assert_eq!(told["http.response.status_code"], 503);
    assert!(!told.contains_key("peer.service"), "the map would take its name from that");
    assert_eq!(number(&fields(bytes(hop, 15)[0]), 3), Some(2), "a fault is an error");
    for (span, id) in tries.iter().zip([1_u64, 2]) {
        assert_eq!((bytes(span, 2), bytes(span, 4)), (vec![&id.to_be_bytes()[..]], bytes(hop, 2)));
        assert_eq!(number(span, 6), Some(3));
        assert_eq!(attributes(span, 9)["peer.service"], "price.local");
    }
    assert_eq!(number(&tries[0], 8), Some(1_755_366_385_128_112_000));
    assert_eq!(bytes(&fields(bytes(&tries[0], 15)[0]), 2), [b"connection_timeout"]);
    assert_eq!(number(&tries[1], 8), number(hop, 8));
}

#[test]
fn envoys_single_spans_serve_or_call() {
    for (direction, kind) in [(Direction::Inbound, 2), (Direction::Outbound, 3)] {
        let document = document(Form::OtlpHttp, false, direction);
        let span = fields(bytes(&fields(&document), 2)[0]);
        assert_eq!(number(&span, 6), Some(kind));
        let told = attributes(&span, 9);
        assert_eq!((&told["component"], &told["response_flags"]), (&json!("proxy"), &json!("-")));
        assert_eq!((&told["upstream_cluster"], &told["node_id"]), (&json!("up"), &json!("id")));
    }
}

#[test]
fn zipkin_in_both_forms() {
    let one = document(Form::ZipkinJson, false, Direction::Outbound);
    let list: Value = serde_json::from_slice(&zipkin::json_frame([&one[..], &one[..]].into_iter())).unwrap();
    let span = &list[1];
    assert_eq!(
        (&span["traceId"], &span["id"]),
        (&json!("4efaaf4d1e8720b39541901950019ee5"), &json!("6b55dcc497934f1a"))
    );
    assert_eq!((&span["parentId"], &span["kind"]), (&json!("53995c3f42cd8ad8"), &json!("CLIENT")));
    assert_eq!((&span["timestamp"], &span["duration"]), (&json!(1_755_366_385_126_112_u64), &json!(7000)));
    assert_eq!(span["localEndpoint"], json!({"serviceName": "shop/cart", "ipv6": "::1", "port": 18080}));
    assert_eq!((&span["name"], &span["tags"]["http.status_code"]), (&json!("price.local"), &json!("503")));
    assert_eq!(
        (&span["tags"]["error"], &span["tags"]["http.url"]),
        (&json!("true"), &json!("http://price.local/items?x=1"))
    );
    let proto = document(Form::ZipkinProto, false, Direction::Inbound);
    let span = fields(bytes(&fields(&proto), 1)[0]);
    assert_eq!(bytes(&span, 1)[0].len(), 16);
    assert_eq!(
        (number(&span, 4), number(&span, 6), number(&span, 7)),
        (Some(2), Some(1_755_366_385_126_112), Some(7000))
    );
    assert_eq!(bytes(&span, 5), [b"price.local"]);
    let tags: Vec<_> = bytes(&span, 11).into_iter().map(fields).collect();
    assert!(tags.iter().any(|tag| bytes(tag, 1) == [b"component"] && bytes(tag, 2) == [b"proxy"]));
}

/// The part of MessagePack that is used.
fn unpack(bytes: &mut &[u8]) -> Value {
    let take = |bytes: &mut &[u8], count: usize| {
        let (taken, rest) = bytes.split_at(count);
        *bytes = rest;
        taken.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte)) as usize
    };
    let text = |bytes: &mut &[u8], length: usize| {
        let (taken, rest) = bytes.split_at(length);
        *bytes = rest;
        json!(std::str::from_utf8(taken).unwrap())
    };
    let map = |bytes: &mut &[u8], size: usize| {
        let pairs = (0..size).map(|_| (unpack(bytes).as_str().unwrap().to_owned(), unpack(bytes)));
        Value::Object(pairs.collect())
    };
    match take(bytes, 1) {
        kind @ 0x80..=0x8f => map(bytes, kind - 0x80),
        kind @ 0x90..=0x9f => (0..kind - 0x90).map(|_| unpack(bytes)).collect(),
        kind @ 0xa0..=0xbf => text(bytes, kind - 0xa0),
        0xcf => json!(take(bytes, 8) as u64),
        0xda => {
            let length = take(bytes, 2);
            text(bytes, length)
        }
        0xdd => {
            let size = take(bytes, 4);
            (0..size).map(|_| unpack(bytes)).collect()
        }
        0xde => {
            let size = take(bytes, 2);
            map(bytes, size)
        }
        other => panic!("type {other:x}"),
    }
}

#[test]
fn datadogs_traces() {
    let one = document(Form::Datadog, false, Direction::Inbound);
    let frame = datadog::frame([&one[..], &one[..]].into_iter());
    let mut rest = &frame[..];
    let list = unpack(&mut rest);
    assert!(rest.is_empty() && list.as_array().unwrap().len() == 2, "{list}");
    let span = &list[1][0];
    assert_eq!((&span["service"], &span["name"]), (&json!("shop/cart"), &json!("envoy.proxy")));
    assert_eq!((&span["resource"], &span["error"]), (&json!("ingress"), &json!(1)));
    assert_eq!(span["trace_id"], 0x9541_9019_5001_9ee5_u64);
    assert_eq!(
        (&span["start"], &span["duration"]),
        (&json!(1_755_366_385_126_112_000_u64), &json!(7_000_000))
    );
    assert_eq!(span["meta"]["_dd.p.tid"], "4efaaf4d1e8720b3");
    assert_eq!(
        (&span["meta"]["http.status_code"], &span["metrics"]["_sampling_priority_v1"]),
        (&json!("503"), &json!(1))
    );
}

/// Looked at before a map hides it: of a name the last value stands, once.
#[test]
fn no_name_is_told_twice() {
    let tag = |name: &str, value: &str| CustomTag::new(name, TagValue::Literal(value.into()));
    let absent = CustomTag::new("twice", TagValue::Header("x-none".into(), "".into()));
    let own =
        [tag("component", "mine"), tag("twice", "first"), tag("twice", "last"), absent, tag("a.b", "kept")];
    for name in ["component", "twice", "a.b"] {
        let json = tagged(Form::ZipkinJson, false, Direction::Inbound, &own);
        let json = String::from_utf8(json).unwrap();
        assert_eq!(json.matches(&format!("\"{name}\":")).count(), 1, "{name}: {json}");
    }
    let names = |message: &[u8], field: u64| -> Vec<String> {
        let pairs = bytes(&fields(message), field).into_iter().map(|pair| bytes(&fields(pair), 1)[0]);
        pairs.map(|name| String::from_utf8(name.to_vec()).unwrap()).collect()
    };
    let otlp = [tag("direction", "d"), tag("http.request.method", "m"), tag("peer.service", "p")];
    let otlp: Vec<CustomTag> = own.iter().cloned().chain(otlp).collect();
    for (form, place, field) in [(Form::ZipkinProto, 1, 11), (Form::OtlpHttp, 2, 9), (Form::OtlpGrpc, 2, 9)] {
        let document = tagged(form, false, Direction::Outbound, &otlp);
        let span = fields(&document).into_iter().find(|(number, _)| *number == place).unwrap().1;
        let Field::Bytes(span) = span else { panic!("{span:?}") };
        let mut told = names(span, field);
        let all = told.len();
        told.sort();
        told.dedup();
        assert_eq!(told.len(), all, "{form:?}: {told:?}");
    }
    let document = tagged(Form::OtlpHttp, false, Direction::Outbound, &otlp);
    let told = attributes(&fields(bytes(&fields(&document), 2)[0]), 9);
    assert_eq!((&told["component"], &told["twice"]), (&json!("mine"), &json!("last")));
    let datadog = tagged(Form::Datadog, false, Direction::Inbound, &own);
    for name in ["component", "twice"] {
        let text = [&[0xa0 | name.len() as u8][..], name.as_bytes()].concat();
        assert_eq!(datadog.windows(text.len()).filter(|window| *window == text).count(), 1, "{name}");
    }
}
