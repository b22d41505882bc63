//! What the configuration changes in heads that pass: header edits by level, path and authority rewrites.

use std::borrow::Cow;

use super::Exchange;
use crate::base::details::Detail;
use crate::config::route::{Forward, HeaderEdits, WeightedCluster};
use crate::http::head::ResponseHead;
use crate::http::header_id::HeaderId;
use crate::http::route::Found;
use crate::http::{edits, response_headers, rewrite};
use crate::observe::record::Record;
use crate::upstream::connect::millis;

impl<'r> Exchange<'r> {
    pub(in crate::http) fn edit_request(
        &mut self,
        found: Found<'r>,
        forward: &'r Forward,
        entry: Option<&'r WeightedCluster>,
    ) {
        let entry_host = entry.and_then(|entry| entry.host_rewrite.as_deref());
        for (at, level) in edits::levels(self.ctx.route_table(self.view), found, entry).enumerate() {
            self.apply_request_edits(level);
            if let (0, Some(host)) = (at, entry_host) {
                self.head.set_authority(host.as_bytes());
            }
        }
        let record = self.summary.record(Some(&self.head));
        let matched = &found.route.matches.path;
        let path = forward.path_rewrite.as_ref().and_then(|rewrite| rewrite::path(rewrite, matched, &record));
        let host = forward.host_rewrite.as_ref().and_then(|rewrite| rewrite::host(rewrite, &record));
        let host = host.map(Cow::into_owned);
        if let Some(path) = path {
            let original = self.head.path_and_query().to_vec();
            if !self.ctx.settings.suppress_envoy_headers {
                self.head.block.set(b"x-envoy-original-path", &original);
            }
            self.head.set_path(&path);
            self.summary.original_path = Some(original);
        }
        if let Some(host) = host {
            self.set_authority(&host, forward);
        }
    }

    fn apply_request_edits(&mut self, level: &HeaderEdits) {
        if !level.request_is_empty() {
            let values = edits::render(&level.request_add, &self.summary.record(Some(&self.head)));
            edits::apply_request(level, &values, &mut self.head.block);
        }
    }

    pub(in crate::http) fn set_authority(&mut self, host: &[u8], forward: &Forward) {
        let original = self.head.authority().to_vec();
        if forward.append_x_forwarded_host {
            self.head.block.append(b"x-forwarded-host", &original);
            self.head.block.join(b"x-forwarded-host", b",", None);
        }
        if !self.ctx.settings.suppress_envoy_headers {
            self.head.block.set(b"x-envoy-original-host", &original);
        }
        self.head.set_authority(host);
    }

    pub(in crate::http) fn edit_response(
        &mut self,
        response: &mut ResponseHead,
        found: Found<'r>,
        entry: Option<&'r WeightedCluster>,
    ) {
        self.summary.status = response.status;
        let timing = &self.summary.timing;
        let now = timing.upstream_first_byte.unwrap_or(timing.started);
        let service = millis(now.duration_since(timing.started));
        (self.summary.status, self.summary.details) = (response.status, Detail::VIA_UPSTREAM.into());
        response_headers::mark_upstream(response, &self.ctx.settings, service);
        self.tell_attempts(response, found);
        self.apply_response_edits(response, found, entry);
        self.filter_response(response);
        self.summary.answer_span(response);
        response_headers::finish(response, &self.head, &self.ctx.settings, &self.ctx.local, now);
    }

    /// How many attempts led to this answer, where the virtual host says so.
    pub(in crate::http) fn tell_attempts(&self, response: &mut ResponseHead, found: Found<'r>) {
        if found.virtual_host.include_attempt_count_in_response {
            let mut text = itoa::Buffer::new();
            let count = text.format(self.summary.attempts.max(1)).as_bytes();
            response.block.replace(HeaderId::EnvoyAttemptCount, count);
        }
    }

    pub(in crate::http) fn apply_response_edits(
        &mut self,
        response: &mut ResponseHead,
        found: Found<'r>,
        entry: Option<&'r WeightedCluster>,
    ) {
        for level in edits::levels(self.ctx.route_table(self.view), found, entry) {
            if !level.response_is_empty() {
                let record = Record { response: Some(response), ..self.summary.record(Some(&self.head)) };
                let values = edits::render(&level.response_add, &record);
                edits::apply_response(level, &values, &mut response.block);
            }
        }
    }
}
