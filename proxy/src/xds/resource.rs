//! The vocabulary shared by both protocol variants and the store: resource types, subscriptions,
//! one response as an [`Update`], and the faults that a NACK reports.
//!
//! Owns no state. Source: `envoy.service.discovery.v3`, xDS transport protocol.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use outrigger_xds_protos::any::{self, Typed};
use outrigger_xds_protos::v3::{self, Status, wkt::Any};
use zeroize::Zeroizing;

mod wire;

#[cfg(test)]
mod tests;

/// The explicit wildcard name.
pub const WILDCARD: &str = "*";

/// gRPC status code that Envoy puts into `error_detail`: INTERNAL.
const NACK_CODE: i32 = 13;
/// Upper bound of a NACK text, bytes. Servers log it per NACK.
const NACK_BYTES: usize = 4096;
/// Upper bound of a name repeated in an error text, bytes.
const NAME_BYTES: usize = 256;

/// The resource types this proxy subscribes to, in the order they are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ResourceType {
    /// CDS.
    Cluster,
    /// EDS.
    Endpoints,
    /// LDS.
    Listener,
    /// RDS.
    Routes,
    /// SDS.
    Secret,
}

impl ResourceType {
    /// Every type.
    pub const ALL: [ResourceType; 5] =
        [Self::Cluster, Self::Endpoints, Self::Listener, Self::Routes, Self::Secret];

    /// The type URL in requests and responses.
    pub fn type_url(self) -> &'static str {
        match self {
            Self::Cluster => any::type_url::CLUSTER,
            Self::Endpoints => any::type_url::CLUSTER_LOAD_ASSIGNMENT,
            Self::Listener => any::type_url::LISTENER,
            Self::Routes => any::type_url::ROUTE_CONFIGURATION,
            Self::Secret => any::type_url::SECRET,
        }
    }

    /// The type behind a type URL; `None` for one that nobody here watches.
    pub fn from_type_url(url: &str) -> Option<Self> {
        let name = any::type_name(url)?;
        Self::ALL.into_iter().find(|kind| any::type_name(kind.type_url()) == Some(name))
    }

    /// Whether a state-of-the-world response lists everything, so that absence means removal,
    /// and whether an empty first subscription means `*`.
    pub fn is_root(self) -> bool {
        matches!(self, Self::Cluster | Self::Listener)
    }

    /// The message's short name, for error texts.
    pub fn label(self) -> &'static str {
        match self {
            Self::Cluster => "Cluster",
            Self::Endpoints => "ClusterLoadAssignment",
            Self::Listener => "Listener",
            Self::Routes => "RouteConfiguration",
            Self::Secret => "Secret",
        }
    }
}

/// What is wanted of one type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// Everything the server has for this node.
    pub wildcard: bool,
    /// Resources by name.
    pub names: BTreeSet<Arc<str>>,
}

impl Interest {
    /// Everything.
    pub fn everything() -> Self {
        Self { wildcard: true, names: BTreeSet::new() }
    }

    /// These names.
    pub fn named(names: impl IntoIterator<Item = Arc<str>>) -> Self {
        Self { wildcard: false, names: names.into_iter().collect() }
    }

    /// Whether a resource of this name was asked for.
    pub fn covers(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }

    /// Whether nothing is wanted.
    pub fn is_empty(&self) -> bool {
        !self.wildcard && self.names.is_empty()
    }
}

/// The encoded message of a resource. Its bytes may be secrets, so `Debug` tells only how many they are.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Body(pub Bytes);

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// One resource of a response, named but not yet translated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// Resource name.
    pub name: Arc<str>,
    /// Its version: its own (delta), or the response's (state of the world).
    pub version: Arc<str>,
    /// The encoded message.
    pub body: Body,
}

/// One response in the form both variants share.
#[derive(Clone, Debug)]
pub struct Update {
    /// Type of everything in it.
    pub kind: ResourceType,
    /// Version of the response. Delta: `system_version_info`, for display only.
    pub version: Arc<str>,
    /// To be echoed in the answer.
    pub nonce: String,
    /// True: a name that is neither in `resources` nor in `faults` is gone.
    pub complete: bool,
    /// Resources to translate, each name once.
    pub resources: Vec<Incoming>,
    /// Names the server says do not exist (delta).
    pub removed: Vec<Arc<str>>,
    /// Resources refused before translation.
    pub faults: Vec<Fault>,
}

/// Why one resource was refused. Becomes part of the NACK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Resource name; empty when it could not be read.
    pub name: Arc<str>,
    /// Field path and cause, for humans.
    pub reason: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", clip(&self.name, NAME_BYTES), self.reason)
    }
}

/// The `error_detail` of a NACK: every fault named, at most [`NACK_BYTES`] long.
pub fn error_detail(kind: ResourceType, faults: &[Fault]) -> Status {
    let mut message = String::new();
    for (index, fault) in faults.iter().enumerate() {
        let line = format!("{} {fault}\n", kind.label());
        // Room for the last line that counts the rest.
        if message.len() + line.len() > NACK_BYTES - 64 {
            if message.is_empty() {
                message.push_str(clip(&line, NACK_BYTES - 128));
                message.push('\n');
            }
            let left = faults.len() - index;
            message.push_str(&format!("(cut: {left} refused resources not fully listed)"));
            break;
        }
        message.push_str(&line);
    }
    Status { code: NACK_CODE, message: message.trim_end().to_owned(), details: Vec::new() }
}

/// The longest prefix of `text` of at most `bytes` bytes that ends at a character.
fn clip(text: &str, bytes: usize) -> &str {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Sorts the resources of one response into usable ones and faults. A name that occurs twice is refused
/// altogether: neither copy can be told to be the right one.
#[derive(Debug)]
pub(super) struct Sorter {
    kind: ResourceType,
    seen: HashSet<Arc<str>>,
    refused: HashSet<Arc<str>>,
    resources: Vec<Incoming>,
    faults: Vec<Fault>,
    nameless: bool,
}

impl Sorter {
    pub(super) fn new(kind: ResourceType) -> Self {
        Self {
            kind,
            seen: HashSet::new(),
            refused: HashSet::new(),
            resources: Vec::new(),
            faults: Vec::new(),
            nameless: false,
        }
    }

    /// Takes a resource of a state-of-the-world response, bare or wrapped.
    pub(super) fn bare(&mut self, position: usize, resource: Any, version: &Arc<str>) {
        if any::is::<v3::discovery::Resource>(&resource) {
            return self.wrapped(position, resource, version);
        }
        match self.read(resource) {
            Ok((name, body)) => self.take(Incoming { name, version: version.clone(), body }),
            Err(reason) => self.unreadable(position, &reason),
        }
    }

    fn wrapped(&mut self, position: usize, resource: Any, version: &Arc<str>) {
        match v3::discovery::Resource::from_wire(&resource.value) {
            Ok(inner) => {
                let version =
                    if inner.version.is_empty() { version.clone() } else { inner.version.as_str().into() };
                self.named(inner.name, inner.resource, version);
            }
            Err(error) => self.unreadable(position, &error.to_string()),
        }
    }

    /// Takes a `Resource` entry: of a delta response, or a wrapper. Without a body it is a heartbeat or an
    /// unresolved alias, which changes nothing.
    pub(super) fn named(&mut self, name: String, body: Option<Any>, version: Arc<str>) {
        let name: Arc<str> = name.into();
        let Some(body) = body else { return };
        match self.read(body) {
            Ok((inner, body)) if inner == name || name.is_empty() => {
                self.take(Incoming { name: inner, version, body })
            }
            Ok((inner, _)) => {
                let reason = format!("the resource inside is named {:?}", clip(&inner, NAME_BYTES));
                self.refuse(name, reason);
            }
            Err(reason) => self.refuse(name, reason),
        }
    }

    /// The name inside the encoded resource, and its bytes.
    fn read(&self, resource: Any) -> Result<(Arc<str>, Body), String> {
        if any::type_name(&resource.type_url) != any::type_name(self.kind.type_url()) {
            return Err(format!(
                "expected type {}, got {:?}",
                self.kind.type_url(),
                clip(&resource.type_url, NAME_BYTES)
            ));
        }
        let name = wire::first_field(&resource.value)?;
        if name.is_empty() {
            return Err("the resource has no name".to_owned());
        }
        let name = name.into();
        let bytes = match self.kind {
            // It may hold a private key: wiped when the last who has it lets it go.
            ResourceType::Secret => Bytes::from_owner(Zeroizing::new(resource.value)),
            _ => resource.value.into(),
        };
        Ok((name, Body(bytes)))
    }

    fn unreadable(&mut self, position: usize, reason: &str) {
        self.nameless = true;
        self.faults.push(Fault { name: "".into(), reason: format!("resource {position}: {reason}") });
    }

    fn take(&mut self, incoming: Incoming) {
        if !self.seen.insert(incoming.name.clone()) {
            return self.refuse(incoming.name, "occurs twice in one response".to_owned());
        }
        self.resources.push(incoming);
    }

    /// Refuses a name: whatever was taken under it is given up, and it is reported once.
    pub(super) fn refuse(&mut self, name: Arc<str>, reason: String) {
        self.seen.insert(name.clone());
        if self.refused.insert(name.clone()) {
            self.faults.push(Fault { name, reason });
        }
    }

    /// True when `name` was in this response, usable or not.
    pub(super) fn saw(&self, name: &str) -> bool {
        self.seen.contains(name)
    }

    /// True when some resource could not even be named: then nothing may be concluded from absence.
    pub(super) fn has_nameless(&self) -> bool {
        self.nameless
    }

    /// What is usable, and what is not.
    pub(super) fn finish(mut self) -> (Vec<Incoming>, Vec<Fault>) {
        let refused = self.refused;
        self.resources.retain(|incoming| !refused.contains(&incoming.name));
        (self.resources, self.faults)
    }
}
