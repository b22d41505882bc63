//! `envoy.filters.http.cors`: answers preflights and marks responses to other origins.

use super::{Call, Running, State, Verdict};
use crate::base::details::Detail;
use crate::base::error::ResponseFlags;
use crate::config::filter::cors::CorsPolicy;
use crate::config::filter::{HttpFilter, Levels, RouteFilter};
use crate::config::route::RouteAction;
use crate::http::head::{HeaderBlock, Method, RequestHead};
use crate::http::local_reply::LocalReply;
use crate::stats::scope::CorsStats;

/// Most policies of one request: weighted cluster, route, virtual host, table.
const LEVELS: usize = 4;

/// The policies of one request, most specific first; each answers what it has an answer to.
#[derive(Clone, Copy, Debug)]
struct Policies<'r>([Option<&'r CorsPolicy>; LEVELS]);

impl<'r> Policies<'r> {
    /// Of the filter's own settings at each level, or else of the older `cors` fields.
    fn of(levels: Levels<'r>, filter: &HttpFilter) -> Self {
        let typed = levels.configs(filter.id).filter_map(|config| match config {
            RouteFilter::Cors(policy) => Some(&**policy),
            _ => None,
        });
        let typed = Self::collect(typed);
        if typed.first().is_some() { typed } else { Self::collect(levels.cors()) }
    }

    fn collect(policies: impl Iterator<Item = &'r CorsPolicy>) -> Self {
        let mut all = [None; LEVELS];
        all.iter_mut().zip(policies).for_each(|(slot, policy)| *slot = Some(policy));
        Self(all)
    }

    fn first(self) -> Option<&'r CorsPolicy> {
        self.0.into_iter().flatten().next()
    }

    fn text(self, field: impl Fn(&'r CorsPolicy) -> &'r str) -> &'r str {
        self.0.into_iter().flatten().map(field).find(|text| !text.is_empty()).unwrap_or_default()
    }

    fn flag(self, field: impl Fn(&CorsPolicy) -> Option<bool>, default: bool) -> bool {
        self.0.into_iter().flatten().find_map(field).unwrap_or(default)
    }

    fn allows(self, origin: &[u8]) -> bool {
        let lists = self.0.into_iter().flatten().map(|policy| &policy.origins);
        let mut listed = lists.filter(|origins| !origins.is_empty());
        // An entry that matches a lone star allows every origin.
        let fits = |origins: &Vec<_>| {
            origins
                .iter()
                .any(|one: &crate::base::matcher::StringMatch| one.matches(b"*") || one.matches(origin))
        };
        listed.next().is_some_and(fits)
    }

    fn allows_credentials(self) -> bool {
        self.flag(|policy| policy.credentials, false)
    }
}

/// An origin whose scripts may read the response.
#[derive(Debug)]
pub(super) struct Allowed<'r> {
    origin: Vec<u8>,
    policies: Policies<'r>,
}

impl Allowed<'_> {
    pub(super) fn write(&self, block: &mut HeaderBlock) {
        block.set(b"access-control-allow-origin", &self.origin);
        if self.policies.allows_credentials() {
            block.set(b"access-control-allow-credentials", b"true");
        }
        let expose = self.policies.text(|policy| &policy.expose);
        if !expose.is_empty() {
            block.set(b"access-control-expose-headers", expose.as_bytes());
        }
    }
}

pub(super) fn request<'r>(
    running: &mut Running<'r>,
    filter: &'r HttpFilter,
    stats: &CorsStats,
    call: &mut Call<'_, 'r>,
) -> Verdict {
    if !call.found.is_some_and(|found| matches!(found.route.action, RouteAction::Forward(_))) {
        return Verdict::Pass;
    }
    let policies = Policies::of(running.levels, filter);
    let Some(first) = policies.first() else { return Verdict::Pass };
    let enabled = call.draw(first.enabled_ppm);
    if !enabled && !call.draw(first.shadow_ppm) {
        return Verdict::Pass;
    }
    let Some(origin) = text(call.head, b"origin") else { return Verdict::Pass };
    let allowed = policies.allows(origin);
    let origin = origin.to_vec();
    let shard = &call.ctx.local.stats;
    shard.inc(if allowed { stats.origin_valid } else { stats.origin_invalid });
    if !enabled {
        return Verdict::Pass;
    }
    if allowed {
        running.keep(State::Cors(Allowed { origin, policies }));
    }
    match text(call.head, b"access-control-request-method") {
        Some(method) if call.head.method == Method::Options => {
            if !allowed && policies.flag(|policy| policy.forward_mismatch, true) {
                return Verdict::Pass;
            }
            Verdict::Answer(Box::new(preflight(call.head, method, policies)))
        }
        _ => Verdict::Pass,
    }
}

/// The answer to a preflight, but for what every response to the origin says.
fn preflight(head: &RequestHead, method: &[u8], policies: Policies<'_>) -> LocalReply {
    let mut reply = LocalReply::new(200, ResponseFlags::NONE, Detail::CORS, "");
    reply.unedited = true;
    let mut add = |name: &'static [u8], value: &[u8]| reply.headers.push((name.into(), value.to_vec()));
    if policies.allows_credentials() {
        add(b"access-control-allow-credentials", b"true");
    }
    match policies.text(|policy| &policy.methods) {
        "" => {}
        "*" => add(b"access-control-allow-methods", method),
        methods => add(b"access-control-allow-methods", methods.as_bytes()),
    }
    match policies.text(|policy| &policy.headers) {
        "" => {}
        "*" => {
            let asked = text(head, b"access-control-request-headers").unwrap_or_default();
            add(b"access-control-allow-headers", asked);
        }
        headers => add(b"access-control-allow-headers", headers.as_bytes()),
    }
    let max_age = policies.text(|policy| &policy.max_age);
    if !max_age.is_empty() {
        add(b"access-control-max-age", max_age.as_bytes());
    }
    if policies.flag(|policy| policy.private_network, false)
        && text(head, b"access-control-request-private-network") == Some(b"true")
    {
        add(b"access-control-allow-private-network", b"true");
    }
    reply
}

/// A header's value, unless it is empty.
fn text<'h>(head: &'h RequestHead, name: &[u8]) -> Option<&'h [u8]> {
    head.block.get_by_name(name).filter(|value| !value.is_empty())
}
