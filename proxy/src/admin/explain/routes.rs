//! Which route tables there are, and who would take a request.

use std::sync::Arc;

use super::Question;
use super::state::{Facts, MAX_NAMED};
use crate::config::RouteTable;
use crate::config::listener::{NetworkFilter, RouteSource};

impl Facts<'_> {
    /// Which virtual hosts there are, and which of them would take the authority.
    pub(super) fn routes(&self, question: &Question) -> Vec<String> {
        let chains = self.snapshot.listeners.iter().flatten().flat_map(|slot| &slot.config.chains);
        let inline = chains.filter_map(|chain| match &chain.filter {
            NetworkFilter::Http(settings) => match &settings.routes {
                RouteSource::Inline(table) => Some(table),
                RouteSource::Rds(_) => None,
            },
            NetworkFilter::Tcp(_) => None,
        });
        let tables: Vec<_> = self.snapshot.route_tables.iter().flatten().chain(inline).collect();
        if tables.is_empty() {
            return vec!["no route table arrived".to_owned()];
        }
        let table = |table: &&Arc<RouteTable>| {
            let hosts = &table.virtual_hosts;
            let names: Vec<_> = hosts.iter().take(MAX_NAMED).map(|host| &*host.name).collect();
            let mut fact =
                format!("routes {}: {} virtual hosts: {}", table.name, hosts.len(), names.join(", "));
            if let Some(authority) = &question.authority {
                let verdict = match taker(table, authority) {
                    Some(host) => format!("; {} would be {}'s", super::printable(authority), host),
                    None => format!("; none is for {}", super::printable(authority)),
                };
                fact.push_str(&verdict);
            }
            fact
        };
        tables.iter().take(MAX_NAMED).map(table).collect()
    }
}

/// The virtual host that takes an authority, by the rules of the lookup tables.
fn taker<'t>(table: &'t RouteTable, authority: &str) -> Option<&'t str> {
    let name = authority.to_ascii_lowercase();
    let name = match name.rsplit_once(':') {
        Some((host, port)) if table.ignore_port && port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => &name,
    };
    let exact = table.exact.get(name).copied();
    let suffix =
        || table.suffix.iter().find(|(suffix, _)| name.len() > suffix.len() && name.ends_with(&**suffix));
    let prefix =
        || table.prefix.iter().find(|(prefix, _)| name.len() > prefix.len() && name.starts_with(&**prefix));
    let at =
        exact.or_else(|| suffix().map(|(_, at)| *at)).or_else(|| prefix().map(|(_, at)| *at)).or(table.any)?;
    table.virtual_hosts.get(at).map(|host| &*host.name)
}
