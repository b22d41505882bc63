//! Real requests through the sidecars, and whether what came back is what the definitions promise.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::Result;
use super::http::{Answer, Outgoing, send};
use super::plan::NodePlan;
use super::probe::Probe;
use super::sidecar::Sidecar;
use super::traces::{self, Traces};

/// Requests along a way with several targets: enough that a quarter's share is missed once in 100,000 runs.
const SPREAD: u32 = 40;
/// Targets with at least this share of the weight must answer at least once.
const SURE_SHARE: f64 = 0.25;
/// How long a sidecar may refuse with 503 after it has become live: its endpoints may still be checked.
const SETTLE: Duration = Duration::from_secs(5);
/// Counters are published by workers now and then.
const PUBLISH: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(50);

/// Sends through the sidecars of a plan.
pub struct Checker<'d> {
    /// The nodes.
    pub nodes: &'d [NodePlan],
    /// Their sidecars, in the same order.
    pub sidecars: &'d [Sidecar],
    /// What they tell of requests.
    pub traces: &'d Traces,
}

impl Entry<'_> {
    /// The request as people write it.
    fn what(&self) -> String {
        let Outgoing { method, address, path, .. } = &self.outgoing;
        format!("{method} http://{address}{path}")
    }
}

/// Counters of all sidecars: by node, then by cluster.
type Counters = BTreeMap<String, BTreeMap<String, u64>>;

/// How a request enters the mesh.
struct Entry<'d> {
    node: &'d NodePlan,
    service: &'d str,
    outgoing: Outgoing,
    /// By the node's own ingress and application; else by its egress, as its application would.
    by_ingress: bool,
    /// Whether the egress reads HTTP; else it passes bytes on, and sees neither requests nor their ids.
    http: bool,
}

impl Checker<'_> {
    /// Asks a node's service through its own sidecar; the text says what was seen.
    ///
    /// # Errors
    /// What was not as it should be.
    pub async fn ingress(&self, node: &NodePlan) -> Result<Option<String>> {
        let Some((mapping, address)) = node.http() else { return Ok(None) };
        let outgoing = Outgoing { http2: mapping.protocol.is_http2(), ..Outgoing::get(address, "/hello") };
        let what = format!("GET http://{address}/hello");
        let (answer, took) = settled(&outgoing).await.map_err(|e| format!("{what}: {e}"))?;
        expect(answer.status == 200, &what, "status 200", answer.status)?;
        let body = answer.json();
        expect(body["node"] == node.name.as_str(), &what, &node.name, &body["node"])?;
        let mut text = format!("{} {what} in {} ms\n", answer.status, took.as_millis());
        let _ = writeln!(text, "      client -> sidecar {0} (ingress) -> service {0}", node.name);
        let _ = write!(text, "      {}", seen(&answer));
        Ok(Some(text + &self.traces.text(&body["headers"][traces::HEADER], 1).await))
    }

    /// Has a node call a backend; the text says what was seen.
    ///
    /// # Errors
    /// What was not as it should be.
    pub async fn call(&self, node: &NodePlan, service: &str, probe: &Probe) -> Result<String> {
        let Some(entry) = entry(node, service, probe) else {
            return Err(format!("{} has no way to {service}", node.name).into());
        };
        let what = entry.what();
        let before = self.counters().await?;
        let count = if probe.targets.len() > 1 { SPREAD } else { 1 };
        let mut answered: BTreeMap<String, u32> = BTreeMap::new();
        let (answer, took) = settled(&entry.outgoing).await.map_err(|e| format!("{what}: {e}"))?;
        *answered.entry(judge(&entry, probe, &answer, &what)?).or_default() += 1;
        for _ in 1..count {
            let answer = send(&entry.outgoing).await.map_err(|e| format!("{what}: {e}"))?;
            *answered.entry(judge(&entry, probe, &answer, &what)?).or_default() += 1;
        }
        spread(probe, &answered, &what)?;
        let counted = self.counted(&before, &entry, &answered, &what).await?;
        // Bytes that are passed on are in no trace.
        let hops = usize::from(entry.by_ingress) + if entry.http { 2 } else { 0 };
        let traced = self.traces.text(&answer.json()["headers"][traces::HEADER], hops).await;
        Ok(describe(&entry, probe, &answer, took, &answered) + &counted + &traced)
    }

    async fn counters(&self) -> Result<Counters> {
        let mut all = Counters::new();
        for sidecar in self.sidecars {
            all.insert(sidecar.node.clone(), sidecar.requests().await?);
        }
        Ok(all)
    }

    /// Waits until the sidecars have counted the requests where they should; the text has what they counted.
    async fn counted(
        &self,
        before: &Counters,
        entry: &Entry<'_>,
        answered: &BTreeMap<String, u32>,
        what: &str,
    ) -> Result<String> {
        let deadline = Instant::now() + PUBLISH;
        loop {
            let rose = rise(before, &self.counters().await?);
            match missing(&rose, entry, answered) {
                None => return Ok(counted_text(&rose)),
                Some(missing) if Instant::now() >= deadline => {
                    return Err(format!("{what}: {missing}; counted were{}", counted_text(&rose)).into());
                }
                Some(_) => tokio::time::sleep(POLL).await,
            }
        }
    }
}

fn entry<'d>(node: &'d NodePlan, service: &'d str, probe: &Probe) -> Option<Entry<'d>> {
    let backend = node.backends.get(service)?;
    let path = probe.path_and_query();
    let http = backend.address.port() == node.options.egress_port;
    let (method, headers) = (probe.method.clone(), probe.headers.clone());
    Some(match node.http() {
        Some((mapping, address)) => {
            let path = format!("/call/{service}{path}");
            let http2 = mapping.protocol.is_http2();
            let authority = address.to_string();
            let outgoing = Outgoing { address, http2, authority, method, path, headers };
            Entry { node, service, outgoing, by_ingress: true, http }
        }
        None => {
            let (address, http2, authority) = (backend.address, backend.http2, backend.authority.clone());
            let outgoing = Outgoing { address, http2, authority, method, path, headers };
            Entry { node, service, outgoing, by_ingress: false, http }
        }
    })
}

/// Sends; for a while again where the sidecar has no healthy endpoint yet.
async fn settled(outgoing: &Outgoing) -> std::result::Result<(Answer, Duration), String> {
    let deadline = Instant::now() + SETTLE;
    loop {
        let start = Instant::now();
        let answer = send(outgoing).await;
        let early = answer.as_ref().map_or(true, |answer| answer.status == 503);
        if !early || Instant::now() >= deadline {
            return Ok((answer?, start.elapsed()));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The node that answered, if the answer is what the definitions promise.
fn judge(entry: &Entry<'_>, probe: &Probe, answer: &Answer, what: &str) -> Result<String> {
    let body = answer.json();
    if answer.status != 200 {
        let text = String::from_utf8_lossy(&answer.body);
        return Err(
            format!("{what}: status {} where 200 was expected: {}", answer.status, text.trim()).into()
        );
    }
    let last = if entry.by_ingress {
        expect(body["node"] == entry.node.name.as_str(), what, &entry.node.name, &body["node"])?;
        let (first, second) =
            (&body["headers"]["x-request-id"], &body["answer"]["body"]["headers"]["x-request-id"]);
        if entry.http {
            expect(
                first.is_string() && first == second,
                what,
                "one x-request-id on both hops",
                format!("{first} and {second}"),
            )?;
        }
        &body["answer"]["body"]
    } else {
        &body
    };
    let node = last["node"].as_str().unwrap_or("nobody");
    let names: Vec<&str> = probe.targets.iter().map(|(name, _)| name.as_str()).collect();
    expect(names.contains(&node), what, &format!("an answer of {}", names.join(" or ")), node)?;
    Ok(node.to_owned())
}

fn expect(holds: bool, what: &str, expected: &str, actual: impl std::fmt::Display) -> Result<()> {
    if holds { Ok(()) } else { Err(format!("{what}: expected {expected}, got {actual}").into()) }
}

/// Every target with a share that cannot be missed by chance has answered.
fn spread(probe: &Probe, answered: &BTreeMap<String, u32>, what: &str) -> Result<()> {
    let total: u32 = probe.targets.iter().map(|(_, weight)| weight).sum();
    for (name, weight) in &probe.targets {
        let sure = f64::from(*weight) / f64::from(total.max(1)) >= SURE_SHARE;
        if sure && !answered.contains_key(name) {
            return Err(format!("{what}: {name} has weight {weight} of {total} and never answered").into());
        }
    }
    Ok(())
}

fn rise(before: &Counters, after: &Counters) -> Counters {
    let mut rose = Counters::new();
    for (node, clusters) in after {
        for (cluster, now) in clusters {
            let then = before.get(node).and_then(|c| c.get(cluster)).copied().unwrap_or(0);
            if *now > then {
                rose.entry(node.clone()).or_default().insert(cluster.clone(), now - then);
            }
        }
    }
    rose
}

/// Which sidecar has counted fewer requests than it must have seen.
fn missing(rose: &Counters, entry: &Entry<'_>, answered: &BTreeMap<String, u32>) -> Option<String> {
    let sum = |node: &str, direction: &str| -> u64 {
        let clusters = rose.get(node).into_iter().flatten();
        clusters.filter(|(name, _)| name.starts_with(direction)).map(|(_, n)| n).sum()
    };
    let requests: u64 = answered.values().map(|n| u64::from(*n)).sum();
    let caller = &entry.node.name;
    if entry.by_ingress && sum(caller, "cds_ingress_") < requests {
        return Some(format!("sidecar {caller} did not pass all requests to its service"));
    }
    if !entry.http {
        return None;
    }
    if sum(caller, "cds_egress_") < requests {
        return Some(format!("sidecar {caller} did not send all requests out"));
    }
    let short = answered.iter().find(|(node, n)| sum(node, "cds_ingress_") < u64::from(**n));
    short.map(|(node, _)| format!("sidecar {node} did not see all requests"))
}

fn counted_text(rose: &Counters) -> String {
    let mut text = String::new();
    for (node, clusters) in rose {
        let clusters: Vec<String> = clusters.iter().map(|(name, n)| format!("{name} +{n}")).collect();
        let _ = write!(text, "\n      sidecar {node} sent: {}", clusters.join(", "));
    }
    text
}

fn describe(
    entry: &Entry<'_>,
    probe: &Probe,
    answer: &Answer,
    took: Duration,
    answered: &BTreeMap<String, u32>,
) -> String {
    let mut text = format!("{} {} in {} ms\n", answer.status, entry.what(), took.as_millis());
    if let Some(route) = &probe.route {
        let headers: Vec<String> = probe
            .headers
            .iter()
            .map(|(n, v)| format!("{n}: {}", String::from_utf8_lossy(v.as_bytes())))
            .collect();
        let with = if headers.is_empty() { String::new() } else { format!(", with {}", headers.join(", ")) };
        let _ = writeln!(text, "      route {route}{with}");
    }
    let targets: Vec<&str> = answered.keys().map(String::as_str).collect();
    let (caller, service, target) = (&entry.node.name, entry.service, targets.join("|"));
    let start = match entry.by_ingress {
        true => {
            format!("client -> sidecar {caller} (ingress) -> service {caller} -> sidecar {caller} (egress)")
        }
        false => format!("client as {caller} -> sidecar {caller} (egress)"),
    };
    let _ = writeln!(
        text,
        "      {start}\n        -> {service} -> sidecar {target} (ingress) -> service {target}"
    );
    if probe.targets.len() > 1 {
        let shares: Vec<String> = probe
            .targets
            .iter()
            .map(|(name, weight)| format!("{name} {} (weight {weight})", answered.get(name).unwrap_or(&0)))
            .collect();
        let _ = writeln!(text, "      {SPREAD} requests, answered by {}", shares.join(", "));
    }
    let _ = write!(text, "      {}", seen(answer));
    text
}

/// What the sidecar itself put into the answer.
fn seen(answer: &Answer) -> String {
    let names = ["server", "x-envoy-upstream-service-time", "x-request-id"];
    let present = names.iter().filter(|name| !answer.header(name).is_empty());
    present.map(|name| format!("{name}: {}", answer.header(name))).collect::<Vec<_>>().join(", ")
}

/// Where the admin pages and listeners are, for people.
pub fn addresses(node: &NodePlan, admin: SocketAddr) -> String {
    let ingress: Vec<String> =
        node.listeners.iter().map(|(m, a)| format!("{a} ({} {})", m.protocol.name(), m.port)).collect();
    let ingress = if ingress.is_empty() { "none".to_owned() } else { ingress.join(", ") };
    let egress = node.options.egress_port;
    format!("  {}\n    ingress {ingress}, egress 127.0.0.1:{egress}, admin http://{admin}/help", node.name)
}
