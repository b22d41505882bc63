mod schema;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;
use crate::base::error::ResponseFlags;
use crate::http::head::Version;
use crate::observe::platform::Platform;
use crate::observe::test_record::{Exchange, request, response, span};
use crate::observe::trace::attempt::{AttemptSpan, MAX_ATTEMPTS};
use crate::observe::trace::header::Propagation;
use crate::observe::trace::id::SpanId;
use crate::observe::trace::sampling::manifest::Manifest;
use crate::observe::trace::span::Span;
use crate::observe::trace::tag::{CustomTag, TagValue};
use crate::observe::trace::xray::{Daemon, segment_name};
use schema::Schemas;

fn settings() -> Settings {
    Settings {
        daemon: Daemon::default(),
        name: segment_name("shop/cart-vn"),
        origin: "AWS::AppMesh::Proxy".into(),
        aws: r#"{"app_mesh":{"mesh_name":"shop","virtual_node_name":"cart-vn"}}"#.into(),
        manifest: Manifest::default(),
        node_id: "mesh/shop/virtualNode/cart-vn".into(),
        mesh: "shop".into(),
        rich: false,
        central: None,
        propagation: Propagation::of(&[]),
    }
}

fn place() -> Platform {
    Platform {
        task_arn: "arn:aws:ecs:us-west-2:1:task/prod/abc".into(),
        task_family: "cart".into(),
        zone: "us-west-2a".into(),
        ..Platform::default()
    }
}

fn rich() -> Settings {
    Settings { rich: true, ..settings() }
}

fn document(finished: &Finished<'_>) -> Value {
    document_of(&settings(), finished)
}

fn document_of(settings: &Settings, finished: &Finished<'_>) -> Value {
    let mut out = Vec::new();
    assert!(encode(settings, &place(), finished, &mut out) && out.len() <= 65_000, "{} bytes", out.len());
    serde_json::from_slice(&out).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&out)))
}

fn finished<'a>(
    span: &'a Span,
    record: &'a crate::observe::record::Record<'a>,
    tags: &'a [CustomTag],
) -> Finished<'a> {
    Finished {
        route: None,
        operation: None,
        span,
        record,
        head: record.request.unwrap(),
        start: 1_755_366_385_126_112,
        end: 1_755_366_385_535_901,
        direction: Direction::Inbound,
        tags,
        max_path: 256,
    }
}

#[test]
fn a_segment_as_app_mesh_sent_it() {
    let mut exchange = Exchange::example();
    exchange.request.block.append(b"x-forwarded-for", b"10.0.3.7, 10.0.0.1");
    exchange.response.status = 503;
    let (span, tags) = (span(), [CustomTag::new("my.tag", TagValue::Header("x-none".into(), "d".into()))]);
    let record = crate::observe::record::Record {
        flags: ResponseFlags::UPSTREAM_CONNECTION_FAILURE,
        attempts: 2,
        ..exchange.record()
    };
    assert_eq!(
        document(&finished(&span, &record, &tags)),
        json!({
            "name": "shop/cart-vn", "id": "6b55dcc497934f1a", "trace_id": "1-5759e988-bd862e3fe1be46a994272793",
            "parent_id": "53995c3f42cd8ad8", "start_time": 1755366385.126112, "end_time": 1755366385.535901,
            "origin": "AWS::AppMesh::Proxy",
            "aws": {"app_mesh": {"mesh_name": "shop", "virtual_node_name": "cart-vn"}},
            "fault": true,
            "http": {
                "request": {"method": "GET", "url": "http://127.0.0.1:18080/server_info?a=%22b",
                            "user_agent": "curl/8", "client_ip": "10.0.3.7", "x_forwarded_for": true},
                "response": {"status": 503, "content_length": 124580},
            },
            "annotations": {
                "direction": "ingress", "component": "proxy", "node_id": "mesh/shop/virtualNode/cart-vn",
                "guid_x_request_id": "87612c0c-a74c-4211-b0c4-9f3e0df9beaf", "http_protocol": "HTTP/1.1",
                "request_size": "0", "response_flags": "UF", "upstream_cluster": "up",
                "upstream_cluster_name": "up", "attempts": 2, "my_tag": "d",
            },
        })
    );
}

#[test]
fn flags_follow_the_outcome() {
    let flags = |status, headers: &[(&str, &str)], content: &str| {
        let mut exchange = Exchange::example();
        exchange.request = request("POST", "/s/m", "h", &[("content-type", content)]);
        exchange.response = response(status, headers);
        let (span, record) = (span(), exchange.record());
        let document = document(&finished(&span, &record, &[]));
        ["error", "fault", "throttle"].map(|flag| document.get(flag).is_some())
    };
    for (status, expected) in [
        (200, [false; 3]),
        (304, [false; 3]),
        (404, [true, false, false]),
        (429, [true, false, true]),
        (500, [false, true, false]),
        (0, [false, true, false]),
    ] {
        assert_eq!(flags(status, &[], "text/plain"), expected, "{status}");
    }
    for (code, expected) in [
        ("0", [false; 3]),
        ("5", [true, false, false]),
        ("8", [true, false, true]),
        ("14", [false, true, false]),
        ("x", [false, true, false]),
    ] {
        assert_eq!(flags(200, &[("grpc-status", code)], "application/grpc"), expected, "{code}");
    }
}

/// Bytes that a header may hold, and some that it may not.
fn text(random: &mut fastrand::Rng, longest: usize) -> String {
    let alphabet: Vec<char> = "abcXYZ019 /?&=%\"\\<>é漢\u{1F600}\u{7f}\t{}[]':;,".chars().collect();
    (0..random.usize(..longest)).map(|_| alphabet[random.usize(..alphabet.len())]).collect()
}

fn attempts(random: &mut fastrand::Rng, started: Instant) -> Vec<AttemptSpan> {
    let host = Exchange::example().host;
    let at = |micros| started + Duration::from_micros(micros);
    let begun = |random: &mut fastrand::Rng| {
        AttemptSpan::begun(SpanId(random.u64(1..)), at(random.u64(..5_000)), host.clone())
    };
    let attempt = |random: &mut fastrand::Rng| AttemptSpan {
        sent: random.bool(),
        ended: random.bool().then(|| at(random.u64(5_000..9_000))),
        status: [0, 200, 429, 503][random.usize(..4)],
        failure: random.bool().then(|| text(random, 3_000).into_boxed_str()).filter(|text| !text.is_empty()),
        ..begun(random)
    };
    (0..random.usize(..=MAX_ATTEMPTS)).map(|_| attempt(random)).collect()
}

#[test]
fn a_rich_segment_tells_each_try() {
    let mut exchange = Exchange::example();
    exchange.request = request("GET", "/items?secret=1", "price.local:8080", &[]);
    exchange.response.status = 503;
    let started = exchange.timing.started;
    let host = Exchange::example().host;
    let at = |millis| started + Duration::from_millis(millis);
    let try_of = |id, begun, ended, status, failure: Option<&str>| AttemptSpan {
        sent: status > 0,
        ended,
        status,
        failure: failure.map(Into::into),
        ..AttemptSpan::begun(SpanId(id), begun, host.clone())
    };
    let failed = "upstream_reset_before_response_started{connection_timeout}";
    let tries = vec![try_of(1, at(1), Some(at(101)), 0, Some(failed)), try_of(2, at(150), None, 503, None)];
    let span = Span { attempts: tries, ..span() };
    let record = crate::observe::record::Record {
        cluster: "cds_egress_shop_price_v2_http_8080",
        details: "via_upstream",
        ..exchange.record()
    };
    let document = document_of(&rich(), &finished(&span, &record, &[]));
    assert_eq!(document["http"]["request"]["url"], "http://price.local:8080/items", "queries are not told");
    assert_eq!(document["aws"]["app_mesh"]["mesh_name"], "shop");
    assert_eq!(document["aws"]["xray"]["sdk"], "outrigger");
    let task = json!({"task_arn": "arn:aws:ecs:us-west-2:1:task/prod/abc", "task_family": "cart",
        "availability_zone": "us-west-2a"});
    assert_eq!(document["aws"]["ecs"], task);
    assert_eq!(document["annotations"]["route"], "main");
    let tries = &document["subsegments"];
    assert_eq!(
        tries[0],
        json!({
            "name": "shop/price_v2", "id": "0000000000000001", "namespace": "remote", "fault": true,
            "start_time": 1755366385.127112, "end_time": 1755366385.227112,
            "cause": {"exceptions": [{"id": "0000000100000000", "message": failed, "remote": true}]},
            "http": {"request": {"method": "GET", "url": "http://price.local:8080/items"}},
            "annotations": {"attempt": 1, "upstream_host": "127.0.0.1:19901"},
        })
    );
    assert_eq!((&tries[1]["http"]["response"]["status"], &tries[1]["fault"]), (&json!(503), &json!(true)));
    assert_eq!(tries[1]["http"]["request"]["traced"], true, "of what was never sent no segment will come");
    assert_eq!(tries[1]["end_time"], document["end_time"], "the last one lasts as long as the request");
    let renamed = Settings { name: "cart".into(), ..rich() };
    let called = document_of(&renamed, &finished(&span, &record, &[]));
    assert_eq!(called["subsegments"], document["subsegments"], "whatever segments of ours are called");
    let elsewhere = crate::observe::record::Record { cluster: "other", ..record };
    let document = document_of(&rich(), &finished(&span, &elsewhere, &[]));
    assert_eq!(document["subsegments"][0]["name"], "price.local");
    assert_eq!(document["subsegments"][1]["http"]["request"].get("traced"), None, "others may not report");
}

#[test]
fn a_rich_segment_tells_the_whole_task_or_pod() {
    let (span, exchange) = (span(), Exchange::example());
    let record = exchange.record();
    let document = |place: &Platform| -> Value {
        let mut out = Vec::new();
        assert!(encode(&rich(), place, &finished(&span, &record, &[]), &mut out));
        let document = serde_json::from_slice(&out).unwrap();
        structure(&document);
        Schemas::find().check(&document);
        document
    };
    let (own, group) = ("arn:container", "arn:aws:logs:us-west-2:1:log-group:/ecs/cart");
    let task = document(&Platform {
        cluster_arn: "arn:cluster".into(),
        account: "123456789012".into(),
        launch_type: "FARGATE".into(),
        host_name: "ip-10-0-1-5".into(),
        container_id: "cafe".into(),
        container_arn: own.into(),
        log_group: "/ecs/cart".into(),
        log_group_arn: group.into(),
        ..place()
    });
    let ecs = json!({"container": "ip-10-0-1-5", "container_id": "cafe", "container_arn": own,
        "cluster_arn": "arn:cluster", "task_arn": place().task_arn, "task_family": "cart",
        "launch_type": "FARGATE", "availability_zone": "us-west-2a"});
    assert_eq!((&task["aws"]["ecs"], &task["aws"]["account_id"]), (&ecs, &json!("123456789012")));
    assert_eq!(task["aws"]["cloudwatch_logs"], json!([{"log_group": "/ecs/cart", "arn": group}]));
    let pod = document(&Platform {
        cluster_name: "prod".into(),
        pod: "cart-7d9f".into(),
        container_id: "cafe".into(),
        ..Platform::default()
    });
    let eks = json!({"cluster_name": "prod", "pod": "cart-7d9f", "container_id": "cafe"});
    assert_eq!((&pod["aws"]["eks"], pod["aws"].get("cloudwatch_logs")), (&eks, None));
}

/// A schema that takes anything would prove nothing.
#[test]
fn our_schema_refuses_what_x_ray_does() {
    let (span, exchange) = (span(), Exchange::example());
    let record = exchange.record();
    let good = document(&finished(&span, &record, &[]));
    Schemas::find().check(&good);
    type Damage = fn(&mut Value);
    let broken: [(&str, Damage); 8] = [
        ("no name", |it| drop(it.as_object_mut().unwrap().remove("name"))),
        ("a name of other characters", |it| it["name"] = json!("a\"b")),
        ("an id that is too short", |it| it["id"] = json!("abc")),
        ("a trace of W3C's", |it| it["trace_id"] = json!("4efaaf4d1e8720b39541901950019ee5")),
        ("a time as text", |it| it["start_time"] = json!("1")),
        ("a flag that is not set", |it| it["fault"] = json!(false)),
        ("an annotation with a point", |it| it["annotations"]["a.b"] = json!("x")),
        ("a field that nobody knows", |it| it["foo"] = json!(1)),
    ];
    for (what, damage) in broken {
        let mut document = good.clone();
        damage(&mut document);
        let judged = std::panic::catch_unwind(|| Schemas::find().check(&document));
        assert!(judged.is_err(), "{what}: {document}");
    }
}

/// Looked at as text: a parser keeps one of two and says nothing.
#[test]
fn no_annotation_stands_twice() {
    let tag = |name: &str, value: &str| CustomTag::new(name, TagValue::Literal(value.into()));
    let tags = [
        tag("a.b", "first"),
        tag("a_b", "second"),
        tag("component", "x"),
        tag("direction", "x"),
        tag("upstream.cluster", "x"),
        tag("response.flags", "free"),
    ];
    let (span, exchange) = (span(), Exchange::example());
    let record = crate::observe::record::Record { attempts: 3, ..exchange.record() };
    let mut out = Vec::new();
    assert!(encode(&rich(), &place(), &finished(&span, &record, &tags), &mut out));
    let text = String::from_utf8(out).unwrap();
    let annotations = text.split_once("\"annotations\":{").unwrap().1.split_once('}').unwrap().0;
    let count = |name: &str| annotations.matches(&format!("\"{name}\":")).count();
    for name in ["a_b", "component", "direction", "upstream_cluster", "response_flags", "attempts"] {
        assert_eq!(count(name), 1, "{name}: {annotations}");
    }
    for pair in ["\"a_b\":\"first\"", "\"direction\":\"ingress\"", "\"response_flags\":\"free\""] {
        assert!(annotations.contains(pair), "{pair}: {annotations}");
    }
}

#[test]
fn thousands_of_exchanges_give_valid_documents() {
    let schemas = Schemas::find();
    let mut random = fastrand::Rng::with_seed(11);
    for _ in 0..2_000 {
        let mut exchange = Exchange::example();
        let headers: Vec<(&str, String)> =
            ["user-agent", "x-forwarded-for", "x-request-id", "x-odd", "content-type"]
                .into_iter()
                .filter(|_| random.bool())
                .collect::<Vec<_>>()
                .into_iter()
                .map(|name| (name, text(&mut random, 2_000)))
                .collect();
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let (method, path, host) = (text(&mut random, 300), text(&mut random, 3_000), text(&mut random, 400));
        exchange.request = request(&method, &path, &host, &headers);
        exchange.request.block.append(b"x-raw", &[0xff, 0x80, b'"', b'\\']);
        exchange.request.version = if random.bool() { Version::Http2 } else { Version::Http11 };
        exchange.response.status = [0, 101, 200, 302, 404, 429, 500, 504, 999][random.usize(..9)];
        let tags: Vec<CustomTag> = (0..random.usize(..80))
            .map(|i| {
                let value = match random.u8(..3) {
                    0 => TagValue::Literal(text(&mut random, 3_000).into()),
                    1 => TagValue::Header("x-raw".into(), "".into()),
                    _ => TagValue::Header("x-none".into(), "".into()),
                };
                CustomTag::new(&format!("{}{i}", text(&mut random, 20)), value)
            })
            .collect();
        let span = Span {
            parent: SpanId::new(random.u64(..2)),
            id: SpanId(random.u64(1..)),
            attempts: attempts(&mut random, exchange.timing.started),
            ..span()
        };
        let record = crate::observe::record::Record {
            attempts: random.u32(..4),
            flags: ResponseFlags::ALL[random.usize(..ResponseFlags::ALL.len())].0,
            upstream_host: None,
            ..exchange.record()
        };
        for settings in [settings(), rich()] {
            let document = document_of(&settings, &finished(&span, &record, &tags));
            structure(&document);
            schemas.check(&document);
        }
    }
}

/// What the daemon and X-Ray demand, and that nothing is empty or false.
fn structure(document: &Value) {
    let text = |field: &str| document[field].as_str().unwrap_or_else(|| panic!("{field}: {document}"));
    assert!(document["start_time"].is_f64() && document["end_time"].is_f64());
    assert_eq!((text("id").len(), text("trace_id").len()), (16, 35));
    assert!(document["annotations"].as_object().unwrap().len() <= 50);
    nothing_is_empty(document);
}

fn nothing_is_empty(value: &Value) {
    match value {
        Value::Object(fields) => {
            assert!(fields.keys().all(|key| !key.is_empty()));
            fields.values().for_each(nothing_is_empty);
        }
        Value::Array(list) => list.iter().for_each(nothing_is_empty),
        Value::String(text) => assert!(!text.is_empty() && text.len() <= 3 * 1000, "{text}"),
        other => assert_ne!(*other, json!(false)),
    }
}
