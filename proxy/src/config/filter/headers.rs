//! Header mutation. Source: `envoy.extensions.filters.http.header_mutation.v3`.

use crate::base::matcher::StringMatch;
use crate::config::route::HeaderAdd;

/// The filter.
#[derive(Debug)]
pub struct MutationFilter {
    /// Applied first.
    pub mutations: HeaderMutations,
    /// Mutations of routes are applied from the table down, so that the most specific has the last word.
    pub most_specific_wins: bool,
}

/// Mutations of one level, each applied in turn.
#[derive(Debug, Default)]
pub struct HeaderMutations {
    /// On requests.
    pub request: Vec<HeaderMutation>,
    /// On responses.
    pub response: Vec<HeaderMutation>,
}

/// One mutation.
#[derive(Debug)]
pub enum HeaderMutation {
    /// Remove the header of this name.
    Remove(Box<str>),
    /// Remove headers whose name matches.
    RemoveMatching(StringMatch),
    /// Add or replace.
    Add(HeaderAdd),
}
