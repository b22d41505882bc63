//! Access logs of listeners: a line for each connection, whatever became of it.
//! Source: `envoy.config.listener.v3.Listener.access_log`. Connections under a TCP proxy are told by that.

use std::time::Instant;

use crate::http::context::ConnContext;
use crate::observe::access_log::log_at_listener;
use crate::observe::connection::{DownstreamConnection, Refusal};
use crate::observe::record::{Closes, Record, Timing};
use crate::upstream::local::Local;

/// Logs a connection that nothing has served.
pub(super) fn refused(local: &Local, connection: &DownstreamConnection, refusal: &Refusal) {
    if connection.listener.access_logs.is_empty() {
        return;
    }
    let record = Record {
        flags: refusal.flags,
        details: &refusal.details,
        termination: &refusal.termination,
        downstream_failure: &refusal.handshake_failure,
        closes: Closes { reason: refusal.closed, ..Closes::default() },
        ..Record::of_connection(connection, over(connection))
    };
    log_at_listener(&record, &mut local.logs.borrow_mut());
}

/// Logs a connection that has carried requests, now that it is over.
pub(super) fn served(ctx: &ConnContext) {
    let (connection, course) = (&ctx.connection, &ctx.course);
    if connection.listener.access_logs.is_empty() {
        return;
    }
    let (bytes_received, bytes_sent) = course.bytes.get();
    let record = Record {
        flags: course.flags.get(),
        protocol: course.protocol.get(),
        bytes_received,
        bytes_sent,
        closes: Closes { reason: course.closed.get(), ..Closes::default() },
        ..Record::of_connection(connection, over(connection))
    };
    log_at_listener(&record, &mut ctx.local.logs.borrow_mut());
}

/// The time of a connection that is over now.
fn over(connection: &DownstreamConnection) -> Timing {
    Timing { finished: Some(Instant::now()), ..Timing::begun(connection.opened_at, connection.opened) }
}
