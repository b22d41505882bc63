//! Evaluation of properties: which function a node calls, and the bounds on evaluating it.

use std::borrow::Cow;
use std::sync::Arc;

use super::template::{Stacks, Template};
use crate::diagnostics::Position;
use crate::source::LoadOptions;
use crate::source::node::{Entry, Missing, Node, Origin, Value};
use crate::source::read::Reader;

/// Most evaluation steps of one template: functions may multiply values.
const MAX_STEPS: usize = 500_000;
/// Deepest chain of values that refer to each other.
const MAX_DEPTH: usize = 64;
/// Longest string that functions may build, in bytes.
pub const MAX_TEXT: usize = 64 * 1024;

/// Evaluates values of one template.
pub struct Evaluator<'e, 'r> {
    pub(super) stacks: &'e Stacks,
    pub(super) current: usize,
    pub(super) options: &'e LoadOptions,
    pub(super) cx: &'e mut Reader<'r>,
    pub(super) depth: usize,
    steps: usize,
}

impl<'e, 'r> Evaluator<'e, 'r> {
    /// An evaluator for the template with this index.
    pub fn new(stacks: &'e Stacks, current: usize, options: &'e LoadOptions, cx: &'e mut Reader<'r>) -> Self {
        Self { stacks, current, options, cx, depth: 0, steps: 0 }
    }

    /// The template whose values are evaluated now.
    pub fn template(&self) -> &'e Template {
        &self.stacks.templates[self.current]
    }

    /// Evaluates a value. `None` means that it is to be left out (`AWS::NoValue`).
    pub fn eval(&mut self, node: &Node) -> Option<Node> {
        self.steps += 1;
        if self.steps > MAX_STEPS || self.depth >= MAX_DEPTH {
            return self.exhausted(&node.at);
        }
        self.depth += 1;
        let value = match call(node) {
            Some((function, argument)) => self.function(function, &argument, &node.at),
            None => Some(self.structure(node)),
        };
        self.depth -= 1;
        value
    }

    fn exhausted(&mut self, at: &Position) -> Option<Node> {
        let message = "values refer to each other without end or too often; break the cycle";
        self.cx.report.error(at, "cfn-cycle", message);
        Some(self.unknown(at, "...", "the value cannot be computed", "break the cycle"))
    }

    fn structure(&mut self, node: &Node) -> Node {
        let value = match &node.value {
            Value::List(items) => Value::List(items.iter().filter_map(|i| self.eval(i)).collect()),
            Value::Map(entries) => Value::Map(entries.iter().filter_map(|e| self.entry(e)).collect()),
            other => other.clone(),
        };
        Node { at: node.at.clone(), tag: None, value }
    }

    fn entry(&mut self, entry: &Entry) -> Option<Entry> {
        let value = self.eval(&entry.value)?;
        Some(Entry { key: entry.key.clone(), key_at: entry.key_at.clone(), value })
    }

    fn function(&mut self, name: &str, argument: &Node, at: &Position) -> Option<Node> {
        match name {
            "Ref" => self.reference(argument, at),
            "GetAtt" => self.get_att(argument, at),
            "Sub" => self.sub(argument, at),
            "Join" => self.join(argument, at),
            "Split" => self.split(argument, at),
            "Select" => self.select(argument, at),
            "If" => self.choose(argument, at),
            "FindInMap" => self.find_in_map(argument, at),
            "ImportValue" => self.import(argument, at),
            "Length" => self.length(argument, at),
            "ToJsonString" => self.json_string(argument, at),
            "Equals" | "And" | "Or" | "Not" | "Condition" => {
                Some(Node::text(at, self.condition(name, argument, at).to_string()))
            }
            "Base64" | "GetAZs" | "Cidr" | "Transform" => {
                let what = format!("Fn::{name} is not computed");
                Some(self.unknown(at, &format!("Fn::{name}"), &what, "write the value itself"))
            }
            _ => {
                let message =
                    format!("\"{name}\" is not an intrinsic function that is known; correct its name");
                self.cx.report.error(at, "cfn-function", message);
                Some(self.unknown(at, name, "the function is not known", "correct its name"))
            }
        }
    }

    /// A placeholder for a value that the files do not say.
    pub(super) fn unknown(&self, at: &Position, name: &str, what: &str, remedy: &str) -> Node {
        let missing = Missing { what: what.to_owned(), remedy: remedy.to_owned() };
        Node::scalar(at, format!("${{{name}}}"), Origin::Missing(Arc::new(missing)))
    }

    /// Reports arguments of the wrong shape.
    pub(super) fn misuse(&mut self, at: &Position, name: &str, wants: &str) -> Option<Node> {
        let message = format!("{name} takes {wants}; correct its arguments");
        self.cx.report.error(at, "cfn-arguments", message);
        Some(self.unknown(at, name, "the function is misused", "correct its arguments"))
    }

    /// Evaluates the list of arguments of a function.
    pub(super) fn arguments(&mut self, argument: &Node) -> Option<Vec<Node>> {
        let items = argument.as_list()?;
        Some(items.iter().filter_map(|i| self.eval(i)).collect())
    }
}

/// The function that a node calls, in its short or its long form, and its argument.
pub fn call(node: &Node) -> Option<(&str, Cow<'_, Node>)> {
    if let Some(tag) = &node.tag {
        return Some((tag, Cow::Owned(Node { tag: None, ..node.clone() })));
    }
    let [entry] = node.as_map()? else { return None };
    let name = match entry.key.as_str() {
        "Ref" => "Ref",
        "Condition" if entry.value.as_text().is_some() => "Condition",
        key => key.strip_prefix("Fn::")?,
    };
    Some((name, Cow::Borrowed(&entry.value)))
}
