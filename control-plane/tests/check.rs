//! `outrigger check` as scripts use it: exit codes, text, JSON.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::process::{Command, Output};

fn outrigger(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_outrigger"))
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples"))
        .args(arguments)
        .output()
        .unwrap()
}

fn json(arguments: &[&str]) -> (Option<i32>, serde_json::Value) {
    let output = outrigger(arguments);
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn the_example_mesh_loads_with_a_finding_for_each_deviation() {
    let (code, found) = json(&["check", "mesh.yaml", "--format", "json"]);
    assert_eq!(code, Some(0));
    let counted = serde_json::json!({"Mesh": 1, "VirtualNode": 2, "VirtualService": 1, "VirtualRouter": 1,
        "Route": 1, "VirtualGateway": 0, "GatewayRoute": 0});
    assert_eq!(found["resources"], counted);
    let of = |code: &str| -> Vec<(u64, &str)> {
        let all = found["diagnostics"].as_array().unwrap().iter().filter(|d| d["code"] == code);
        all.map(|d| (d["line"].as_u64().unwrap(), d["severity"].as_str().unwrap())).collect()
    };
    let refs: Vec<u64> = of("ref-for-name").iter().map(|(line, _)| *line).collect();
    assert_eq!(refs, [13, 29, 42, 47, 51, 61, 62, 70], "every name that is given by Ref");
    assert_eq!(of("router-not-provider"), [(48, "warning")]);
    assert_eq!(of("node-without-service"), [(10, "info")]);
    assert_eq!(of("kubernetes-hostname"), [(18, "info"), (34, "info")]);
    assert_eq!(of("defaults-in-effect"), [(10, "info")]);
    assert_eq!(of("retry-without-connection-error"), [(73, "info")]);
}

#[test]
fn a_bare_resource_name_of_a_task_is_found_in_the_mesh() {
    let output = outrigger(&["check", "mesh.yaml", "task-definition.json"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    let line = text.lines().find(|l| l.contains("[ecs-bare-name]")).unwrap();
    assert!(line.starts_with("task-definition.json:31:20: warning[ecs-bare-name]: "), "{line}");
    assert!(line.contains("mesh/cloud-native-mesh/virtualNode/microservice-a"), "{line}");
}

#[test]
fn exit_codes_tell_errors_from_not_running() {
    let dir = tempfile::tempdir().unwrap();
    let broken = dir.path().join("broken.yaml");
    std::fs::write(&broken, "Resources: {M: {Type: 'AWS::AppMesh::Mesh', Properties: {MeshNam: m}}}\n")
        .unwrap();
    let broken = broken.to_str().unwrap();
    let output = outrigger(&["check", broken]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("broken.yaml:1:58: error[unknown-key]"), "{text}");
    assert_eq!(json(&["check", broken, "--format", "json"]).0, Some(1));
    for arguments in [["check", "/nowhere/at/all.yaml"], ["check", "--nonsense"]] {
        let output = outrigger(&arguments);
        assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(2), true), "{arguments:?}");
        assert!(!output.stderr.is_empty());
    }
}

#[test]
fn show_prints_what_a_proxy_receives() {
    for node in [
        "microservice-a",
        "mesh/cloud-native-mesh/virtualNode/microservice-a",
        "mesh/cloud-native-mesh@111122223333/virtualNode/microservice-a",
        "arn:aws:appmesh:us-west-2:111122223333:mesh/cloud-native-mesh/virtualNode/microservice-a",
    ] {
        let (code, found) = json(&["show", "mesh.yaml", "--node", node, "-o", "json"]);
        assert_eq!(code, Some(0), "{node}");
        assert_eq!(found["listeners"][1]["name"], "lds_ingress_0.0.0.0_15000");
        assert_eq!(found["listeners"][1]["@type"], "type.googleapis.com/envoy.config.listener.v3.Listener");
    }
    let yaml =
        String::from_utf8(outrigger(&["show", "mesh.yaml", "--node", "microservice-b"]).stdout).unwrap();
    assert!(yaml.contains("  name: cds_ingress_cloud-native-mesh_microservice-b_http_8080\n"), "{yaml}");
}

#[test]
fn show_says_why_it_prints_nothing() {
    for (arguments, code, why) in [
        (["show", "mesh.yaml", "--node", "microservice-c"], 1, "is called \"microservice-c\""),
        (["show", "mesh.yaml", "--node", "mesh/m/virtualNode/a"], 1, "no mesh \"m\""),
        (["show", "gone.yaml", "--node", "a"], 2, "cannot read gone.yaml"),
    ] {
        let output = outrigger(&arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(code), true), "{arguments:?}");
        assert!(stderr.contains(why), "{stderr}");
    }
}

#[test]
fn values_from_outside_are_given_by_flags() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.json");
    let text = r#"{"meshName": "m", "virtualNodeName": "n", "spec": {"listeners": [{"portMapping":
        {"port": 80, "protocol": "http"}}], "serviceDiscovery": {"dns": {"hostname": $HOST}}}}"#;
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap();
    let unknown = |arguments: &[&str]| {
        let (code, found) = json(arguments);
        assert_eq!(code, Some(0));
        found["diagnostics"].as_array().unwrap().iter().filter(|d| d["code"] == "unknown-value").count()
    };
    assert_eq!(unknown(&["check", path, "--format", "json"]), 1);
    assert_eq!(unknown(&["check", path, "--set", "HOST=db.local", "--format", "json"]), 0);
    assert_eq!(outrigger(&["check", path, "--parameter", "nonsense"]).status.code(), Some(2));
}
