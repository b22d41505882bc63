//! One request, from head to log: the visible pipeline. Each step is a call; the steps live elsewhere.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::codec::Downstream;
use super::context::ConnContext;
use super::filter::{Running, Verdict};
use super::hash_policy::{Affinity, Ends};
use super::head::{BodyLength, RequestHead, Version};
use super::local_reply::LocalReply;
use super::normalize::{Normalized, normalize};
use super::route::{self, Target};
use super::summary::Summary;
use super::{redirect, request_headers};
use crate::base::details::Detail;
use crate::base::error::{DownstreamError, ProxyError, ResponseFlags};
use crate::base::ids::ClusterId;
use crate::config::overload::ShedPoint;
use crate::config::route::{Forward, RouteAction, VirtualHost, WeightedCluster};
use crate::net::deadline::Deadline;
use crate::upstream::view::{ClusterState, View};

/// The weighted entry and the cluster that a route chose, as far as there are any.
type Chosen<'r> = (Option<&'r WeightedCluster>, Option<(ClusterId, Rc<ClusterState>)>);

/// How an exchange left its connection.
#[derive(Debug)]
pub struct Outcome {
    /// The request head, for its storage.
    pub head: RequestHead,
    /// The connection must not carry another request.
    pub close: bool,
    /// The client went away within it.
    pub client_gone: bool,
    /// It had an answer, if perhaps not all of it.
    pub answered: bool,
    /// When it was over.
    pub ended: Instant,
    /// How long it took.
    pub took: Duration,
}

/// What would become of the body nobody can say: tunnels have none.
const UPGRADE_WITH_BODY: DownstreamError = DownstreamError { status: 400, detail: Detail::UPGRADE_WITH_BODY };

/// A request being served.
pub struct Exchange<'r> {
    pub(super) ctx: &'r ConnContext,
    pub(super) view: &'r View,
    pub(super) head: RequestHead,
    pub(super) summary: Summary<'r>,
    pub(super) grpc: bool,
    pub(super) random: u64,
    /// Ask the client to close: drain, request limit.
    pub(super) last: bool,
    /// The connection cannot be used again.
    pub(super) broken: bool,
    /// An upgrade or CONNECT that the configuration allows.
    upgraded: bool,
    /// The virtual host takes requests over TLS only.
    wants_tls: bool,
    /// An internal caller wants timeouts answered with 204 (`x-envoy-upstream-rq-timeout-alt-response`).
    pub(super) no_content_on_timeout: bool,
    /// The filters, once they run.
    pub(super) filters: Option<Running<'r>>,
    /// The cluster that the route chose, where filters have asked before the router.
    target: Option<Target<'r>>,
    /// What binds the request to a host.
    pub(super) affinity: Affinity<'r>,
    /// Redirects of upstreams that were followed.
    followed: Option<Box<internal_redirect::Followed>>,
}

/// How serving ended when nothing failed.
enum Served {
    /// The upstream's response went down (or was cut, which is already accounted for).
    Relayed,
    /// An answer of our own.
    Reply(LocalReply),
}

/// Serves one request. `last`: this connection takes no further request.
pub async fn run(
    ctx: &ConnContext,
    down: &mut Downstream<'_>,
    head: RequestHead,
    deadline: &mut Deadline,
    last: bool,
) -> Outcome {
    let view = ctx.local.view();
    let mut exchange = Exchange {
        ctx,
        view: &view,
        grpc: head.is_grpc(),
        random: ctx.local.random(|rng| rng.u64(..)),
        summary: Summary::begin(ctx, head.version),
        head,
        last,
        broken: false,
        upgraded: false,
        wants_tls: false,
        no_content_on_timeout: false,
        filters: None,
        target: None,
        affinity: Affinity::default(),
        followed: None,
    };
    let reply = match exchange.serve(down, deadline).await {
        Ok(Served::Relayed) => None,
        Ok(Served::Reply(reply)) => Some(reply),
        Err(error) => exchange.fail(error, down),
    };
    if let Some(reply) = reply {
        exchange.reply(reply, down, deadline).await;
    }
    if exchange.upgraded {
        ctx.local.stats.gauge_add(ctx.settings.stats.downstream_cx_upgrades_active, -1);
    }
    if ctx.local.measures.get() {
        exchange.summary.measure(down, deadline).await;
    }
    let ended = exchange.summary.finish(&exchange.head);
    if let Some(filters) = exchange.filters.as_mut().filter(|_| !exchange.broken) {
        filters.complete(ended);
    }
    let cut_by_peer = exchange.summary.flags.contains(ResponseFlags::DOWNSTREAM_CONNECTION_TERMINATION);
    Outcome {
        close: exchange.broken || exchange.last,
        client_gone: cut_by_peer && !ctx.cut.get(),
        answered: exchange.summary.status > 0,
        took: ended.duration_since(exchange.summary.timing.started),
        head: exchange.head,
        ended,
    }
}

impl<'r> Exchange<'r> {
    async fn serve(
        &mut self,
        down: &mut Downstream<'_>,
        deadline: &mut Deadline,
    ) -> Result<Served, ProxyError> {
        let ctx = self.ctx;
        if ctx.refuses_request() || ctx.sheds(ShedPoint::DecodeHeaders) {
            ctx.local.stats.inc(ctx.settings.stats.downstream_rq_overload_close);
            return Ok(Served::Reply(LocalReply::overload(ctx.settings.append_local_overload)));
        }
        request_headers::check_names(&mut self.head, ctx.settings.underscores)?;
        let port = ctx.connection.destination.port();
        if ctx.settings.strip_trailing_dot {
            request_headers::strip_trailing_dot(&mut self.head);
        }
        request_headers::strip_port(&mut self.head, ctx.settings.strip_host_port, port);
        if let Some(reply) = self.normalize_path()? {
            return Ok(Served::Reply(reply));
        }
        let (settings, peer) = (&ctx.settings, ctx.connection.peer);
        let certificate = ctx.client_certificate();
        let (head, local) = (&mut self.head, &ctx.local);
        let caller = request_headers::prepare(head, settings, local, peer, port, ctx.is_tls(), certificate);
        (self.summary.client, self.summary.internal) = (caller.client, caller.internal);
        if let Some(table) = ctx.route_table(self.view).filter(|_| !caller.internal) {
            request_headers::strip_internal(&mut self.head, &table.internal_only_headers);
        }
        if !self.head.path_and_query().starts_with(b"/") && !self.head.path_and_query().is_empty() {
            ctx.local.stats.inc(ctx.settings.stats.downstream_rq_non_relative_path);
            return Err(ProxyError::NoPath);
        }
        loop {
            if let Some(served) = self.serve_route(down, deadline).await? {
                return Ok(served);
            }
        }
    }

    /// Finds a route and does what it says. `None`: the request was redirected inside and is to be routed anew.
    async fn serve_route(
        &mut self,
        down: &mut Downstream<'_>,
        deadline: &mut Deadline,
    ) -> Result<Option<Served>, ProxyError> {
        let ctx = self.ctx;
        self.find_route();
        self.summary.begin_span(&self.head);
        self.summary.distrust_trace(&mut self.head);
        if !ctx.settings.filters.is_empty() {
            let verdict = self.begin_filters();
            if !matches!(verdict, Verdict::Pass)
                && let Some(reply) = Box::pin(self.follow_filters(verdict, down, deadline)).await?
            {
                return Ok(Some(Served::Reply(reply)));
            }
        }
        if let Some(RouteAction::Forward(forward)) = self.summary.found.map(|found| &found.route.action) {
            self.check_upgrade(forward)?;
        }
        ctx.local.stats.inc(ctx.settings.stats.rq_total);
        if self.wants_tls {
            ctx.local.stats.inc(ctx.settings.stats.rq_direct_response);
            let mut reply = LocalReply::new(301, ResponseFlags::NONE, Detail::DIRECT_RESPONSE, "");
            reply.location = Some(redirect::to_https(&self.head));
            return Ok(Some(Served::Reply(reply)));
        }
        let Some(found) = self.summary.found else { return Err(self.no_route()) };
        match &found.route.action {
            RouteAction::Forward(_) if ctx.sheds(ShedPoint::Router) => {
                ctx.local.stats.inc(ctx.settings.stats.rq_overload_local_reply);
                Ok(Some(Served::Reply(LocalReply::overload(false))))
            }
            RouteAction::Forward(forward) => {
                let relayed = self.forward(found, forward, down, deadline).await?;
                Ok(relayed.then_some(Served::Relayed))
            }
            RouteAction::Redirect(redirect) => Ok(Some(Served::Reply(self.redirected(found, redirect)))),
            RouteAction::Direct(direct) => Ok(Some(Served::Reply(self.answered(found, direct)))),
        }
    }

    fn normalize_path(&mut self) -> Result<Option<LocalReply>, ProxyError> {
        let stats = &self.ctx.settings.stats;
        match normalize(self.head.path_and_query(), &self.ctx.settings) {
            Normalized::Unchanged => Ok(None),
            Normalized::Changed(path) => {
                self.head.set_path(&path);
                Ok(None)
            }
            Normalized::Redirect(path) => {
                self.ctx.local.stats.inc(stats.downstream_rq_redirected_with_normalized_path);
                let mut reply =
                    LocalReply::new(307, ResponseFlags::NONE, Detail::PATH_NORMALIZATION_REDIRECT, "");
                reply.location = Some(path);
                Ok(Some(reply))
            }
            Normalized::Rejected => {
                self.ctx.local.stats.inc(stats.downstream_rq_failed_path_normalization);
                Err(ProxyError::BadPath)
            }
        }
    }

    /// Finds the route, unless the virtual host wants TLS first.
    fn find_route(&mut self) {
        let virtual_host = self.find_virtual_host();
        self.wants_tls = virtual_host
            .is_some_and(|host| redirect::wants_tls(host.require_tls, &self.head, self.summary.internal));
        let shown = self.ctx.shown_certificate();
        let searched = virtual_host.filter(|_| !self.wants_tls);
        self.summary.found = searched.and_then(|host| route::find(host, &self.head, self.random, shown));
    }

    fn find_virtual_host(&self) -> Option<&'r VirtualHost> {
        route::virtual_host_for(self.ctx.route_table(self.view)?, &self.head)
    }

    fn no_route(&self) -> ProxyError {
        self.ctx.local.stats.inc(self.ctx.settings.stats.no_route);
        ProxyError::NoRoute
    }

    /// Upgrades must be allowed by the route, else by the connection manager.
    fn check_upgrade(&mut self, forward: &'r Forward) -> Result<(), ProxyError> {
        if !self.head.asks_for_tunnel() {
            return Ok(());
        }
        let kind = self.head.upgrade.map_or(&b"connect"[..], |kind| self.head.block.bytes(kind));
        let stats = &self.ctx.settings.stats;
        let by_route = forward.upgrades.iter().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(kind));
        let allowed = match by_route {
            Some((_, enabled)) => *enabled,
            None => self.ctx.settings.upgrades.iter().any(|name| name.as_bytes().eq_ignore_ascii_case(kind)),
        };
        if !allowed {
            self.ctx.local.stats.inc(stats.downstream_rq_ws_on_non_ws_route);
            // The router never hears of it: logs know the cluster, and it is charged nothing.
            self.summary.routed = self.target(forward).1.map(|(_, cluster)| cluster);
            return Err(ProxyError::UpgradeNotAllowed);
        }
        // Bytes that follow are for the tunnel; a body in front of them has no place on the other side.
        let is_stream = self.head.version == Version::Http2;
        if !is_stream && !matches!(self.head.body, BodyLength::None | BodyLength::Fixed(0)) {
            return Err(ProxyError::Downstream(UPGRADE_WITH_BODY));
        }
        // Redirected inside it is the same one.
        if !std::mem::replace(&mut self.upgraded, true) {
            self.ctx.local.stats.inc(stats.downstream_cx_upgrades_total);
            self.ctx.local.stats.gauge_add(stats.downstream_cx_upgrades_active, 1);
        }
        Ok(())
    }

    pub(super) fn choose_cluster(
        &mut self,
        forward: &'r Forward,
    ) -> Result<(Rc<ClusterState>, Option<&'r WeightedCluster>), ProxyError> {
        let (entry, cluster) = self.target(forward);
        let Some((id, named)) = cluster else {
            self.ctx.local.stats.inc(self.ctx.settings.stats.no_cluster);
            return Err(ProxyError::NoCluster { status: forward.cluster_not_found_status });
        };
        let (cluster, part) = self.view.resolve(&named, &self.ctx.local);
        self.affinity.part = part;
        // Members of an aggregate count by themselves: for no service.
        let counts = forward.service.counts(id);
        self.summary.service = counts.filter(|_| Rc::ptr_eq(&named, &cluster));
        self.summary.cluster = Some(cluster.clone());
        Ok((cluster, entry))
    }

    /// The weighted entry and the cluster that take this request. What filters change in it comes too late for that.
    fn target(&self, forward: &'r Forward) -> Chosen<'r> {
        let target = self.target.unwrap_or_else(|| self.choose(forward));
        let known = |id: ClusterId| Some((id, self.view.cluster(id)?.clone()));
        (target.entry, target.cluster.and_then(known))
    }

    fn choose(&self, forward: &'r Forward) -> Target<'r> {
        route::choose_cluster(&forward.clusters, &self.view.snapshot, &self.head, self.ends(), self.random)
    }

    /// The two ends of the downstream connection, as hashes see them.
    pub(super) fn ends(&self) -> Ends {
        Ends { client: self.summary.client, destination: self.ctx.connection.destination }
    }
}

mod answer;
mod edit;
mod failure;
mod filters;
mod internal_redirect;
