//! The mesh as the control plane shows it: what sidecars of both kinds report, as JSON, and as a page in a browser.

use std::time::Duration;

use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::hostile::NAMES;
use outrigger_tests::mesh::{FRONT, Shop};
use outrigger_tests::requirement::met;
use outrigger_tests::{Result, browser, on_both_data_planes, wait};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

const LIMIT: Duration = Duration::from_secs(30);
const PRICE_ONE: &str = "mesh/shop/virtualNode/price-1";

on_both_data_planes!(traffic_is_reported_by_caller_and_target);

async fn traffic_is_reported_by_caller_and_target(plane: DataPlane) -> Result<()> {
    let shop = Shop::open_with_weights(1, 0).await?;
    let _sidecar = shop.proxy(plane, FRONT, 1).await?;
    // A report covers one interval: requests go on until one shows them all.
    let edge = wait::until("traffic and errors to price-1", LIMIT, || async {
        for status in [200, 200, 404, 500] {
            shop.price("/", &[&format!("x-echo-status: {status}")]).await.ok()?;
        }
        let edge = call(&shop, PRICE_ONE).await.ok()?;
        let shares = edge["traffic"]["error_share"].as_f64()?;
        (shares > 0.1 && shares < 0.4 && edge["traffic"]["requests_per_second"].as_f64()? > 1.0)
            .then_some(edge)
    })
    .await?;
    assert_eq!(edge["encryption"], "plain");
    // Times are an addition of ours: Envoy's reports have none.
    assert_eq!(edge["traffic"]["p99_ms"].is_number(), plane == DataPlane::Outrigger, "{edge}");
    let idle = call(&shop, "mesh/shop/virtualNode/price-2").await?;
    assert_eq!(idle["traffic"]["requests_per_second"], 0.0, "{idle}");
    Ok(())
}

#[tokio::test]
async fn a_browser_draws_the_mesh() -> Result<()> {
    let Some(browser) = met(browser::find()) else { return Ok(()) };
    let shop = Shop::open().await?;
    let _sidecar = shop.proxy(DataPlane::Outrigger, FRONT, 1).await?;
    for width in [1280, 420] {
        let page = browser.page(&format!("http://{}/", shop.control_plane.admin()), width).await?;
        for text in ["1 of 8 proxies connected", "<svg", ">price-1<", "has the current configuration", "edge"]
        {
            assert!(page.contains(text), "{text:?} is not on the page {width} wide:\n{page}");
        }
        assert!(page.contains("role=\"alert\"></span>"), "the page complains:\n{page}");
    }
    Ok(())
}

/// Names, services and refusals come from definitions and from sidecars: none of them is more than text on the page.
#[tokio::test]
async fn no_name_and_no_refusal_runs_in_the_browser() -> Result<()> {
    let Some(browser) = met(browser::find()) else { return Ok(()) };
    let shop = Shop::open().await?;
    let mut picture = shop.control_plane.get("/mesh").await?.json()?;
    let nack = json!({"node_id": "id", "type": "CDS", "at": "2026-11-21T00:00:00Z", "error": "refused"});
    picture["nacks"] = json!(vec![nack; NAMES.len()]);
    let mut written = 0;
    spoil(&mut picture, &mut written);
    assert!(written > 2 * NAMES.len(), "{picture:#}");
    let (page, mesh) = (::outrigger::picture::PAGE.to_owned(), picture.to_string());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    let mut server = JoinSet::new();
    server.spawn(serve(listener, page, mesh));
    let drawn = browser.page(&url, 1280).await?;
    let (_, body) = drawn.split_once("<svg").ok_or("nothing was drawn")?;
    for mark in ["<script", "<img", "onerror=forged()>"] {
        assert!(!body.split("</svg>").next().unwrap_or_default().contains(mark), "{mark} in {body}");
    }
    // The page's own script is the only one, and what was refused is there as text.
    assert_eq!(drawn.matches("<script").count(), 1, "{drawn}");
    assert!(drawn.contains("&lt;/script&gt;&lt;script&gt;forged()") && !drawn.contains("<img"), "{drawn}");
    assert!(drawn.contains("role=\"alert\"></span>"), "the page complains:\n{drawn}");
    Ok(())
}

/// Writes the next hostile name behind every text that is not a word of ours; references stay whole.
fn spoil(value: &mut Value, written: &mut usize) {
    const NAMED: [&str; 4] = ["name", "mesh", "services", "error"];
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| spoil(item, written)),
        Value::Object(members) => {
            for (key, member) in members {
                match member {
                    Value::Array(items) if NAMED.contains(&key.as_str()) => {
                        items.iter_mut().for_each(|item| end(item, written));
                    }
                    Value::String(_) if NAMED.contains(&key.as_str()) => end(member, written),
                    Value::String(_) => {}
                    other => spoil(other, written),
                }
            }
        }
        _ => {}
    }
}

fn end(text: &mut Value, written: &mut usize) {
    if let Value::String(text) = text {
        text.push_str(NAMES[*written % NAMES.len()]);
        *written += 1;
    }
}

/// The page, and in place of the control plane's picture of the mesh this one.
async fn serve(listener: TcpListener, page: String, mesh: String) -> Result<()> {
    loop {
        let (mut stream, _) = listener.accept().await?;
        let mut asked = vec![0; 4096];
        let length = stream.read(&mut asked).await?;
        let is_mesh = String::from_utf8_lossy(&asked[..length]).starts_with("GET /mesh");
        let (kind, body) = if is_mesh { ("application/json", &mesh) } else { ("text/html", &page) };
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await?;
    }
}

/// The call from `front` to a node.
async fn call(shop: &Shop, to: &str) -> Result<Value> {
    let picture = shop.control_plane.get("/mesh").await?.json()?;
    let edges = picture["edges"].as_array().cloned().unwrap_or_default();
    let found = edges.into_iter().find(|edge| edge["from"] == FRONT && edge["to"] == to);
    found.ok_or_else(|| format!("no call from {FRONT} to {to}: {picture:#}").into())
}
