//! From what a source says to an immutable snapshot, sharing every resource that did not change.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use prost::Message as _;
use zeroize::{Zeroize, Zeroizing};

use outrigger_xds_protos::canonical;
use outrigger_xds_protos::v3::wkt::Any;

use super::{NodeResources, NodeSnapshot, Resource, TypeSnapshot, TypeUrl, Version, references};

/// Builds snapshots. One per control plane: resources of equal name and content are the same allocation, whichever
/// node or state of the definitions they came from.
#[derive(Default)]
pub struct Builder {
    known: Mutex<HashMap<(TypeUrl, Version), Weak<Resource>>>,
}

/// A resource that is not what its type says: a defect of the source.
#[derive(Debug, thiserror::Error)]
#[error("{type_url} {name:?}: {reason}")]
pub struct BuildError {
    type_url: TypeUrl,
    name: String,
    reason: String,
}

impl Builder {
    /// Hashes, shares and cross-references.
    ///
    /// # Errors
    /// When a message cannot be decoded as its type.
    pub fn build(&self, resources: &NodeResources) -> Result<NodeSnapshot, BuildError> {
        let mut types = BTreeMap::new();
        for (type_url, messages) in resources.iter() {
            let set: Result<Vec<_>, _> =
                messages.iter().map(|(name, message)| self.resource(type_url, name, message)).collect();
            types.insert(type_url.clone(), TypeSnapshot::new(set?));
        }
        Ok(NodeSnapshot::new(types))
    }

    /// Forgets resources that nobody holds any more. Called when a new state of the definitions is published.
    pub fn sweep(&self) {
        self.known().retain(|_, resource| resource.strong_count() > 0);
    }

    fn resource(&self, type_url: &TypeUrl, name: &str, message: &[u8]) -> Result<Arc<Resource>, BuildError> {
        let fail = |reason: String| BuildError { type_url: type_url.clone(), name: name.to_owned(), reason };
        let value = canonical::encode(type_url.as_str(), message).map_err(|e| fail(e.to_string()))?;
        let holds_keys = *type_url == TypeUrl::SECRET;
        let mut whole = Any { type_url: type_url.as_str().to_owned(), value };
        let any = whole.encode_to_vec();
        if holds_keys {
            whole.value.zeroize();
        }
        let version = Version::of(&any);
        let key = (type_url.clone(), version);
        // The name is part of the message for all types but runtime layers, so it rarely differs here.
        let known = self.known().get(&key).and_then(Weak::upgrade).filter(|r| &*r.name == name);
        if let Some(known) = known {
            return Ok(known);
        }
        let children = references::references(type_url, message).map_err(|e| fail(e.to_string()))?;
        // What holds a private key is wiped when the last snapshot that has it goes.
        let any = match holds_keys {
            true => Bytes::from_owner(Zeroizing::new(any)),
            false => Bytes::from(any),
        };
        let resource = Arc::new(Resource { name: name.into(), version, any, children });
        self.known().insert(key, Arc::downgrade(&resource));
        Ok(resource)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<(TypeUrl, Version), Weak<Resource>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
