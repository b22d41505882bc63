//! What filters leave of a request for later filters and for logs, by namespace. Envoy's dynamic metadata.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Namespaces with their fields.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DynamicMetadata(BTreeMap<Box<str>, Map<String, Value>>);

impl DynamicMetadata {
    /// Adds fields to a namespace; those of the same name are replaced.
    pub fn merge(&mut self, namespace: &str, fields: Map<String, Value>) {
        self.0.entry(namespace.into()).or_default().extend(fields);
    }

    /// Names of namespaces, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(|name| &**name)
    }

    /// Every namespace with its fields.
    pub fn namespaces(&self) -> impl Iterator<Item = (&str, &Map<String, Value>)> {
        self.0.iter().map(|(name, fields)| (&**name, fields))
    }

    /// A whole namespace.
    pub fn namespace(&self, name: &str) -> Option<&Map<String, Value>> {
        self.0.get(name)
    }

    /// The value at the end of a path of names.
    pub fn get(&self, namespace: &str, path: &[Box<str>]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        let first = self.0.get(namespace)?.get(&**first)?;
        rest.iter().try_fold(first, |value, name| value.get(&**name))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_found_by_their_path_and_the_last_one_counts() {
        let fields = |value: Value| value.as_object().cloned().unwrap_or_default();
        let mut metadata = DynamicMetadata::default();
        metadata.merge("n", fields(json!({"a": {"b": 1}, "c": 2})));
        metadata.merge("n", fields(json!({"c": [3]})));
        let path = |names: &[&str]| names.iter().map(|name| (*name).into()).collect::<Vec<Box<str>>>();
        assert_eq!(metadata.get("n", &path(&["a", "b"])), Some(&json!(1)));
        assert_eq!(metadata.get("n", &path(&["c"])), Some(&json!([3])));
        for missing in [&["x"][..], &["a", "x"], &["c", "x"], &[]] {
            assert_eq!(metadata.get("n", &path(missing)), None);
        }
        assert_eq!(metadata.get("m", &path(&["a"])), None);
    }
}
