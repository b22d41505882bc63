use crate::source::files::SourceFile;
use crate::source::{LoadOptions, load};

const SEED: &str = include_str!("../../../examples/task-definition.json");

fn codes(text: &str) -> Vec<&'static str> {
    let file = SourceFile { name: "task.json".into(), text: text.into(), named: true };
    let mut codes: Vec<_> =
        load(&[file], &LoadOptions::default()).report.sorted().iter().map(|d| d.code).collect();
    codes.sort();
    codes
}

#[test]
fn the_seed_task_definition_has_a_finding_for_each_deviation() {
    assert_eq!(
        codes(SEED),
        [
            "ecs-deprecated-variable",
            "ecs-ignored-uid",
            "ecs-image-registry",
            "ecs-no-proxy-configuration",
            "ecs-no-tracing",
            "ecs-start-order"
        ]
    );
}

#[test]
fn a_documented_task_definition_has_none() {
    let text = r#"{"family": "f", "proxyConfiguration": {"type": "APPMESH", "containerName": "envoy",
        "properties": [{"name": "IgnoredUID", "value": "1337"}]},
      "containerDefinitions": [
        {"name": "app", "image": "app", "dependsOn": [{"containerName": "envoy", "condition": "HEALTHY"}]},
        {"name": "envoy", "image": "public.ecr.aws/appmesh/aws-appmesh-envoy:v1", "user": "1337",
         "healthCheck": {"command": ["CMD-SHELL", "true"]},
         "environment": [{"name": "APPMESH_RESOURCE_ARN", "value": "mesh/m/virtualNode/n"},
                         {"name": "ENABLE_ENVOY_XRAY_TRACING", "value": "1"}]}]}"#;
    assert_eq!(codes(text), Vec::<&str>::new());
    assert_eq!(codes(&text.replace("mesh/m/virtualNode/n", "mesh/m/n")), ["bad-node-id"]);
}

#[test]
fn a_gateway_needs_no_redirection() {
    let text = r#"[{"name": "envoy", "image": "e", "environment":
        [{"name": "APPMESH_RESOURCE_ARN", "value": "mesh/m/virtualGateway/g"}]}]"#;
    assert_eq!(
        codes(&format!("{{\"containerDefinitions\": {text}}}")),
        ["ecs-no-tracing", "ecs-start-order"]
    );
    assert_eq!(codes(text), Vec::<&str>::new());
}
