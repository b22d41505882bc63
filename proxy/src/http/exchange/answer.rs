//! Routes that answer by themselves: redirects and direct responses.

use std::borrow::Cow;

use super::Exchange;
use crate::base::details::Detail;
use crate::base::error::ResponseFlags;
use crate::config::route::{BodyFormat, DirectResponse, Redirect};
use crate::http::local_reply::LocalReply;
use crate::http::redirect;
use crate::http::route::Found;
use crate::observe::record::Record;

impl<'r> Exchange<'r> {
    /// The answer of a redirect route.
    pub(super) fn redirected(&mut self, found: Found<'r>, redirect: &Redirect) -> LocalReply {
        let mut reply = self.direct(redirect.status);
        reply.location = self.location(found, redirect);
        reply
    }

    /// The answer of a direct response.
    pub(super) fn answered(&mut self, found: Found<'r>, direct: &DirectResponse) -> LocalReply {
        let mut reply = self.direct(direct.status);
        reply.body = Cow::Owned(direct.body.to_vec());
        if let Some(format) = &direct.format {
            self.format(format, &mut reply);
        }
        if matches!(direct.status, 201 | 300..=399) {
            reply.location = self.location(found, &Redirect::default());
        }
        reply
    }

    fn direct(&self, status: u16) -> LocalReply {
        self.ctx.local.stats.inc(self.ctx.settings.stats.rq_direct_response);
        LocalReply::new(status, ResponseFlags::NONE, Detail::DIRECT_RESPONSE, "")
    }

    fn location(&self, found: Found<'_>, redirect: &Redirect) -> Option<Vec<u8>> {
        redirect::location(redirect, &found.route.matches.path, &self.summary.record(Some(&self.head)))
    }

    fn format(&self, format: &BodyFormat, reply: &mut LocalReply) {
        // As in Envoy the format finds the body, and no status yet.
        let record = Record { local_reply_body: &reply.body, ..self.summary.record(Some(&self.head)) };
        let mut body = Vec::new();
        format.format.render_body(&record, &mut body);
        reply.body = Cow::Owned(body);
        reply.content_type = Some(format.content_type.clone());
    }
}
