//! `$NAME` and `${NAME}` in App Mesh JSON and task definitions, which scripts replace before they use the file.
//!
//! `$NAME` is taken only where it is a whole value without quotes (the text of a `jq` program), `${NAME}`
//! anywhere in a value.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::node::{Missing, Node, Origin, Scalar};

/// Replaces the variables of a document; those without a value stay, marked as missing.
pub fn substitute(mut document: Node, variables: &BTreeMap<String, String>) -> Node {
    document.change_scalars(&mut |scalar| replace(scalar, variables));
    document
}

fn replace(scalar: &mut Scalar, variables: &BTreeMap<String, String>) {
    let bare =
        scalar.text.strip_prefix('$').filter(|name| !scalar.quoted && is_name(name)).map(str::to_owned);
    if let Some(name) = bare {
        match variables.get(&name) {
            Some(value) => *scalar = Scalar { text: value.clone(), quoted: true, origin: Origin::Known },
            None => scalar.origin = missing(&name),
        }
        return;
    }
    let mut text = String::new();
    let mut rest = scalar.text.as_str();
    let mut unknown = None;
    while let Some(start) = rest.find("${") {
        let Some(length) = rest[start..].find('}') else { break };
        let (whole, name) = (&rest[start..=start + length], &rest[start + 2..start + length]);
        text.push_str(&rest[..start]);
        match variables.get(name) {
            Some(value) => text.push_str(value),
            None => {
                text.push_str(whole);
                unknown = unknown.or_else(|| is_name(name).then(|| missing(name)));
            }
        }
        rest = &rest[start + length + 1..];
    }
    text.push_str(rest);
    scalar.text = text;
    if let Some(origin) = unknown {
        scalar.origin = origin;
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn missing(name: &str) -> Origin {
    Origin::Missing(Arc::new(Missing {
        what: format!("variable {name} has no value"),
        remedy: format!("give --set {name}=VALUE"),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostics::Report;
    use crate::source::parse::parse;

    fn value(text: &str) -> (String, bool) {
        let parsed = parse(&Arc::from("f"), &format!("{{\"v\": {text}}}"), &mut Report::default()).remove(0);
        let variables = BTreeMap::from([("HOST".to_owned(), "db.local".to_owned())]);
        let node = substitute(parsed, &variables);
        let scalar = node.get("v").unwrap().as_scalar().unwrap().clone();
        (scalar.text, matches!(scalar.origin, Origin::Known))
    }

    #[test]
    fn variables_are_replaced_or_marked() {
        assert_eq!(value("$HOST"), ("db.local".into(), true));
        assert_eq!(value("\"a.${HOST}.b\""), ("a.db.local.b".into(), true));
        assert_eq!(value("$OTHER"), ("$OTHER".into(), false));
        assert_eq!(value("\"x-${OTHER}\""), ("x-${OTHER}".into(), false));
        assert_eq!(value("\"$HOST\""), ("$HOST".into(), true));
        assert_eq!(value("\"^/a$\""), ("^/a$".into(), true));
        assert_eq!(value("\"${unclosed\""), ("${unclosed".into(), true));
    }
}
