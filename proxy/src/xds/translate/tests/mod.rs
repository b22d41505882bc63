//! Whole resources, written as Envoy users write them, and every refusal with its path.

mod clusters;
mod filters;
mod health;
mod listeners;
mod rate_limits;
mod refusals;
mod routes;
mod tls;
mod tracing;
mod warnings;

use outrigger_xds_protos::any::Typed;
use outrigger_xds_protos::json::Document;

use super::*;
use crate::config::listener::{HttpSettings, NetworkFilter, TcpSettings};

/// A context that opens no access logs.
fn context() -> TranslateContext {
    TranslateContext::new(Registry::new(), None)
}

/// A message from YAML, without the checks of the API's own rules: translation must not rely on them.
fn message<M: Typed>(yaml: &str) -> M {
    Document::parse(yaml)
        .and_then(|document| document.decode())
        .unwrap_or_else(|error| panic!("{error}\n{yaml}"))
}

fn listener_of(yaml: &str) -> Result<TranslatedListener, Rejection> {
    listener(&message(yaml), &mut context())
}

fn route_table_of(yaml: &str) -> Result<TranslatedRouteTable, Rejection> {
    route_table(&message(yaml), &mut context())
}

fn cluster_of(yaml: &str) -> Result<TranslatedCluster, Rejection> {
    cluster(&message(yaml), &mut context())
}

/// The connection manager of chain `index`.
fn http(listener: &Listener, index: usize) -> &HttpSettings {
    match &listener.chains[index].filter {
        NetworkFilter::Http(http) => http,
        NetworkFilter::Tcp(_) => panic!("chain {index} is TCP"),
    }
}

/// The TCP proxy of chain `index`.
fn tcp(listener: &Listener, index: usize) -> &TcpSettings {
    match &listener.chains[index].filter {
        NetworkFilter::Tcp(tcp) => tcp,
        NetworkFilter::Http(_) => panic!("chain {index} is HTTP"),
    }
}

/// Indents every line but the first.
fn indented(text: &str, spaces: usize) -> String {
    text.trim_end().replace('\n', &format!("\n{}", " ".repeat(spaces)))
}
