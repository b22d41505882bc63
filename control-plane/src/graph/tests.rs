use super::*;
use crate::diagnostics::Diagnostic;
use crate::source::files::SourceFile;
use crate::source::{LoadOptions, load};

/// Loads API JSON written as YAML and builds the graph.
fn build(text: &str) -> (Graph, Vec<Diagnostic>) {
    let file = SourceFile { name: "m.yaml".into(), text: text.into(), named: true };
    let mut loaded = load(&[file], &LoadOptions::default());
    let graph = Graph::build(loaded.definitions, &loaded.sidecars, &mut loaded.report);
    (graph, loaded.report.sorted().into_iter().cloned().collect())
}

fn codes(text: &str) -> Vec<&'static str> {
    build(text).1.iter().map(|d| d.code).collect()
}

const NODE: &str = "
- {meshName: m, spec: {}}
- meshName: m
  virtualNodeName: n
  spec:
    listeners: [{portMapping: {port: 80, protocol: http}}]
    serviceDiscovery: {dns: {hostname: n.local, responseType: ENDPOINTS}}
- {meshName: m, virtualServiceName: s, spec: {provider: {virtualNode: {virtualNodeName: n}}}}
";

const ROUTED: &str = "
- {meshName: m, spec: {}}
- meshName: m
  virtualNodeName: n
  spec:
    listeners: [{portMapping: {port: 80, protocol: http}}]
    serviceDiscovery: {dns: {hostname: n.local, responseType: ENDPOINTS}}
- {meshName: m, virtualServiceName: s, spec: {provider: {virtualRouter: {virtualRouterName: r}}}}
- {meshName: m, virtualRouterName: r, spec: {listeners: [{portMapping: {port: 80, protocol: http}}]}}
- meshName: m
  virtualRouterName: r
  routeName: x
  spec: {httpRoute: {match: {prefix: /}, action: {weightedTargets: [{virtualNode: n, weight: 1}]}}}
";

#[test]
fn sound_meshes_have_no_findings() {
    assert_eq!(codes(NODE), Vec::<&str>::new());
    assert_eq!(codes(ROUTED), Vec::<&str>::new());
}

#[test]
fn dangling_references_are_errors_with_place_and_suggestion() {
    let (_, found) = build(&ROUTED.replace("virtualNode: n,", "virtualNode: no,"));
    let dangling = found.iter().find(|d| d.code == "dangling-reference").unwrap();
    assert_eq!(
        dangling.to_string(),
        "m.yaml:13:83: error[dangling-reference]: mesh \"m\" has no virtual node \"no\"; did you mean \"n\"?"
    );
    for (from, to) in [
        ("virtualRouterName: r}}}}", "virtualRouterName: q}}}}"),
        ("virtualRouterName: r\n", "virtualRouterName: zzzzzz\n"),
    ] {
        assert!(codes(&ROUTED.replace(from, to)).contains(&"dangling-reference"), "{to}");
    }
    let backend = "spec:\n    backends: [{virtualService: {virtualServiceName: gone}}]\n    listeners";
    assert_eq!(codes(&NODE.replace("spec:\n    listeners", backend)), ["dangling-reference"]);
}

#[test]
fn what_may_be_elsewhere_is_a_warning() {
    let severities = |text: &str| -> Vec<_> {
        build(text).1.iter().filter(|d| d.code == "dangling-reference").map(|d| d.severity).collect()
    };
    let dangling = ROUTED.replace("virtualNode: n,", "virtualNode: no,");
    assert_eq!(severities(&dangling), [crate::diagnostics::Severity::Error]);
    let undefined = dangling.replace("- {meshName: m, spec: {}}", "");
    assert_eq!(severities(&undefined), [crate::diagnostics::Severity::Warning]);
    assert!(codes(&undefined).contains(&"mesh-not-defined"));
    let shared =
        dangling.replace("virtualNodeName: n\n", "virtualNodeName: n\n  meshOwner: \"111122223333\"\n");
    assert_eq!(severities(&shared), [crate::diagnostics::Severity::Warning]);
}

#[test]
fn a_resource_that_cannot_be_read_still_exists() {
    assert_eq!(codes(&NODE.replace("port: 80", "port: eighty")), ["wrong-type"]);
}

#[test]
fn protocols_and_ports_must_agree() {
    assert_eq!(
        codes(&ROUTED.replace("httpRoute", "http2Route")),
        ["protocol-mismatch", "protocol-mismatch"],
        "router and node"
    );
    assert_eq!(codes(&ROUTED.replace("weight: 1}", "weight: 1, port: 81}")), ["unknown-port"]);
    assert_eq!(codes(&ROUTED.replace("prefix: /}", "prefix: /, port: 81}")), ["unknown-port"]);
    let two =
        "listeners: [{portMapping: {port: 80, protocol: http}}, {portMapping: {port: 81, protocol: http}}]";
    let one = "listeners: [{portMapping: {port: 80, protocol: http}}]";
    assert_eq!(codes(&ROUTED.replace(one, two)), ["port-required", "port-required"]);
    assert_eq!(codes(&NODE.replace("port: 80", "port: 15001")), ["reserved"]);
    assert_eq!(
        codes(&NODE.replace("http}}]", "http}, timeout: {tcp: {idle: {unit: s, value: 1}}}}]")),
        ["protocol-mismatch"]
    );
    assert_eq!(
        codes(&NODE.replace(one, &one.replace("}}]", "}}, {portMapping: {port: 80, protocol: http}}]"))),
        ["duplicate-port"]
    );
    assert_eq!(
        codes(
            &NODE.replace("    serviceDiscovery: {dns: {hostname: n.local, responseType: ENDPOINTS}}\n", "")
        ),
        ["no-service-discovery"]
    );
}

#[test]
fn weights_must_lead_somewhere() {
    assert_eq!(codes(&ROUTED.replace("weight: 1}", "weight: 0}")), ["zero-weights"]);
    let over = "weight: 60}, {virtualNode: n, weight: 60}";
    assert_eq!(codes(&ROUTED.replace("weight: 1}", over)), ["out-of-range"]);
}

#[test]
fn a_router_that_nobody_provides_says_what_is_lost_and_how_to_attach_it() {
    let text = ROUTED.replace("virtualRouter: {virtualRouterName: r}}}", "virtualNode: {virtualNodeName: n}}}").replace(
        "prefix: /},",
        "prefix: /}, retryPolicy: {maxRetries: 1, perRetryTimeout: {unit: s, value: 1}, tcpRetryEvents: [connection-error]},",
    );
    let (_, found) = build(&text);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].code, "router-not-provider");
    for part in ["retry policy of x", "not in effect", "provider of s", "VirtualRouterName: r"] {
        assert!(found[0].message.contains(part), "{part}: {}", found[0].message);
    }
}

#[test]
fn duplicates_that_differ_are_errors_and_equal_ones_warnings() {
    let twice = |second: &str| build(&format!("{NODE}{second}")).1;
    let equal =
        "- {meshName: m, virtualServiceName: s, spec: {provider: {virtualNode: {virtualNodeName: n}}}}\n";
    let found = twice(equal);
    assert_eq!((found[0].code, found[0].severity.to_string().as_str()), ("duplicate-resource", "warning"));
    let found = twice("- {meshName: m, virtualServiceName: s, spec: {}}\n");
    assert_eq!((found[0].code, found[0].severity.to_string().as_str()), ("duplicate-resource", "error"));
    assert!(found[0].message.contains("m.yaml:8:3"), "{}", found[0].message);
}

#[test]
fn proxies_are_found_by_every_form_of_their_id() {
    let (graph, _) = build(NODE);
    let id = |text: &str| graph.resolve(text).map(|p| p.id().to_string());
    for form in [
        "mesh/m/virtualNode/n",
        "mesh/m@111122223333/virtualNode/n",
        "arn:aws:appmesh:r:1:mesh/m/virtualNode/n",
        "n",
    ] {
        assert_eq!(id(form).as_deref(), Ok("mesh/m/virtualNode/n"), "{form}");
    }
    for (form, why) in [
        ("mesh/x/virtualNode/n", "no mesh \"x\""),
        ("mesh/m/virtualNode/x", "no virtual node \"x\""),
        ("mesh/m/virtualGateway/n", "no virtual gateway \"n\""),
        ("x", "no virtual node or virtual gateway is called"),
        ("mesh/m", "not a node id"),
    ] {
        assert!(id(form).unwrap_err().contains(why), "{form}");
    }
}

#[test]
fn owners_keep_meshes_of_one_name_apart() {
    let owned = |owner: &str| {
        NODE.replace("meshName: m", &format!("meshName: m, meshOwner: \"{owner}\""))
            .replace("- meshName: m, ", "- meshName: m\n  ")
    };
    let (graph, _) = build(&format!("{}{}", owned("111111111111"), owned("222222222222")));
    assert_eq!(graph.meshes.len(), 2);
    assert!(graph.resolve("mesh/m/virtualNode/n").unwrap_err().contains("several accounts"));
    assert!(graph.resolve("mesh/m@222222222222/virtualNode/n").is_ok());
    assert!(graph.resolve("n").unwrap_err().contains(" or "));
    assert_eq!(graph.proxies().count(), 2);
}

#[test]
fn tcp_services_on_one_port_conflict() {
    let service = |name: &str, protocol: &str| {
        format!(
            "- meshName: m\n  virtualNodeName: {name}\n  spec:\n    listeners: [{{portMapping: {{port: 90, protocol: \
             {protocol}}}}}]\n    serviceDiscovery: {{dns: {{hostname: {name}, responseType: ENDPOINTS}}}}\n- {{meshName: \
             m, virtualServiceName: {name}, spec: {{provider: {{virtualNode: {{virtualNodeName: {name}}}}}}}}}\n"
        )
    };
    let caller = "spec:\n    backends: [{virtualService: {virtualServiceName: a}}, {virtualService: \
                  {virtualServiceName: b}}]\n    listeners";
    let mesh = |a: &str, b: &str| {
        format!("{}{}{}", NODE.replace("spec:\n    listeners", caller), service("a", a), service("b", b))
    };
    assert_eq!(codes(&mesh("http", "http2")), Vec::<&str>::new());
    for (a, b, winner) in [("tcp", "tcp", "a"), ("tcp", "http", "b"), ("grpc", "tcp", "a")] {
        let (_, found) = build(&mesh(a, b));
        assert_eq!(found.len(), 1, "{a} {b}: {found:?}");
        assert!(found[0].message.contains(&format!("traffic goes to \"{winner}\"")), "{}", found[0].message);
    }
}

#[test]
fn what_aws_would_provide_is_missed() {
    let cloud_map = "awsCloudMap: {namespaceName: x, serviceName: y}}";
    let text = NODE.replace("dns: {hostname: n.local, responseType: ENDPOINTS}}", cloud_map);
    assert_eq!(codes(&text), ["no-instances"]);
    let tls = "http}, tls: {mode: STRICT, certificate: {acm: {certificateArn: a}}}}]";
    assert_eq!(codes(&NODE.replace("http}}]", tls)), ["tls-acm"]);
}

#[test]
fn services_that_lead_nowhere_or_look_alike_are_told() {
    let start = ROUTED.find("- meshName: m\n  virtualRouterName: r\n  routeName").unwrap();
    assert_eq!(codes(&ROUTED[..start]), ["node-without-service", "no-route"]);
    let service = "{provider: {virtualNode: {virtualNodeName: n}}}";
    assert_eq!(codes(&NODE.replace(service, "{}")), ["node-without-service", "no-provider"]);
    assert_eq!(
        codes(&NODE.replace("virtualServiceName: s,", "virtualServiceName: '*.s',")),
        ["wildcard-name"]
    );
    let route = &ROUTED[start..];
    assert_eq!(
        codes(&format!("{ROUTED}{}", &route.replace("routeName: x", "routeName: y"))),
        ["route-never-used"]
    );
    let earlier = route.replace("routeName: x", "routeName: y").replace("spec: {", "spec: {priority: 0, ");
    let (_, found) = build(&format!("{ROUTED}{earlier}"));
    assert!(found[0].message.starts_with("route \"x\" matches what route \"y\" matches"), "{found:?}");
    let other = route.replace("routeName: x", "routeName: y").replace("prefix: /", "prefix: /y");
    assert_eq!(codes(&format!("{ROUTED}{other}")), Vec::<&str>::new());
}

#[test]
fn backends_that_callers_cannot_tell_apart_are_told() {
    let caller = "spec:\n    backends: [{virtualService: {virtualServiceName: s.x}}, {virtualService: \
                  {virtualServiceName: OTHER}}]\n    listeners";
    let mesh = |other: &str| {
        let second = format!(
            "- {{meshName: m, virtualServiceName: '{other}', spec: {{provider: {{virtualNode: {{virtualNodeName: n}}}}}}}}\n"
        );
        let first = NODE.replace("virtualServiceName: s,", "virtualServiceName: s.x,");
        format!(
            "{}{second}",
            first.replace("spec:\n    listeners", &caller.replace("OTHER", &format!("'{other}'")))
        )
    };
    assert_eq!(codes(&mesh("t.x")), Vec::<&str>::new());
    for (other, host) in [("S.X", "\"s.x\""), ("s.x:80", "\"s.x:80\"")] {
        let (_, found) = build(&mesh(other));
        assert!(found.iter().all(|d| d.code == "name-conflict"), "{found:?}");
        assert!(
            found.iter().any(|d| d.message.contains(host) && d.message.contains("go to \"s.x\"")),
            "{found:?}"
        );
    }
}

#[test]
fn client_policies_fit_what_they_lead_to() {
    let policy = |ports: &str, tls: &str| {
        let backends = format!(
            "spec:\n    backendDefaults: {{clientPolicy: {{tls: {{{ports} validation: {{trust: {{file: \
             {{certificateChain: /a}}}}}}}}}}}}\n    backends: [{{virtualService: {{virtualServiceName: s}}}}]\n    \
             listeners"
        );
        codes(
            &NODE
                .replace("spec:\n    listeners", &backends)
                .replace("protocol: http}", &format!("protocol: http}}{tls}")),
        )
    };
    let offered = ", tls: {mode: STRICT, certificate: {file: {certificateChain: /c, privateKey: /k}}}";
    assert_eq!(policy("", offered), Vec::<&str>::new());
    assert_eq!(policy("", ""), ["tls-not-offered"]);
    assert_eq!(policy("enforce: false,", ""), Vec::<&str>::new());
    assert_eq!(policy("ports: [9999],", ""), Vec::<&str>::new());
    assert_eq!(policy("ports: [9999],", offered), ["tls-not-checked"]);
    assert_eq!(policy("ports: [80],", offered), Vec::<&str>::new());
}
