//! What every request of one downstream connection shares.

use std::cell::{Cell, OnceCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::drain::Drain;
use crate::base::error::ResponseFlags;
use crate::config::RouteTable;
use crate::config::filter::rate_limit::Buckets;
use crate::config::listener::{HttpSettings, RouteSource};
use crate::config::live::Overload;
use crate::config::overload::ShedPoint;
use crate::config::route::ShownCertificate;
use crate::http::head::Version;
use crate::http::request_headers::ClientCertificate;
use crate::observe::connection::DownstreamConnection;
use crate::tls::PeerIdentity;
use crate::upstream::local::Local;
use crate::upstream::view::View;

/// One downstream connection under an HTTP connection manager.
#[derive(Debug)]
pub struct ConnContext {
    /// Worker state.
    pub local: Rc<Local>,
    /// Settings; pinned for the life of the connection.
    pub settings: Arc<HttpSettings>,
    /// The connection as logs tell of it.
    pub connection: DownstreamConnection,
    /// How it went, for the listener's own logs.
    pub course: Course,
    /// The restored original destination, when there was one: what ORIGINAL_DST clusters dial.
    pub original_destination: Option<SocketAddr>,
    /// The client as `x-forwarded-client-cert` describes it, where the settings want that.
    pub client_cert: Option<Box<[u8]>>,
    /// Drain signal of the listener.
    pub drain: Drain,
    /// The drain time is over: exchanges end where they are.
    pub cut: Cell<bool>,
    /// Requests of this connection, where they are limited per connection. The first limit met decides, as in Envoy.
    pub buckets: OnceCell<Box<Buckets>>,
}

/// How a connection went that carries requests.
#[derive(Debug, Default)]
pub struct Course {
    /// What its bytes were understood as, once they were.
    pub protocol: Cell<Option<Version>>,
    /// Flags of the connection itself: the client has broken its protocol.
    pub flags: Cell<ResponseFlags>,
    /// Bytes read and written, with whatever frames them.
    pub bytes: Cell<(u64, u64)>,
    /// Why we have closed it; empty when the client has, or where Envoy has no word for it.
    pub closed: Cell<&'static str>,
}

impl ConnContext {
    /// TLS was terminated here.
    pub fn is_tls(&self) -> bool {
        self.connection.agreed.is_some()
    }

    /// Who the client is, when it has shown a certificate.
    pub fn peer_identity(&self) -> Option<&PeerIdentity> {
        self.connection.identity.as_deref()
    }

    /// What request headers tell of the client's certificate.
    pub fn client_certificate(&self) -> ClientCertificate<'_> {
        ClientCertificate { shown: self.connection.identity.is_some(), element: self.client_cert.as_deref() }
    }

    /// What route matches ask of that certificate.
    pub fn shown_certificate(&self) -> ShownCertificate {
        match &self.connection.identity {
            None => ShownCertificate::None,
            Some(identity) if identity.validated => ShownCertificate::Verified,
            Some(_) => ShownCertificate::Unverified,
        }
    }

    /// Whether the client is asked to end the connection: its listener drains, or health checks are to fail.
    #[inline]
    pub fn is_draining(&self) -> bool {
        self.drain.is_draining()
            || (self.settings.drains_when_failing && self.local.failing.load(Ordering::Relaxed))
    }

    /// Whether overload ends the connection after its next response.
    pub fn ends_keepalive(&self) -> bool {
        self.overload().is_some_and(|overload| self.local.random(|rng| overload.end_keepalive.is_taken(rng)))
    }

    /// Whether overload refuses the next request.
    pub fn refuses_request(&self) -> bool {
        self.overload()
            .is_some_and(|overload| self.local.random(|rng| overload.refuse_requests.is_taken(rng)))
    }

    /// Whether load is shed at this point, this time.
    #[inline]
    pub fn sheds(&self, point: ShedPoint) -> bool {
        !self.settings.bypasses_overload && self.local.sheds(point)
    }

    fn overload(&self) -> Option<&Overload> {
        self.local.overload.as_deref().filter(|_| !self.settings.bypasses_overload)
    }

    /// The route table in force for a request that holds `view`. `None`: RDS has not delivered it.
    pub fn route_table<'v>(&'v self, view: &'v View) -> Option<&'v RouteTable> {
        match &self.settings.routes {
            RouteSource::Inline(table) => Some(table),
            RouteSource::Rds(id) => view.snapshot.route_table(*id).map(|table| &**table),
        }
    }
}
