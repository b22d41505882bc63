//! Where proxies listen, as the command line says it; the same for `serve` and `show`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use clap::Args;

use crate::translate::{Listening, TranslateOptions};

/// What differs from App Mesh's defaults, for all proxies.
#[derive(Debug, Clone, Args)]
pub struct ListeningArgs {
    /// Proxies are dialled directly, without interception: they bind the ports of their listeners, one egress port for
    /// all HTTP services by Host, and the ports of TCP services
    #[arg(long)]
    no_interception: bool,
    /// Address that proxies bind; absent: all addresses
    #[arg(long, value_name = "ADDRESS")]
    bind: Option<IpAddr>,
    /// Port that intercepted connections to a node arrive at
    #[arg(long, value_name = "PORT", default_value_t = 15000, value_parser = port(), conflicts_with = "no_interception")]
    ingress_port: u16,
    /// Port that connections to other services arrive at
    #[arg(long, value_name = "PORT", default_value_t = 15001, value_parser = port())]
    egress_port: u16,
}

/// Port 0 would be another one at each update.
fn port() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(1..)
}

impl ListeningArgs {
    /// The options of the translation.
    pub fn options(&self) -> TranslateOptions {
        let listening = match self.no_interception {
            true => Listening::Explicit { ports: BTreeMap::new() },
            false => Listening::Intercepted { ingress_port: self.ingress_port },
        };
        TranslateOptions {
            listening,
            egress_port: self.egress_port,
            bind_address: self.bind,
            ..TranslateOptions::default()
        }
    }
}
