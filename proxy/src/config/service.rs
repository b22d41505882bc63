//! The virtual service that a route's requests are for, in a mesh.

/// A virtual service of the mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Its name, without control characters; empty when the route is of none.
    pub name: Box<str>,
}
