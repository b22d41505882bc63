//! Parameters: their values and the checks that a template asks for.

use std::collections::BTreeSet;

use super::evaluate::Evaluator;
use super::template::{Stacks, Template};
use crate::diagnostics::Position;
use crate::source::LoadOptions;
use crate::source::node::{Node, Value};
use crate::source::read::{Reader, suggest};

impl Evaluator<'_, '_> {
    /// The value of a parameter of the template, if it has one of that name.
    pub(super) fn parameter(&mut self, name: &str, at: &Position) -> Option<Node> {
        let parameter = self.template().find("Parameters", name)?;
        let kind = parameter.get("Type").and_then(Node::as_text).unwrap_or("String");
        let default = parameter.get("Default");
        let is_list = kind.starts_with("List<") || kind == "CommaDelimitedList";
        let text = match (self.options.parameters.get(name), default) {
            (Some(given), _) => given.clone(),
            (None, Some(_)) if kind.starts_with("AWS::SSM::Parameter::Value") => {
                let what = format!("parameter {name} is looked up in the parameter store");
                return Some(self.unknown(at, name, &what, &format!("give --parameter {name}=VALUE")));
            }
            (None, Some(default)) => default.as_text().unwrap_or_default().to_owned(),
            (None, None) => {
                let what = format!("parameter {name} has no value");
                return Some(self.unknown(at, name, &what, &format!("give --parameter {name}=VALUE")));
            }
        };
        if !is_list {
            return Some(Node::text(at, text));
        }
        let items = text.split(',').map(|t| Node::text(at, t.trim())).collect();
        Some(Node { at: at.clone(), tag: None, value: Value::List(items) })
    }
}

/// Checks what the user gives against what the templates take.
pub fn check(stacks: &Stacks, options: &LoadOptions, cx: &mut Reader<'_>) {
    for template in &stacks.templates {
        for entry in template.section("Parameters") {
            if let Some(value) = options.parameters.get(&entry.key) {
                check_value(&entry.key, value, &entry.value, cx);
            }
        }
    }
    report_unused(stacks, options, cx);
}

fn check_value(name: &str, value: &str, parameter: &Node, cx: &mut Reader<'_>) {
    let allowed: Option<Vec<&str>> = parameter
        .get("AllowedValues")
        .and_then(Node::as_list)
        .map(|l| l.iter().filter_map(Node::as_text).collect());
    let fault = match &allowed {
        Some(allowed) if !allowed.contains(&value) => Some(format!("use one of {}", allowed.join(", "))),
        _ => bounds(value, parameter),
    };
    if let Some(advice) = fault {
        let message = format!("parameter {name} does not allow \"{value}\"; {advice}");
        cx.report.error(&parameter.at, "cfn-parameter", message);
    }
}

fn bounds(value: &str, parameter: &Node) -> Option<String> {
    let limit = |key: &str| parameter.get(key).and_then(Node::as_text).and_then(|t| t.parse::<f64>().ok());
    let is_number = parameter.get("Type").and_then(Node::as_text) == Some("Number");
    let number = value.trim().parse::<f64>();
    if is_number && number.is_err() {
        return Some("write a number".to_owned());
    }
    let length = value.chars().count() as f64;
    let checks = [
        ("MinLength", length, true),
        ("MaxLength", length, false),
        ("MinValue", number.clone().unwrap_or(0.0), true),
        ("MaxValue", number.unwrap_or(0.0), false),
    ];
    checks.into_iter().find_map(|(key, found, is_minimum)| {
        let limit = limit(key)?;
        let broken = if is_minimum { found < limit } else { found > limit };
        broken.then(|| format!("keep to {key} {limit}"))
    })
}

fn report_unused(stacks: &Stacks, options: &LoadOptions, cx: &mut Reader<'_>) {
    let known: BTreeSet<&str> = stacks.templates.iter().flat_map(names).collect();
    for name in options.parameters.keys() {
        let logical = name.split('.').next().unwrap_or_default();
        if name.starts_with("AWS::") || known.contains(logical) {
            continue;
        }
        let advice = match suggest(name, known.iter().copied()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => "remove it".to_owned(),
        };
        let at = Position::start_of("--parameter");
        cx.report.warn(&at, "cfn-parameter", format!("no template has a parameter \"{name}\"; {advice}"));
    }
}

fn names(template: &Template) -> impl Iterator<Item = &str> {
    ["Parameters", "Resources"].into_iter().flat_map(|s| template.section(s)).map(|e| e.key.as_str())
}
