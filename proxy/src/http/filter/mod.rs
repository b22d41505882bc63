//! HTTP filters between the connection manager and the router, as an enum so that dispatch inlines.
//! Header-only filters are synchronous. None is configured yet; translation refuses every other filter by name.

/// One configured filter.
#[derive(Clone, Debug)]
pub enum Filter {}
