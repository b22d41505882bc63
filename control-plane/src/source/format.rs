//! Which format a document is in, by its content.

use super::files::SourceFile;
use super::node::{Node, Value};
use crate::diagnostics::{Position, Report};
use crate::model::Kind;

/// Formats that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A CloudFormation template.
    CloudFormation,
    /// Input or output of the App Mesh API.
    AppMeshJson,
    /// An ECS task definition or container definitions.
    TaskDefinition,
    /// Instances of Cloud Map services.
    Endpoints,
}

/// What a document is when nothing reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// Mesh definitions in a format that is not read; the text names it.
    Unsupported(String),
    /// Of a known format, without mesh definitions: nothing is lost.
    Irrelevant,
    /// Something else.
    Unrecognised,
}

const SUPPORTED: &str = "give CloudFormation templates or App Mesh API JSON";

impl Unread {
    /// Reports the document unless nothing is lost by leaving it out.
    pub fn report(self, at: &Position, named: bool, report: &mut Report) {
        match self {
            Self::Irrelevant => {}
            Self::Unsupported(what) => report.error(at, "unsupported-format", format!("{what}; {SUPPORTED}")),
            Self::Unrecognised if named => {
                let message = format!("the document is of no known format; {SUPPORTED}");
                report.error(at, "unknown-format", message);
            }
            Self::Unrecognised => {
                let message = "the document is of no known format and is left out; move it elsewhere";
                report.info(at, "unknown-format", message);
            }
        }
    }
}

/// Formats that are told by their text because they are not YAML or JSON.
pub fn refuse_text(file: &SourceFile) -> Option<String> {
    let mentions = |words: &[&str]| words.iter().any(|w| file.text.contains(w));
    let mesh = mentions(&["appmesh", "AppMesh", "APPMESH"]);
    if mentions(&["resource \"aws_", "module \"", "variable \""]) && !file.text.trim_start().starts_with('{')
    {
        return Some(format!("Terraform configuration (HCL) is not read; {SUPPORTED}"));
    }
    if mesh && file.text.contains("{{") && mentions(&[".Values", "include \"", ".Release"]) {
        return Some(format!("Helm templates are not read; render the chart first and {SUPPORTED}"));
    }
    None
}

/// Recognises a document.
pub fn recognise(document: &Node) -> Result<Format, Unread> {
    match &document.value {
        Value::Null => Err(Unread::Irrelevant),
        Value::List(items) if !items.is_empty() => {
            let formats: Vec<_> = items.iter().map(recognise).collect();
            formats.iter().find_map(|f| f.clone().ok()).ok_or(Unread::Unrecognised)
        }
        Value::Map(_) => recognise_map(document),
        _ => Err(Unread::Unrecognised),
    }
}

fn recognise_map(document: &Node) -> Result<Format, Unread> {
    let has = |key: &str| document.get(key).is_some();
    if let Some(version) = document.get("apiVersion").and_then(Node::as_text) {
        return Err(kubernetes(document, version));
    }
    if has("AWSTemplateFormatVersion") || is_template(document) {
        return Ok(Format::CloudFormation);
    }
    if has("cloudMapInstances") {
        return Ok(Format::Endpoints);
    }
    if has("terraform_version") || has("format_version") {
        return Err(Unread::Unsupported("output of `terraform show -json` is not read".to_owned()));
    }
    if has("containerDefinitions") || has("taskDefinition") || is_container(document) {
        return Ok(Format::TaskDefinition);
    }
    let api = Kind::ALL
        .iter()
        .any(|k| has(k.name_key()) || document.get(k.arn_segment()).is_some_and(is_described));
    if api || has("spec") {
        return Ok(Format::AppMeshJson);
    }
    Err(Unread::Unrecognised)
}

fn is_template(document: &Node) -> bool {
    let resources = document.get("Resources").and_then(Node::as_map).unwrap_or_default();
    resources.iter().any(|r| {
        let kind = r.value.get("Type").and_then(Node::as_text).unwrap_or_default();
        kind.starts_with("AWS::") || kind.starts_with("Custom::")
    })
}

fn is_container(document: &Node) -> bool {
    document.get_ignore_case("name").is_some()
        && document.get_ignore_case("image").is_some()
        && ["environment", "essential", "portMappings"].iter().any(|k| document.get_ignore_case(k).is_some())
}

fn is_described(node: &Node) -> bool {
    Kind::ALL.iter().any(|k| node.get(k.name_key()).is_some())
}

fn kubernetes(document: &Node, version: &str) -> Unread {
    let kind = document.get("kind").and_then(Node::as_text).unwrap_or("resource");
    if version.starts_with("appmesh.k8s.aws/") {
        return Unread::Unsupported(format!("the Kubernetes manifest ({version} {kind}) is not read"));
    }
    let items = document.get("items").and_then(Node::as_list).unwrap_or_default();
    let inner = items.iter().find_map(|i| {
        let version = i.get("apiVersion").and_then(Node::as_text)?;
        version.starts_with("appmesh.k8s.aws/").then(|| kubernetes(i, version))
    });
    inner.unwrap_or(Unread::Irrelevant)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::source::parse::parse;

    fn of(text: &str) -> Result<Format, Unread> {
        let mut report = Report::default();
        recognise(&parse(&Arc::from("f"), text, &mut report)[0])
    }

    #[test]
    fn formats_are_recognised_by_content() {
        assert_eq!(of("Resources: {M: {Type: 'AWS::AppMesh::Mesh'}}"), Ok(Format::CloudFormation));
        assert_eq!(of("AWSTemplateFormatVersion: '2010-09-09'"), Ok(Format::CloudFormation));
        assert_eq!(of(r#"{"meshName": "m", "spec": {}}"#), Ok(Format::AppMeshJson));
        assert_eq!(of(r#"{"virtualNode": {"virtualNodeName": "n", "spec": {}}}"#), Ok(Format::AppMeshJson));
        assert_eq!(of(r#"[{"meshName": "m"}]"#), Ok(Format::AppMeshJson));
        assert_eq!(of(r#"{"family": "f", "containerDefinitions": []}"#), Ok(Format::TaskDefinition));
        assert_eq!(of("cloudMapInstances: []"), Ok(Format::Endpoints));
    }

    #[test]
    fn other_formats_are_named_or_let_be() {
        let manifest = of("apiVersion: appmesh.k8s.aws/v1beta2\nkind: Mesh");
        assert!(matches!(manifest, Err(Unread::Unsupported(text)) if text.contains("Kubernetes")));
        let list =
            of("apiVersion: v1\nkind: List\nitems: [{apiVersion: appmesh.k8s.aws/v1beta2, kind: Mesh}]");
        assert!(matches!(list, Err(Unread::Unsupported(_))));
        assert_eq!(of("apiVersion: v1\nkind: Service"), Err(Unread::Irrelevant));
        assert!(matches!(of(r#"{"format_version": "1.0"}"#), Err(Unread::Unsupported(_))));
        assert_eq!(of("some: thing"), Err(Unread::Unrecognised));
    }
}
