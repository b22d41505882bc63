//! RBAC by the names in the caller's certificate.

use outrigger_tests::bootstrap::terminate_tls;
use outrigger_tests::client::h1::Connection;
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::netns::Place;
use outrigger_tests::tls::{self, Authority, Identity};
use outrigger_tests::{Result, on_both_data_planes, wait};
use serde_json::{Value, json};

use crate::scene::{Scene, Script, filter, request};

on_both_data_planes!(requests_are_authorised_by_name, connections_are_authorised_by_name);

const LIMIT: std::time::Duration = std::time::Duration::from_secs(15);

/// Terminates TLS as `svc.example`, and takes certificates of the authority from those who have one.
fn transport(authority: &Authority) -> Result<Value> {
    let mut socket = terminate_tls(&authority.issue(&["svc.example"])?, &[]);
    socket["typed_config"]["common_tls_context"]["validation_context"] =
        json!({"trusted_ca": {"inline_string": authority.certificate()}});
    Ok(socket)
}

fn named(matcher: Value) -> Value {
    json!({"authenticated": {"principal_name": matcher}})
}

/// Each path is open to one kind of caller.
fn policies() -> Value {
    let cases = [
        ("/uri", named(json!({"exact": "spiffe://mesh/a"}))),
        ("/dns", named(json!({"suffix": ".b.example"}))),
        ("/subject", named(json!({"prefix": "CN="}))),
        ("/nobody", named(json!({"exact": ""}))),
        ("/any", json!({"authenticated": {}})),
        ("/not", json!({"not_id": named(json!({"exact": "spiffe://mesh/a"}))})),
    ];
    let mut policies = json!({});
    for (path, principal) in cases {
        let permission = json!({"url_path": {"path": {"exact": path}}});
        policies[path] = json!({"permissions": [permission], "principals": [principal]});
    }
    policies
}

/// The paths that a caller may use, in the order of the policies.
async fn allowed(scene: &Scene, authority: &Authority, caller: Option<&Identity>) -> Result<Vec<String>> {
    let mut allowed = Vec::new();
    for path in ["/uri", "/dns", "/subject", "/nobody", "/any", "/not"] {
        let config = authority.client(&[], caller)?;
        let stream = tls::connect(&Place::Host, scene.port.address(), "svc.example", config).await?;
        let response = Connection::over(stream).exchange(request("GET", path, &[], "")).await?;
        match response.status {
            200 => allowed.push(path.to_owned()),
            403 => {}
            other => return Err(format!("{path}: {other}").into()),
        }
    }
    Ok(allowed)
}

async fn requests_are_authorised_by_name(plane: DataPlane) -> Result<()> {
    let authority = Authority::new()?;
    let rules = json!({"rules": {"action": "ALLOW", "policies": policies()}});
    let script = Script::of(&[filter("rbac", "rbac.v3.RBAC", rules)]).transport(transport(&authority)?);
    let scene = script.start(plane).await?;
    let workload = authority.issue(&["spiffe://mesh/a"])?;
    let server = authority.issue(&["x.b.example"])?;
    assert_eq!(allowed(&scene, &authority, Some(&workload)).await?, ["/uri", "/subject", "/any"]);
    assert_eq!(allowed(&scene, &authority, Some(&server)).await?, ["/dns", "/subject", "/any", "/not"]);
    assert_eq!(allowed(&scene, &authority, None).await?, ["/nobody", "/any", "/not"]);
    if plane == DataPlane::Outrigger {
        // Each caller was denied more than once, and each is told of, once.
        let said = |caller: &str| scene.sidecar.said(&format!("rules deny this caller caller={caller}"));
        for caller in ["Some(\"spiffe://mesh/a\")", "Some(\"x.b.example\")", "None"] {
            let told = || std::future::ready(said(caller).then_some(()));
            wait::until(&format!("the log to tell of {caller}"), LIMIT, told).await?;
        }
    }
    Ok(())
}

/// The network filter in front of the connection manager.
async fn connections_are_authorised_by_name(plane: DataPlane) -> Result<()> {
    let authority = Authority::new()?;
    let policy = json!({
        "permissions": [{"any": true}],
        "principals": [named(json!({"exact": "spiffe://mesh/a"}))],
    });
    let rbac = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC",
        "stat_prefix": "x",
        "rules": {"action": "ALLOW", "policies": {"a": policy}},
    });
    let script = Script::of(&[]).transport(transport(&authority)?);
    let scene = script.guard(json!({"name": "rbac", "typed_config": rbac})).start(plane).await?;
    for (name, served) in [("spiffe://mesh/a", true), ("spiffe://mesh/b", false)] {
        let config = authority.client(&[], Some(&authority.issue(&[name])?))?;
        let stream = tls::connect(&Place::Host, scene.port.address(), "svc.example", config).await?;
        let answer = Connection::over(stream).exchange(request("GET", "/", &[], "")).await;
        assert_eq!(answer.is_ok_and(|answer| answer.status == 200), served, "{name}");
    }
    assert_eq!(scene.sidecar.stat("x.rbac.allowed").await?, 1);
    assert_eq!(scene.sidecar.stat("x.rbac.denied").await?, 1);
    Ok(())
}
