//! Request mirroring. Source: `envoy.config.route.v3.RouteAction.RequestMirrorPolicy`.

use super::route::{EntryCluster, HeaderEdits};

/// Where copies of a route's requests go.
#[derive(Debug)]
pub struct Mirror {
    /// Who gets the copy.
    pub cluster: EntryCluster,
    /// Share of requests that are copied, per million; `None` is all.
    pub share_ppm: Option<u32>,
    /// The host of the copy ends in `-shadow`.
    pub mark_host: bool,
    /// Authority of the copy.
    pub host: Option<Box<str>>,
    /// Edits of the copy's headers, one after the other; only their request side is set.
    pub edits: Vec<HeaderEdits>,
}
