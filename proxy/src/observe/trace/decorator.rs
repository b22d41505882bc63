//! The operation's name between two hops (`Route.decorator`): the caller's route names what is called, and the called
//! one's route what it was, in `x-envoy-decorator-operation`. The name that came takes the place of one's own and goes no
//! further. Source: `envoy.config.route.v3.Decorator`.

use super::span::Span;
use super::tracer::{HttpTracing, RouteTracing};
use crate::config::listener::Direction;
use crate::http::head::{HeaderBlock, RequestHead, ResponseHead};

const HEADER: &[u8] = b"x-envoy-decorator-operation";
/// Longest name that is taken from outside, bytes.
const MAX: usize = 256;

impl HttpTracing {
    /// The request goes on.
    pub fn decorate_request(&self, span: &mut Span, route: Option<&RouteTracing>, head: &mut RequestHead) {
        if self.untrusted {
            head.block.remove_named(HEADER);
        } else if self.direction != Direction::Outbound {
            take(span, &mut head.block);
        } else if let Some(operation) = told(route) {
            head.block.set(HEADER, operation.as_bytes());
        }
    }

    /// The response goes back.
    pub fn decorate_response(&self, span: &mut Span, route: Option<&RouteTracing>, head: &mut ResponseHead) {
        if self.direction == Direction::Outbound {
            take(span, &mut head.block);
        } else if let Some(operation) = told(route).filter(|_| span.operation.is_none()) {
            head.block.set(HEADER, operation.as_bytes());
        }
    }
}

fn told(route: Option<&RouteTracing>) -> Option<&str> {
    route?.propagated.as_deref()
}

fn take(span: &mut Span, block: &mut HeaderBlock) {
    let Some(operation) = block.get_by_name(HEADER) else { return };
    if !operation.is_empty() && span.sampled {
        let cut = &operation[..operation.len().min(MAX)];
        span.operation = Some(String::from_utf8_lossy(cut).into());
    }
    block.remove_named(HEADER);
}
