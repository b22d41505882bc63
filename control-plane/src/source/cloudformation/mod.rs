//! CloudFormation templates: which resources they hold and how their properties come about.
//!
//! Owns walking templates and evaluating intrinsic functions; `Ref` of a mesh resource is its ARN, as in
//! CloudFormation. Sources: the AWS CloudFormation user guide (intrinsic functions, pseudo parameters,
//! template anatomy) and the resource reference of `AWS::AppMesh::*`.
//! Invariant: resources of other services are never evaluated, so nothing about them can fail a load.

mod condition;
mod dynamic;
mod evaluate;
mod lookup;
mod parameter;
mod resource;
mod string;
mod template;

use super::LoadOptions;
use super::ecs::Sidecar;
use super::node::Node;
use super::read::Reader;
use crate::model::Definitions;
use evaluate::Evaluator;
use template::{Stacks, Template};

/// Reads all templates of a run. They see each other's exports.
pub fn load(
    templates: Vec<(&str, Node)>,
    options: &LoadOptions,
    cx: &mut Reader<'_>,
    definitions: &mut Definitions,
    sidecars: &mut Vec<Sidecar>,
) {
    let mut stacks = Stacks {
        templates: templates.into_iter().map(|(file, root)| Template::new(file, root)).collect(),
        exports: Default::default(),
    };
    parameter::check(&stacks, options, cx);
    template::collect_exports(&mut stacks, options, cx);
    for index in 0..stacks.templates.len() {
        let mut evaluator = Evaluator::new(&stacks, index, options, cx);
        resource::read_all(&mut evaluator, definitions, sidecars);
    }
}

#[cfg(test)]
mod tests;
