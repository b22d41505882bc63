use crate::diagnostics::Diagnostic;
use crate::model::*;
use crate::source::files::SourceFile;
use crate::source::{LoadOptions, Loaded, load};

fn read(text: &str) -> Loaded {
    let file = SourceFile { name: "f.yaml".into(), text: text.into(), named: true };
    load(&[file], &LoadOptions::default())
}

fn findings(text: &str) -> Vec<Diagnostic> {
    read(text).report.sorted().into_iter().cloned().collect()
}

fn sound(text: &str) -> Definitions {
    let loaded = read(text);
    assert!(loaded.report.sorted().is_empty(), "{:?}", loaded.report.sorted());
    loaded.definitions
}

fn node(spec: &str) -> String {
    format!("{{meshName: m, virtualNodeName: n, spec: {{{spec}}}}}")
}

fn route(spec: &str) -> String {
    format!("{{meshName: m, virtualRouterName: r, routeName: x, spec: {{{spec}}}}}")
}

#[test]
fn a_full_virtual_node_is_read() {
    let text = node(
        "Listeners: [{PortMapping: {Port: '8080', Protocol: http2},
           HealthCheck: {Protocol: http2, Path: /ping, HealthyThreshold: 2, UnhealthyThreshold: 3, TimeoutMillis: 2000, IntervalMillis: 5000},
           OutlierDetection: {MaxServerErrors: 5, Interval: {Unit: s, Value: 10}, BaseEjectionDuration: {Unit: ms, Value: 30}, MaxEjectionPercent: 50},
           ConnectionPool: {HTTP2: {MaxRequests: 100}},
           Timeout: {HTTP2: {PerRequest: {Unit: s, Value: 20}, Idle: {Unit: s, Value: 0}}},
           TLS: {Mode: STRICT, Certificate: {File: {CertificateChain: /c.pem, PrivateKey: /k.pem}},
             Validation: {Trust: {SDS: {SecretName: ca}}, SubjectAlternativeNames: {Match: {Exact: [front.local]}}}}}],
         ServiceDiscovery: {AWSCloudMap: {NamespaceName: apps, ServiceName: back, Attributes: [{Key: K, Value: blue}]}},
         BackendDefaults: {ClientPolicy: {TLS: {Enforce: false, Ports: [8080], Validation: {Trust: {ACM: {CertificateAuthorityArns: [arn]}}}}}},
         Backends: [{VirtualService: {VirtualServiceName: o, ClientPolicy: {}}}],
         Logging: {AccessLog: {File: {Path: /dev/stdout, Format: {Json: [{Key: status, Value: '%RESPONSE_CODE%'}]}}}}",
    );
    let spec = &sound(&text).virtual_nodes[0].spec;
    let listener = &spec.listeners[0];
    assert_eq!(listener.port_mapping, PortMapping { port: 8080, protocol: Protocol::Http2 });
    assert_eq!(listener.connection_pool, Some(ConnectionPool::Http2 { max_requests: 100 }));
    let Some(ListenerTimeout::Http(Protocol::Http2, timeout)) = listener.timeout else { panic!() };
    assert_eq!(timeout.idle, Some(std::time::Duration::ZERO), "zero is not absent");
    assert_eq!(listener.outlier_detection.unwrap().base_ejection_duration.as_millis(), 30);
    let tls = listener.tls.as_ref().unwrap();
    assert_eq!(tls.validation.as_ref().unwrap().trust, Trust::Sds("ca".into()));
    assert!(
        matches!(&spec.service_discovery, Some(ServiceDiscovery::CloudMap { attributes, .. }) if attributes["K"] == "blue")
    );
    assert_eq!(spec.backend_defaults.as_ref().unwrap().enforce, Some(false));
    assert!(!spec.backends[0].has_policy, "an empty policy is none");
    assert_eq!(
        spec.access_log.as_ref().unwrap().format,
        Some(LogFormat::Json(vec![("status".into(), "%RESPONSE_CODE%".into())]))
    );
}

#[test]
fn full_routes_are_read() {
    let text = route(
        "priority: 0, http2Route: {match: {path: {regex: '/a.*'}, method: GET, scheme: https, port: 80,
           headers: [{name: h}, {name: i, invert: true, match: {range: {start: -1, end: 5}}}],
           queryParameters: [{name: q, match: {exact: ''}}]},
         action: {weightedTargets: [{virtualNode: n, weight: 0, port: 8080}, {virtualNode: o, weight: 100}]},
         retryPolicy: {maxRetries: 0, perRetryTimeout: {unit: ms, value: 1500}, httpRetryEvents: [server-error, stream-error], tcpRetryEvents: [connection-error]},
         timeout: {perRequest: {unit: s, value: 1}}}",
    );
    let spec = sound(&text).routes.remove(0).spec;
    assert_eq!(spec.priority, Some(0));
    let RouteBody::Http { protocol, matching, targets, retry, .. } = &spec.body else { panic!() };
    assert_eq!((*protocol, targets.len()), (Protocol::Http2, 2));
    assert_eq!(matching.path, Some(PathMatch::Regex("/a.*".into())));
    assert_eq!(matching.headers[1].value, Some(ValueMatch::Range { start: -1, end: 5 }));
    assert_eq!(matching.query[0].exact.as_deref(), Some(""));
    assert!(retry.as_ref().unwrap().tcp_connection_error);
    let grpc = route(
        "grpcRoute: {match: {}, action: {weightedTargets: [{virtualNode: n, weight: 1}]},
        retryPolicy: {maxRetries: 1, perRetryTimeout: {unit: s, value: 1}, grpcRetryEvents: [cancelled]}}",
    );
    assert!(
        matches!(&sound(&grpc).routes[0].spec.body, RouteBody::Grpc { matching, .. } if *matching == GrpcMatch::default())
    );
    let tcp = route("tcpRoute: {match: {port: 5}, action: {weightedTargets: [{virtualNode: n, weight: 1}]}}");
    assert_eq!(sound(&tcp).routes[0].spec.body.port(), Some(5));
}

#[test]
fn full_gateway_routes_are_read() {
    let gateway_route =
        |spec: &str| format!("{{meshName: m, virtualGatewayName: g, gatewayRouteName: x, spec: {{{spec}}}}}");
    let target = "target: {virtualService: {virtualServiceName: s}, port: 80}";
    let read = |spec: String| sound(&gateway_route(&spec)).gateway_routes.remove(0).spec;
    let spec = read(format!(
        "httpRoute: {{match: {{prefix: /, hostname: {{suffix: .x}}}}, action: {{{target}, rewrite: {{hostname: {{defaultTargetHostname: DISABLED}}, prefix: {{value: /v/}}}}}}}}"
    ));
    assert_eq!(spec.rewrite, GatewayRewrite { hostname: false, path: PathRewrite::Prefix("/v/".into()) });
    assert_eq!(
        (spec.target.port, spec.matching.hostname),
        (Some(80), Some(HostnameMatch::Suffix(".x".into())))
    );
    let spec = read(format!(
        "httpRoute: {{match: {{path: {{exact: /a}}}}, action: {{{target}, rewrite: {{path: {{exact: /b}}}}}}}}"
    ));
    assert_eq!(spec.rewrite.path, PathRewrite::Exact("/b".into()));
    let spec = read(format!("grpcRoute: {{match: {{serviceName: a.B}}, action: {{{target}}}}}"));
    assert_eq!((spec.protocol, spec.rewrite), (Protocol::Grpc, GatewayRewrite::default()));
}

#[test]
fn each_fault_has_its_code_and_place() {
    let targets = "action: {weightedTargets: [{virtualNode: n, weight: 1}]}";
    let cases = [
        (node("listener: []"), "unknown-key"),
        (node("listeners: {}, wat: 1"), "unknown-key"),
        (node("listeners: [{portMapping: {port: 80}}]"), "missing-key"),
        (node("listeners: [{portMapping: {port: 0, protocol: http}}]"), "out-of-range"),
        (node("listeners: [{portMapping: {port: 80, protocol: HTTP}}]"), "bad-value"),
        (node("listeners: 5"), "wrong-type"),
        (
            node("serviceDiscovery: {dns: {hostname: a}, awsCloudMap: {namespaceName: a, serviceName: b}}"),
            "union",
        ),
        (node("serviceDiscovery: {dns: {hostname: [a]}}"), "wrong-type"),
        (node("logging: {accessLog: {file: {path: ''}}}"), "out-of-range"),
        (node("Listeners: [], listeners: []"), "duplicate-key"),
        (route(""), "union"),
        (route(&format!("httpRoute: {{match: {{prefix: a}}, {targets}}}")), "bad-value"),
        (route(&format!("httpRoute: {{match: {{prefix: /, path: {{exact: /}}}}, {targets}}}")), "union"),
        (route(&format!("httpRoute: {{{targets}}}")), "missing-key"),
        (route("httpRoute: {match: {prefix: /}, action: {weightedTargets: []}}"), "out-of-range"),
        (route(&format!("priority: 1001, tcpRoute: {{{targets}}}")), "out-of-range"),
        (route(&format!("tcpRoute: {{{targets}, retryPolicy: {{maxRetries: 1}}}}")), "unknown-key"),
        (route(&format!("grpcRoute: {{match: {{methodName: a}}, {targets}}}")), "missing-key"),
        ("{meshName: m, spec: {egressFilter: {type: ALLOW}}}".into(), "bad-value"),
        ("{meshName: m, meshOwner: abc, virtualNodeName: n, spec: {}}".into(), "bad-value"),
        ("{meshName: a/b}".into(), "bad-name"),
        (route(&format!("httpRoute: {{match: {{path: {{regex: '/a('}}}}, {targets}}}")), "bad-value"),
        (route(&format!("httpRoute: {{match: {{path: {{exact: a}}}}, {targets}}}")), "never-matches"),
        (route(&format!("httpRoute: {{match: {{prefix: '/a?b'}}, {targets}}}")), "never-matches"),
        (
            route(&format!("httpRoute: {{match: {{prefix: /, headers: [{{name: x y}}]}}, {targets}}}")),
            "bad-value",
        ),
        (node("logging: {accessLog: {file: {path: /l, format: {text: '100%'}}}}"), "bad-value"),
        (
            node("logging: {accessLog: {file: {path: /l, format: {json: [{key: a, value: '%NO%'}]}}}}"),
            "bad-value",
        ),
        (node("serviceDiscovery: {dns: {hostname: 'http://a.b'}}"), "never-resolves"),
        (
            route(
                "httpRoute: {match: {prefix: /}, action: {weightedTargets: [{virtualNode: n, weight: 1}]}, timeout: \
                   {idle: {unit: s, value: 315576000000}}}",
            ),
            "out-of-range",
        ),
        (
            node(
                "listeners: [{portMapping: {port: 80, protocol: http}, outlierDetection: {maxServerErrors: 1, interval: \
                  {unit: s, value: 0}, baseEjectionDuration: {unit: s, value: 1}, maxEjectionPercent: 1}}]",
            ),
            "out-of-range",
        ),
        ("{virtualNodeName: n, spec: {}}".into(), "missing-key"),
        ("{meshName: m, virtualNodeName: n}".into(), "missing-key"),
    ];
    for (text, code) in cases {
        let found = findings(&text);
        assert!(found.iter().any(|d| d.code == code), "{text}: {found:?}");
    }
}

#[test]
fn reserved_gateway_matches_are_refused() {
    for matching in
        ["httpRoute: {match: {prefix: /aws-appmesh-x}", "grpcRoute: {match: {serviceName: aws.app-mesh.x}"]
    {
        let text = format!(
            "{{meshName: m, virtualGatewayName: g, gatewayRouteName: x, spec: {{{matching}, action: {{target: {{virtualService: {{virtualServiceName: s}}}}}}}}}}}}"
        );
        assert_eq!(findings(&text)[0].code, "reserved");
    }
}

#[test]
fn unknown_keys_suggest_the_near_one() {
    let found = findings(&node("listners: []"));
    assert_eq!(
        found[0].to_string(),
        "f.yaml:1:42: error[unknown-key]: the virtual node spec has no key \"listners\"; did you mean \"listeners\"?"
    );
}

#[test]
fn many_faults_are_collected_in_one_run() {
    let found = findings(&node("listeners: [{portMapping: {port: x, protocol: y}, wat: 1}], backends: [{}]"));
    let codes: Vec<_> = found.iter().map(|d| d.code).collect();
    assert_eq!(codes, ["wrong-type", "bad-value", "unknown-key", "missing-key"]);
}

#[test]
fn a_misplaced_retry_policy_is_used_with_a_warning() {
    let retry = "retryPolicy: {maxRetries: 7, perRetryTimeout: {unit: s, value: 1}, tcpRetryEvents: [connection-error]}";
    let texts = [
        route(&format!(
            "{retry}, httpRoute: {{match: {{prefix: /}}, action: {{weightedTargets: [{{virtualNode: n, weight: 1}}]}}}}"
        )),
        route(&format!(
            "httpRoute: {{match: {{prefix: /}}, action: {{weightedTargets: [{{virtualNode: n, weight: 1}}], {retry}}}}}"
        )),
    ];
    for text in texts {
        let loaded = read(&text);
        let codes: Vec<_> = loaded.report.sorted().iter().map(|d| d.code).collect();
        assert_eq!(codes, ["misplaced-retry-policy"]);
        assert_eq!(loaded.definitions.routes[0].spec.body.retry().unwrap().max_retries, 7);
    }
}
