//! The resources of a template: mesh resources and ECS task definitions are read, others let be.

use super::dynamic;
use super::evaluate::Evaluator;
use super::template::type_of;
use crate::model::{Definitions, Kind, Resource, ServiceDiscovery, VirtualNodeSpec};
use crate::source::ecs::{self, Sidecar};
use crate::source::node::{Entry, Node, Value};
use crate::source::read::{Identity, Reader, read_resource, suggest};

/// Reads every resource of the evaluator's template.
pub fn read_all(
    evaluator: &mut Evaluator<'_, '_>,
    definitions: &mut Definitions,
    sidecars: &mut Vec<Sidecar>,
) {
    refuse_macros(evaluator);
    for entry in evaluator.template().section("Resources") {
        if entry.key.starts_with("Fn::ForEach") {
            let message = "Fn::ForEach is not expanded; write the resources one by one";
            evaluator.cx.report.error(&entry.key_at, "cfn-for-each", message);
            continue;
        }
        let kind = type_of(&entry.value);
        if let Some(name) = kind.strip_prefix("AWS::AppMesh::") {
            match Kind::ALL.into_iter().find(|k| k.name() == name) {
                Some(kind) => read_mesh_resource(evaluator, entry, kind, definitions),
                None => unknown_type(evaluator, entry, name),
            }
        } else if kind == "AWS::ECS::TaskDefinition" && exists(evaluator, &entry.value) {
            let properties = properties(evaluator, &entry.value);
            sidecars.extend(ecs::inspect(&properties, evaluator.cx));
        }
    }
}

fn read_mesh_resource(
    evaluator: &mut Evaluator<'_, '_>,
    entry: &Entry,
    kind: Kind,
    definitions: &mut Definitions,
) {
    if !exists(evaluator, &entry.value) {
        return;
    }
    let properties = properties(evaluator, &entry.value);
    let identity = Identity {
        kind,
        at: &entry.key_at,
        generated_name: Some(evaluator.generated_name(&entry.key)),
        account: evaluator.options.account.as_deref(),
        ignored: &[],
    };
    let before = definitions.virtual_nodes.len();
    read_resource(&properties, &identity, evaluator.cx, definitions);
    for node in definitions.virtual_nodes.iter().skip(before) {
        note_kubernetes_name(node, evaluator.cx);
    }
}

/// Names of cluster services do not resolve where templates deploy to, unless somebody arranged it.
fn note_kubernetes_name(node: &Resource<VirtualNodeSpec>, cx: &mut Reader<'_>) {
    let Some(ServiceDiscovery::Dns { hostname, at, .. }) = &node.spec.service_discovery else { return };
    if hostname.trim_end_matches('.').ends_with(".svc.cluster.local") {
        let message = format!(
            "\"{hostname}\" is the name of a Kubernetes service; outside of a cluster it resolves only with DNS of \
             your own, until then the proxy has no endpoint for it"
        );
        cx.report.info(at, "kubernetes-hostname", message);
    }
}

/// Whether the resource's condition holds.
fn exists(evaluator: &mut Evaluator<'_, '_>, resource: &Node) -> bool {
    match resource.get("Condition").and_then(|n| n.as_text().map(|t| (t, &n.at))) {
        Some((name, at)) => evaluator.condition_named(name, at),
        None => true,
    }
}

fn properties(evaluator: &mut Evaluator<'_, '_>, resource: &Node) -> Node {
    let written = resource.get("Properties").and_then(|p| evaluator.eval(p));
    let written = written.map(|p| dynamic::substitute(p, &evaluator.options.variables));
    written.unwrap_or_else(|| Node { at: resource.at.clone(), tag: None, value: Value::Map(Vec::new()) })
}

fn unknown_type(evaluator: &mut Evaluator<'_, '_>, entry: &Entry, name: &str) {
    let advice = match suggest(name, Kind::ALL.map(Kind::name)) {
        Some(near) => format!("did you mean \"AWS::AppMesh::{near}\"?"),
        None => format!("use one of {}", Kind::ALL.map(Kind::name).join(", ")),
    };
    let message = format!("AWS::AppMesh::{name} is not a resource type; {advice}");
    evaluator.cx.report.error(&entry.key_at, "cfn-unknown-type", message);
}

/// Macros rewrite a template before it means anything; two well-known ones leave mesh resources alone.
fn refuse_macros(evaluator: &mut Evaluator<'_, '_>) {
    let Some(transform) = evaluator.template().root.get("Transform") else { return };
    let names = match &transform.value {
        Value::List(items) => items.as_slice(),
        _ => std::slice::from_ref(transform),
    };
    for node in names {
        let name = node.as_text().or_else(|| node.get("Name").and_then(Node::as_text)).unwrap_or_default();
        if !matches!(
            name,
            "AWS::LanguageExtensions" | "AWS::Serverless-2016-10-31" | "AWS::SecretsManager-2020-07-23"
        ) {
            let message =
                format!("the macro \"{name}\" is not run; give the processed template if it matters");
            evaluator.cx.report.warn(&node.at, "cfn-macro", message);
        }
    }
}
