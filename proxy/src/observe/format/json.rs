//! JSON log lines: a template of literals, typed values and text with operators.
//! Source: Envoy `SubstitutionFormatString.json_format`.

use serde_json::{Map, Value};

use super::eval::metadata_json;
use super::operator::Operator;
use super::{Escape, Format, FormatError, Part};
use crate::observe::cel::Dialect;
use crate::observe::record::Record;

/// Deepest nesting of a template.
const MAX_DEPTH: usize = 32;

/// A compiled JSON object. Keys are written in sorted order; a value that is one operator keeps its type
/// (number or string; missing is null), any other string is text in which missing parts are `-`.
#[derive(Clone, Debug)]
pub struct JsonFormat {
    root: Node,
    omit_empty: bool,
}

#[derive(Clone, Debug)]
enum Node {
    /// Ready JSON.
    Literal(Box<[u8]>),
    Text(Format),
    /// Entries with their ready keys: `"key":`.
    Object(Box<[(Box<[u8]>, Node)]>),
    Array(Box<[Node]>),
}

impl Node {
    fn measures(&self) -> bool {
        match self {
            Node::Literal(_) => false,
            Node::Text(format) => format.measures(),
            Node::Object(entries) => entries.iter().any(|(_, node)| node.measures()),
            Node::Array(items) => items.iter().any(Node::measures),
        }
    }
}

impl JsonFormat {
    /// Compiles `template`. With `omit_empty`, what is missing is left out with its key.
    pub fn parse(template: &Map<String, Value>, omit_empty: bool) -> Result<Self, FormatError> {
        Self::parse_with(template, omit_empty, Dialect::default())
    }

    /// The same, with what expressions in it may do.
    pub fn parse_with(
        template: &Map<String, Value>,
        omit_empty: bool,
        dialect: Dialect,
    ) -> Result<Self, FormatError> {
        Ok(Self { root: object(template, MAX_DEPTH, dialect)?, omit_empty })
    }

    /// Appends the object, without newline.
    pub fn render(&self, record: &Record<'_>, out: &mut Vec<u8>) {
        if !self.write(&self.root, record, out) {
            out.extend_from_slice(b"{}");
        }
    }

    /// It tells what streams take on the wire.
    pub(in crate::observe) fn measures(&self) -> bool {
        self.root.measures()
    }

    /// Appends one value; false, and nothing appended, when it is to be left out.
    fn write(&self, node: &Node, record: &Record<'_>, out: &mut Vec<u8>) -> bool {
        match node {
            Node::Literal(json) => {
                out.extend_from_slice(json);
                true
            }
            Node::Text(format) => self.text(format, record, out),
            Node::Object(entries) => {
                let entries = entries.iter().map(|(key, node)| (&**key, node));
                self.sequence(b"{}", entries, record, out)
            }
            Node::Array(items) => {
                self.sequence(b"[]", items.iter().map(|node| (&b""[..], node)), record, out)
            }
        }
    }

    fn sequence<'n>(
        &self,
        brackets: &[u8; 2],
        entries: impl Iterator<Item = (&'n [u8], &'n Node)>,
        record: &Record<'_>,
        out: &mut Vec<u8>,
    ) -> bool {
        let start = out.len();
        out.push(brackets[0]);
        for (key, node) in entries {
            let before = out.len();
            if before > start + 1 {
                out.push(b',');
            }
            out.extend_from_slice(key);
            if !self.write(node, record, out) {
                out.truncate(before);
            }
        }
        if self.omit_empty && out.len() == start + 1 {
            out.truncate(start);
            return false;
        }
        out.push(brackets[1]);
        true
    }

    fn text(&self, format: &Format, record: &Record<'_>, out: &mut Vec<u8>) -> bool {
        if let [Part::Value(command)] = &*format.parts {
            let start = out.len();
            let typed = match &command.operator {
                Operator::Metadata(place) => Some(metadata_json(record, place, out)),
                Operator::Expression { program, typed: true } => {
                    Some(program.write_json(record, command.max, out))
                }
                _ => None,
            };
            if let Some(found) = typed {
                if !found && !self.omit_empty {
                    out.extend_from_slice(b"null");
                }
                return found || !self.omit_empty;
            }
            let number = command.operator.is_number();
            if !number {
                out.push(b'"');
            }
            if command.write(record, Escape::Json, out) {
                if !number {
                    out.push(b'"');
                }
                return true;
            }
            out.truncate(start);
            if self.omit_empty {
                return false;
            }
            out.extend_from_slice(b"null");
            return true;
        }
        out.push(b'"');
        // Literals of the template were escaped when it was compiled.
        format.write(record, if self.omit_empty { b"" } else { b"-" }, Escape::Json, out);
        out.push(b'"');
        true
    }
}

fn object(template: &Map<String, Value>, depth: usize, dialect: Dialect) -> Result<Node, FormatError> {
    let mut keys: Vec<_> = template.iter().collect();
    keys.sort_by_key(|(key, _)| key.as_str());
    let entry = |(key, value): (&String, &Value)| {
        let quoted = [json_bytes(&Value::from(key.as_str())), b":".to_vec()].concat();
        let node = node(value, depth, dialect).map_err(|error| FormatError(format!("{key}: {error}")))?;
        Ok((quoted.into(), node))
    };
    Ok(Node::Object(keys.into_iter().map(entry).collect::<Result<_, FormatError>>()?))
}

fn node(value: &Value, depth: usize, dialect: Dialect) -> Result<Node, FormatError> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(FormatError(format!("json_format is nested deeper than {MAX_DEPTH}")));
    };
    match value {
        Value::String(text) => text_node(text, dialect),
        Value::Object(map) => object(map, depth, dialect),
        Value::Array(items) => {
            Ok(Node::Array(items.iter().map(|item| node(item, depth, dialect)).collect::<Result<_, _>>()?))
        }
        Value::Number(number) => Ok(Node::Literal(number_bytes(number).into())),
        other => Ok(Node::Literal(json_bytes(other).into())),
    }
}

fn text_node(text: &str, dialect: Dialect) -> Result<Node, FormatError> {
    let mut format = Format::parse_with(text, dialect)?;
    if let Some(constant) = format.as_constant() {
        return Ok(Node::Literal(json_bytes(&Value::from(String::from_utf8_lossy(constant))).into()));
    }
    for part in &mut format.parts {
        if let Part::Literal(literal) = part {
            let quoted = json_bytes(&Value::from(String::from_utf8_lossy(literal)));
            *literal = quoted[1..quoted.len() - 1].into();
        }
    }
    Ok(Node::Text(format))
}

fn json_bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// Struct numbers are doubles; whole ones print without fraction.
fn number_bytes(number: &serde_json::Number) -> Vec<u8> {
    match number.as_f64() {
        Some(float) if float.fract() == 0.0 && float.abs() < 1e15 => format!("{}", float as i64).into_bytes(),
        _ => number.to_string().into_bytes(),
    }
}

#[cfg(test)]
mod tests;
