//! The container images and the task definitions that use them: what `docker/README.md` promises.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod definitions;
mod dockerfiles;
mod mesh;

use std::path::PathBuf;

use outrigger_tests::Result;
use outrigger_tests::containers::task_definition::TaskDefinition;
use outrigger_tests::workspace;

/// The definitions that came with App Mesh.
fn example(file: &str) -> PathBuf {
    workspace::root().join("control-plane/examples").join(file)
}

/// Our task definitions.
fn ours(file: &str) -> PathBuf {
    workspace::root().join("docker/ecs").join(file)
}

/// The task definition of the example, moved to Outrigger.
fn moved() -> Result<TaskDefinition> {
    TaskDefinition::read(&ours("task-definition.json"))
}

/// One with everything that App Mesh's documents ask for.
fn complete() -> Result<TaskDefinition> {
    TaskDefinition::read(&ours("task-definition-complete.json"))
}
