//! Embedded metric documents as CloudWatch reads them: parsed, held against the rules of the format, added up.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::Value;

use crate::requirement::Missing;
use crate::{Result, workspace};

/// The environment variable that names a folder with AWS's own schemas; else they are looked for beside the workspace.
/// Not with our prefix: sidecars inherit it, and refuse unknown variables with that.
const SCHEMAS: &str = "AWS_SCHEMAS";
/// The file in it.
const SCHEMA: &str = "emf.schema.json";

/// AWS's schema, when this machine has it. It is no part of this project.
pub fn schema() -> Result<Value, Missing> {
    let beside = || workspace::root().join("../shared/schemas");
    let file = std::env::var_os(SCHEMAS).map_or_else(beside, PathBuf::from).join(SCHEMA);
    let missing = |why: String| {
        let why = format!("{}: {why}", file.display());
        Missing::new(SCHEMA, why, format!("set {SCHEMAS} to a folder with it"))
    };
    let text = std::fs::read_to_string(&file).map_err(|error| missing(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| missing(error.to_string()))
}

/// The documents among lines of output; other lines are none.
pub fn documents(output: &str) -> Result<Vec<Value>> {
    let lines = output.lines().filter(|line| line.starts_with("{\"_aws\""));
    lines.map(|line| Ok(check(line)?)).collect()
}

/// Parses a document and holds it against the rules of the format.
pub fn check(line: &str) -> Result<Value, String> {
    let document: Value = serde_json::from_str(line).map_err(|error| format!("{error}: {line}"))?;
    let fault = || -> Result<(), &'static str> {
        if line.len() > 16 * 1024 {
            return Err("is longer than a container runtime's line");
        }
        document["_aws"]["Timestamp"].as_u64().ok_or("has no time")?;
        for directive in document["_aws"]["CloudWatchMetrics"].as_array().ok_or("has no directive")? {
            directive["Namespace"].as_str().filter(|name| !name.is_empty()).ok_or("has no namespace")?;
            let sets =
                directive["Dimensions"].as_array().filter(|sets| !sets.is_empty()).ok_or("has no set")?;
            let names = |set: &Value| set.as_array().map_or(0, Vec::len);
            let distinct = |set: &Value| {
                set.as_array().into_iter().flatten().filter_map(Value::as_str).collect::<BTreeSet<_>>().len()
            };
            if sets.iter().any(|set| names(set) != distinct(set) || names(set) > 30) {
                return Err("has a set with a name twice, or with too many");
            }
            for name in sets.iter().flat_map(|set| set.as_array().into_iter().flatten()) {
                let value =
                    name.as_str().and_then(|name| document[name].as_str()).ok_or("lacks a dimension")?;
                if value.trim().is_empty() || !value.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
                    return Err("has a dimension that CloudWatch refuses");
                }
            }
            let metrics = directive["Metrics"].as_array().ok_or("has no metrics")?;
            if metrics.is_empty() || metrics.len() > 100 {
                return Err("has too many metrics or none");
            }
            for metric in metrics {
                let value = &document[metric["Name"].as_str().ok_or("has a metric without name")?];
                let values = value["Values"].as_array().map(Vec::len);
                if !(value.is_number()
                    || values.is_some_and(|n| n <= 100 && values == value["Counts"].as_array().map(Vec::len)))
                {
                    return Err("has a metric without value");
                }
            }
        }
        Ok(())
    };
    fault().map_err(|fault| format!("a document {fault}: {line}"))?;
    Ok(document)
}

/// Sum of a metric over documents in whose dimensions these values are; histograms count their values.
pub fn sum(documents: &[Value], metric: &str, dimensions: &[(&str, &str)]) -> u64 {
    let of =
        documents.iter().filter(|document| dimensions.iter().all(|(name, value)| document[name] == *value));
    of.filter_map(|document| document[metric].as_u64().or_else(|| document[metric]["Count"].as_u64())).sum()
}

/// The last value of a metric.
pub fn last(documents: &[Value], metric: &str) -> Option<u64> {
    documents.iter().rev().find_map(|document| document[metric].as_u64())
}

/// Our own schema, `schemas/emf.json`.
fn own_schema() -> Result<Value> {
    Ok(serde_json::from_str(include_str!("../schemas/emf.json"))?)
}

/// Holds documents against our own schema, and against AWS's where the machine has it.
pub fn hold_against_schema(documents: &[Value]) -> Result<()> {
    let published =
        schema().inspect_err(|missing| eprintln!("NOT RUN against AWS's schema as well: {missing}"));
    let schemas = [Some(own_schema()?), published.ok()];
    for (schema, document) in
        schemas.iter().flatten().flat_map(|one| documents.iter().map(move |it| (one, it)))
    {
        validate(schema, document, "$").map_err(|fault| format!("{fault} in {document}"))?;
    }
    Ok(())
}

/// The keywords that AWS's schemas use.
fn validate(schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let fault = |what: &str| Err(format!("{at}: {what}"));
    let fits = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        _ => true,
    };
    if !fits {
        return fault(&format!("is no {}", schema["type"]));
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if value.get(name).is_none() {
            return fault(&format!("lacks {name}"));
        }
    }
    let size = value.as_array().map(Vec::len).or_else(|| value.as_str().map(|text| text.chars().count()));
    for (keyword, least) in
        [("minItems", true), ("maxItems", false), ("minLength", true), ("maxLength", false)]
    {
        if let (Some(limit), Some(size)) = (schema[keyword].as_u64(), size)
            && (if least { (size as u64) < limit } else { size as u64 > limit })
        {
            return fault(keyword);
        }
    }
    if let (Some(pattern), Some(text)) = (schema["pattern"].as_str(), value.as_str())
        && !is_one_of(pattern, text)
    {
        return fault(&format!("does not match {pattern}"));
    }
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(member) = value.get(name) {
            validate(schema, member, &format!("{at}.{name}"))?;
        }
    }
    let items = value.as_array().into_iter().flatten().filter(|_| schema.get("items").is_some());
    items.enumerate().try_for_each(|(i, item)| validate(&schema["items"], item, &format!("{at}[{i}]")))
}

/// The two forms of pattern in these schemas: anything on one line, and a list of words.
fn is_one_of(pattern: &str, text: &str) -> bool {
    let inner = pattern.trim_start_matches("^(").trim_end_matches(")$");
    if inner == ".*" {
        return !text.contains('\n');
    }
    inner.split('|').any(|word| word.replace("\\/", "/") == text)
}

/// Metric names by the unit they are declared with.
pub fn units(documents: &[Value]) -> BTreeMap<String, String> {
    let metrics = documents.iter().flat_map(|document| {
        let directives = document["_aws"]["CloudWatchMetrics"].as_array().into_iter().flatten();
        directives.flat_map(|directive| directive["Metrics"].as_array().into_iter().flatten())
    });
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    metrics.map(|metric| (text(&metric["Name"]), text(&metric["Unit"]))).collect()
}
