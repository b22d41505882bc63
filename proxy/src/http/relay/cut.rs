//! A response that had begun and does not come to its end: what is told of it, to the client, logs and statistics.

use std::sync::atomic::Ordering;

use crate::base::details::{Detail, Details};
use crate::base::error::{ProxyError, ResponseFlags};
use crate::http::codec::{Downstream, StreamError};
use crate::http::exchange::Exchange;
use crate::http::timers::Timers;
use crate::upstream::outlier::{self, LocalFailure};

/// Why a relay stopped before both bodies were through.
pub(super) enum Cut {
    Upstream(StreamError),
    Client,
    Timer(ProxyError),
}

impl Cut {
    /// The stream is reset, flags and details say why. On a connection of its own (not `multiplexed`) a FIN within a
    /// body breaks the message's framing, and a reset is the connection's.
    pub(super) fn record(self, exchange: &mut Exchange<'_>, multiplexed: bool, down: &mut Downstream<'_>) {
        let (flags, details) = self.told(multiplexed);
        let (stats, shard) = (&exchange.ctx.settings.stats, &exchange.ctx.local.stats);
        // As in Envoy every reset is one received, and those that we send are counted besides.
        shard.inc(stats.downstream_rq_rx_reset);
        if flags != ResponseFlags::DOWNSTREAM_CONNECTION_TERMINATION {
            shard.inc(stats.downstream_rq_tx_reset);
        }
        exchange.summary.flags.insert(flags);
        exchange.summary.details = details;
        exchange.broken = true;
        down.reset();
    }

    /// The host broke the protocol, or the message off.
    fn is_protocol_error(&self, multiplexed: bool) -> bool {
        match self {
            Cut::Upstream(StreamError::Protocol(_)) => true,
            Cut::Upstream(StreamError::Closed) => !multiplexed,
            _ => false,
        }
    }

    fn told(&self, multiplexed: bool) -> (ResponseFlags, Details) {
        let reset = |reason| Detail::RESET_AFTER_RESPONSE.with(format_args!("{{{reason}}}"));
        match self {
            Cut::Client => (
                ResponseFlags::DOWNSTREAM_CONNECTION_TERMINATION,
                Detail::DOWNSTREAM_REMOTE_DISCONNECT.into(),
            ),
            cut if cut.is_protocol_error(multiplexed) => {
                (ResponseFlags::UPSTREAM_PROTOCOL_ERROR, reset("protocol_error"))
            }
            Cut::Upstream(StreamError::Reset { .. }) if multiplexed => {
                (ResponseFlags::UPSTREAM_REMOTE_RESET, reset("remote_reset"))
            }
            Cut::Upstream(_) => {
                (ResponseFlags::UPSTREAM_CONNECTION_TERMINATION, reset("connection_termination"))
            }
            Cut::Timer(ProxyError::StreamIdle { .. }) => {
                (ResponseFlags::STREAM_IDLE_TIMEOUT, Detail::STREAM_IDLE_TIMEOUT.into())
            }
            Cut::Timer(ProxyError::PerTryIdleTimeout) => {
                (ResponseFlags::UPSTREAM_REQUEST_TIMEOUT, Detail::PER_TRY_IDLE_TIMEOUT.into())
            }
            Cut::Timer(ProxyError::MaxStreamDuration { .. }) => {
                (ResponseFlags::NONE, Detail::MAX_DURATION_TIMEOUT.into())
            }
            Cut::Timer(ProxyError::UpstreamMaxDuration { .. }) => {
                (ResponseFlags::UPSTREAM_MAX_STREAM_DURATION, Detail::UPSTREAM_MAX_DURATION.into())
            }
            Cut::Timer(ProxyError::Cut) => (
                ResponseFlags::DOWNSTREAM_CONNECTION_TERMINATION,
                Detail::DOWNSTREAM_LOCAL_DISCONNECT.with("(drain_time_over)"),
            ),
            Cut::Timer(_) => (ResponseFlags::UPSTREAM_REQUEST_TIMEOUT, Detail::RESPONSE_TIMEOUT.into()),
        }
    }

    /// Counts what cut it, as before a response, against the host, too; and of gRPC calls that their status is missing.
    pub(super) fn count(&self, exchange: &Exchange<'_>, multiplexed: bool, timers: &Timers<'_>) {
        let Some(cluster) = &exchange.summary.cluster else { return };
        let (stats, shard) = (&cluster.config().stats, &exchange.ctx.local.stats);
        let host = exchange.summary.host.as_ref();
        match self {
            Cut::Timer(error @ (ProxyError::RequestTimeout | ProxyError::PerTryIdleTimeout)) => {
                exchange.summary.count_budget(timers);
                exchange.count_failure(error);
                if let Some(pool) = host {
                    pool.host.live.rq_timeout.fetch_add(1, Ordering::Relaxed);
                }
            }
            Cut::Timer(error) => exchange.count_failure(error),
            Cut::Upstream(StreamError::Reset { .. }) if multiplexed => shard.inc(stats.upstream_rq_rx_reset),
            cut if cut.is_protocol_error(multiplexed) => shard.inc(stats.upstream_cx_protocol_error),
            Cut::Upstream(_) | Cut::Client => {}
        }
        let failure = match self {
            Cut::Upstream(_) => Some(LocalFailure::Connect),
            Cut::Timer(ProxyError::PerTryIdleTimeout) => Some(LocalFailure::Timeout),
            _ => None,
        };
        if let (Some(pool), Some(failure)) = (host, failure) {
            outlier::connection_failed(&exchange.ctx.local, cluster.config(), &pool.host, failure);
        }
        if let Cut::Timer(error) = self {
            exchange.count_try_failure(cluster.config(), error);
        }
        if failure.is_some() && exchange.grpc && exchange.summary.status < 500 {
            shard.inc(exchange.ctx.settings.stats.rq_reset_after_downstream_response_started);
        }
    }
}
