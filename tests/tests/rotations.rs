//! Certificates and roots replaced again and again under load: no request fails, and nothing grows.
//!
//! Two sidecars with mutual TLS between them, both pushed new secrets by a scripted control plane as fast as they take
//! them. Upstream connections are given up after a few requests, so that handshakes never cease.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, prefix_route, route_config, virtual_host, with_ads,
};
use outrigger_tests::client::h1::Connection;
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::load::Load;
use outrigger_tests::netns::Place;
use outrigger_tests::ports::Port;
use outrigger_tests::tls::{self, Authority, Identity};
use outrigger_tests::upstream::{Echo, Upstream};
use outrigger_tests::xds::{Resource, Server};
use outrigger_tests::{Result, on_both_data_planes, wait};
use outrigger_xds_protos::type_url;
use outrigger_xds_protos::v3::cluster::Cluster;
use outrigger_xds_protos::v3::listener::Listener;
use outrigger_xds_protos::v3::tls::Secret;
use rcgen::DnType;
use serde_json::{Value, json};

on_both_data_planes!(certificates_rotate_under_load, roots_rotate_under_load);

/// For what takes milliseconds.
const LIMIT: Duration = Duration::from_secs(20);
/// Life of the certificates.
const LIFE: Duration = Duration::from_secs(60);
const CALLER: &str = "spiffe://mesh/caller";
const CALLEE: &str = "spiffe://mesh/callee";
/// What both are called by a client that looks for a DNS name.
const HOST: &str = "any.example";

/// A sidecar and the control plane that gives it its secrets.
struct Proxy {
    server: Server,
    name: &'static str,
    /// A listener with its secrets.
    shown_at: SocketAddr,
    sidecar: Sidecar,
}

impl Proxy {
    async fn start(
        plane: DataPlane,
        name: &'static str,
        (identity, roots): (&Identity, &str),
        shown_at: SocketAddr,
        (listeners, cluster): (Vec<Value>, Value),
    ) -> Result<Self> {
        let server = Server::start()?;
        let named = |one: &Value| one["name"].as_str().unwrap_or_default().to_owned();
        let listeners = listeners.iter().map(|one| Resource::of::<Listener>(named(one), one));
        server.set_all([
            (type_url::CLUSTER, vec![Resource::of::<Cluster>(named(&cluster), &cluster)?]),
            (type_url::LISTENER, listeners.collect::<Result<_>>()?),
            (type_url::SECRET, secrets(name, identity, roots)?),
        ]);
        let sidecar = plane.launch()?.start(&with_ads(server.address(), "GRPC")).await?;
        Ok(Self { server, name, shown_at, sidecar })
    }

    /// Gives it a certificate and roots, and waits until it has taken them.
    async fn push(&self, identity: &Identity, roots: &str) -> Result<()> {
        self.server.set(type_url::SECRET, secrets(self.name, identity, roots)?);
        self.server.until_accepted(type_url::SECRET).await
    }

    /// Waits until its worker shows this certificate of one authority, and trusts those of another.
    async fn until_applied(&self, shown: &Identity, by: &Authority, trusts: &Authority) -> Result<()> {
        let client = issue(trusts, CALLER)?;
        let (client, expected) = (&client, &shown.der()?);
        let probe = async || -> Result<bool> {
            // The client trusts who shows, the sidecar the client.
            let config = by.client(&[], Some(client))?;
            let stream = tls::connect(&Place::Host, self.shown_at, HOST, config).await?;
            let is_shown = stream.get_ref().1.peer_certificates().is_some_and(|chain| chain[0] == *expected);
            let response = Connection::over(stream).exchange("GET / HTTP/1.1\r\nHost: svc\r\n\r\n").await?;
            Ok(is_shown && response.status == 200)
        };
        let check = || async { probe().await.ok().filter(|applied| *applied).map(drop) };
        wait::until(&format!("{} to show what it was given", self.name), LIMIT, check).await
    }

    fn descriptors(&mut self) -> Result<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.sidecar.process().id()))?.count())
    }

    /// Resident memory, KiB.
    fn memory(&mut self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.sidecar.process().id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.split_whitespace().next().ok_or("no value")?.parse()?)
    }
}

/// The secrets of a sidecar under its name.
fn secrets(name: &str, identity: &Identity, roots: &str) -> Result<Vec<Resource>> {
    let inline = |text: &str| json!({"inline_string": text});
    let certificate = json!({
        "name": name,
        "tls_certificate": {"certificate_chain": inline(&identity.certificate), "private_key": inline(&identity.key)},
    });
    let trust = json!({"name": "roots", "validation_context": {"trusted_ca": inline(roots)}});
    Ok(vec![Resource::of::<Secret>(name, &certificate)?, Resource::of::<Secret>("roots", &trust)?])
}

/// A transport socket with the secrets of that name, for peers of that identity.
fn socket(side: &str, name: &str, peer: &str) -> Value {
    let source = json!({"ads": {}, "resource_api_version": "V3"});
    let mut config = json!({
        "@type": format!("type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{side}TlsContext"),
        "common_tls_context": {
            "tls_certificate_sds_secret_configs": [{"name": name, "sds_config": source}],
            "combined_validation_context": {
                "default_validation_context": {
                    "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": peer}}],
                },
                "validation_context_sds_secret_config": {"name": "roots", "sds_config": source},
            },
        },
    });
    if side == "Downstream" {
        config["require_client_certificate"] = json!(true);
    }
    json!({"name": "envoy.transport_sockets.tls", "typed_config": config})
}

/// An authority with a name of its own: Envoy's library looks for an issuer by its name, and takes the first of that name.
fn authority(turn: usize) -> Result<Authority> {
    Authority::new_with(|parameters| {
        parameters.distinguished_name.push(DnType::CommonName, format!("root {turn}"));
    })
}

fn issue(authority: &Authority, name: &str) -> Result<Identity> {
    let now = SystemTime::now();
    authority.issue_with(&[name, HOST], |parameters| {
        parameters.not_before = (now - LIFE).into();
        parameters.not_after = (now + LIFE).into();
    })
}

/// Caller and callee with their load.
struct Scene {
    caller: Proxy,
    callee: Proxy,
    load: Load,
    _upstream: Upstream,
    _ports: [Port; 3],
}

impl Scene {
    async fn start(plane: DataPlane, authority: &Authority) -> Result<Self> {
        let (entry, served, probe) = (Port::lease()?, Port::lease()?, Port::lease()?);
        let upstream = Upstream::start(Echo::new("a"))?;
        let roots = authority.certificate();
        let mut ingress = routed("ingress", &served, "a");
        ingress["filter_chains"][0]["transport_socket"] = socket("Downstream", "callee", CALLER);
        let application = cluster("a", &[upstream.address()]);
        let callee = (&issue(authority, CALLEE)?, roots.as_str());
        let at = served.address();
        let callee = Proxy::start(plane, "callee", callee, at, (vec![ingress], application)).await?;
        let mut there = cluster("there", &[served.address()]);
        there["transport_socket"] = socket("Upstream", "caller", CALLEE);
        there["typed_extension_protocol_options"] = json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "common_http_protocol_options": {"max_requests_per_connection": 8},
            "explicit_http_config": {"http_protocol_options": {}},
        }});
        let caller = (&issue(authority, CALLER)?, roots.as_str());
        let (egress, mut shown) = (routed("egress", &entry, "there"), routed("shown", &probe, "there"));
        shown["filter_chains"][0]["transport_socket"] = socket("Downstream", "caller", CALLER);
        let at = probe.address();
        let caller = Proxy::start(plane, "caller", caller, at, (vec![egress, shown], there)).await?;
        let load = Load::start(entry.address(), "svc", 4);
        load.until_answered(20).await?;
        Ok(Self { caller, callee, load, _upstream: upstream, _ports: [entry, served, probe] })
    }

    /// New certificates of both.
    async fn rotate(&self, authority: &Authority, roots: &str) -> Result<()> {
        self.caller.push(&issue(authority, CALLER)?, roots).await?;
        self.callee.push(&issue(authority, CALLEE)?, roots).await
    }

    fn usage(&mut self) -> Result<[(usize, u64); 2]> {
        let mut of = |proxy: fn(&mut Self) -> &mut Proxy| -> Result<(usize, u64)> {
            let proxy = proxy(self);
            Ok((proxy.descriptors()?, proxy.memory()?))
        };
        Ok([of(|scene| &mut scene.caller)?, of(|scene| &mut scene.callee)?])
    }

    /// Nothing has grown since, and nothing has failed.
    async fn end(mut self, rotations: usize, before: [(usize, u64); 2]) -> Result<()> {
        for proxy in [&self.caller, &self.callee] {
            let name = format!("sds.{}.update_success", proxy.name);
            proxy.sidecar.until_stat(&name, |updates| updates > rotations as u64).await?;
        }
        self.load.until_answered(100).await?;
        let after = self.usage()?;
        for ((descriptors, memory), (descriptors_now, memory_now)) in before.into_iter().zip(after) {
            // Connections of the generation before may still be closing.
            assert!(descriptors_now <= descriptors + 16, "{descriptors} descriptors, then {descriptors_now}");
            assert!(memory_now <= memory + GROWTH, "{memory} KiB, then {memory_now}");
        }
        // All the while there were new connections, not only kept ones.
        let handshakes = self.caller.sidecar.stat("cluster.there.ssl.handshake").await?;
        assert!(handshakes > 50, "{handshakes} handshakes");
        self.load.end().await.map(drop)
    }
}

/// Room for what an allocator keeps, KiB: a kilobyte left behind by each rotation would be as much.
const GROWTH: u64 = 4096;

fn routed(name: &str, port: &Port, to: &str) -> Value {
    let routes = route_config("r", &[virtual_host("v", &["*"], &[prefix_route("/", to)])]);
    http_listener(name, port.address(), inline(routes))
}

/// Ours a thousand times; Envoy, for comparison, as often as its pace allows in the same time.
fn times(plane: DataPlane) -> usize {
    if plane == DataPlane::Outrigger { 1000 } else { 200 }
}

async fn certificates_rotate_under_load(plane: DataPlane) -> Result<()> {
    let authority = Authority::new()?;
    let roots = authority.certificate();
    let mut scene = Scene::start(plane, &authority).await?;
    let settled = times(plane) / 10;
    for _ in 0..settled {
        scene.rotate(&authority, &roots).await?;
    }
    let before = scene.usage()?;
    for _ in settled..times(plane) {
        scene.rotate(&authority, &roots).await?;
    }
    scene.end(times(plane), before).await
}

/// Both roots are trusted before anything is issued by the new one, and until nothing of the old one is left.
async fn roots_rotate_under_load(plane: DataPlane) -> Result<()> {
    let mut authority = self::authority(0)?;
    let mut scene = Scene::start(plane, &authority).await?;
    let (settled, roots) = (times(plane) / 100, times(plane) / 20);
    let mut before = None;
    for turn in 0..roots {
        if turn == settled {
            before = Some(scene.usage()?);
        }
        let next = self::authority(turn + 1)?;
        let both = format!("{}{}", authority.certificate(), next.certificate());
        for (issuer, trusted) in [(&authority, &both), (&next, &both), (&next, &next.certificate())] {
            for (proxy, name) in [(&scene.caller, CALLER), (&scene.callee, CALLEE)] {
                let identity = issue(issuer, name)?;
                proxy.push(&identity, trusted).await?;
                proxy.until_applied(&identity, issuer, &next).await?;
            }
        }
        authority = next;
    }
    scene.end(roots * 3, before.ok_or("no turns")?).await
}
