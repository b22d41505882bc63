//! Outlier detection. Workers report what became of requests ([`response`], [`failed`], [`connected`]): relaxed
//! atomics of the host. Whether a host is ejected is decided on the main runtime ([`run`]), which hears at once
//! when a host had enough failures in a row and sweeps at the cluster's interval. Source: Envoy's `outlier_detection`.

mod event;
mod monitor;
mod rates;
mod sweep;

#[cfg(test)]
mod tests;

use std::sync::atomic::Ordering;

pub use sweep::run;

use super::local::Local;
use crate::base::error::{ConnectFailure, ProxyError};
use crate::config::outlier::{Consecutive, Outlier};
use crate::config::{Cluster, Host};

/// A failure that is not a response of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalFailure {
    /// No connection, or it ended before a response.
    Connect,
    /// No response in time.
    Timeout,
}

impl LocalFailure {
    /// What a failed attempt says of its host; `None`: nothing.
    pub fn of(error: &ProxyError) -> Option<Self> {
        match error {
            ProxyError::ConnectFailure(_)
            | ProxyError::UpstreamClosed { .. }
            | ProxyError::UpstreamReset { .. }
            | ProxyError::UpstreamProtocol(_) => Some(Self::Connect),
            ProxyError::RequestTimeout | ProxyError::PerTryTimeout | ProxyError::PerTryIdleTimeout => {
                Some(Self::Timeout)
            }
            _ => None,
        }
    }

    /// What a failed connection under a TCP proxy says of its host. Without a socket of our own: nothing.
    pub fn of_connection(failure: &ConnectFailure) -> Option<Self> {
        match failure {
            ConnectFailure::Remote(_) => Some(Self::Connect),
            ConnectFailure::Timeout => Some(Self::Timeout),
            ConnectFailure::Local(_) => None,
        }
    }

    /// The status that stands for it where responses and failures are judged together.
    fn status(self) -> u16 {
        match self {
            Self::Connect => 503,
            Self::Timeout => 504,
        }
    }
}

/// The host answered with this status (a gRPC status mapped to HTTP).
pub fn response(local: &Local, cluster: &Cluster, host: &Host, status: u16) {
    let counter = if status >= 500 { &host.live.rq_error } else { &host.live.rq_success };
    counter.fetch_add(1, Ordering::Relaxed);
    report(local, cluster, |outlier| judge(outlier, host, status));
}

/// The host answered that it is degraded (`x-envoy-degraded`).
pub fn degraded(local: &Local, cluster: &Cluster, host: &Host) {
    report(local, cluster, |outlier| outlier.detect_degraded && host.live.outlier.degrade());
}

/// A request to the host failed without a response.
pub fn failed(local: &Local, cluster: &Cluster, host: &Host, failure: LocalFailure) {
    host.live.rq_error.fetch_add(1, Ordering::Relaxed);
    if failure == LocalFailure::Timeout {
        host.live.rq_timeout.fetch_add(1, Ordering::Relaxed);
    }
    connection_failed(local, cluster, host, failure);
}

/// A connection to the host failed or timed out.
pub fn connection_failed(local: &Local, cluster: &Cluster, host: &Host, failure: LocalFailure) {
    report(local, cluster, |outlier| judge_failure(outlier, host, failure));
}

/// A request has its connection; the host still has to answer.
#[inline]
pub fn connected(cluster: &Cluster, host: &Host) {
    if let Some(outlier) = &cluster.outlier
        && outlier.split_errors
    {
        host.live.outlier.local.count(true);
        host.live.outlier.reset(Consecutive::LocalOrigin);
    }
}

/// A connection that carries bytes stands: more success than that there is not.
pub fn connected_for_good(local: &Local, cluster: &Cluster, host: &Host) {
    connected(cluster, host);
    report(local, cluster, |outlier| !outlier.split_errors && judge(outlier, host, 200));
}

/// Calls the main runtime when `judge` says that a threshold is reached.
#[inline]
fn report(local: &Local, cluster: &Cluster, judge: impl FnOnce(&Outlier) -> bool) {
    if let Some(outlier) = &cluster.outlier
        && judge(outlier)
    {
        local.attention.notify_one();
    }
}

/// Counts a response, or what stands for one. True when a threshold is reached.
fn judge(outlier: &Outlier, host: &Host, status: u16) -> bool {
    let cells = &host.live.outlier;
    cells.external.count(status < 500);
    if status < 500 {
        cells.reset(Consecutive::GatewayFailures);
        cells.reset(Consecutive::ServerErrors);
        return false;
    }
    let gateway = (502..=504).contains(&status) && fail(outlier, host, Consecutive::GatewayFailures);
    if !(502..=504).contains(&status) {
        cells.reset(Consecutive::GatewayFailures);
    }
    fail(outlier, host, Consecutive::ServerErrors) || gateway
}

/// Counts a failure of our own. True when a threshold is reached.
fn judge_failure(outlier: &Outlier, host: &Host, failure: LocalFailure) -> bool {
    if !outlier.split_errors {
        return judge(outlier, host, failure.status());
    }
    host.live.outlier.local.count(false);
    fail(outlier, host, Consecutive::LocalOrigin)
}

fn fail(outlier: &Outlier, host: &Host, kind: Consecutive) -> bool {
    host.live.outlier.fail(kind, outlier.consecutive[kind as usize])
}
