//! What happened on the streams.

use outrigger_xds_protos::v3::core::Node;

/// One thing a client said, or was sent.
#[derive(Debug, Clone)]
pub struct Event {
    /// Which stream, counted from 0 in the order of their opening.
    pub stream: usize,
    /// The resource type it is about.
    pub type_url: String,
    /// What it was.
    pub kind: Kind,
}

/// The kinds of events.
#[derive(Debug, Clone)]
pub enum Kind {
    /// The first message of a stream, with the node it named.
    Opened {
        /// The client's description of itself.
        node: Option<Box<Node>>,
        /// Whether the stream is of the delta variant.
        delta: bool,
    },
    /// A request that is no answer, or that changes what is subscribed.
    Subscribed {
        /// State of the world: all names now wanted. Delta: the names added.
        names: Vec<String>,
        /// Delta: the names no longer wanted.
        unsubscribed: Vec<String>,
        /// State of the world: `version_info`. Delta: `initial_resource_versions` as `name=version`, sorted.
        known: Vec<String>,
    },
    /// The last response was accepted.
    Ack {
        /// The version the accepted response carried.
        version: String,
    },
    /// The last response was rejected, wholly or in part.
    Nack {
        /// `error_detail.message`.
        message: String,
    },
    /// A response was sent.
    Sent {
        /// Its version.
        version: String,
        /// The names in it.
        names: Vec<String>,
        /// Delta: the names it removes.
        removed: Vec<String>,
    },
    /// The client ended the stream.
    Closed,
}
