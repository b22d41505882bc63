//! The user's configuration files over the generated bootstrap.
//!
//! The image's rules: keys in snake_case or lowerCamelCase (not both); `tracing` and `stats_config` may come from one
//! file only; `stats_sinks` and the lists of `static_resources` append; any other key replaces the generated one.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::{VariableError, Variables};

/// One of the files, and the keys it is for.
struct File {
    variable: &'static str,
    /// Must be in the file; `None` asks for nothing.
    required: Option<&'static str>,
}

const FILES: &[File] = &[
    File { variable: "ENVOY_RESOURCES_CONFIG_FILE", required: None },
    File { variable: "ENVOY_TRACING_CFG_FILE", required: Some("tracing") },
    File { variable: "ENVOY_STATS_CONFIG_FILE", required: Some("stats_config") },
    File { variable: "ENVOY_STATS_SINKS_CFG_FILE", required: Some("stats_sinks") },
];

/// Merges every file that is named. True in the result: `stats_config` came from a file.
pub(super) fn files(
    root: &mut Map<String, Value>,
    variables: &dyn Variables,
    warnings: &mut Vec<String>,
) -> Result<bool, VariableError> {
    let mut once: HashMap<String, &'static str> = HashMap::new();
    for File { variable, required } in FILES {
        let Some(path) = variables.get(variable) else { continue };
        let extra = read(variable, &path, warnings)?;
        if let Some(key) = required.filter(|key| !extra.contains_key(*key)) {
            return Err(VariableError::new(variable, format!("{path}: must hold {key}")));
        }
        for (key, value) in extra {
            if matches!(key.as_str(), "tracing" | "stats_config")
                && let Some(other) = once.insert(key.clone(), variable)
            {
                return Err(VariableError::new(
                    variable,
                    format!("{path}: {key} is already given by {other}"),
                ));
            }
            insert(root, key, value, variable, warnings);
        }
    }
    Ok(once.contains_key("stats_config"))
}

/// The whole of one file, keys in snake_case.
fn read(variable: &str, path: &str, warnings: &mut Vec<String>) -> Result<Map<String, Value>, VariableError> {
    let fail = |message: String| VariableError::new(variable, format!("{path}: {message}"));
    let text = std::fs::read_to_string(path).map_err(|error| fail(format!("cannot be read: {error}")))?;
    match yaml_serde::from_str(&text).map_err(|error| fail(error.to_string()))? {
        Value::Null => {
            warnings.push(format!("{variable}: {path} is empty"));
            Ok(Map::new())
        }
        Value::Object(fields) => snake_keys(fields).map_err(fail),
        _ => Err(fail("must be a mapping".to_owned())),
    }
}

fn snake_keys(fields: Map<String, Value>) -> Result<Map<String, Value>, String> {
    let mut renamed = Map::new();
    for (key, value) in fields {
        let name = snake_case(&key);
        if renamed.insert(name.clone(), value).is_some() {
            return Err(format!("{name} is given in two spellings"));
        }
    }
    Ok(renamed)
}

fn snake_case(key: &str) -> String {
    let mut snake = String::with_capacity(key.len() + 4);
    for letter in key.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

fn insert(
    root: &mut Map<String, Value>,
    key: String,
    value: Value,
    variable: &str,
    warnings: &mut Vec<String>,
) {
    match (key.as_str(), root.get_mut(&key), value) {
        ("stats_sinks", Some(Value::Array(list)), Value::Array(more)) => list.extend(more),
        ("static_resources", Some(Value::Object(own)), Value::Object(lists)) => append_lists(own, lists),
        (_, old, value) => {
            if old.is_some() && key != "stats_config" && key != "tracing" {
                warnings.push(format!("{variable}: {key} replaces the generated one"));
            }
            root.insert(key, value);
        }
    }
}

fn append_lists(own: &mut Map<String, Value>, lists: Map<String, Value>) {
    for (name, value) in lists {
        match (own.get_mut(&name), value) {
            (Some(Value::Array(list)), Value::Array(more)) => list.extend(more),
            (_, value) => {
                own.insert(name, value);
            }
        }
    }
}
