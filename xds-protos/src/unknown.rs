//! Fields on the wire that the schema does not have.
//!
//! A newer control plane may send them; prost drops them in silence. Envoy's habit, which this serves: unknown fields
//! are errors in static configuration and warnings in dynamic resources.

use std::fmt::{self, Display};

use crate::any::type_name;
use crate::path::Path;
use crate::pb::google::protobuf::Any;
use crate::schema::{self, Form, Label, MessageType};
use crate::view::{View, any_parts};
use crate::wire::MAX_DEPTH;

#[cfg(test)]
mod tests;

/// Findings after which the walk ends: enough for a warning, bounded for a hostile peer.
const MAX_FINDINGS: usize = 16;

/// A field that was received and that nothing will read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownField {
    /// JSON path of the message that holds it; empty for the resource itself.
    pub path: String,
    /// Full name of that message.
    pub message: &'static str,
    /// The field's number; its name is what is not known.
    pub number: u32,
}

impl Display for UnknownField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "unknown field number {} of {}", self.number, self.message)
    }
}

/// Lists the unknown fields of a resource, inside its nested `Any`s too; at most 16. Malformed parts are passed over:
/// decoding reports them.
///
/// ```
/// use outrigger_xds_protos::{any, unknown, v3::cluster::Cluster};
/// let mut resource = any::pack(&Cluster::default());
/// resource.value.extend([0xf8, 0x3f, 1]); // field 1023, a varint
/// let found = unknown::fields(&resource);
/// assert_eq!(found[0].to_string(), "unknown field number 1023 of envoy.config.cluster.v3.Cluster");
/// ```
pub fn fields(resource: &Any) -> Vec<UnknownField> {
    let mut search = Search { path: Path::default(), depth: 0, found: Vec::new() };
    if let Some(ty) = type_name(&resource.type_url).and_then(schema::find) {
        search.message(ty, &resource.value);
    }
    search.found
}

struct Search {
    path: Path,
    depth: usize,
    found: Vec<UnknownField>,
}

impl Search {
    fn message(&mut self, ty: &'static MessageType, bytes: &[u8]) {
        if self.depth >= MAX_DEPTH || self.found.len() >= MAX_FINDINGS {
            return;
        }
        let Ok(view) = View::read(ty, bytes) else { return };
        self.depth += 1;
        self.note(ty, &view.unknown);
        match ty.form {
            Form::Any => self.any(&view),
            _ => self.children(&view),
        }
        self.depth -= 1;
    }

    fn note(&mut self, ty: &'static MessageType, numbers: &[u32]) {
        let room = MAX_FINDINGS - self.found.len();
        for &number in numbers.iter().take(room) {
            self.found.push(UnknownField { path: self.path.to_string(), message: ty.name(), number });
        }
    }

    fn any(&mut self, view: &View<'_>) {
        let (url, value) = any_parts(view);
        if let Some(ty) = type_name(url).and_then(schema::find) {
            self.message(ty, value);
        }
    }

    fn children(&mut self, view: &View<'_>) {
        for present in &view.fields {
            let Some(ty) = present.field.message() else { continue };
            self.path.push_name(present.field.name());
            for (index, value) in present.values.iter().enumerate() {
                match present.field.label {
                    Label::Map => self.entry(ty, value.message()),
                    Label::Repeated | Label::Packed => {
                        self.path.push_index(index);
                        self.message(ty, value.message());
                        self.path.pop();
                    }
                    Label::Implicit | Label::Optional => self.message(ty, value.message()),
                }
            }
            self.path.pop();
        }
    }

    fn entry(&mut self, ty: &'static MessageType, bytes: &[u8]) {
        let Ok(view) = View::read(ty, bytes) else { return };
        let value = ty.field(2).and_then(|field| field.message()).zip(view.get(2));
        if let Some((ty, [value, ..])) = value {
            let key = view.get(1).and_then(<[_]>::first).map(crate::view::key_text).unwrap_or_default();
            self.path.push_key(key);
            self.message(ty, value.message());
            self.path.pop();
        }
    }
}
