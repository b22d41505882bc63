//! Tags: from a statistic's full name to a shorter name and labels, and which statistics are shown.
//! Source: `envoy.config.metrics.v3.StatsConfig`; the default tags are Envoy's well-known names.

use std::ops::Range;

use regex::Regex;

use super::histogram::DEFAULT_BOUNDS;
use crate::base::matcher::StringMatch;

/// Everything `stats_config` says, ready for readers.
#[derive(Clone, Debug, Default)]
pub struct StatsConfig {
    /// `stats_tags` and `use_all_default_tags`.
    pub tags: TagConfig,
    /// `stats_matcher`.
    pub matcher: StatsMatcher,
    /// `histogram_bucket_settings`: the first matching entry wins, else [`DEFAULT_BOUNDS`].
    pub bounds: Vec<(StringMatch, Vec<f64>)>,
}

impl StatsConfig {
    /// Upper bounds that the histogram called `name` is exported with.
    pub fn bounds(&self, name: &str) -> &[f64] {
        let own = self.bounds.iter().find(|(matcher, _)| matcher.matches(name.as_bytes()));
        own.map_or(DEFAULT_BOUNDS, |(_, bounds)| bounds)
    }
}

/// Which statistics exist for readers.
#[derive(Clone, Debug, Default)]
pub enum StatsMatcher {
    /// All.
    #[default]
    All,
    /// `reject_all`.
    None,
    /// `inclusion_list`.
    Include(Vec<StringMatch>),
    /// `exclusion_list`.
    Exclude(Vec<StringMatch>),
}

impl StatsMatcher {
    /// Whether the statistic called `name` is shown.
    pub fn admits(&self, name: &str) -> bool {
        let listed = |list: &[StringMatch]| list.iter().any(|matcher| matcher.matches(name.as_bytes()));
        match self {
            StatsMatcher::All => true,
            StatsMatcher::None => false,
            StatsMatcher::Include(list) => listed(list),
            StatsMatcher::Exclude(list) => !listed(list),
        }
    }
}

/// How names are taken apart.
#[derive(Clone, Debug, Default)]
pub struct TagConfig {
    fixed: Vec<(String, String)>,
    rules: Vec<TagRule>,
    /// `None` is all of them.
    defaults: Option<Vec<String>>,
    app_mesh_listeners: bool,
}

#[derive(Clone, Debug)]
struct TagRule {
    tag: String,
    pattern: Regex,
}

/// A name taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extracted<'a> {
    /// What is left of the name.
    pub name: String,
    /// Tags in the order Envoy prints them.
    pub tags: Vec<(&'a str, &'a str)>,
}

impl TagConfig {
    /// Adds a tag that every statistic has (`fixed_value`).
    pub fn fixed(mut self, tag: &str, value: &str) -> Self {
        self.fixed.push((tag.to_owned(), value.to_owned()));
        self
    }

    /// Adds a `regex` rule: group 1 is cut out of the name, group 2 (else 1) is the value.
    /// An unsupported pattern or one without group is an error.
    pub fn rule(mut self, tag: &str, pattern: &str) -> Result<Self, TagError> {
        let pattern = Regex::new(pattern).map_err(|error| TagError(format!("tag {tag}: {error}")))?;
        if pattern.captures_len() < 2 {
            return Err(TagError(format!("tag {tag}: the regex needs a capture group")));
        }
        self.rules.push(TagRule { tag: tag.to_owned(), pattern });
        Ok(self)
    }

    /// `use_all_default_tags: false`: of Envoy's own tags only those named.
    pub fn only_defaults(mut self, tags: Vec<String>) -> Self {
        self.defaults = Some(tags);
        self
    }

    /// App Mesh's `appmesh.listener_protocol` and `appmesh.listener_port`, taken from stat prefixes of
    /// the form `ingress.<protocol>.<port>`, so that the connection manager prefix stays `ingress`.
    pub fn app_mesh_listeners(mut self) -> Self {
        self.app_mesh_listeners = true;
        self
    }

    /// Takes `name` apart.
    pub fn extract<'a>(&'a self, name: &'a str) -> Extracted<'a> {
        let mut found = Found { name, config: self, tags: Vec::new(), cuts: Vec::new() };
        found.suffix_tags();
        found.tags.extend(self.fixed.iter().map(|(tag, value)| (tag.as_str(), value.as_str())));
        self.rules.iter().for_each(|rule| found.rule(rule));
        found.prefix_tags();
        found.finish()
    }
}

/// Why a tag rule is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TagError(pub String);

struct Found<'a> {
    name: &'a str,
    config: &'a TagConfig,
    tags: Vec<(&'a str, &'a str)>,
    cuts: Vec<Range<usize>>,
}

impl<'a> Found<'a> {
    /// Adds a default tag whose value stands at `value`; `cut` leaves the name.
    fn add(&mut self, tag: &'static str, value: Range<usize>, cut: Range<usize>) {
        if self.config.defaults.as_ref().is_none_or(|only| only.iter().any(|name| name == tag)) {
            self.tags.push((tag, &self.name[value]));
            self.cuts.push(cut);
        }
    }

    fn rule(&mut self, rule: &'a TagRule) {
        let Some(captures) = rule.pattern.captures(self.name) else { return };
        if let Some(cut) = captures.get(1) {
            let value = captures.get(2).unwrap_or(cut);
            self.tags.push((&rule.tag, value.as_str()));
            self.cuts.push(cut.range());
        }
    }

    /// Tags found at the end of the name or anywhere in it.
    fn suffix_tags(&mut self) {
        let name = self.name.as_bytes();
        let end = name.len();
        match name {
            [.., b'_', b'r', b'q', b'_', a, b, c] if [a, b, c].iter().all(|byte| byte.is_ascii_digit()) => {
                self.add("envoy.response_code", end - 3..end, end - 4..end);
            }
            [.., b'_', b'r', b'q', b'_', class, b'x', b'x'] if class.is_ascii_digit() => {
                self.add("envoy.response_code_class", end - 3..end - 2, end - 3..end - 2);
            }
            _ => {}
        }
        self.tls();
        if let Some(at) = self.name.find(".worker_").map(|at| at + ".worker".len()) {
            let digits = self.name[at + 1..].bytes().take_while(u8::is_ascii_digit).count();
            let end = at + 1 + digits;
            if digits > 0 && self.name[end..].starts_with('.') {
                self.add("envoy.worker_id", at + 1..end, at..end);
            }
        }
    }

    /// `(listener|cluster).<name>.ssl.<what>.<value>`: what handshakes agreed on.
    fn tls(&mut self) {
        const KINDS: [(&str, &str, &str); 4] = [
            (".ssl.ciphers.", "envoy.ssl_cipher", "envoy.ssl_cipher_suite"),
            (".ssl.curves.", "envoy.ssl_curve", "envoy.ssl_curve"),
            (".ssl.sigalgs.", "envoy.ssl_sigalg", "envoy.ssl_sigalg"),
            (".ssl.versions.", "envoy.ssl_version", "envoy.ssl_version"),
        ];
        let of_listener = self.name.starts_with("listener.");
        if !of_listener && !self.name.starts_with("cluster.") {
            return;
        }
        for (part, listener, cluster) in KINDS {
            if let Some(at) = self.name.find(part) {
                let (value, end) = (at + part.len(), self.name.len());
                self.add(if of_listener { listener } else { cluster }, value..end, value - 1..end);
            }
        }
    }

    /// Tags that follow from the first part of the name.
    fn prefix_tags(&mut self) {
        let Some((first, _)) = self.name.split_once('.') else { return };
        let start = first.len() + 1;
        match first {
            "cluster" => {
                self.below("ext_authz.", "envoy.ext_authz_prefix", start);
                self.token("envoy.cluster_name", start);
            }
            "tcp" => {
                self.listener_tags(start);
                self.token("envoy.tcp_prefix", start);
            }
            "http" => {
                self.route_config(start);
                self.below("fault.", "envoy.fault_downstream_cluster", start);
                self.below("ext_authz.", "envoy.ext_authz_prefix", start);
                self.http_rbac(start);
                self.manager(start);
            }
            "listener" => self.listener(start),
            "vhost" => self.virtual_host(start),
            "local_rate_limit" => self.token("envoy.local_network_ratelimit_prefix", start),
            "connection_limit" => self.token("envoy.connection_limit_prefix", start),
            _ => self.own_prefix(start),
        }
    }

    /// `<owner>.<part><value>.<statistic>`, the owner starting at `start`.
    fn below(&mut self, part: &str, tag: &'static str, start: usize) {
        if let Some(owner) = self.token_at(start)
            && self.name[owner.end + 1..].starts_with(part)
        {
            self.token(tag, owner.end + 1 + part.len());
        }
    }

    /// `http.<prefix>.rbac.[<rules' prefix>.][policy.<name>.]<statistic>`
    fn http_rbac(&mut self, start: usize) {
        let Some(manager) = self.token_at(start) else { return };
        if !self.name[manager.end + 1..].starts_with("rbac.") {
            return;
        }
        let mut below = manager.end + 1 + "rbac.".len();
        if !self.name[below..].starts_with("policy.")
            && let Some(rules) = self.token_at(below)
        {
            below = rules.end + 1;
            self.add("envoy.rbac_http_prefix", rules.clone(), rules.start..below);
        }
        if self.name[below..].starts_with("policy.") {
            self.token("envoy.rbac_policy_name", below + "policy.".len());
        }
    }

    /// Filters whose own prefix comes first.
    fn own_prefix(&mut self, start: usize) {
        const FILTERS: [(&str, &str); 2] =
            [("http_local_rate_limit.", "envoy.local_http_ratelimit_prefix"), ("rbac.", "envoy.rbac_prefix")];
        let rest = &self.name[start..];
        let known =
            FILTERS.into_iter().find(|(filter, _)| rest.len() > filter.len() && rest.starts_with(filter));
        if let Some((_, tag)) = known {
            self.add(tag, 0..start - 1, 0..start);
        }
    }

    /// The token that starts at `start`, with the dot after it.
    fn token_at(&self, start: usize) -> Option<Range<usize>> {
        Some(start..start + self.name.get(start..)?.find('.')?)
    }

    fn token(&mut self, tag: &'static str, start: usize) {
        if let Some(token) = self.token_at(start) {
            self.add(tag, token.clone(), token.start..token.end + 1);
        }
    }

    /// `http.<prefix>.`, also below a listener.
    fn manager(&mut self, start: usize) {
        self.listener_tags(start);
        self.token("envoy.http_conn_manager_prefix", start);
    }

    /// `http.<prefix>.rds.<route config>.<statistic>`; route configuration names may have dots.
    fn route_config(&mut self, start: usize) {
        let Some(at) = self.name[start..].find(".rds.").map(|at| start + at + ".rds.".len()) else { return };
        if let Some(end) = self.name.rfind('.').filter(|end| *end > at) {
            self.add("envoy.rds_route_config", at..end, at..end + 1);
        }
    }

    /// `listener.<address>_<port>.`: addresses have dots, so it ends where the port does. Or `listener.<stat prefix>.`
    fn listener(&mut self, start: usize) {
        let rest = &self.name[start..];
        let is_address = |byte: u8| byte.is_ascii_hexdigit() || b"._[]".contains(&byte);
        let ends = rest.match_indices('.').map(|(at, _)| at);
        let end =
            ends.take_while(|at| rest[..*at].bytes().all(is_address)).find(|at| ends_in_port(&rest[..*at]));
        let Some(end) = end.or_else(|| rest.find('.')).map(|at| start + at) else { return };
        if self.name[end + 1..].starts_with("http.") {
            self.manager(end + 1 + "http.".len());
        }
        if &self.name[start..end] != "admin" {
            self.add("envoy.listener_address", start..end, start..end + 1);
        }
    }

    /// `vhost.<name>.vcluster.<name>.` and `vhost.<name>.route.<name>.`
    fn virtual_host(&mut self, start: usize) {
        let Some(host) = self.token_at(start) else { return };
        for (part, tag) in [("vcluster.", "envoy.virtual_cluster"), ("route.", "envoy.route")] {
            if self.name[host.end + 1..].starts_with(part) {
                self.token(tag, host.end + 1 + part.len());
            }
        }
        self.add("envoy.virtual_host", host.clone(), host.start..host.end + 1);
    }

    /// App Mesh: `ingress.<protocol>.<port>.` as stat prefix.
    fn listener_tags(&mut self, start: usize) {
        if !self.config.app_mesh_listeners || !self.name[start..].starts_with("ingress.") {
            return;
        }
        let protocol = self.token_at(start + "ingress.".len());
        let port = protocol.as_ref().and_then(|protocol| self.token_at(protocol.end + 1));
        let (Some(protocol), Some(port)) = (protocol, port) else { return };
        let known = ["http", "http2", "grpc", "tcp"].contains(&&self.name[protocol.clone()]);
        if known && !port.is_empty() && self.name[port.clone()].bytes().all(|byte| byte.is_ascii_digit()) {
            self.tags.push(("appmesh.listener_protocol", &self.name[protocol.clone()]));
            self.tags.push(("appmesh.listener_port", &self.name[port.clone()]));
            self.cuts.push(protocol.start..port.end + 1);
        }
    }

    fn finish(mut self) -> Extracted<'a> {
        self.cuts.sort_unstable_by_key(|cut| (cut.start, cut.end));
        let mut name = String::with_capacity(self.name.len());
        let mut at = 0;
        for cut in self.cuts {
            name.push_str(self.name.get(at..cut.start).unwrap_or(""));
            at = at.max(cut.end);
        }
        name.push_str(self.name.get(at..).unwrap_or(""));
        Extracted { name, tags: self.tags }
    }
}

fn ends_in_port(address: &str) -> bool {
    address
        .rsplit_once('_')
        .is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests;
