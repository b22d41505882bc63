//! A service is asked whether a connection may be served. Source: `envoy.extensions.filters.network.ext_authz.v3`; as Envoy
//! in what it counts and logs, but for the moment: when TLS is done, and not when the first byte has come, so that
//! protocols whose servers speak first are no way round it.

use std::rc::Rc;
use std::time::{Instant, SystemTime};

use crate::base::details::Detail;
use crate::config::guard::ConnectionAuthz;
use crate::http::filter::authz::{MOST_ANSWER, check, over_grpc};
use crate::http::subrequest::{Keep, Subrequest};
use crate::observe::connection::DownstreamConnection;
use crate::observe::record::{Record, Timing};
use crate::stats::registry::Gauge;
use crate::upstream::local::Local;

/// Counts a question as under way until dropped.
struct Active<'l>(&'l Local, Gauge);

impl<'l> Active<'l> {
    fn begin(local: &'l Local, gauge: Gauge) -> Self {
        local.stats.gauge_add(gauge, 1);
        Self(local, gauge)
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.stats.gauge_add(self.1, -1);
    }
}

/// `None`: serve it; else the details for the log.
pub(super) async fn ask(
    authz: &ConnectionAuthz,
    local: &Rc<Local>,
    connection: &DownstreamConnection,
) -> Option<Detail> {
    let stats = &authz.stats;
    local.stats.inc(stats.total);
    let passes = {
        let _active = Active::begin(local, stats.active);
        question(authz, local, connection).await
    };
    let details = match passes {
        Some(true) => {
            local.stats.inc(stats.ok);
            return None;
        }
        Some(false) => {
            local.stats.inc(stats.denied);
            Detail::EXT_AUTHZ_DENIED
        }
        None => {
            local.stats.inc(stats.error);
            if authz.allow_on_error {
                local.stats.inc(stats.failure_mode_allowed);
                return None;
            }
            Detail::EXT_AUTHZ_ERROR
        }
    };
    local.stats.inc(stats.cx_closed);
    Some(details)
}

/// Whether it may be served; `None`: nobody knows.
async fn question(
    authz: &ConnectionAuthz,
    local: &Rc<Local>,
    connection: &DownstreamConnection,
) -> Option<bool> {
    let callee = &authz.service.callee;
    let view = local.view();
    let cluster = view.cluster(callee.cluster)?;
    let (cluster, part) = view.resolve(cluster, local);
    let body = check::of_connection(&check::Ends {
        peer: connection.peer,
        service: b"",
        identity: connection.identity.as_deref(),
        certificate: authz.peer_certificate,
        destination: connection.destination,
        own: connection.own.as_deref(),
        server_name: authz.tls_session.then_some(&*connection.server_name),
    });
    let timing = Timing::begun(SystemTime::now(), Instant::now());
    let record = Record::of_connection(connection, timing);
    let head = over_grpc::head(&authz.service, &cluster.config().name, local.own_address, &record);
    let (limit, keep) = (callee.timeout, Keep::AtMost(MOST_ANSWER));
    let question = Subrequest { head, local: local.clone(), cluster, part, limit, keep };
    // What the service would change of a request has no place here.
    let answer = question.ask(&body, callee.retry.as_deref()).await.ok()?;
    over_grpc::verdict(&answer)
}
