//! The state of the world the server serves from.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use outrigger_xds_protos::any::{Typed, pack};
use outrigger_xds_protos::json::Document;
use outrigger_xds_protos::type_url;
use outrigger_xds_protos::v3::wkt::Any;
use serde_json::Value;

use crate::Result;

/// Parents before what they wait for, and clusters before the routes that name them.
pub(super) const ORDER: [&str; 5] = [
    type_url::CLUSTER,
    type_url::CLUSTER_LOAD_ASSIGNMENT,
    type_url::SECRET,
    type_url::LISTENER,
    type_url::ROUTE_CONFIGURATION,
];

/// Whether a response of this type is complete, and an empty subscription a wildcard.
pub(super) fn is_wildcard_type(type_url: &str) -> bool {
    type_url == type_url::CLUSTER || type_url == type_url::LISTENER
}

/// The type whose resources must be sent again after a parent of type `url` changed.
pub(super) fn child_type(url: &str) -> Option<&'static str> {
    match url {
        type_url::CLUSTER => Some(type_url::CLUSTER_LOAD_ASSIGNMENT),
        type_url::LISTENER => Some(type_url::ROUTE_CONFIGURATION),
        _ => None,
    }
}

/// A named resource with a version made of its content.
#[derive(Debug, Clone)]
pub struct Resource {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) any: Any,
}

impl Resource {
    /// Any bytes under any name; `any` need not decode.
    pub fn new(name: impl Into<String>, any: Any) -> Self {
        let mut hasher = DefaultHasher::new();
        (&any.type_url, &any.value).hash(&mut hasher);
        Self { name: name.into(), version: format!("{:016x}", hasher.finish()), any }
    }

    /// A message given as JSON; its values need not be ones that Envoy accepts.
    pub fn of<M: Typed>(name: impl Into<String>, json: &Value) -> Result<Self> {
        let message: M = Document::parse(&json.to_string())?.decode()?;
        Ok(Self::new(name, pack(&message)))
    }
}

/// Resources by type and name.
#[derive(Debug, Default)]
pub(crate) struct Resources(HashMap<String, BTreeMap<String, Resource>>);

impl Resources {
    pub(super) fn set(&mut self, type_url: &str, resources: Vec<Resource>) {
        let by_name = resources.into_iter().map(|resource| (resource.name.clone(), resource)).collect();
        self.0.insert(type_url.to_owned(), by_name);
    }

    /// The version of a whole type.
    pub(super) fn version(&self, type_url: &str) -> String {
        let mut hasher = DefaultHasher::new();
        self.of(type_url).for_each(|resource| (&resource.name, &resource.version).hash(&mut hasher));
        format!("{:016x}", hasher.finish())
    }

    pub(super) fn of(&self, type_url: &str) -> impl Iterator<Item = &Resource> {
        self.0.get(type_url).into_iter().flat_map(BTreeMap::values)
    }

    /// All types, those with an order among them first.
    pub(super) fn ordered<'a>(subscribed: impl Iterator<Item = &'a String>) -> Vec<String> {
        let rank = |type_url: &String| ORDER.iter().position(|t| t == type_url).unwrap_or(ORDER.len());
        let mut types: Vec<_> = subscribed.cloned().collect();
        types.sort_by_key(|type_url| (rank(type_url), type_url.clone()));
        types
    }
}
