//! `envoy.filters.http.ext_authz`: asks a service whether the request may pass, and does with it what the answer says.
//!
//! In steps, between which the exchange waits: the part of the body that is shown, then the question. A request that
//! ends takes its question with it.

mod answer;
mod apply;
pub(crate) mod check;
pub(crate) mod over_grpc;
mod over_http;

use std::time::{Duration, Instant};

use super::{Call, Collected, Running, State, Verdict, Waited, Waiting};
use crate::base::details::Detail;
use crate::base::error::ResponseFlags;
use crate::config::filter::authz::{Authz, AuthzRoute, Body, CheckSettings, Service};
use crate::config::filter::{HttpFilter, RouteFilter};
use crate::http::head::{BodyLength, Method};
use crate::http::local_reply::LocalReply;
use crate::http::subrequest::{Answer, Keep, Subrequest};
use crate::stats::registry::Counter;
use crate::stats::scope::ClusterAuthzStats;
use answer::{Denial, Grant, Told};
pub(super) use apply::Edit;

/// Namespace of what services leave for others.
const NAMESPACE: &str = "envoy.filters.http.ext_authz";
/// Longest body of an answer that is read.
pub(crate) const MOST_ANSWER: usize = 1 << 20;

pub(super) fn request<'r>(
    running: &mut Running<'r>,
    filter: &'r HttpFilter,
    authz: &'r Authz,
    call: &mut Call<'_, 'r>,
) -> Verdict {
    let settings = Settings::of(running, filter, authz);
    if let Some(Waited::Answered(answered)) = running.reached.take() {
        return answered_by(running, authz, settings.service, *answered, call);
    }
    // What no route takes is answered with 404 anyway.
    if settings.disabled || call.found.is_none() {
        return Verdict::Pass;
    }
    // Drawn once: who has waited for the body was drawn before.
    if !running.waited && !call.draw(authz.enabled_ppm) {
        call.ctx.local.stats.inc(authz.stats.disabled);
        return match authz.deny_disabled {
            true => Verdict::Answer(Box::new(reply(authz.status_on_error, Detail::EXT_AUTHZ_ERROR))),
            false => Verdict::Pass,
        };
    }
    let body = settings.body.filter(|_| call.head.body != BodyLength::None && !call.head.asks_for_tunnel());
    if let Some(body) = body.filter(|_| !running.waited) {
        return Verdict::Collect { most: body.most, partial: body.partial };
    }
    if call.head.method == Method::Connect && matches!(settings.service, Service::Http(_)) {
        // There is no HTTP request that would ask about it, and nobody's silence lets it pass.
        return told(running, authz, Told::Denied(Denial::default()), call);
    }
    let shown = body.zip(running.collected()).map(|(body, collected)| (body, collected.first(body.most)));
    match ask(authz, &settings, shown, call) {
        Some(waiting) => waiting,
        None => told(running, authz, Told::Failed(None), call),
    }
}

/// What holds for one request.
struct Settings<'r> {
    disabled: bool,
    body: Option<Body>,
    service: &'r Service,
    /// From the most specific level to the least.
    levels: smallvec::SmallVec<[&'r CheckSettings; 4]>,
}

impl<'r> Settings<'r> {
    fn of(running: &Running<'r>, filter: &HttpFilter, authz: &'r Authz) -> Self {
        let mut levels = running.levels.configs(filter.id).filter_map(|config| match config {
            RouteFilter::Authz(route) => Some(&**route),
            _ => None,
        });
        let first = levels.next();
        let disabled = matches!(first, Some(AuthzRoute::Disabled(true)));
        let check = |route: &'r AuthzRoute| match route {
            AuthzRoute::Check(settings) => Some(settings),
            AuthzRoute::Disabled(_) => None,
        };
        let levels: smallvec::SmallVec<[_; 4]> = first.into_iter().chain(levels).filter_map(check).collect();
        let specific = first.and_then(check);
        Self {
            disabled,
            body: specific.and_then(|settings| settings.body).unwrap_or(authz.body),
            service: specific.and_then(|settings| settings.service.as_ref()).unwrap_or(&authz.service),
            levels,
        }
    }
}

/// The question on its way; `None` when there is nobody to ask.
fn ask(
    authz: &Authz,
    settings: &Settings<'_>,
    shown: Option<(Body, Collected<'_>)>,
    call: &Call<'_, '_>,
) -> Option<Verdict> {
    let callee = settings.service.callee();
    let local = call.ctx.local.clone();
    let view = local.view();
    let (cluster, part) = view.resolve(view.cluster(callee.cluster)?, &local);
    let (head, body) = match settings.service {
        Service::Grpc(service) => {
            over_grpc::question(authz, service, &cluster.config().name, &settings.levels, shown, call)
        }
        Service::Http(service) => over_http::question(authz, service, shown, call),
    };
    let keep = match settings.service {
        Service::Grpc(_) => Keep::AtMost(MOST_ANSWER),
        // Its status says it all: a denial stays one however much text comes with it.
        Service::Http(_) => Keep::Start(MOST_ANSWER),
    };
    let limit = callee.timeout;
    let retry = callee.retry.clone();
    let question = Subrequest { head, local, cluster, part, limit, keep };
    Some(Verdict::Wait(Waiting(Box::pin(async move {
        let started = Instant::now();
        let answer = question.ask(&body, retry.as_deref()).await.ok();
        Waited::Answered(Box::new(Answered { answer, took: started.elapsed() }))
    }))))
}

/// What came of a question.
#[derive(Debug)]
pub struct Answered {
    /// `None`: no answer.
    answer: Option<Answer>,
    took: Duration,
}

fn answered_by<'r>(
    running: &mut Running<'r>,
    authz: &'r Authz,
    service: &Service,
    answered: Answered,
    call: &mut Call<'_, 'r>,
) -> Verdict {
    let Answered { answer, took } = answered;
    let (told, metadata) = match (answer, service) {
        (None, _) => (Told::Failed(None), None),
        (Some(answer), Service::Grpc(_)) => over_grpc::read(&answer),
        (Some(answer), Service::Http(service)) => over_http::read(service, answer),
    };
    if let Some(mut fields) = metadata.filter(|fields| !fields.is_empty()) {
        if authz.ingests_metadata {
            if matches!(told, Told::Granted(_)) {
                fields.insert("ext_authz_duration".to_owned(), (took.as_millis() as u64).into());
            }
            call.summary.metadata.get_or_insert_default().merge(NAMESPACE, fields);
        } else {
            call.ctx.local.stats.inc(authz.stats.ignored_dynamic_metadata);
        }
    }
    self::told(running, authz, told, call)
}

/// Does what the service says, and counts it.
fn told<'r>(running: &mut Running<'r>, authz: &'r Authz, told: Told, call: &mut Call<'_, 'r>) -> Verdict {
    match told {
        Told::Granted(grant) => granted(running, authz, grant, call),
        Told::Denied(denial) => {
            count(authz, call, authz.stats.denied, |of| of.denied);
            let reply = denied(authz, denial, 403, Detail::EXT_AUTHZ_DENIED);
            charge(authz, reply.status, call);
            Verdict::Answer(Box::new(reply))
        }
        Told::Failed(said) => {
            count(authz, call, authz.stats.error, |of| of.error);
            if authz.allow_on_error {
                count(authz, call, authz.stats.failure_mode_allowed, |of| of.failure_mode_allowed);
                if authz.tell_failure {
                    call.head.block.set(b"x-envoy-auth-failure-mode-allowed", b"true");
                }
                return Verdict::Pass;
            }
            let denial = said.unwrap_or_default();
            Verdict::Answer(Box::new(denied(authz, denial, authz.status_on_error, Detail::EXT_AUTHZ_ERROR)))
        }
    }
}

fn granted<'r>(
    running: &mut Running<'r>,
    authz: &'r Authz,
    grant: Grant,
    call: &mut Call<'_, 'r>,
) -> Verdict {
    let Ok(changed) = apply::grant(&grant, authz.rules.as_ref(), call.head) else {
        count(authz, call, authz.stats.invalid, |of| of.invalid);
        return Verdict::Answer(Box::new(reply(500, Detail::EXT_AUTHZ_INVALID)));
    };
    count(authz, call, authz.stats.ok, |of| of.ok);
    if !grant.response.is_empty() {
        running.keep(State::Granted(grant.response));
    }
    running.reroute |= changed && authz.clear_route;
    Verdict::Pass
}

fn denied(authz: &Authz, denial: Denial, status: u16, details: Detail) -> LocalReply {
    let Denial { status: said, headers, mut body } = denial;
    if authz.most_denied_bytes > 0 {
        body.truncate(authz.most_denied_bytes);
    }
    // What is no status of a final answer cannot be one.
    let mut reply = reply(said.filter(|said| (200..1000).contains(said)).unwrap_or(status), details);
    reply.body = body.into();
    headers.into_iter().for_each(|edit| edit.add_to_reply(&mut reply));
    reply
}

fn reply(status: u16, details: Detail) -> LocalReply {
    LocalReply::new(status, ResponseFlags::UNAUTHORIZED_EXTERNAL_SERVICE, details, "")
}

/// Counts in the filter's statistics, and in those of the request's cluster.
fn count(
    authz: &Authz,
    call: &Call<'_, '_>,
    counter: Counter,
    of: impl FnOnce(&ClusterAuthzStats) -> Counter,
) {
    let shard = &call.ctx.local.stats;
    shard.inc(counter);
    if let Some(cluster) = &call.summary.routed {
        authz.of_clusters.with(&cluster.config().name, |stats| shard.inc(of(stats)));
    }
}

fn charge(authz: &Authz, status: u16, call: &Call<'_, '_>) {
    if let Some(cluster) = call.summary.routed.as_ref().filter(|_| authz.charge) {
        cluster.config().count_response(&call.ctx.local.stats, status, true, None);
    }
}
