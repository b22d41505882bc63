//! The page to the eye: in narrow and wide windows, light and dark, with few nodes, many and none.

use outrigger_tests::Result;
use outrigger_tests::browser::{self, Page, Scheme};
use outrigger_tests::control_plane::Launch;
use outrigger_tests::requirement::met;
use serde_json::{Value, json};

use crate::DRAWN;
use crate::live::results;
use crate::stub::Stub;

const MEASURE: &str = include_str!("measure.js");
const WIDTHS: [u32; 4] = [1280, 800, 420, 360];
const SCHEMES: [Scheme; 2] = [Scheme::Light, Scheme::Dark];
const MANY: usize = 40;

/// What the measure found, once it has nothing to object to.
pub async fn look(page: &mut Page, nodes: usize, calls: usize) -> Result<Value> {
    let measured = measure(page).await?;
    assert_eq!(measured["problems"], json!([]), "{measured:#}");
    let drawn = json!([nodes, calls, calls]);
    assert_eq!(json!([measured["nodes"], measured["calls"], measured["lines"]]), drawn, "{measured:#}");
    assert!(measured["texts"].as_u64() > Some(20), "{measured}");
    Ok(measured)
}

async fn measure(page: &mut Page) -> Result<Value> {
    page.evaluate(&format!("(() => {{ {MEASURE}\nreturn measure(); }})()")).await
}

#[tokio::test]
async fn everything_can_be_read_in_every_window_and_in_both_colours() -> Result<()> {
    let Some(browser) = met(browser::find()) else { return Ok(()) };
    let silent = served().await?;
    let mut busy = silent.clone();
    enrich(&mut busy);
    let mut long = busy.clone();
    lengthen(&mut long);
    let nothing = json!({"nodes": [], "edges": [], "nacks": [], "reporting": 0});
    let mut page = browser.open().await?;
    for (name, picture) in [("busy", busy), ("silent", silent), ("long", long), ("nothing", nothing)] {
        let stub = Stub::start(&picture).await?;
        let count = |key: &str| picture[key].as_array().map_or(0, Vec::len);
        for width in WIDTHS {
            let mut papers = Vec::new();
            for scheme in SCHEMES {
                page.appear(width, 800, scheme).await?;
                page.load(&stub.url, DRAWN).await?;
                page.photograph(&results()?.join(format!("{name}-{width}-{}.png", scheme.name())), 2000)
                    .await?;
                let seen = look(&mut page, count("nodes"), count("edges")).await?;
                papers.push(seen["paper"].as_f64().ok_or("no paper")?);
            }
            assert!(papers[0] > 0.8 && papers[1] < 0.05, "{papers:?} {name} {width}");
        }
    }
    Ok(())
}

/// A measure that finds nothing is worth something only if it finds what is there.
#[tokio::test]
async fn the_measure_sees_what_is_wrong() -> Result<()> {
    let Some(browser) = met(browser::find()) else { return Ok(()) };
    let mut picture = served().await?;
    enrich(&mut picture);
    let (stub, mut page) = (Stub::start(&picture).await?, browser.open().await?);
    page.appear(420, 800, Scheme::Light).await?;
    page.load(&stub.url, DRAWN).await?;
    look(&mut page, MANY, picture["edges"].as_array().map_or(0, Vec::len)).await?;
    for (wrong, seen) in [
        ("document.documentElement.style.setProperty('--faint', '#9aa3ab')", "contrast"),
        ("document.documentElement.style.setProperty('--idle', '#c0c6cc')", "of a line"),
        ("document.documentElement.style.setProperty('--rim', '#c0c6cc')", "the rim of a node"),
        ("document.querySelector('#sidecars').style.width = '900px'", "wider than the screen"),
        ("document.querySelector('#legend').style.cssText = 'width: 900px'", "the page is"),
        (
            "document.querySelector('#summary').style.cssText = 'white-space: nowrap; overflow: hidden; width: 50px; display: block'",
            "is cut",
        ),
        ("document.querySelector('g.proxy text').textContent = 'x'.repeat(60)", "sticks out"),
        ("document.querySelectorAll('g.proxy')[3].setAttribute('transform', 'translate(0, -60)')", "covers"),
        (
            "document.querySelector('g.call').setAttribute('transform', 'translate(-4000, 0)')",
            "outside of the drawing",
        ),
        ("document.querySelectorAll('path.edge')[0].setAttribute('d', 'M0,0 L2000,3000')", "runs through"),
        ("document.querySelector('text.small').style.fontSize = '9px'", "9px high"),
    ] {
        page.load(&stub.url, DRAWN).await?;
        page.evaluate(wrong).await?;
        let measured = measure(&mut page).await?;
        let problems = measured["problems"].as_array().ok_or("no problems")?;
        assert!(
            problems.iter().any(|one| one.as_str().is_some_and(|one| one.contains(seen))),
            "{wrong}: {problems:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn keys_and_screen_readers_get_it_too() -> Result<()> {
    let Some(browser) = met(browser::find()) else { return Ok(()) };
    let mut picture = served().await?;
    enrich(&mut picture);
    let (stub, mut page) = (Stub::start(&picture).await?, browser.open().await?);
    // Wide, and narrow, where rows of tables are drawn as blocks.
    for width in [1280, 360] {
        page.appear(width, 800, Scheme::Light).await?;
        page.load(&stub.url, DRAWN).await?;
        assert_eq!(
            page.evaluate("[document.title, document.documentElement.lang]").await?,
            json!(["Outrigger mesh", "en"])
        );
        let told = page.told().await?;
        let has =
            |role: &str, name: &str| told.iter().any(|(one, other)| one == role && other.contains(name));
        for (role, name) in [
            ("heading", "Outrigger mesh"),
            ("status", ""),
            ("alert", ""),
            ("main", ""),
            ("region", "Who calls whom"),
            ("image", "40 proxies and"),
            ("table", "Calls"),
            ("table", "Sidecars"),
            ("table", "Recent refusals"),
            ("columnheader", "Encryption"),
            ("columnheader", "Configuration"),
            ("rowheader", "service-with-quite-a-name-01"),
            ("cell", "mTLS"),
            ("listitem", ""),
        ] {
            assert!(has(role, name), "no {role} {name:?} at {width}: {told:?}");
        }
        // Each state has a shape and words of its own.
        let marks = page.evaluate("[...document.querySelectorAll('#legend li')].map((one) => [one.querySelector('path').getAttribute('d'), one.textContent])").await?;
        let marks = marks.as_array().ok_or("no legend")?;
        for at in [0, 1] {
            let distinct: std::collections::BTreeSet<_> =
                marks.iter().map(|mark| mark[at].to_string()).collect();
            assert_eq!(distinct.len(), 5, "{marks:?}");
        }
    }
    // What is wider than the window is reached and moved with keys, and it shows.
    let overflows = page.evaluate("(() => { const graph = document.getElementById('graph'); return graph.scrollWidth > graph.clientWidth; })()").await?;
    assert_eq!(overflows, true, "forty nodes do not fit into 360 pixels");
    page.press("Tab", 9).await?;
    page.until("document.activeElement.id === 'graph' && getComputedStyle(document.activeElement).outlineStyle === 'solid'").await?;
    page.press("ArrowRight", 39).await?;
    page.until("document.getElementById('graph').scrollLeft > 0").await
}

/// Forty nodes as the control plane shows them, of which none has a sidecar.
async fn served() -> Result<Value> {
    let plane = Launch::of(&definitions())?.start().await?;
    let picture = plane.get("/mesh").await?.json()?;
    assert_eq!(picture["nodes"].as_array().map(Vec::len), Some(MANY), "{picture:#}");
    Ok(picture)
}

fn definitions() -> String {
    let mut text =
        "Resources:\n  Mesh: {Type: AWS::AppMesh::Mesh, Properties: {MeshName: shop}}\n".to_owned();
    for at in 0..MANY {
        // A tree, with a few ways across, one of them back.
        let called = [2 * at + 1, 2 * at + 2, at + 9, if at == 30 { 3 } else { MANY }];
        let called = called.iter().enumerate().filter(|(way, to)| **to < MANY && (*way != 2 || at % 4 == 0));
        let called = called.map(|(_, to)| {
            format!("{{VirtualService: {{VirtualServiceName: s{to:02}.a-longer.name.local}}}}")
        });
        let called: Vec<_> = called.collect();
        text += &format!(
            "  N{at}:
    Type: AWS::AppMesh::VirtualNode
    Properties:
      MeshName: shop
      VirtualNodeName: service-with-quite-a-name-{at:02}
      Spec:
        Listeners: [{{PortMapping: {{Port: 8080, Protocol: http}}}}]
        ServiceDiscovery: {{DNS: {{Hostname: s{at}.local}}}}
        Backends: [{}]
  S{at}:
    Type: AWS::AppMesh::VirtualService
    Properties:
      MeshName: shop
      VirtualServiceName: s{at:02}.a-longer.name.local
      Spec: {{Provider: {{VirtualNode: {{VirtualNodeName: service-with-quite-a-name-{at:02}}}}}}}
",
            called.join(", ")
        );
    }
    text
}

/// Traffic of all sizes, protection of all kinds, and every state.
fn enrich(picture: &mut Value) {
    const STATES: [&str; 5] = ["current", "updating", "refused", "held-back", "absent"];
    let refusal = "Error adding/updating listener(s) lds_ingress_0.0.0.0_15000:\n  no such filter: 'envoy.filters.http.none'";
    for (at, node) in picture["nodes"].as_array_mut().into_iter().flatten().enumerate() {
        let state = STATES[at % 5];
        let count = if state == "absent" { 0 } else { at % 3 + 1 };
        let own = if state == "held-back" { "current" } else { state };
        let mut stream = json!({"peer": "[2001:db8:1234:5678:9abc:def0:1234:5678]:54321", "software": "outrigger-proxy 0.1.0",
            "since": "2026-11-22T00:00:00Z", "state": own});
        if ["refused", "held-back"].contains(&state) {
            node["reason"] = json!(refusal);
            stream["reason"] = json!(refusal);
        }
        node["state"] = json!(state);
        // More than are listed.
        node["sidecars"] = json!(if at == 7 { 1234 } else { count });
        node["streams"] = json!(vec![stream; count]);
    }
    for (at, edge) in picture["edges"].as_array_mut().into_iter().flatten().enumerate() {
        edge["encryption"] = json!(["plain", "tls", "mutual-tls"][at % 3]);
        let traffic = |rate: f64, share: f64, time: Value| json!({"requests_per_second": rate, "error_share": share, "active": 3, "p50_ms": time, "p99_ms": time});
        edge["traffic"] = match at % 6 {
            0 => traffic(0.0, 0.0, json!(null)),
            1 => traffic(0.2, 0.0, json!(0.25)),
            2 => traffic(12_345.6, 0.000_1, json!(1234.5)),
            3 => traffic(99.95, 1.0, json!(60_000.0)),
            4 => traffic(1e28, 0.04, json!(1e9)),
            _ => continue,
        };
    }
    let nack = json!({"node_id": "mesh/shop/virtualNode/service-with-quite-a-name-02", "type": "LDS",
        "at": "2026-11-22T00:00:00Z", "error": refusal});
    picture["nacks"] = json!([nack, nack]);
    picture["reporting"] = json!(31);
}

/// Names as long as they may be, in one word.
fn lengthen(picture: &mut Value) {
    for node in picture["nodes"].as_array_mut().into_iter().flatten() {
        let name = node["name"].as_str().unwrap_or_default().to_owned();
        node["name"] = json!(format!("{}{name}", "W".repeat(255 - name.len())));
        node["mesh"] = json!("m".repeat(255));
        node["services"] = json!([format!("{}.local", "s".repeat(249)), "second.local"]);
        if node["reason"].is_string() {
            node["reason"] = json!("e".repeat(4096));
        }
    }
    for nack in picture["nacks"].as_array_mut().into_iter().flatten() {
        nack["node_id"] = json!("i".repeat(1024));
        nack["type"] = json!("t".repeat(256));
        nack["error"] = json!("e".repeat(4096));
    }
}
