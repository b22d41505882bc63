//! Conditions and `Fn::If`.

use super::evaluate::{Evaluator, call};
use crate::diagnostics::Position;
use crate::source::node::{Node, Origin};

const MAX_DEPTH: usize = 64;

impl Evaluator<'_, '_> {
    /// `Fn::If`: `[condition, then, else]`.
    pub(super) fn choose(&mut self, argument: &Node, at: &Position) -> Option<Node> {
        let Some([condition, then, otherwise]) = argument.as_list() else {
            return self.misuse(at, "Fn::If", "a condition and two values");
        };
        let Some(name) = condition.as_text() else {
            return self.misuse(at, "Fn::If", "the name of a condition first");
        };
        if self.condition_named(name, &condition.at) { self.eval(then) } else { self.eval(otherwise) }
    }

    /// The value of a condition of the template.
    pub(super) fn condition_named(&mut self, name: &str, at: &Position) -> bool {
        let Some(body) = self.template().find("Conditions", name) else {
            let message = format!("the template has no condition \"{name}\"; define it under Conditions");
            self.cx.report.error(at, "cfn-unknown-condition", message);
            return false;
        };
        if self.depth >= MAX_DEPTH {
            self.cx.report.error(
                at,
                "cfn-cycle",
                "conditions refer to each other without end; break the cycle",
            );
            return false;
        }
        self.depth += 1;
        let value = self.truth(body);
        self.depth -= 1;
        value
    }

    fn truth(&mut self, node: &Node) -> bool {
        match call(node) {
            Some((name @ ("Equals" | "And" | "Or" | "Not" | "Condition"), argument)) => {
                self.condition(name, &argument, &node.at)
            }
            _ => self.eval(node).is_some_and(|n| n.as_text().is_some_and(|t| t.eq_ignore_ascii_case("true"))),
        }
    }

    /// A condition function.
    pub(super) fn condition(&mut self, name: &str, argument: &Node, at: &Position) -> bool {
        if let ("Condition", Some(other)) = (name, argument.as_text()) {
            return self.condition_named(other, at);
        }
        let items = argument.as_list().unwrap_or_default();
        match (name, items) {
            ("Not", [one]) => !self.truth(one),
            ("And", [_, _, ..]) => items.iter().all(|i| self.truth(i)),
            ("Or", [_, _, ..]) => items.iter().any(|i| self.truth(i)),
            ("Equals", [a, b]) => self.equal(a, b),
            _ => {
                self.misuse(at, &format!("Fn::{name}"), "a list of conditions or values of the right length");
                false
            }
        }
    }

    fn equal(&mut self, a: &Node, b: &Node) -> bool {
        let (a, b) = (self.eval(a), self.eval(b));
        for node in [&a, &b].into_iter().flatten() {
            if let Some(Origin::Missing(missing)) = node.as_scalar().map(|s| &s.origin) {
                self.cx.tell_missing(&node.at, missing);
            }
        }
        match (&a, &b) {
            (Some(a), Some(b)) => a.same(b),
            (a, b) => a.is_none() && b.is_none(),
        }
    }
}
