//! The page over a mesh that runs: what it says is what happens.

use std::path::{Path, PathBuf};
use std::time::Duration;

use outrigger_tests::browser::{self, Page, Scheme};
use outrigger_tests::requirement::met;
use outrigger_tests::{Result, wait, workspace};
use outrigger_xds_protos::v3::load_service::LoadStatsRequest;
use serde_json::Value;

use crate::looks::look;
use crate::raw::{Discovery, Reports, node, stats};
use crate::scene::{EDGE, FRONT, PRICE, STOCK, Scene};
use crate::{DRAWN, LIMIT};

const WORDS: &str = "Error adding/updating cluster(s) cds_egress_shop_ledger: unknown lb_policy 42";

#[tokio::test]
async fn a_browser_draws_the_mesh() -> Result<()> {
    let Some(browser) = met(browser::find()) else { return Ok(()) };
    let mut scene = Scene::start().await?;
    let xds = scene.control_plane.xds();
    let (refuses, clusters) = Discovery::open(xds, node(STOCK)).await?;
    refuses.refuse(&clusters, WORDS)?;
    // The sidecar that is called is another replica's client.
    let (accepts, clusters) = Discovery::open(xds, node(PRICE)).await?;
    accepts.accept(&clusters)?;
    // One whose numbers are known: 60 requests in 5 seconds, of which 3 failed.
    let (gateway, clusters) = Discovery::open(xds, node(EDGE)).await?;
    gateway.accept(&clusters)?;
    let reports = Reports::open(
        xds,
        LoadStatsRequest {
            node: Some(node(EDGE)),
            cluster_stats: vec![stats(&scene.front, 60, 3, &[("4", 58), ("120", 2)])],
        },
    )
    .await?;
    let picture = until_all_call(&scene).await?;
    // What is reported is what was sent: half of the requests to `stock` failed, none of the others.
    let call = |from: &str, to: &str| of(&picture, from, to);
    let share = |edge: &Value| edge["traffic"]["error_share"].as_f64().unwrap_or(-1.0);
    assert!((0.3..0.7).contains(&share(&call(FRONT, STOCK)?)), "{picture:#}");
    assert_eq!((share(&call(EDGE, FRONT)?), share(&call(FRONT, PRICE)?)), (0.05, 0.0), "{picture:#}");
    let (price, stock) = (call(FRONT, PRICE)?, call(FRONT, STOCK)?);
    assert_eq!([&price["encryption"], &stock["encryption"]], ["mutual-tls", "plain"]);

    let mut page = browser.open().await?;
    let url = format!("http://{}/", scene.control_plane.admin());
    // Requests go on meanwhile, so that the newest report has some whenever it is.
    tokio::select! {
        shown = shown_to_all(&mut page, &url) => shown?,
        failed = until_it_fails(&scene) => failed?,
    }

    // Whoever goes is seen to go; what it refused is remembered.
    drop((refuses, accepts, gateway, reports));
    scene.sidecars.clear();
    page.until(
        "document.getElementById('summary').textContent.startsWith('0 of 5 proxies connected, 0 reporting')",
    )
    .await?;
    let gone = text(&mut page, "#sidecars tbody").await?;
    assert_eq!(gone.matches("not connected").count(), 5, "{gone}");
    assert!(text(&mut page, "#nacks tbody").await?.contains(WORDS));
    let label = text(&mut page, "g.call text").await?;
    assert!(label.starts_with("no report · "), "{label}");

    // So is a control plane that goes.
    scene.control_plane.kill().await?;
    page.until("document.getElementById('trouble').textContent.includes('does not answer')").await
}

/// To readers with wide and narrow windows who like it light or dark; each has a screenshot.
async fn shown_to_all(page: &mut Page, url: &str) -> Result<()> {
    for (width, scheme) in
        [(1280, Scheme::Light), (1280, Scheme::Dark), (360, Scheme::Light), (360, Scheme::Dark)]
    {
        page.appear(width, 800, scheme).await?;
        page.load(url, DRAWN).await?;
        look(page, 5, 4).await?;
        says_all(page).await?;
        let drawn = text(page, "#graph svg").await?;
        assert!(drawn.contains("12/s · 5.0 % errors") && drawn.contains("p50 4 · p99 120 ms"), "{drawn}");
        let file = results()?.join(format!("mesh-{width}-{}.png", scheme.name()));
        page.photograph(&file, 1400).await?;
        if width == 1280 && std::env::var_os("UPDATE_GOLDEN").is_some() {
            let name = if scheme == Scheme::Light { "mesh.png" } else { "mesh-dark.png" };
            std::fs::copy(&file, workspace::root().join("control-plane/docs").join(name))?;
        }
    }
    Ok(())
}

async fn until_it_fails(scene: &Scene) -> Result<()> {
    loop {
        scene.traffic().await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Every number of the newest picture is on the page, in the drawing and in the table, as are states and refusals.
async fn says_all(page: &mut Page) -> Result<()> {
    let picture = page.evaluate("latest.picture").await?;
    for edge in picture["edges"].as_array().into_iter().flatten() {
        let drawn = page
            .evaluate(&format!(
                "document.querySelectorAll('g.call').length && [...document.querySelectorAll('g.call')]\
            .find((call) => call.querySelector('title').textContent.startsWith('{} → {}:')).textContent",
                edge["from"].as_str().unwrap_or_default(),
                edge["to"].as_str().unwrap_or_default()
            ))
            .await?;
        let drawn = drawn.as_str().ok_or("no label")?.to_owned();
        let how = if edge["encryption"] == "mutual-tls" { "mTLS" } else { "plaintext" };
        assert!(drawn.ends_with(how), "{drawn}: {edge}");
        let traffic = &edge["traffic"];
        if !traffic.is_object() {
            assert!(drawn.contains("no report"), "{drawn}: {edge}");
            continue;
        }
        let share = traffic["error_share"].as_f64().ok_or("no share")? * 100.0;
        let share = if share == 0.0 { "0 %".to_owned() } else { format!("{share:.1} %") };
        let mut said = vec![format!("{share} errors")];
        for (name, key) in [("p50", "p50_ms"), ("p99", "p99_ms")] {
            let time = traffic[key].as_f64().ok_or_else(|| format!("no times: {edge}"))?;
            said.push(format!("{name} {}", if time < 1.0 { "<1".to_owned() } else { short(time) }));
        }
        let rate = traffic["requests_per_second"].as_f64().ok_or("no rate")?;
        assert!(rate > 0.0, "{edge}");
        said.push(format!("{}/s", short(rate)));
        for one in said {
            assert!(drawn.contains(&one), "{one:?} is not in {drawn:?}: {edge}");
        }
    }
    let calls = text(page, "#calls").await?;
    assert!(calls.contains("mTLS") && calls.contains("plaintext"), "{calls}");
    let nodes = text(page, "#graph svg").await?;
    for name in
        ["edge", "front", "price", "stock", "ledger", "gateway", "price.shop.local", "ledger.shop.local"]
    {
        assert!(nodes.contains(name), "{name} is not in {nodes}");
    }
    let sidecars = text(page, "#sidecars tbody").await?;
    assert_eq!(sidecars.matches("has the current configuration").count(), 3, "{sidecars}");
    assert!(sidecars.contains("refused its configuration") && sidecars.contains(WORDS), "{sidecars}");
    assert_eq!(sidecars.matches("not connected").count(), 1, "{sidecars}");
    let nacks = text(page, "#nacks tbody").await?;
    assert!(nacks.contains(STOCK) && nacks.contains("CDS") && nacks.contains(WORDS), "{nacks}");
    Ok(())
}

/// Three digits, or all before the point.
fn short(value: f64) -> String {
    if value >= 100.0 {
        return format!("{value:.0}");
    }
    let digits = if value >= 10.0 {
        1
    } else if value >= 1.0 {
        2
    } else {
        3
    };
    format!("{value:.digits$}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

async fn text(page: &mut Page, selector: &str) -> Result<String> {
    let text = page.evaluate(&format!("document.querySelector({selector:?}).textContent")).await?;
    Ok(text.as_str().unwrap_or_default().to_owned())
}

/// Requests go on until a report of every sidecar shows some.
async fn until_all_call(scene: &Scene) -> Result<Value> {
    wait::until("traffic on every edge", LIMIT, || async {
        scene.traffic().await.ok()?;
        let picture = scene.control_plane.get("/mesh").await.ok()?.json().ok()?;
        let live = [(EDGE, FRONT), (FRONT, PRICE), (FRONT, STOCK)].into_iter().all(|(from, to)| {
            of(&picture, from, to)
                .is_ok_and(|edge| edge["traffic"]["requests_per_second"].as_f64() > Some(2.0))
        });
        live.then_some(picture)
    })
    .await
}

fn of(picture: &Value, from: &str, to: &str) -> Result<Value> {
    let edges = picture["edges"].as_array().into_iter().flatten();
    let found = edges.into_iter().find(|edge| edge["from"] == from && edge["to"] == to);
    found.cloned().ok_or_else(|| format!("no call from {from} to {to}: {picture:#}").into())
}

/// Where screenshots are left to be looked at.
pub fn results() -> Result<PathBuf> {
    let directory = workspace::target_dir().join(Path::new("test-results/picture"));
    std::fs::create_dir_all(&directory)?;
    Ok(directory)
}
