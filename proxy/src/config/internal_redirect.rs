//! Redirects of upstreams that the proxy follows itself.
//! Source: `envoy.config.route.v3.InternalRedirectPolicy`.

/// Which redirects a route's requests follow unseen by the client.
#[derive(Debug)]
pub struct InternalRedirects {
    /// Most redirects of one request.
    pub max: u32,
    /// Of 301, 302, 303, 307 and 308.
    pub statuses: Vec<u16>,
    /// Conditions on the route that the redirect leads to; all must hold.
    pub predicates: Vec<Predicate>,
    /// From http to https and back.
    pub cross_scheme: bool,
    /// Headers of the response that the next request takes over, or loses where the response has none; lower case.
    pub copied_headers: Vec<Box<str>>,
}

/// A condition on the route that a redirect leads to.
#[derive(Debug)]
pub enum Predicate {
    /// The route that redirects has not led this request there before.
    NotVisited,
    /// Its name is listed.
    Named(Vec<Box<str>>),
    /// No request that came over http goes on to https.
    SafeScheme,
}
