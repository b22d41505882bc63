//! Answers of our own: what a failure means for flags, statistics and the client.

use std::time::Instant;

use super::Exchange;
use crate::base::details::Detail;
use crate::base::error::{ConnectFailure, ProxyError, ResponseFlags};
use crate::http::codec::Downstream;
use crate::http::head::Version;
use crate::http::local_reply::LocalReply;
use crate::http::{relay, response_headers};
use crate::net::deadline::Deadline;

impl Exchange<'_> {
    /// A failure: its flags and details for the log, and the answer unless the client is gone.
    pub(in crate::http) fn fail(
        &mut self,
        error: ProxyError,
        down: &mut Downstream<'_>,
    ) -> Option<LocalReply> {
        if let ProxyError::ConnectFailure(ConnectFailure::Remote(text) | ConnectFailure::Local(text)) = &error
        {
            self.summary.upstream_failure.clone_from(text);
        }
        self.count_failure(&error);
        let retried = self.summary.attempts > 1;
        let reply = LocalReply::for_error(&error);
        let mut reply = reply.map(|reply| if retried { reply.after_retries() } else { reply });
        if let Some(reply) = &mut reply
            && self.no_content_on_timeout
            && reply.flags == ResponseFlags::UPSTREAM_REQUEST_TIMEOUT
        {
            reply.status = 204;
            reply.body = b"".as_slice().into();
        }
        if reply.is_none() {
            self.summary.flags.insert(ResponseFlags::DOWNSTREAM_CONNECTION_TERMINATION);
            self.summary.details = match error {
                ProxyError::Cut => Detail::DOWNSTREAM_LOCAL_DISCONNECT.with("(drain_time_over)"),
                _ => Detail::DOWNSTREAM_REMOTE_DISCONNECT.into(),
            };
            self.ctx.local.stats.inc(self.ctx.settings.stats.downstream_rq_rx_reset);
            self.broken = true;
            down.reset();
        }
        reply
    }

    /// Counts a failure that ends the exchange.
    pub(in crate::http) fn count_failure(&self, error: &ProxyError) {
        let http = &self.ctx.settings.stats;
        let Some(cluster) = &self.summary.cluster else { return };
        let stats = &cluster.config().stats;
        let shard = &self.ctx.local.stats;
        match error {
            ProxyError::RequestTimeout => shard.inc(stats.upstream_rq_timeout),
            ProxyError::StreamIdle { .. } => shard.inc(http.downstream_rq_idle_timeout),
            ProxyError::RequestArrivalTimeout => shard.inc(http.downstream_rq_timeout),
            ProxyError::MaxStreamDuration { .. } => shard.inc(http.downstream_rq_max_duration_reached),
            _ => {}
        }
    }

    pub(in crate::http) async fn reply(
        &mut self,
        reply: LocalReply,
        down: &mut Downstream<'_>,
        deadline: &mut Deadline,
    ) {
        self.summary.flags.insert(reply.flags);
        self.summary.details = reply.details.clone();
        self.summary.status = 0;
        // As in Envoy, whatever is a bad request ends an HTTP/1 connection.
        self.last |= reply.close || (reply.status == 400 && self.head.version != Version::Http2);
        self.summary.count_upstream(reply.status);
        let (unedited, status) = (reply.unedited, reply.status);
        let (mut response, body) = reply.into_response(self.grpc);
        self.dress_answer(&mut response);
        // As in Envoy, edits of an answer of our own find no status yet.
        if let Some(found) = self.summary.found.filter(|_| !unedited) {
            if self.summary.cluster.is_some() {
                self.tell_attempts(&mut response, found);
            }
            self.apply_response_edits(&mut response, found, None);
        }
        // Filters find what was meant, also where gRPC callers are told 200.
        self.summary.status = status;
        self.filter_response(&mut response);
        self.summary.status = response.status;
        self.summary.answer_span(&mut response);
        let now = Instant::now();
        response_headers::finish(&mut response, &self.head, &self.ctx.settings, &self.ctx.local, now);
        self.summary.local_body = body;
        relay::local(self, response, down, deadline).await;
    }
}
