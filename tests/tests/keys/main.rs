//! Private keys stay where they are used: not in a log at its most talkative, not on a page, not in a refusal that is
//! sent back, not in a core dump, not in the reach of others of the same user, not in memory that is done with.

mod process;

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, prefix_route, route_config, virtual_host, with_ads, with_static,
};
use outrigger_tests::control_plane::Launch;
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::netns::Place;
use outrigger_tests::ports::Port;
use outrigger_tests::requirement::{Missing, met};
use outrigger_tests::tls::{self, Authority, Identity};
use outrigger_tests::xds::{Event, Kind, Resource, Server};
use outrigger_tests::{Result, wait};
use outrigger_xds_protos::type_url;
use outrigger_xds_protos::v3::cluster::Cluster;
use outrigger_xds_protos::v3::listener::Listener;
use outrigger_xds_protos::v3::tls::Secret;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(20);
const PAGES: [&str; 11] = [
    "/config_dump?include_eds",
    "/certs",
    "/stats",
    "/stats/prometheus",
    "/clusters",
    "/listeners",
    "/server_info",
    "/memory",
    "/runtime",
    "/contention",
    "/init_dump",
];

/// What gives a key away: lines of its text, and its number.
struct Traces(Vec<Vec<u8>>);

impl Traces {
    fn of(key: &str) -> Result<Self> {
        let lines: Vec<&str> = key.lines().filter(|line| !line.starts_with("-----")).collect();
        let der = STANDARD.decode(lines.concat())?;
        // The private number in an ECPrivateKey (RFC 5915): an octet string of 32 bytes.
        let at = der.windows(2).position(|bytes| bytes == [4, 32]).ok_or("no P-256 key")?;
        let number = der.get(at + 2..at + 34).ok_or("no number")?.to_vec();
        let lines = lines.into_iter().filter(|line| line.len() > 20).map(|line| line.as_bytes().to_vec());
        Ok(Self(lines.chain([number]).collect()))
    }

    fn are_in(&self, bytes: &[u8]) -> bool {
        self.0.iter().any(|trace| contains(bytes, trace))
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    let Some(first) = part.first() else { return true };
    let starts = bytes.iter().enumerate().filter(|(_, byte)| *byte == first);
    let mut starts = starts.filter_map(|(at, _)| bytes.get(at..at + part.len()));
    starts.any(|found| found == part)
}

fn listener(port: &Port, socket: Value) -> Value {
    let routes = route_config("r", &[virtual_host("v", &["*"], &[prefix_route("/", "a")])]);
    let mut listener = http_listener("ingress", port.address(), inline(routes));
    listener["filter_chains"][0]["transport_socket"] = json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": socket,
        },
    });
    listener
}

fn secret(certificate: &str, key: &str) -> Result<Vec<Resource>> {
    let inline = |text: &str| json!({"inline_string": text});
    let pair = json!({"certificate_chain": inline(certificate), "private_key": inline(key)});
    Ok(vec![Resource::of::<Secret>("own", &json!({"name": "own", "tls_certificate": pair}))?])
}

async fn said(sidecar: &mut Sidecar) -> Result<Vec<String>> {
    let mut said = vec![sidecar.process().stderr(), sidecar.process().stdout()];
    for page in PAGES {
        said.push(sidecar.get(page).await?.text());
    }
    Ok(said)
}

#[tokio::test]
async fn neither_log_nor_page_nor_refusal_shows_a_key() -> Result<()> {
    let (server, port, authority) = (Server::start()?, Port::lease()?, Authority::new()?);
    let sds = json!({"tls_certificate_sds_secret_configs": [
        {"name": "own", "sds_config": {"ads": {}, "resource_api_version": "V3"}},
    ]});
    let Identity { certificate, key } = authority.issue(&["svc"])?;
    let other = authority.issue(&["svc"])?.key;
    server.set_all([
        (type_url::CLUSTER, vec![Resource::of::<Cluster>("a", &cluster("a", &[]))?]),
        (type_url::LISTENER, vec![Resource::of::<Listener>("ingress", &listener(&port, sds))?]),
        (type_url::SECRET, secret(&certificate, &key)?),
    ]);
    let launch = DataPlane::Outrigger.launch()?.log_level("trace");
    let mut sidecar = launch.start(&with_ads(server.address(), "GRPC")).await?;
    // A pair that does not fit, and texts that are almost keys: what is wrong is said, and not shown.
    let refusals = || -> Vec<String> {
        let words = |event: Event| match event.kind {
            Kind::Nack { message } if event.type_url == type_url::SECRET => Some(message),
            _ => None,
        };
        server.log().into_iter().filter_map(words).collect()
    };
    for wrong in [other.clone(), key.replace("BEGIN PRIVATE", "BEGIN STRANGE"), key.replacen('M', "*", 1)] {
        let before = refusals().len();
        server.set(type_url::SECRET, secret(&certificate, &wrong)?);
        let refused = || std::future::ready((refusals().len() > before).then_some(()));
        let waited = wait::until("the secret to be refused", LIMIT, refused).await;
        waited.map_err(|error| format!("{error}: {before} refusals, {:#?}", server.log()))?;
    }
    let refusals = refusals();
    // All the while the pair before is shown.
    let config = authority.client(&["http/1.1"], None)?;
    tls::connect(&Place::Host, port.address(), "svc", config).await?;
    assert!(refusals.iter().any(|text| text.contains("do not work together")), "{refusals:?}");
    assert!(refusals.iter().any(|text| text.contains("private_key")), "{refusals:?}");
    let mut texts = said(&mut sidecar).await?;
    assert!(texts[0].contains("DEBUG") || texts[0].contains("TRACE"), "it does talk");
    texts.extend(refusals);
    for key in [&key, &other] {
        let traces = Traces::of(key)?;
        for text in &texts {
            assert!(!traces.are_in(text.as_bytes()), "{text}");
            assert!(!text.contains("PRIVATE KEY-----\n"), "{text}");
        }
    }
    Ok(())
}

/// The control plane's own root, and what it makes for an Envoy, at the most talkative level.
#[tokio::test]
async fn the_control_plane_shows_none_either() -> Result<()> {
    let files = tempfile::tempdir()?;
    let ca = files.path().join("ca");
    let port = Port::lease()?;
    let definitions = format!(
        "
- {{meshName: shop, spec: {{}}}}
- meshName: shop
  virtualNodeName: a
  spec:
    serviceDiscovery: {{dns: {{hostname: a.local}}}}
    listeners:
      - portMapping: {{port: {}, protocol: http}}
        tls: {{mode: STRICT, certificate: {{sds: {{secretName: 'outrigger:identity'}}}}}}
",
        port.number()
    );
    let directory = ca.display().to_string();
    // A short life, so that the directory is looked at often.
    let arguments =
        ["--no-interception", "--mesh-ca", &directory, "--certificate-life", "60s", "--log-level", "trace"];
    let mut plane = Launch::of(&definitions)?.args(arguments.map(str::to_owned)).start().await?;
    let Some(launch) = met(DataPlane::Envoy.launch()) else { return Ok(()) };
    let mut envoy = launch.start_in_mesh("mesh/shop/virtualNode/a", plane.xds()).await?;
    let mut texts = said(&mut envoy).await?;
    for page in ["/nodes", "/mesh", "/metrics", "/ready"] {
        texts.push(plane.get(page).await?.text());
    }
    texts.push(plane.process().stderr());
    // A key that is not the root's, and one that is damaged.
    let root = std::fs::read_to_string(ca.join("root.key"))?;
    let other = Authority::new()?.issue(&["other"])?.key;
    let traces = [Traces::of(&root)?, Traces::of(&other)?];
    let damaged = root.replacen("BEGIN PRIVATE", "BEGIN STRANGE", 1);
    for (key, reason) in [(&other, "is not the key of root.pem"), (&damaged, "is no private key in PEM")] {
        std::fs::write(ca.join("root.key"), key)?;
        let line = plane.until_says(reason).await?;
        assert!(line.contains("keeps its last good state"), "{line}");
    }
    let said = plane.process().stderr();
    assert!(said.contains("TRACE") || said.contains("DEBUG"), "it does talk");
    texts.push(said);
    for text in texts {
        assert!(!traces.iter().any(|traces| traces.are_in(text.as_bytes())), "{text}");
        assert!(!text.contains("PRIVATE KEY"), "{text}");
    }
    Ok(())
}

/// Key files are read again and again; of none of them is anything left but what signs.
#[tokio::test]
async fn keys_that_were_read_leave_no_copy_in_memory() -> Result<()> {
    let (directory, port, authority) = (tempfile::tempdir()?, Port::lease()?, Authority::new()?);
    let first = authority.issue(&["svc"])?;
    first.write(directory.path(), "own")?;
    let file = |name: &str| json!({"filename": directory.path().join(name).display().to_string()});
    let pair = json!({"certificate_chain": file("own.pem"), "private_key": file("own.key")});
    // One that is written into a listener stays as it was received: this search would find the others, too.
    let written = authority.issue(&["written"])?;
    let inline = |text: &str| json!({"inline_string": text});
    let beside =
        json!({"certificate_chain": inline(&written.certificate), "private_key": inline(&written.key)});
    let listener = listener(&port, json!({"tls_certificates": [pair, beside]}));
    let bootstrap = with_static(&[listener], &[cluster("a", &[])]);
    let mut sidecar = DataPlane::Outrigger.launch()?.start(&bootstrap).await?;
    let serial = async |sidecar: &Sidecar| -> Result<Value> {
        let page = sidecar.get("/certs").await?.json()?;
        Ok(page["certificates"][0]["cert_chain"][0]["serial_number"].clone())
    };
    let before = serial(&sidecar).await?;
    assert!(before.is_string());
    let second = authority.issue(&["svc"])?;
    second.write(directory.path(), "own")?;
    let changed = || async { serial(&sidecar).await.ok().filter(|now| *now != before).map(drop) };
    wait::until("the second certificate", LIMIT, changed).await?;
    let Some(memory) = met(memory_of(sidecar.process().id())) else { return Ok(()) };
    // The certificate is there, so this looks in the right place.
    assert!(contains(&memory, second.der()?.as_ref()), "of {} bytes", memory.len());
    for (Identity { key, .. }, there) in [(&written, true), (&first, false), (&second, false)] {
        assert_eq!(Traces::of(key)?.are_in(&memory), there);
    }
    Ok(())
}

/// All memory of a process that can be written, which root may read.
fn memory_of(process: u32) -> Result<Vec<u8>, Missing> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut maps = String::new();
        File::open(format!("/proc/{process}/maps"))?.read_to_string(&mut maps)?;
        let memory = File::open(format!("/proc/{process}/mem"))?;
        let mut all = Vec::new();
        for line in maps.lines().filter(|line| line.contains(" rw")) {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            let number = |text: &str| u64::from_str_radix(text, 16).unwrap_or_default();
            let Some((start, end)) = range.map(|(start, end)| (number(start), number(end))) else { continue };
            let mut page = vec![0; 4096];
            for at in (start..end).step_by(page.len()) {
                // Pages that were never touched cannot be read, and hold nothing.
                if memory.read_exact_at(&mut page, at).is_ok() {
                    all.extend_from_slice(&page);
                }
            }
        }
        Ok(all)
    };
    read().map_err(|error| Missing::new("another process' memory", error.to_string(), "run as root"))
}
