//! Dynamic references, `{{resolve:ssm:/a/b:1}}`: values that CloudFormation looks up when it deploys.
//!
//! Source: AWS CloudFormation user guide, dynamic references.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::source::node::{Missing, Node, Origin, Scalar};

const OPEN: &str = "{{resolve:";

/// Replaces references that the user gave values for; the others are marked as missing.
pub fn substitute(mut node: Node, given: &BTreeMap<String, String>) -> Node {
    node.change_scalars(&mut |scalar| replace(scalar, given));
    node
}

fn replace(scalar: &mut Scalar, given: &BTreeMap<String, String>) {
    let mut from = 0;
    while let Some(start) = scalar.text[from..].find(OPEN).map(|at| from + at) {
        let Some(end) = scalar.text[start..].find("}}").map(|at| start + at) else { return };
        let reference = scalar.text[start + 2..end].to_owned();
        match given.get(&reference) {
            Some(value) => {
                scalar.text.replace_range(start..end + 2, value);
                from = start + value.len();
            }
            None => {
                scalar.origin = Origin::Missing(Arc::new(Missing {
                    what: format!("{{{{{reference}}}}} is looked up when the template is deployed"),
                    remedy: format!("give --set '{reference}=VALUE'"),
                }));
                return;
            }
        }
    }
}
