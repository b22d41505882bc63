//! What the roots reach: messages and enums in the order of their tables, found by name.

use std::collections::BTreeMap;

use prost_reflect::{DescriptorPool, EnumDescriptor, ExtensionDescriptor, Kind, MessageDescriptor};

use crate::Result;

/// Everything that goes into the tables. The order of the maps is the order of the tables.
pub struct Schema {
    /// Messages by full name.
    pub messages: BTreeMap<String, MessageDescriptor>,
    /// Enums by full name.
    pub enums: BTreeMap<String, EnumDescriptor>,
    /// `validate.rules` on a field.
    pub rules: ExtensionDescriptor,
    /// `validate.required` on a oneof.
    pub required: ExtensionDescriptor,
    /// `validate.disabled` on a message.
    pub disabled: ExtensionDescriptor,
    /// `udpa.annotations.sensitive` on a field.
    pub sensitive: ExtensionDescriptor,
}

/// Follows message fields from the roots: one full name per line, `#` starts a comment.
pub fn reachable(pool: &DescriptorPool, roots: &str) -> Result<Schema> {
    let extension =
        |name: &str| pool.get_extension_by_name(name).ok_or(format!("the descriptor set lacks {name}"));
    let mut schema = Schema {
        messages: BTreeMap::new(),
        enums: BTreeMap::new(),
        rules: extension("validate.rules")?,
        required: extension("validate.required")?,
        disabled: extension("validate.disabled")?,
        sensitive: extension("udpa.annotations.sensitive")?,
    };
    let names = roots.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    for name in names.filter(|name| !name.is_empty()) {
        let root = pool.get_message_by_name(name).ok_or(format!("roots.txt: no message {name}"))?;
        follow(&mut schema, root);
    }
    Ok(schema)
}

fn follow(schema: &mut Schema, root: MessageDescriptor) {
    let mut pending = vec![root];
    while let Some(message) = pending.pop() {
        for field in message.fields() {
            match field.kind() {
                Kind::Message(inner) if !schema.messages.contains_key(inner.full_name()) => {
                    pending.push(inner)
                }
                Kind::Enum(inner) => drop(schema.enums.insert(inner.full_name().to_owned(), inner)),
                _ => {}
            }
        }
        schema.messages.insert(message.full_name().to_owned(), message);
    }
}
