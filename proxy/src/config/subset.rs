//! Metadata of hosts (`envoy.lb`), the criteria of routes, and the subsets they select.
//! Source: `Cluster.LbSubsetConfig`, `RouteAction.metadata_match`.

use std::sync::Arc;

use crate::base::hash::xxhash64;

/// A value of metadata (`google.protobuf.Value`). Equal when deeply equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MetadataValue {
    /// `null`, or nothing at all.
    Null,
    /// A number, as the bits of its double.
    Number(u64),
    /// Text.
    Text(Box<str>),
    /// A truth value.
    Bool(bool),
    /// A struct, sorted by key.
    Struct(Vec<(Box<str>, MetadataValue)>),
    /// A list.
    List(Vec<MetadataValue>),
}

impl MetadataValue {
    /// Feeds the value into bytes that differ when values do.
    fn encode(&self, out: &mut Vec<u8>) {
        let sized = |out: &mut Vec<u8>, tag: u8, len: usize| {
            out.push(tag);
            out.extend((len as u64).to_le_bytes());
        };
        match self {
            Self::Null => out.push(0),
            Self::Number(bits) => {
                out.push(1);
                out.extend(bits.to_le_bytes());
            }
            Self::Text(text) => {
                sized(out, 2, text.len());
                out.extend(text.as_bytes());
            }
            Self::Bool(value) => out.extend([3, u8::from(*value)]),
            Self::Struct(fields) => {
                sized(out, 4, fields.len());
                for (name, value) in fields {
                    sized(out, 2, name.len());
                    out.extend(name.as_bytes());
                    value.encode(out);
                }
            }
            Self::List(values) => {
                sized(out, 5, values.len());
                values.iter().for_each(|value| value.encode(out));
            }
        }
    }
}

/// Key and value of one criterion, with their hash: criteria are found by the sum of their hashes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Criterion {
    /// Key below `envoy.lb`.
    pub key: Box<str>,
    /// Value.
    pub value: MetadataValue,
    /// Of both.
    pub hash: u64,
}

impl Criterion {
    /// With its hash.
    pub fn new(key: &str, value: MetadataValue) -> Self {
        let mut bytes = key.as_bytes().to_vec();
        bytes.push(0);
        value.encode(&mut bytes);
        Self { key: key.into(), value, hash: xxhash64(&bytes, 0) }
    }
}

/// Fields below `envoy.lb`, sorted by key: the metadata of a host, or what a route asks of hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata(pub Vec<Criterion>);

impl Metadata {
    /// From fields in any order; of two with the same key the last one counts.
    pub fn new(fields: impl IntoIterator<Item = Criterion>) -> Self {
        let mut sorted: Vec<Criterion> = Vec::new();
        for field in fields {
            match sorted.binary_search_by(|known| known.key.cmp(&field.key)) {
                Ok(at) => sorted[at] = field,
                Err(at) => sorted.insert(at, field),
            }
        }
        Self(sorted)
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&MetadataValue> {
        let at = self.0.binary_search_by(|known| (*known.key).cmp(key)).ok()?;
        Some(&self.0[at].value)
    }

    /// These criteria over those of `self`: what a weighted cluster says over what its route says.
    pub fn overridden_by(&self, other: &Metadata) -> Metadata {
        Self::new(self.0.iter().chain(&other.0).cloned())
    }

    /// The `hash_key` text, when there is one.
    pub fn hash_key(&self) -> Option<&str> {
        match self.get("hash_key") {
            Some(MetadataValue::Text(text)) if !text.is_empty() => Some(text),
            _ => None,
        }
    }
}

/// `LbSubsetConfig`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subsets {
    /// Key sets that make subsets.
    pub selectors: Vec<Selector>,
    /// For requests that select none.
    pub fallback: Fallback,
    /// The subset of [`Fallback::Default`].
    pub default: Metadata,
    /// When that fallback has no host either, any host.
    pub panic_mode_any: bool,
    /// A list in a host's metadata stands for each of its elements.
    pub list_as_any: bool,
    /// `locality_weight_aware` with `scale_locality_weight`: a locality weighs as much of its weight in a subset as
    /// hosts of it are in the subset.
    pub scale_locality_weight: bool,
    /// The localities' weights hold inside of subsets.
    pub locality_weight_aware: bool,
}

/// One key set. Source: `LbSubsetSelector`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// Sorted.
    pub keys: Vec<Box<str>>,
    /// For requests with these keys that select no subset; `None`: as for the cluster.
    pub fallback: Option<SelectorFallback>,
    /// Every subset has one host, the first one.
    pub single_host: bool,
}

/// Hosts for requests that select no subset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fallback {
    /// None.
    #[default]
    None,
    /// Any.
    Any,
    /// Those of the default subset.
    Default,
}

/// The same for one selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SelectorFallback {
    /// As clusters have it.
    Common(Fallback),
    /// The request is looked at again with these of its keys, sorted.
    Keys(Vec<Box<str>>),
}

/// What a route asks of hosts, shared by its requests.
pub type Criteria = Arc<Metadata>;

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> MetadataValue {
        MetadataValue::Text(text.into())
    }

    #[test]
    fn fields_are_sorted_and_the_last_of_a_key_counts() {
        let fields =
            [("b", "1"), ("a", "2"), ("b", "3")].map(|(key, value)| Criterion::new(key, text(value)));
        let metadata = Metadata::new(fields);
        assert_eq!(metadata.get("b"), Some(&text("3")));
        assert_eq!(metadata.0.iter().map(|field| &*field.key).collect::<Vec<_>>(), ["a", "b"]);
        let over = metadata.overridden_by(&Metadata::new([Criterion::new("a", MetadataValue::Bool(true))]));
        assert_eq!((over.get("a"), over.0.len()), (Some(&MetadataValue::Bool(true)), 2));
    }

    #[test]
    fn values_of_another_kind_hash_differently() {
        let values = [
            MetadataValue::Null,
            text("1"),
            text(""),
            MetadataValue::Number(1.0f64.to_bits()),
            MetadataValue::Bool(true),
            MetadataValue::List(vec![text("1")]),
            MetadataValue::Struct(vec![("1".into(), MetadataValue::Null)]),
        ];
        let mut hashes: Vec<u64> =
            values.iter().map(|value| Criterion::new("k", value.clone()).hash).collect();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), values.len());
    }

    #[test]
    fn only_text_is_a_hash_key() {
        let of = |value| Metadata::new([Criterion::new("hash_key", value)]).hash_key().map(str::to_owned);
        assert_eq!(of(text("k")).as_deref(), Some("k"));
        assert_eq!(of(text("")), None);
        assert_eq!(of(MetadataValue::Bool(true)), None);
    }
}
