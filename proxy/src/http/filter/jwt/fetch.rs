//! Fetching keys: once for all that wait, on the worker that came first, through the pools of the keys' cluster.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use crate::base::details::Detail;
use crate::base::error::ResponseFlags;
use crate::config::Snapshot;
use crate::config::filter::FilterKind;
use crate::config::filter::jwt::{Fetch, Jwt, KeySource, Keys, RemoteKeys};
use crate::config::listener::NetworkFilter;
use crate::http::filter::{Call, Verdict, Waited, Waiting};
use crate::http::head::{BodyLength, HeaderBlock, Method, RequestHead, Version};
use crate::http::header_id::HeaderId;
use crate::http::local_reply::LocalReply;
use crate::http::subrequest::{Keep, Subrequest};
use crate::upstream::local::Local;

/// Longest key set.
const MOST_BYTES: usize = 1 << 20;

/// Waits for the keys of a provider.
pub(super) fn wait(provider: usize, jwt: &Jwt, call: &Call<'_, '_>) -> Verdict {
    let Some(KeySource::Remote(remote)) = jwt.providers.get(provider).map(|provider| &provider.keys) else {
        // Keys that cannot be fetched let nobody pass.
        let (details, body) = (Detail::JWT_ACCESS_DENIED, "Jwks doesn't have key");
        return Verdict::Answer(Box::new(LocalReply::new(401, ResponseFlags::NONE, details, body)));
    };
    let (remote, local) = (remote.clone(), call.ctx.local.clone());
    Verdict::Wait(Waiting(Box::pin(async move {
        let mut over = pin!(remote.over());
        // Before looking: a fetch that ends in between is not missed.
        over.as_mut().enable();
        if remote.current(Instant::now()).is_none() {
            start(&local, &remote);
            over.await;
        }
        Waited::Keys(provider)
    })))
}

/// Fetches what is due in the background.
pub fn refresh(local: &Rc<Local>, snapshot: &Snapshot) {
    let now = Instant::now();
    let listeners = snapshot.listeners.iter().flatten().map(|slot| &slot.config);
    let chains = listeners.flat_map(|listener| listener.chains.iter().chain(&listener.default_chain));
    let managers = chains.filter_map(|chain| match &chain.filter {
        NetworkFilter::Http(settings) => Some(settings),
        NetworkFilter::Tcp(_) => None,
    });
    let filters = managers.flat_map(|settings| &settings.filters);
    let providers = filters.filter_map(|filter| match &filter.kind {
        FilterKind::Jwt(jwt) => Some(&jwt.providers),
        _ => None,
    });
    for provider in providers.flatten() {
        if let KeySource::Remote(remote) = &provider.keys
            && remote.is_due(now)
        {
            start(local, remote);
        }
    }
}

/// A fetch is nobody's own: a client that leaves does not end it for the others.
fn start(local: &Rc<Local>, remote: &Arc<RemoteKeys>) {
    if let Some(fetch) = remote.begin() {
        let local = local.clone();
        tokio::task::spawn_local(async move { run(&local, fetch).await });
    }
}

async fn run(local: &Rc<Local>, fetch: Fetch) {
    let remote = fetch.of().clone();
    let stats = &remote.stats;
    match ask(local, &remote).await {
        Ok(keys) => {
            local.stats.inc(stats.jwks_fetch_success);
            fetch.succeeded(keys);
        }
        Err(reason) => {
            local.stats.inc(stats.jwks_fetch_failed);
            let (authority, path) = (&*remote.authority, &*remote.path);
            tracing::warn!(authority, path, reason, "keys for JSON web tokens were not fetched");
        }
    }
}

/// The error is for the log, and shows no key.
async fn ask(local: &Rc<Local>, remote: &RemoteKeys) -> Result<Keys, String> {
    let view = local.view();
    let cluster = view.cluster(remote.callee.cluster).ok_or("their cluster is missing")?;
    let (cluster, part) = view.resolve(cluster, local);
    let mut block = HeaderBlock::default();
    block.add(HeaderId::EnvoyInternal, b"true");
    let head = RequestHead {
        method: Method::Get,
        method_text: block.push_text(b"GET"),
        path: block.push_text(remote.path.as_bytes()),
        authority: block.push_text(remote.authority.as_bytes()),
        https: remote.https,
        version: Version::Http11,
        body: BodyLength::None,
        block,
        ..RequestHead::unparsed()
    };
    let (limit, keep) = (remote.callee.timeout, Keep::AtMost(MOST_BYTES));
    let question = Subrequest { head, local: local.clone(), cluster, part, limit, keep };
    let answer = question.ask(b"", remote.callee.retry.as_deref()).await;
    let answer = answer.map_err(|error| error.to_string())?;
    match answer.head.status {
        200 => Keys::parse(&answer.body).map_err(|reason| format!("the answer {reason}")),
        status => Err(format!("the answer has status {status}")),
    }
}
