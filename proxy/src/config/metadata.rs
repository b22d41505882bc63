//! Metadata of routes, clusters, hosts, listeners and their like, as access logs print it.
//! Source: `envoy.config.core.v3.Metadata.filter_metadata`.

use std::sync::Arc;

use super::subset::{Metadata, MetadataValue};

/// The namespace that load balancing reads.
pub const BALANCING: &str = "envoy.lb";

/// Structs by their namespaces, which are sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespaces(Vec<(Box<str>, Arc<Metadata>)>);

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Found<'a> {
    /// All of a namespace.
    Namespace(&'a Metadata),
    /// A value within.
    Value(&'a MetadataValue),
}

impl Namespaces {
    /// From namespaces in any order; `None` when there are none.
    pub fn new(spaces: impl IntoIterator<Item = (Box<str>, Arc<Metadata>)>) -> Option<Arc<Self>> {
        let mut sorted: Vec<_> = spaces.into_iter().collect();
        sorted.sort_by(|one, other| one.0.cmp(&other.0));
        (!sorted.is_empty()).then(|| Arc::new(Self(sorted)))
    }

    /// Names of namespaces, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| &**name)
    }

    /// One namespace.
    pub fn get(&self, name: &str) -> Option<&Metadata> {
        let at = self.0.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
        Some(&self.0[at].1)
    }
}

impl Metadata {
    /// What lies below these keys, each within the one before.
    pub fn at(&self, path: &[Box<str>]) -> Option<Found<'_>> {
        let Some((first, rest)) = path.split_first() else { return Some(Found::Namespace(self)) };
        rest.iter().try_fold(self.get(first)?, |value, key| value.field(key)).map(Found::Value)
    }
}

impl MetadataValue {
    /// A field of a struct.
    fn field(&self, key: &str) -> Option<&MetadataValue> {
        let Self::Struct(fields) = self else { return None };
        let at = fields.binary_search_by(|(name, _)| (**name).cmp(key)).ok()?;
        Some(&fields[at].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::subset::Criterion;

    #[test]
    fn paths_lead_through_structs() {
        let inner = MetadataValue::Struct(vec![("a".into(), MetadataValue::Bool(true))]);
        let metadata = Metadata::new([Criterion::new("o", inner.clone())]);
        let spaces =
            Namespaces::new([("b".into(), Arc::default()), ("a".into(), Arc::new(metadata))]).unwrap();
        let found = |name: &str, path: &[&str]| {
            let path: Vec<Box<str>> = path.iter().map(|key| (*key).into()).collect();
            spaces.get(name).and_then(|space| space.at(&path)).map(|found| match found {
                Found::Namespace(_) => None,
                Found::Value(value) => Some(value.clone()),
            })
        };
        assert_eq!(found("a", &["o", "a"]), Some(Some(MetadataValue::Bool(true))));
        assert_eq!(found("a", &["o"]), Some(Some(inner)));
        assert_eq!((found("a", &["o", "a", "x"]), found("a", &["x"]), found("c", &[])), (None, None, None));
        assert_eq!(found("b", &[]), Some(None));
        assert_eq!(Namespaces::new([]), None);
    }
}
