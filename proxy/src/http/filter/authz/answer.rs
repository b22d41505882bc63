//! What an authorization service says, whichever way it was asked.

use super::apply::Edit;

/// Its verdict.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// The request may pass, changed so.
    Granted(Grant),
    /// It may not.
    Denied(Denial),
    /// There is none; with an answer for the client, where the service has said that itself.
    Failed(Option<Denial>),
}

/// What is changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Grant {
    /// Headers of the request.
    pub(super) request: Vec<Edit>,
    /// Headers that the request loses.
    pub(super) remove: Vec<String>,
    /// Headers of its response.
    pub(super) response: Vec<Edit>,
    /// Query parameters with their values.
    pub(super) query_set: Vec<(String, String)>,
    /// Query parameters that it loses.
    pub(super) query_remove: Vec<String>,
}

/// An answer for the client.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Denial {
    /// Its status, where the service has one.
    pub(super) status: Option<u16>,
    /// Its headers.
    pub(super) headers: Vec<Edit>,
    /// Its body.
    pub(super) body: Vec<u8>,
}
