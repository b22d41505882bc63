//! proto3 JSON and YAML: text to messages with exact error positions, messages to the JSON that Envoy prints.
//!
//! Owns both directions for every message in the schema, nested `Any` included. Holds no state: the schema is
//! constant data, so a `/config_dump` costs its output and nothing else. Reading is as strict as Envoy is with static
//! configuration, and accepts the same spellings: snake_case and lowerCamelCase, enum words in any case, numbers in
//! quotes, YAML 1.1 booleans and octal integers. Source: protobuf.dev "ProtoJSON Format"; Envoy's YAML loader
//! (`source/common/protobuf/yaml_utility.cc`).

mod decode;
mod document;
mod print;
mod scalar;
mod time;
mod tree;
mod yaml;

#[cfg(test)]
mod tests;

pub use document::Document;
pub use print::{Secrets, print, print_any, print_with_defaults};
pub use tree::Position;
pub use yaml::to_yaml;

use crate::any::Typed;

/// What is wrong in a configuration text, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct ConfigError {
    /// JSON path of the offending field, snake_case, empty for the document itself.
    pub path: String,
    /// Where in the text.
    pub position: Position,
    /// What is wrong and what was expected. Never holds a value of a field marked as a secret.
    pub problem: String,
}

impl ConfigError {
    fn text(&self) -> String {
        let mut text = String::new();
        if !self.path.is_empty() {
            text = format!("{}: ", self.path);
        }
        text.push_str(&self.problem);
        text.push_str(&format!(" (line {}, column {})", self.position.line, self.position.column));
        text
    }
}

/// Reads a YAML or JSON text as one message and checks it against Envoy's constraints.
///
/// ```
/// use outrigger_xds_protos::{json, v3::bootstrap::Bootstrap};
///
/// let text = "
/// admin:
///   address:
///     socket_address: { address: 127.0.0.1, port_value: 9901 }
/// ";
/// let bootstrap: Bootstrap = json::from_text(text)?;
/// assert!(bootstrap.admin.is_some());
///
/// let error = json::from_text::<Bootstrap>("admin:\n  adress: {}\n").unwrap_err();
/// assert_eq!(error.path, "admin.adress");
/// assert_eq!(
///     error.to_string(),
///     "admin.adress: unknown field of envoy.config.bootstrap.v3.Admin; did you mean \"address\"? (line 2, column 3)",
/// );
/// # Ok::<(), json::ConfigError>(())
/// ```
pub fn from_text<M: Typed>(text: &str) -> Result<M, ConfigError> {
    Document::parse(text)?.decode_checked()
}
