//! Backpressure, counted when it sets in and when it ends: one side takes nothing, so the other side is not read.
//! Source: Envoy's `upstream_flow_control_*` and `downstream_flow_control_*`. Where its buffers reach their limits first,
//! a socket or an HTTP/2 window that is full is enough here.

use super::context::ConnContext;
use super::pump::Pump;
use crate::config::Cluster;

/// The request was moved on: counts when the host stops taking it, and takes it again.
#[inline]
pub fn of_request(ctx: &ConnContext, cluster: &Cluster, request: &mut Pump) {
    if let Some(paused) = request.turned() {
        count_request(ctx, cluster, paused);
    }
}

/// The response was moved on: counts when the client stops taking it, and takes it again.
#[inline]
pub fn of_response(ctx: &ConnContext, cluster: &Cluster, response: &mut Pump) {
    if let Some(paused) = response.turned() {
        count_response(ctx, cluster, paused);
    }
}

/// The attempt is over: a client that was kept from sending is heard again.
pub fn end_request(ctx: &ConnContext, cluster: &Cluster, request: &mut Pump) {
    if request.stop() {
        count_request(ctx, cluster, false);
    }
}

#[cold]
fn count_request(ctx: &ConnContext, cluster: &Cluster, paused: bool) {
    let (own, host) = (&ctx.settings.stats, &cluster.stats);
    let (reading, queue) = if paused {
        (own.downstream_flow_control_paused_reading_total, host.upstream_flow_control_backed_up_total)
    } else {
        (own.downstream_flow_control_resumed_reading_total, host.upstream_flow_control_drained_total)
    };
    ctx.local.stats.inc(reading);
    ctx.local.stats.inc(queue);
}

#[cold]
fn count_response(ctx: &ConnContext, cluster: &Cluster, paused: bool) {
    let stats = &cluster.stats;
    ctx.local.stats.inc(match paused {
        true => stats.upstream_flow_control_paused_reading_total,
        false => stats.upstream_flow_control_resumed_reading_total,
    });
}
