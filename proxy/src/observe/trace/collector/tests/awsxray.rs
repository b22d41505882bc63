//! What a collector's X-Ray exporter makes of our spans: its rules, as far as they concern spans such as ours.
//! Source: `awsxrayexporter`, package translator; aws-runtime "span -> segment".

use super::*;

/// A segment or subsegment.
#[derive(Debug, Default, PartialEq)]
struct Segment {
    name: String,
    is_subsegment: bool,
    namespace: Option<&'static str>,
    origin: &'static str,
    error: bool,
    fault: bool,
    throttle: bool,
    status: Option<i64>,
    url: String,
    client_ip: Option<String>,
    cause: Option<String>,
    annotations: Vec<String>,
}

type Attributes = BTreeMap<String, Value>;

fn text(attributes: &Attributes, key: &str) -> Option<String> {
    attributes.get(key).map(|value| value.as_str().unwrap_or_default().to_owned())
}

/// Text read as a number is 0, and older names come first.
fn code(attributes: &Attributes) -> Option<i64> {
    let value = attributes.get("http.status_code").or_else(|| attributes.get("http.response.status_code"))?;
    Some(value.as_i64().unwrap_or(0))
}

fn url(attributes: &Attributes, server: bool) -> String {
    if let Some(url) = text(attributes, "http.url").or_else(|| text(attributes, "url.full")) {
        return url;
    }
    assert!(server, "for calls older exporters read no other name");
    let port = match attributes.get("server.port").and_then(Value::as_u64) {
        None | Some(80) => String::new(),
        Some(port) => format!(":{port}"),
    };
    let part = |name| text(attributes, name).unwrap_or_default();
    format!("{}://{}{port}{}", part("url.scheme"), part("server.address"), part("url.path"))
}

fn origin(resource: &Attributes) -> &'static str {
    if text(resource, "cloud.provider").is_some_and(|provider| provider != "aws") {
        return "";
    }
    let platform = text(resource, "cloud.platform").unwrap_or_default();
    match (&*platform, text(resource, "aws.ecs.launchtype").as_deref()) {
        ("aws_ecs", Some("ec2")) => "AWS::ECS::EC2",
        ("aws_ecs", Some("fargate")) => "AWS::ECS::Fargate",
        ("aws_ecs", _) => "AWS::ECS::Container",
        ("aws_eks", _) => "AWS::EKS::Container",
        _ => "",
    }
}

fn segment(span: &[(u64, Field<'_>)], resource: &Attributes) -> Segment {
    let told = attributes(span, 9);
    let server = number(span, 6) == Some(2);
    let has_parent = bytes(span, 4).first().is_some_and(|parent| !parent.is_empty());
    let status = bytes(span, 15).first().map(|status| fields(status)).unwrap_or_default();
    let failed = number(&status, 3) == Some(2);
    let (error, fault) = match code(&told) {
        Some(400..=499) => (true, false),
        Some(500..=599) => (false, true),
        _ => (false, failed),
    };
    let name = if server {
        text(&told, "aws.local.service")
            .or_else(|| text(&told, "peer.service"))
            .or_else(|| text(resource, "service.name"))
    } else {
        text(&told, "aws.remote.service").or_else(|| text(&told, "peer.service"))
    };
    let ip = |key: &str| text(&told, key).filter(|ip| ip.parse::<std::net::IpAddr>().is_ok());
    let indexed = told.get("aws.xray.annotations").and_then(Value::as_array).cloned().unwrap_or_default();
    let indexed = indexed.iter().filter_map(Value::as_str).filter(|key| told.contains_key(*key));
    Segment {
        name: name.unwrap_or_else(|| String::from_utf8(bytes(span, 5)[0].to_vec()).unwrap()),
        is_subsegment: !server && has_parent,
        namespace: (!server).then_some("remote"),
        origin: origin(resource),
        error,
        fault,
        throttle: code(&told) == Some(429),
        status: code(&told),
        url: url(&told, server),
        client_ip: if server { ip("client.address").or_else(|| ip("network.peer.address")) } else { None },
        cause: bytes(&status, 2)
            .first()
            .filter(|_| failed)
            .map(|text| String::from_utf8(text.to_vec()).unwrap()),
        annotations: indexed.map(str::to_owned).collect(),
    }
}

/// What is told of a request and of its tries.
struct Told {
    exchange: Exchange,
    tries: Vec<AttemptSpan>,
    direction: Direction,
    parent: Option<SpanId>,
    place: Platform,
}

impl Told {
    fn of(status: u16) -> Self {
        let mut exchange = Exchange::example();
        exchange.request = request("GET", "/items?token=secret", "price.local:8080", &[]);
        exchange.response = response(status, &[]);
        let parent = span().parent;
        Self {
            exchange,
            tries: Vec::new(),
            direction: Direction::Outbound,
            parent,
            place: Platform::default(),
        }
    }

    fn grpc(mut self, code: &str) -> Self {
        self.exchange.request =
            request("POST", "/p.Prices/Get", "price.local:8080", &[("content-type", "application/grpc")]);
        self.exchange.trailers.append(b"grpc-status", code.as_bytes());
        self
    }

    fn tried(mut self, status: u16) -> Self {
        let begun = self.exchange.timing.started;
        let host = self.exchange.host.clone();
        if let Some(last) = self.tries.last_mut() {
            last.ended = Some(begun);
        }
        self.tries.push(AttemptSpan { status, sent: true, ..AttemptSpan::begun(SpanId(1), begun, host) });
        self
    }

    /// With `tries`, of the request and of its tries, else of the request alone.
    fn segments(&mut self) -> Vec<Segment> {
        let attempts = std::mem::take(&mut self.tries);
        let settings = settings(Form::OtlpHttp, !attempts.is_empty());
        let (span, record) = (Span { attempts, parent: self.parent, ..span() }, self.exchange.record());
        let finished = Finished {
            route: None,
            operation: None,
            span: &span,
            record: &record,
            head: &self.exchange.request,
            start: 1,
            end: 2,
            direction: self.direction,
            tags: &[],
            max_path: 256,
        };
        let mut out = Vec::new();
        encode(&settings, &finished, &mut out);
        let frame = otlp::frame(&settings, &self.place, std::iter::once(&out[..]));
        let request = fields(&frame);
        let spans = fields(bytes(&request, 1)[0]);
        let resource = attributes(&fields(bytes(&spans, 1)[0]), 1);
        let list = fields(bytes(&spans, 2)[0]);
        bytes(&list, 2).into_iter().map(|span| segment(&fields(span), &resource)).collect()
    }
}

#[test]
fn statuses_become_flags_of_segments_and_edges() {
    for (status, flags) in [(200, "---"), (404, "e--"), (429, "e-t"), (503, "-f-")] {
        for (i, segment) in Told::of(status).tried(status).segments().iter().enumerate() {
            let flag = |set, name| if set { name } else { '-' };
            let told = [flag(segment.error, 'e'), flag(segment.fault, 'f'), flag(segment.throttle, 't')];
            assert_eq!(told.iter().collect::<String>(), flags, "{status}");
            assert_eq!(segment.status, Some(status.into()));
            assert_eq!(segment.url, "http://price.local:8080/items", "queries are nobody's business");
            assert_eq!(segment.is_subsegment, i > 0);
        }
    }
}

#[test]
fn the_map_has_the_right_names() {
    let segments = Told::of(200).tried(503).tried(200).segments();
    let names: Vec<_> = segments.iter().map(|segment| (&*segment.name, segment.namespace)).collect();
    let call = ("price.local", Some("remote"));
    assert_eq!(names, [("shop/cart", None), call, call]);
    assert_eq!(segments.iter().map(|segment| segment.fault).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(segments[0].client_ip.as_deref(), Some("10.0.0.1"));
    assert_eq!(
        segments[0].annotations,
        ["direction", "response_flags", "upstream_cluster", "downstream_cluster"]
    );
    // Envoy's single span of an outgoing hop is a call, unless it is nobody's part.
    let mut call = Told::of(200);
    assert_eq!(call.segments()[0].name, "up");
    assert!(call.segments()[0].is_subsegment);
    call.parent = None;
    let settings = settings(Form::OtlpHttp, false);
    let record = call.exchange.record();
    let span = Span { parent: None, ..span() };
    let finished = Finished {
        route: None,
        operation: None,
        span: &span,
        record: &record,
        head: &call.exchange.request,
        start: 1,
        end: 2,
        direction: Direction::Outbound,
        tags: &[],
        max_path: 256,
    };
    let mut out = Vec::new();
    encode(&settings, &finished, &mut out);
    let told = attributes(&fields(bytes(&fields(&out), 2)[0]), 9);
    assert_eq!(
        (&told["aws.span.kind"], &told["aws.local.service"]),
        (&json!("LOCAL_ROOT"), &json!("shop/cart"))
    );
}

#[test]
fn failed_calls_are_faults_on_their_edges() {
    let faults = |mut told: Told| told.segments().iter().map(|segment| segment.fault).collect::<Vec<_>>();
    assert_eq!(faults(Told::of(200).grpc("14").tried(200)), [true, true], "UNAVAILABLE in trailers");
    assert_eq!(faults(Told::of(200).grpc("5").tried(200)), [false, false], "NOT_FOUND is the caller's");
    // A try that was answered with UNAVAILABLE in its head and followed by one that was fine.
    let mut retried = Told::of(200).grpc("0").tried(200);
    retried.tries[0].grpc = Some(14);
    assert_eq!(faults(retried.tried(200)), [false, true, false]);
}

#[test]
fn the_platform_decides_what_the_node_is() {
    let ecs = Platform {
        task_arn: "arn:aws:ecs:eu-west-1:123456789012:task/shop/1".into(),
        launch_type: "FARGATE".into(),
        region: "eu-west-1".into(),
        ..Platform::default()
    };
    let eks = Platform { pod: "cart-7d9f".into(), region: "eu-west-1".into(), ..Platform::default() };
    let elsewhere = Platform { pod: "cart-7d9f".into(), ..Platform::default() };
    let others = [(ecs, "AWS::ECS::Fargate"), (eks, "AWS::EKS::Container"), (elsewhere, "")];
    for (place, origin) in others {
        let mut told = Told::of(200);
        told.place = place;
        assert_eq!(told.segments()[0].origin, origin);
    }
}

#[test]
fn a_task_is_told_with_what_segments_have_of_it() {
    let place = Platform {
        task_arn: "arn:task".into(),
        cluster_arn: "arn:cluster".into(),
        account: "123456789012".into(),
        zone: "eu-west-1a".into(),
        container_name: "envoy".into(),
        container_id: "cafe".into(),
        container_arn: "arn:container".into(),
        log_group_arn: "arn:group".into(),
        launch_type: "EC2".into(),
        ..Platform::default()
    };
    let frame = otlp::frame(&settings(Form::OtlpHttp, true), &place, std::iter::empty());
    let request = fields(&frame);
    let told = attributes(&fields(bytes(&fields(bytes(&request, 1)[0]), 1)[0]), 1);
    let expected = [
        ("cloud.provider", "aws"),
        ("cloud.platform", "aws_ecs"),
        ("cloud.account.id", "123456789012"),
        ("cloud.availability_zone", "eu-west-1a"),
        ("container.name", "envoy"),
        ("container.id", "cafe"),
        ("aws.ecs.container.arn", "arn:container"),
        ("aws.ecs.cluster.arn", "arn:cluster"),
        ("aws.ecs.task.arn", "arn:task"),
        ("aws.ecs.launchtype", "ec2"),
        ("aws.log.group.arns", "arn:group"),
    ];
    for (key, value) in expected {
        assert_eq!(told.get(key), Some(&json!(value)), "{key}");
    }
    assert!(!told.contains_key("k8s.pod.name") && !told.contains_key("cloud.region"), "{told:?}");
}
