//! The control plane's own view of its nodes, read as any other client would.

use std::fmt::Write as _;

use serde_json::Value;

use super::Result;
use super::http::{Outgoing, send};

/// `/nodes`.
///
/// # Errors
/// When the page cannot be had.
pub async fn fetch(admin: &str) -> Result<Value> {
    Ok(send(&Outgoing::get(admin.parse()?, "/nodes")).await?.json())
}

/// Why not all nodes are configured yet; none when they are.
///
/// # Errors
/// When a node refuses what it was sent, in its words.
pub fn pending(page: &Value, ids: &[&str]) -> Result<Option<String>> {
    for id in ids {
        let Some(node) = list(page).iter().find(|node| node["node_id"] == *id) else {
            return Ok(Some(format!("{id} has not connected to the control plane")));
        };
        let types = || node["types"].as_object().into_iter().flatten();
        for (label, state) in types() {
            match state["status"].as_str() {
                Some("NACK") => {
                    let words = state["error"].as_str().unwrap_or_default();
                    return Err(format!("{id} refuses its {label} resources: {words}").into());
                }
                Some("SENT") => return Ok(Some(format!("{id} has not answered to its {label} resources"))),
                _ => {}
            }
        }
        if !types().any(|(label, state)| label.eq_ignore_ascii_case("lds") && state["status"] == "ACK") {
            return Ok(Some(format!("{id} has not accepted its listeners")));
        }
    }
    Ok(None)
}

/// One line for each node and type.
pub fn table(page: &Value) -> String {
    let mut text = String::new();
    for node in list(page) {
        let word = |key: &str| node[key].as_str().unwrap_or("?");
        let _ = writeln!(text, "  {} from {} ({})", word("node_id"), word("peer"), word("transport"));
        for (label, state) in node["types"].as_object().into_iter().flatten() {
            let word = |key: &str| state[key].as_str().unwrap_or("-");
            let _ = writeln!(text, "    {label:<4} {:<7} version {}", word("status"), word("version"));
        }
    }
    text
}

fn list(page: &Value) -> &[Value] {
    page["nodes"].as_array().map(Vec::as_slice).unwrap_or_default()
}
