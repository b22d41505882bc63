//! A parsed text that messages can be read from, and that knows where a path stands in it.

use prost::Message;

use super::ConfigError;
use super::decode::Decoder;
use super::tree::{self, Node, Position, Value};
use crate::any::Typed;
use crate::path::{Path, Segment};
use crate::pb::google::protobuf::Any;
use crate::schema::{self, MessageType};
use crate::validate;

/// A YAML or JSON text, parsed but not yet read as a message.
///
/// Keep it while later stages may still find fault, so that they can name the line:
///
/// ```
/// use outrigger_xds_protos::{json::Document, v3::cluster::Cluster};
///
/// let document = Document::parse("name: backend\ntype: STRICT_DNS\nconnect_timeout: 1s\n")?;
/// let cluster: Cluster = document.decode_checked()?;
/// assert_eq!(cluster.name, "backend");
/// let at = document.locate("connect_timeout");
/// assert_eq!((at.line, at.column), (3, 1));
/// # Ok::<(), outrigger_xds_protos::json::ConfigError>(())
/// ```
pub struct Document {
    root: Node,
    json: bool,
}

impl Document {
    /// Reads a text of one YAML or JSON document.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let json = text.trim_start_matches('\u{feff}').trim_start().starts_with(['{', '[']);
        Ok(Document { root: tree::read(text)?, json })
    }

    /// The document as an `M`. Envoy's constraints on values are not checked: the message may be half of a merge.
    pub fn decode<M: Typed>(&self) -> Result<M, ConfigError> {
        let bytes = self.encode(self.message_type(M::NAME)?)?;
        M::from_wire(&bytes).map_err(|e| self.at_root(e.to_string()))
    }

    /// The same without the fields that `M` does not know, and those as they would have been refused.
    pub fn decode_known<M: Typed>(&self) -> Result<(M, Vec<ConfigError>), ConfigError> {
        let mut decoder = Decoder::new(self.json);
        decoder.unknown = Some(Vec::new());
        let mut bytes = Vec::new();
        decoder.message(self.message_type(M::NAME)?, &self.root, &mut bytes)?;
        let message = M::from_wire(&bytes).map_err(|e| self.at_root(e.to_string()))?;
        Ok((message, decoder.unknown.unwrap_or_default()))
    }

    /// The document as an `M` that Envoy would accept, as far as its API's constraints go.
    pub fn decode_checked<M: Typed>(&self) -> Result<M, ConfigError> {
        let bytes = self.encode_checked(M::NAME)?;
        M::from_wire(&bytes).map_err(|e| self.at_root(e.to_string()))
    }

    /// The document, an object with `@type`, as a checked `Any`.
    pub fn decode_any(&self) -> Result<Any, ConfigError> {
        let bytes = self.encode_checked("google.protobuf.Any")?;
        Any::decode(bytes.as_slice()).map_err(|e| self.at_root(e.to_string()))
    }

    /// Where a field stands: its key, an element of a list, or the nearest thing around it that is written.
    ///
    /// The path is snake_case, as errors print it; the text may spell its keys in lowerCamelCase.
    pub fn locate(&self, path: &str) -> Position {
        let mut found = self.root.at;
        let mut node = &self.root;
        for segment in &Path::parse(path).0 {
            let Some((at, next)) = step(node, segment) else { break };
            (found, node) = (at, next);
        }
        found
    }

    fn encode(&self, ty: &'static MessageType) -> Result<Vec<u8>, ConfigError> {
        let mut bytes = Vec::new();
        Decoder::new(self.json).message(ty, &self.root, &mut bytes)?;
        Ok(bytes)
    }

    fn encode_checked(&self, name: &str) -> Result<Vec<u8>, ConfigError> {
        let ty = self.message_type(name)?;
        let bytes = self.encode(ty)?;
        validate::check_wire(ty, &bytes).map_err(|violation| ConfigError {
            position: self.locate(&violation.path),
            path: violation.path,
            problem: violation.problem,
        })?;
        Ok(bytes)
    }

    fn message_type(&self, name: &str) -> Result<&'static MessageType, ConfigError> {
        schema::find(name).ok_or_else(|| self.at_root(format!("the schema lacks {name}")))
    }

    fn at_root(&self, problem: String) -> ConfigError {
        ConfigError { path: String::new(), position: self.root.at, problem }
    }
}

/// The child that a segment names, and the place that stands for it: the key of a member, the start of an element.
fn step<'n>(node: &'n Node, segment: &Segment) -> Option<(Position, &'n Node)> {
    match (&node.value, segment) {
        (Value::List(items), Segment::Index(index)) => items.get(*index).map(|item| (item.at, item)),
        (Value::Mapping(members), Segment::Name(name)) => {
            let member = members.iter().find(|member| schema::is_spelling_of(&member.key, name))?;
            Some((member.at, &member.node))
        }
        (Value::Mapping(members), Segment::Key(key)) => {
            let member = members.iter().find(|member| member.key == *key)?;
            Some((member.at, &member.node))
        }
        _ => None,
    }
}
