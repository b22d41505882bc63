//! JSON schemas of segment documents: our own, `schemas/xray-segment.json`, and where the machine has it the one that AWS
//! published, which is no part of this project. It is looked for at `../shared/schemas` beside the workspace, or at
//! `XRAY_SCHEMAS`.

use std::path::{Path, PathBuf};

use regex::Regex;
use serde_json::Value;

/// Holds a document against every schema at hand.
pub(super) struct Schemas(Vec<Schema>);

impl Schemas {
    pub(super) fn find() -> Self {
        let own = include_str!("../../../../../../schemas/xray-segment.json");
        Self(std::iter::once(Schema::read(own)).chain(Schema::published()).collect())
    }

    pub(super) fn check(&self, document: &Value) {
        self.0.iter().for_each(|schema| schema.value(document, &schema.root, "segment"));
    }
}

/// The parts of JSON schema that these use.
struct Schema {
    root: Value,
    patterns: std::cell::RefCell<std::collections::HashMap<String, Regex>>,
}

impl Schema {
    fn read(text: &str) -> Self {
        Self { root: serde_json::from_str(text).unwrap(), patterns: Default::default() }
    }

    /// `None`, said aloud, where the schema is not at hand.
    fn published() -> Option<Self> {
        let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/schemas");
        let folder = std::env::var_os("XRAY_SCHEMAS").map_or(beside, PathBuf::from);
        let Ok(text) = std::fs::read_to_string(folder.join("xray-segment.schema.json")) else {
            eprintln!("NOT RUN against the published schema as well: none at {}", folder.display());
            return None;
        };
        Some(Self::read(&text))
    }

    fn value(&self, value: &Value, schema: &Value, at: &str) {
        if let Some(reference) = schema["$ref"].as_str() {
            let target = self.root.pointer(&reference[1..]).unwrap();
            return self.value(value, target, at);
        }
        if let Some(kind) = schema.get("type") {
            let kinds: Vec<&str> = match kind {
                Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
                kind => kind.as_str().into_iter().collect(),
            };
            assert!(kinds.iter().any(|kind| is(value, kind)), "{at}: {value} is none of {kinds:?}");
        }
        if let Some(known) = schema["enum"].as_array() {
            assert!(known.contains(value), "{at}: {value} is none of {known:?}");
        }
        if let Some(text) = value.as_str() {
            let length = text.chars().count() as u64;
            assert!(
                schema["minLength"].as_u64().is_none_or(|least| length >= least),
                "{at}: {text} is too short"
            );
            assert!(
                schema["maxLength"].as_u64().is_none_or(|most| length <= most),
                "{at}: {text} is too long"
            );
            if let Some(pattern) = schema["pattern"].as_str() {
                assert!(self.matches(pattern, text), "{at}: {text} does not match");
            }
        }
        if let Some(items) = schema.get("items") {
            value.as_array().into_iter().flatten().for_each(|item| self.value(item, items, at));
        }
        if let Some(fields) = value.as_object() {
            for name in schema["required"].as_array().into_iter().flatten() {
                assert!(fields.contains_key(name.as_str().unwrap()), "{at}: {name} is missing");
            }
            fields.iter().for_each(|(name, field)| self.field(name, field, schema, &format!("{at}.{name}")));
        }
    }

    fn field(&self, name: &str, value: &Value, schema: &Value, at: &str) {
        if let Some(known) = schema["properties"].get(name) {
            return self.value(value, known, at);
        }
        let patterns = schema["patternProperties"].as_object();
        let known = patterns.into_iter().flatten().find(|(pattern, _)| self.matches(pattern, name));
        if let Some((_, known)) = known {
            return self.value(value, known, at);
        }
        match &schema["additionalProperties"] {
            Value::Bool(false) => panic!("{at} is not allowed"),
            Value::Object(_) => self.value(value, &schema["additionalProperties"], at),
            _ => {}
        }
    }

    fn matches(&self, pattern: &str, text: &str) -> bool {
        let mut patterns = self.patterns.borrow_mut();
        let regex = patterns.entry(pattern.to_owned());
        regex.or_insert_with(|| Regex::new(pattern).unwrap()).is_match(text)
    }
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        other => panic!("a type {other:?} in the schema"),
    }
}
