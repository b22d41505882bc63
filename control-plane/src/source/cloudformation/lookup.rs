//! `Ref`, `Fn::GetAtt`, `Fn::FindInMap`, `Fn::ImportValue`: values that stand elsewhere.

use super::evaluate::Evaluator;
use super::template::{kind_of, type_of};
use crate::diagnostics::Position;
use crate::model::Kind;
use crate::source::node::{Node, Origin, Value};
use crate::source::read::suggest;

impl Evaluator<'_, '_> {
    /// `Ref`.
    pub(super) fn reference(&mut self, argument: &Node, at: &Position) -> Option<Node> {
        let Some(name) = argument.as_text() else {
            return self.misuse(at, "Ref", "the name of a parameter or resource");
        };
        self.reference_to(name, at)
    }

    /// The value of a name, as `Ref` and `${name}` give it.
    pub(super) fn reference_to(&mut self, name: &str, at: &Position) -> Option<Node> {
        if name == "AWS::NoValue" {
            return None;
        }
        if name.starts_with("AWS::") {
            return Some(self.pseudo(name, at));
        }
        if let Some(value) = self.parameter(name, at) {
            return Some(value);
        }
        let Some(resource) = self.template().find("Resources", name) else {
            return Some(self.unknown_name(name, at));
        };
        if kind_of(resource).is_some() {
            let arn = self.arn(name, resource, at);
            return Some(Node::scalar(at, arn, Origin::Ref(name.to_owned())));
        }
        let what = format!("the id of {name} ({}) is known only after deployment", type_of(resource));
        Some(self.given_or_unknown(name, &what, at))
    }

    fn unknown_name(&mut self, name: &str, at: &Position) -> Node {
        let template = self.template();
        let known = ["Parameters", "Resources"].into_iter().flat_map(|s| template.section(s));
        let advice = match suggest(name, known.map(|e| e.key.as_str())) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => "define it".to_owned(),
        };
        let message = format!("\"{name}\" is neither a parameter nor a resource of this template; {advice}");
        self.cx.report.error(at, "cfn-unknown-name", message);
        self.unknown(at, name, "the name is not defined", "define it")
    }

    /// A value that only deployment settles, unless the user gives it as a parameter of that name.
    fn given_or_unknown(&mut self, name: &str, what: &str, at: &Position) -> Node {
        match self.options.parameters.get(name) {
            Some(value) => Node::text(at, value),
            None => self.unknown(at, name, what, &format!("give --parameter {name}=VALUE")),
        }
    }

    fn pseudo(&mut self, name: &str, at: &Position) -> Node {
        if let Some(value) = self.options.parameters.get(name) {
            return Node::text(at, value);
        }
        let region = self.options.region.as_deref();
        let known = match name {
            "AWS::StackName" => {
                self.note_stack_name(at);
                Some(self.template().stack.as_str())
            }
            "AWS::AccountId" => self.options.account.as_deref(),
            "AWS::Region" => region,
            "AWS::Partition" => Some(partition(region.unwrap_or_default())),
            "AWS::URLSuffix" if region.is_some_and(|r| r.starts_with("cn-")) => Some("amazonaws.com.cn"),
            "AWS::URLSuffix" => Some("amazonaws.com"),
            _ => None,
        };
        let remedy = match name {
            "AWS::AccountId" => "give --account NUMBER".to_owned(),
            "AWS::Region" => "give --region NAME".to_owned(),
            _ => format!("give --parameter {name}=VALUE"),
        };
        match known {
            Some(value) => Node::text(at, value),
            None => self.unknown(at, name, &format!("{name} is not known"), &remedy),
        }
    }

    fn note_stack_name(&mut self, at: &Position) {
        let message = format!(
            "AWS::StackName is taken to be \"{}\", the name of the file; give --parameter AWS::StackName=NAME",
            self.template().stack
        );
        self.cx.note_once(at, "stack-name", message);
    }

    /// `Fn::GetAtt`, both as `Name.Attribute` and as a list.
    pub(super) fn get_att(&mut self, argument: &Node, at: &Position) -> Option<Node> {
        let wants = "a resource and an attribute";
        let path = match &argument.value {
            Value::Scalar(s) => s.text.clone(),
            Value::List(_) => {
                let parts = self.arguments(argument).unwrap_or_default();
                let texts: Option<Vec<&str>> = parts.iter().map(Node::as_text).collect();
                match texts {
                    Some(texts) if texts.len() == 2 => texts.join("."),
                    _ => return self.misuse(at, "Fn::GetAtt", wants),
                }
            }
            _ => return self.misuse(at, "Fn::GetAtt", wants),
        };
        match path.split_once('.') {
            Some((id, attribute)) => Some(self.attribute(id, attribute, at)),
            None => self.misuse(at, "Fn::GetAtt", wants),
        }
    }

    /// The attribute of a resource.
    pub(super) fn attribute(&mut self, id: &str, attribute: &str, at: &Position) -> Node {
        let path = format!("{id}.{attribute}");
        let Some(resource) = self.template().find("Resources", id) else {
            return self.unknown_name(id, at);
        };
        if let Some(kind) = kind_of(resource) {
            return self.mesh_attribute(id, resource, kind, attribute, at);
        }
        let named = type_of(resource) == "AWS::ServiceDiscovery::Service" && attribute == "Name";
        let name = resource.get("Properties").and_then(|p| p.get("Name")).filter(|_| named);
        if let Some(name) = name.and_then(|n| self.eval(n)) {
            return Node { at: at.clone(), ..name };
        }
        let what = format!("{path} ({}) is known only after deployment", type_of(resource));
        self.given_or_unknown(&path, &what, at)
    }

    fn mesh_attribute(
        &mut self,
        id: &str,
        resource: &Node,
        kind: Kind,
        attribute: &str,
        at: &Position,
    ) -> Node {
        let names: Vec<Kind> = [Some(Kind::Mesh), kind.parent(), Some(kind)].into_iter().flatten().collect();
        let wanted = names.iter().find(|k| k.name_key().eq_ignore_ascii_case(attribute));
        match (wanted, attribute) {
            (Some(of), _) => self.own_name(id, resource, kind, *of, at),
            (None, "Arn") => Node::text(at, self.arn(id, resource, at)),
            (None, "MeshOwner" | "ResourceOwner") => self.owner(resource, attribute, at),
            (None, "Uid") => {
                self.given_or_unknown(&format!("{id}.Uid"), "Uid is known only after deployment", at)
            }
            _ => {
                let message = format!(
                    "{} has no attribute \"{attribute}\"; use Arn, {}",
                    type_of(resource),
                    names.iter().map(|k| format!("{}Name", k.name())).collect::<Vec<_>>().join(" or ")
                );
                self.cx.report.error(at, "cfn-unknown-attribute", message);
                self.unknown(at, attribute, "the attribute does not exist", "correct it")
            }
        }
    }

    fn owner(&mut self, resource: &Node, attribute: &str, at: &Position) -> Node {
        let owner = resource.get("Properties").and_then(|p| p.get_ignore_case("meshOwner"));
        let owner = owner.filter(|_| attribute == "MeshOwner").and_then(|n| self.eval(n));
        owner.map_or_else(|| self.pseudo("AWS::AccountId", at), |n| Node { at: at.clone(), ..n })
    }

    /// The name that a mesh resource has (`of` its own kind) or that it names its mesh or parent by.
    pub(super) fn own_name(
        &mut self,
        id: &str,
        resource: &Node,
        kind: Kind,
        of: Kind,
        at: &Position,
    ) -> Node {
        let written = resource.get("Properties").and_then(|p| p.get_ignore_case(of.name_key()));
        match written.and_then(|n| self.eval(n)) {
            Some(name) => {
                let resolved = name.as_text().and_then(|t| crate::model::arn_name(t, of));
                match resolved {
                    Some(resolved) => Node::text(at, resolved),
                    None => Node { at: at.clone(), ..name },
                }
            }
            None if of == kind => Node::text(at, self.generated_name(id)),
            None => self.unknown(at, of.name_key(), "the name is not written", "write it"),
        }
    }

    /// CloudFormation adds random characters; ours are left out so that the name can be known beforehand.
    pub(super) fn generated_name(&mut self, id: &str) -> String {
        let stack = self.options.parameters.get("AWS::StackName").unwrap_or(&self.template().stack);
        format!("{stack}-{id}")
    }

    fn arn(&mut self, id: &str, resource: &Node, at: &Position) -> String {
        let Some(kind) = kind_of(resource) else { return String::new() };
        let mut path = String::new();
        for of in [Some(Kind::Mesh), kind.parent(), Some(kind)].into_iter().flatten() {
            if of == Kind::Mesh && kind == Kind::Mesh && !path.is_empty() {
                continue;
            }
            let name = self.own_name(id, resource, kind, of, at);
            let separator = if path.is_empty() { "" } else { "/" };
            path.push_str(&format!("{separator}{}/{}", of.arn_segment(), name.as_text().unwrap_or_default()));
        }
        let [partition, region, account] = ["AWS::Partition", "AWS::Region", "AWS::AccountId"]
            .map(|name| self.pseudo(name, at).as_text().unwrap_or_default().to_owned());
        format!("arn:{partition}:appmesh:{region}:{account}:{path}")
    }

    /// `Fn::FindInMap`, with the default value of the language extensions.
    pub(super) fn find_in_map(&mut self, argument: &Node, at: &Position) -> Option<Node> {
        let parts = self.arguments(argument).unwrap_or_default();
        let texts: Vec<&str> = parts.iter().take(3).filter_map(Node::as_text).collect();
        let [map, top, second] = texts.as_slice() else {
            return self.misuse(at, "Fn::FindInMap", "a map name and two keys");
        };
        let found =
            self.template().find("Mappings", map).and_then(|m| m.get(top)).and_then(|m| m.get(second));
        if let Some(value) = found {
            return Some(Node { at: at.clone(), ..value.clone() });
        }
        if let Some(default) = parts.get(3).and_then(|p| p.get("DefaultValue")) {
            return Some(default.clone());
        }
        let unknown =
            parts.iter().find_map(|p| p.as_scalar().filter(|s| matches!(s.origin, Origin::Missing(_))));
        if let Some(scalar) = unknown {
            return Some(Node::scalar(at, scalar.text.clone(), scalar.origin.clone()));
        }
        let message = format!("Mappings has no {map}.{top}.{second}; add it or correct the keys");
        self.cx.report.error(at, "cfn-mapping", message);
        Some(self.unknown(at, map, "the mapping has no such entry", "add it"))
    }

    /// `Fn::ImportValue`: what the user gives, else what another template of the run exports.
    pub(super) fn import(&mut self, argument: &Node, at: &Position) -> Option<Node> {
        let evaluated = self.eval(argument);
        let Some(scalar) = evaluated.as_ref().and_then(Node::as_scalar) else {
            return self.misuse(at, "Fn::ImportValue", "the name of an export");
        };
        let name = scalar.text.as_str();
        if let Some(value) = self.options.imports.get(name) {
            return Some(Node::text(at, value));
        }
        let Some((index, value)) = self.stacks.exports.get(name) else {
            if matches!(scalar.origin, Origin::Missing(_)) {
                // What is missing first is a part of the export's name.
                return Some(Node::scalar(at, name.to_owned(), scalar.origin.clone()));
            }
            let what = format!("no template among the files exports \"{name}\"");
            let remedy = format!("give --import {name}=VALUE or the file of the stack that exports it");
            return Some(self.unknown(at, name, &what, &remedy));
        };
        let here = std::mem::replace(&mut self.current, *index);
        let value = self.eval(value);
        self.current = here;
        value.map(|v| Node { at: at.clone(), ..v })
    }
}

fn partition(region: &str) -> &'static str {
    match region {
        r if r.starts_with("cn-") => "aws-cn",
        r if r.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}
