//! The tables as Rust source: plain numbers into one text, so that the linker has no pointers to relocate and the
//! pages stay shared with the file.

use std::collections::HashMap;
use std::fmt::Write;

use prost_reflect::{Cardinality, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};

use crate::Result;
use crate::collect::Schema;
use crate::rules::{self, RuleSet};

/// All names in one string, each stored once.
#[derive(Default)]
pub struct Texts {
    all: String,
    seen: HashMap<String, usize>,
}

impl Texts {
    /// The source text of the `Text` that names `text`.
    pub fn add(&mut self, text: &str) -> String {
        let start = *self.seen.entry(text.to_owned()).or_insert_with(|| {
            let start = self.all.len();
            self.all.push_str(text);
            start
        });
        format!("Text {{ start: {start}, len: {} }}", text.len())
    }
}

/// One growing table per `static`.
#[derive(Default)]
struct Tables {
    texts: Texts,
    messages: Vec<String>,
    fields: Vec<String>,
    oneofs: Vec<String>,
    enums: Vec<String>,
    values: Vec<String>,
    rules: Vec<String>,
    sets: Vec<String>,
    set_index: HashMap<RuleSet, usize>,
}

/// The whole file.
pub fn source(schema: &Schema) -> Result<String> {
    let mut tables = Tables::default();
    // Set 0: a field without rules.
    rule_set(RuleSet::default(), &mut tables);
    for message in schema.messages.values() {
        add_message(schema, message, &mut tables)?;
    }
    for descriptor in schema.enums.values() {
        add_enum(descriptor, &mut tables);
    }
    let mut out = String::from("// Written by the build script from Envoy's descriptors.\n");
    writeln!(out, "pub(super) static TEXTS: &str = {:?};", tables.texts.all)?;
    table(&mut out, "MESSAGES", "MessageType", &tables.messages)?;
    table(&mut out, "FIELDS", "Field", &tables.fields)?;
    table(&mut out, "ONEOFS", "Oneof", &tables.oneofs)?;
    table(&mut out, "ENUMS", "EnumType", &tables.enums)?;
    table(&mut out, "VALUES", "EnumValue", &tables.values)?;
    table(&mut out, "RULES", "Rule", &tables.rules)?;
    table(&mut out, "RULE_SETS", "RuleSet", &tables.sets)?;
    Ok(out)
}

fn table(out: &mut String, name: &str, of: &str, rows: &[String]) -> Result<()> {
    writeln!(out, "pub(super) static {name}: [{of}; {}] = [", rows.len())?;
    for row in rows {
        writeln!(out, "    {row},")?;
    }
    writeln!(out, "];")?;
    Ok(())
}

fn add_message(schema: &Schema, message: &MessageDescriptor, tables: &mut Tables) -> Result<()> {
    let (first_field, first_oneof) = (tables.fields.len(), tables.oneofs.len());
    let mut oneofs = HashMap::new();
    for oneof in message.oneofs().filter(|oneof| !oneof.is_synthetic()) {
        oneofs.insert(oneof.name().to_owned(), oneofs.len() + 1);
        let required = oneof.options().has_extension(&schema.required);
        let name = tables.texts.add(oneof.name());
        tables.oneofs.push(format!("Oneof {{ name: {name}, required: {required} }}"));
    }
    let mut fields: Vec<FieldDescriptor> = message.fields().collect();
    fields.sort_by_key(FieldDescriptor::number);
    for field in &fields {
        let oneof = field.containing_oneof().and_then(|oneof| oneofs.get(oneof.name()).copied()).unwrap_or(0);
        let row = field_row(schema, field, oneof, tables)?;
        tables.fields.push(row);
    }
    let name = tables.texts.add(message.full_name());
    let checked = !message.options().has_extension(&schema.disabled);
    let form = form(message);
    tables.messages.push(format!(
        "MessageType {{ name: {name}, form: Form::{form}, checked: {checked}, \
         fields: Span {{ start: {first_field}, len: {} }}, oneofs: Span {{ start: {first_oneof}, len: {} }} }}",
        fields.len(),
        oneofs.len()
    ));
    Ok(())
}

/// The messages that proto3 JSON writes in a form of their own.
fn form(message: &MessageDescriptor) -> &'static str {
    match message.full_name() {
        "google.protobuf.Any" => "Any",
        "google.protobuf.Duration" => "Duration",
        "google.protobuf.Timestamp" => "Timestamp",
        "google.protobuf.Struct" => "Struct",
        "google.protobuf.ListValue" => "ListValue",
        "google.protobuf.Value" => "Value",
        name if name.starts_with("google.protobuf.") && name.ends_with("Value") => "Wrapper",
        _ => "Plain",
    }
}

fn field_row(schema: &Schema, field: &FieldDescriptor, oneof: usize, tables: &mut Tables) -> Result<String> {
    let set = rules::of_field(schema, field, &mut tables.texts)?;
    let rules = rule_set(set, tables);
    json_name_is_derived(field)?;
    let label = match field.cardinality() {
        _ if field.is_map() => "Map",
        Cardinality::Repeated if field.is_packed() => "Packed",
        Cardinality::Repeated => "Repeated",
        _ if field.supports_presence() => "Optional",
        _ => "Implicit",
    };
    Ok(format!(
        "Field {{ name: {}, number: {}, kind: Kind::{}, label: Label::{label}, oneof: {oneof}, \
         sensitive: {}, rules: {rules} }}",
        tables.texts.add(field.name()),
        field.number(),
        kind(schema, &field.kind())?,
        field.options().has_extension(&schema.sensitive),
    ))
}

/// The parser derives the camelCase spelling; a hand-written `json_name` would need a column of its own.
fn json_name_is_derived(field: &FieldDescriptor) -> Result<()> {
    let mut derived = String::new();
    for (i, word) in field.name().split('_').enumerate() {
        derived.push_str(&if i > 0 { capitalised(word) } else { word.to_owned() });
    }
    if derived == field.json_name() {
        Ok(())
    } else {
        Err(format!("{} has a json_name", field.full_name()).into())
    }
}

fn capitalised(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(chars).collect()
}

fn kind(schema: &Schema, kind: &Kind) -> Result<String> {
    let position = |found: Option<usize>| found.ok_or("a field of a type that was not collected");
    Ok(match kind {
        Kind::Message(message) => {
            let index = position(schema.messages.keys().position(|name| name == message.full_name()))?;
            format!("Message({index})")
        }
        Kind::Enum(descriptor) => {
            let index = position(schema.enums.keys().position(|name| name == descriptor.full_name()))?;
            format!("Enum({index})")
        }
        // Its debug form is the keyword of the .proto language.
        scalar => capitalised(&format!("{scalar:?}")),
    })
}

fn rule_set(set: RuleSet, tables: &mut Tables) -> usize {
    if let Some(index) = tables.set_index.get(&set) {
        return *index;
    }
    let mut span = |rules: &[String]| {
        let start = tables.rules.len();
        tables.rules.extend(rules.iter().map(|rule| format!("Rule::{rule}")));
        format!("Span {{ start: {start}, len: {} }}", rules.len())
    };
    let (own, each, keys) = (span(&set.own), span(&set.each), span(&set.keys));
    tables.sets.push(format!("RuleSet {{ own: {own}, each: {each}, keys: {keys} }}"));
    tables.set_index.insert(set, tables.sets.len() - 1);
    tables.sets.len() - 1
}

fn add_enum(descriptor: &EnumDescriptor, tables: &mut Tables) {
    let start = tables.values.len();
    // In the order of the file: of two names for a number the first is the one to print.
    for value in &descriptor.enum_descriptor_proto().value {
        let name = tables.texts.add(value.name());
        tables.values.push(format!("EnumValue {{ name: {name}, number: {} }}", value.number()));
    }
    let name = tables.texts.add(descriptor.full_name());
    let len = tables.values.len() - start;
    tables.enums.push(format!("EnumType {{ name: {name}, values: Span {{ start: {start}, len: {len} }} }}"));
}
