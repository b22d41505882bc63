//! `envoy.filters.http.health_check`: answers the checks of load balancers, or remembers what the upstream answered.

use std::sync::atomic::Ordering;

use super::{Call, Running, State, Verdict};
use crate::base::details::Detail;
use crate::base::error::ResponseFlags;
use crate::base::ids::ClusterId;
use crate::config::filter::health::{HealthFilter, HealthMode};
use crate::http::head::ResponseHead;
use crate::http::local_reply::LocalReply;
use crate::http::route::header_matches;

const DEGRADED: &[u8] = b"x-envoy-degraded";
const IMMEDIATE_FAIL: &[u8] = b"x-envoy-immediate-health-check-fail";
const CHECKED_CLUSTER: &[u8] = b"x-envoy-upstream-healthchecked-cluster";

/// Unlike Envoy this does not wait for a check's body: there should be none, and what there is decides nothing.
pub(super) fn request<'r>(
    running: &mut Running<'r>,
    filter: &'r HealthFilter,
    call: &mut Call<'_, 'r>,
) -> Verdict {
    if !filter.headers.iter().all(|matcher| header_matches(matcher, call.head)) {
        return Verdict::Pass;
    }
    call.summary.health_check = true;
    let answer = match &filter.mode {
        _ if is_failing(call) => Some(reply(503, Detail::HEALTH_FAILED)),
        HealthMode::PassThrough(None) => None,
        HealthMode::PassThrough(Some(cached)) => cached.fresh(call.now()).map(|(status, degraded)| {
            let mut reply = reply(status, Detail::HEALTH_CACHED);
            if degraded {
                reply.headers.push((DEGRADED.into(), Vec::new()));
            }
            reply
        }),
        HealthMode::Answer(clusters) => Some(of_clusters(clusters, call)),
    };
    running.keep(State::HealthCheck { filter, asked: answer.is_none() });
    answer.map_or(Verdict::Pass, |reply| Verdict::Answer(Box::new(reply)))
}

fn is_failing(call: &Call<'_, '_>) -> bool {
    call.ctx.local.failing.load(Ordering::Relaxed)
}

fn reply(status: u16, details: Detail) -> LocalReply {
    let well = (200..300).contains(&status);
    let flags = if well { ResponseFlags::NONE } else { ResponseFlags::FAILED_LOCAL_HEALTH_CHECK };
    LocalReply::new(status, flags, details, "")
}

/// The first cluster with too few usable hosts decides.
fn of_clusters(clusters: &[(ClusterId, f64)], call: &Call<'_, '_>) -> LocalReply {
    let view = call.ctx.local.view();
    for (cluster, least) in clusters {
        let Some(cluster) = view.cluster(*cluster) else {
            return reply(503, Detail::HEALTH_NO_CLUSTER);
        };
        let (usable, all) = cluster.usable(&call.ctx.local);
        if all == 0 && *least > 0.0 {
            return reply(503, Detail::HEALTH_CLUSTER_EMPTY);
        }
        if (usable as f64) < all as f64 * least / 100.0 {
            return reply(503, Detail::HEALTH_CLUSTER_UNHEALTHY);
        }
    }
    reply(200, if clusters.is_empty() { Detail::HEALTH_OK } else { Detail::HEALTH_OK_CLUSTERS })
}

/// A response that is no answer to a check: while checks are failed it takes this host out of use at once.
pub(super) fn response(call: &Call<'_, '_>, response: &mut ResponseHead) {
    if !call.summary.health_check && is_failing(call) {
        response.block.set(IMMEDIATE_FAIL, b"true");
    }
}

/// The answer to a check. What the upstream said, it being `asked`, is remembered; our own answers keep nothing alive.
pub(super) fn answered(filter: &HealthFilter, asked: bool, call: &Call<'_, '_>, response: &mut ResponseHead) {
    if asked && let HealthMode::PassThrough(Some(cached)) = &filter.mode {
        let degraded = response.block.get_by_name(DEGRADED).is_some();
        cached.keep(response.status, degraded, call.now());
    }
    response.block.set(CHECKED_CLUSTER, filter.service.as_bytes());
}
