//! Text of strangers: in the picture that the page draws.

use outrigger_tests::hostile::NAMES;
use outrigger_tests::mesh::Shop;
use outrigger_tests::requirement::met;
use outrigger_tests::{Result, browser};
use serde_json::{Value, json};

use crate::DRAWN;
use crate::stub::Stub;

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
    let (stub, mut page) = (Stub::start(&picture).await?, browser.open().await?);
    page.load(&stub.url, DRAWN).await?;
    // Nothing of it became an element, and nothing of it ran.
    let alive = page.evaluate("[document.scripts.length, document.images.length, typeof forged]").await?;
    assert_eq!(alive, json!([1, 0, "undefined"]));
    let drawn = page.document().await?;
    let (_, body) = drawn.split_once("<svg").ok_or("nothing was drawn")?;
    for mark in ["<script", "<img"] {
        assert!(!body.split("</svg>").next().unwrap_or_default().contains(mark), "{mark} in {body}");
    }
    // What was refused is there as text.
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
