//! `outrigger demo` where it cannot run: exit code and message. That it runs is shown by the end-to-end tests.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::process::{Command, Output};

/// Runs a copy of the program in `directory`, beside which there is only what the test puts there.
fn demo(directory: &Path, arguments: &[&str]) -> Output {
    let program = directory.join("outrigger");
    let exists = program.exists();
    if !exists && std::fs::hard_link(env!("CARGO_BIN_EXE_outrigger"), &program).is_err() {
        std::fs::copy(env!("CARGO_BIN_EXE_outrigger"), &program).unwrap();
    }
    let mut command = Command::new(program);
    command.args(["demo", "--exit-after-check"]).args(arguments).env("PATH", directory);
    command.output().unwrap()
}

fn executable(path: &Path, script: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, script).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_missing_sidecar_program_says_how_to_build_it() {
    let dir = tempfile::tempdir().unwrap();
    let output = demo(dir.path(), &[]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("cargo build --release --bins"), "{stderr}");
    assert!(stderr.contains(&dir.path().join("outrigger-proxy").display().to_string()), "{stderr}");
}

#[test]
fn a_sidecar_that_dies_is_named_with_its_last_words() {
    let dir = tempfile::tempdir().unwrap();
    executable(
        &dir.path().join("outrigger-proxy"),
        "#!/bin/sh\necho \"no luck as $APPMESH_RESOURCE_ARN\" >&2\nexit 3\n",
    );
    let output = demo(dir.path(), &[]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("sidecar microservice-a ended with exit status: 3"), "{stderr}");
    assert!(stderr.contains("no luck as mesh/cloud-native-mesh/virtualNode/microservice-a"), "{stderr}");
}

#[test]
fn definitions_that_cannot_be_used_end_the_demo() {
    let dir = tempfile::tempdir().unwrap();
    executable(&dir.path().join("outrigger-proxy"), "#!/bin/sh\nexit 3\n");
    let broken = dir.path().join("broken.yaml");
    std::fs::write(&broken, "Resources: {M: {Type: 'AWS::AppMesh::Mesh', Properties: {MeshNam: m}}}\n")
        .unwrap();
    let output = demo(dir.path(), &["--mesh", broken.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stdout).unwrap().contains("error[unknown-key]"));
    assert!(String::from_utf8(output.stderr).unwrap().contains("outrigger check"));
    let mesh = dir.path().join("mesh.yaml");
    std::fs::write(&mesh, "Resources: {M: {Type: 'AWS::AppMesh::Mesh', Properties: {MeshName: m}}}\n")
        .unwrap();
    let output = demo(dir.path(), &["--mesh", mesh.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("no virtual node"));
}
