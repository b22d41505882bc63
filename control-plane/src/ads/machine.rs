//! The vocabulary that both protocol variants share.

use std::fmt;
use std::sync::Arc;

use crate::snapshot::{Resource, TypeSnapshot, TypeUrl, Version};

/// Ties an ACK or NACK to the response it answers. Unique within a stream, meaningless outside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nonce(pub u64);

impl Nonce {
    /// Reads back what was sent. `None` for the empty nonce of a spontaneous request.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One response, before it is bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// Type of everything in it.
    pub type_url: TypeUrl,
    /// What the client must answer with.
    pub nonce: Nonce,
    /// The version of what the client will hold once it accepts.
    pub version: Version,
    /// New and changed resources; in state of the world, of the types that are complete sets, all of them.
    pub resources: Vec<Arc<Resource>>,
    /// Names that do not exist (any more). Delta only.
    pub removed: Vec<Arc<str>>,
    /// Resources in it that the client did not hold at this version.
    pub changed: Vec<Arc<Resource>>,
}

/// What a request amounted to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// A subscription, or a change of one.
    Subscribed,
    /// The last response was accepted.
    Acked,
    /// The last response was rejected, with the client's words.
    Nacked(String),
    /// It answers a response that is not the last one. State of the world ignores such a request.
    Stale,
}

/// Whether a type has something to say to its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// Nothing.
    Nothing,
    /// Only that resources are gone.
    Removals,
    /// New or changed resources, or an answer the client is waiting for.
    Updates,
}

/// One type on one stream: takes requests, says what is due, and makes responses. Does no I/O and knows no time.
///
/// The caller sends at most one response and waits for its ACK or NACK ([`Machine::in_flight`]) before the next.
pub trait Machine {
    /// What the client sends, without node and type.
    type Request;

    /// The machine for a type, before the first request.
    fn new(type_url: TypeUrl) -> Self;
    /// Takes a request.
    fn request(&mut self, request: &Self::Request, set: &TypeSnapshot) -> Received;
    /// What is due, given the current resources. Does not consider whether a response is in flight.
    fn due(&self, set: &TypeSnapshot) -> Due;
    /// Makes the response that is due. Removals that can wait are in it only if `with_removals`.
    fn respond(&mut self, set: &TypeSnapshot, nonce: Nonce, with_removals: bool) -> Push;
    /// Whether a response awaits its ACK or NACK.
    fn in_flight(&self) -> bool;
    /// Whether the client rejected what it would be sent now.
    fn is_rejected(&self, set: &TypeSnapshot) -> bool;
    /// Whether the client holds, or has rejected, the current version of a resource: nothing more will be sent.
    fn is_settled(&self, name: &str, set: &TypeSnapshot) -> bool;
    /// Has a resource sent again although it did not change, because what refers to it did.
    fn invalidate(&mut self, name: &str);
    /// The resources of `set` that the client asked for.
    fn wanted<'a>(&'a self, set: &'a TypeSnapshot) -> Box<dyn Iterator<Item = &'a Arc<Resource>> + 'a>;
    /// The version of what the client holds once nothing is due.
    fn version(&self, set: &TypeSnapshot) -> Version;
    /// Whether the client may hold, from an earlier stream, what exists no more.
    fn is_resuming(&self) -> bool;
    /// How many names are subscribed.
    fn names(&self) -> usize;
}
