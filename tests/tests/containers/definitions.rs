//! The task definitions themselves: what was changed, and that our programs take what they say.

use std::process::{Command, Output};

use outrigger_tests::containers::task_definition::{ContainerDefinition, TaskDefinition};
use outrigger_tests::{Result, binaries};
use serde_json::Value;

use super::{complete, example, moved, ours};

const ENDPOINT: &str = "APPMESH_XDS_ENDPOINT";

/// The sidecar's container, and its place in the list.
fn envoy(task: &mut Value) -> &mut Value {
    let containers = task["containerDefinitions"].as_array_mut().unwrap();
    containers.iter_mut().find(|container| container["name"] == "envoy").unwrap()
}

#[test]
fn only_image_and_endpoint_of_the_sidecar_were_changed() -> Result<()> {
    let mut original = TaskDefinition::read(&example("task-definition.json"))?.json().clone();
    let mut changed = moved()?.json().clone();
    let image = envoy(&mut changed)["image"].take();
    assert!(image.as_str().unwrap().contains("/outrigger-proxy:"), "{image}");
    envoy(&mut changed)["image"] = envoy(&mut original)["image"].clone();
    let environment = envoy(&mut changed)["environment"].as_array_mut().unwrap();
    let before = environment.len();
    environment.retain(|pair| pair["name"] != ENDPOINT);
    assert_eq!(environment.len(), before - 1);
    assert_eq!(changed, original);
    Ok(())
}

/// `--mode validate` in exactly this environment.
fn validate(container: ContainerDefinition<'_>) -> Result<Output> {
    let mut proxy = Command::new(binaries::path(binaries::PROXY)?);
    proxy.env_clear().envs(container.environment()).args(["--mode", "validate"]);
    Ok(proxy.output()?)
}

#[test]
fn the_sidecar_takes_the_environment_of_both() -> Result<()> {
    for task in [moved()?, complete()?] {
        let output = validate(task.container("envoy")?)?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "configuration OK\n", "{said}");
    }
    Ok(())
}

/// Why the endpoint is one of the two changes.
#[test]
fn without_the_endpoint_it_says_what_to_set() -> Result<()> {
    let task = TaskDefinition::read(&example("task-definition.json"))?;
    let output = validate(task.container("envoy")?)?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(ENDPOINT) && said.contains("Outrigger control plane"), "{said}");
    Ok(())
}

/// Findings of `outrigger check` about one of our task definitions, beside the example's mesh.
fn findings(file: &str) -> Result<Vec<String>> {
    let output = Command::new(binaries::path(binaries::CONTROL_PLANE)?)
        .args(["check", "--format", "json"])
        .args([example("mesh.yaml"), ours(file)])
        .output()?;
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout)?;
    let all = found["diagnostics"].as_array().unwrap().iter();
    let about = all.filter(|finding| finding["file"].as_str().unwrap().ends_with(file));
    Ok(about.map(|finding| finding["code"].as_str().unwrap().to_owned()).collect())
}

#[test]
fn check_has_nothing_to_say_about_the_complete_one() -> Result<()> {
    assert_eq!(findings("task-definition-complete.json")?, Vec::<String>::new());
    let about_the_other = findings("task-definition.json")?;
    assert!(about_the_other.iter().any(|code| code == "ecs-no-proxy-configuration"), "{about_the_other:?}");
    Ok(())
}

#[test]
fn the_sidecar_runs_as_the_user_that_interception_leaves_alone() -> Result<()> {
    let complete = complete()?;
    let rules = complete.interception()?;
    let ignored = rules.iter().find(|(name, _)| name == "APPMESH_IGNORE_UID");
    for task in [&moved()?, &complete] {
        assert_eq!(task.container("envoy")?.user(), ignored.map(|(_, uid)| uid.as_str()));
    }
    Ok(())
}
