//! Containers on the local engine: images built from our Dockerfiles without a registry, and tasks as ECS runs them.
//!
//! Everything made is named after the run and removed when its [`engine::Engine`] is dropped.

pub mod engine;
pub mod images;
pub mod rootfs;
pub mod task;
pub mod task_definition;
