//! Access by declared backends: a listener's callers as rules of Envoy's access filters.
//!
//! Callers are known by their identity in the mesh, which their certificates prove; plain text proves nothing and is
//! denied. In a dry run the same rules are shadow rules.

use std::collections::HashMap;

use outrigger_xds_protos::any::Typed;
use outrigger_xds_protos::v3::hcm::HttpFilter;
use outrigger_xds_protos::v3::hcm::http_filter::ConfigType as HttpConfig;
use outrigger_xds_protos::v3::listener::Filter;
use outrigger_xds_protos::v3::listener::filter::ConfigType;
use outrigger_xds_protos::v3::matcher::StringMatcher;
use outrigger_xds_protos::v3::matcher::string_matcher::MatchPattern;
use outrigger_xds_protos::v3::rbac::permission::Rule;
use outrigger_xds_protos::v3::rbac::principal::{Authenticated, Identifier};
use outrigger_xds_protos::v3::rbac::rbac::Action;
use outrigger_xds_protos::v3::rbac::{Permission, Policy, Principal, Rbac};
use outrigger_xds_protos::v3::{http_rbac, network_rbac};

use super::message::packed;
use super::tls;
use crate::diagnostics::Report;
use crate::graph::access::{Mode, TAG};
use crate::graph::service::Target;
use crate::graph::{MeshGraph, Proxy};
use crate::model::{ClientTls, NodeId, NodeListener, Resource, VirtualNodeSpec};

/// The policy's name, which denials are told apart by.
const POLICY: &str = "backends";

/// Who may call a listener.
pub struct Callers {
    mode: Mode,
    spiffe_ids: Vec<String>,
}

impl Callers {
    /// Whether callers who are not declared come in, and are counted.
    pub fn only_counts(&self) -> bool {
        self.mode == Mode::DryRun
    }

    /// The callers of a listener in a mesh that wants them checked. `None`: it does not, or they cannot be told apart
    /// and the report says so: an error where the rule was to be in force, or the listener would be open.
    pub fn of(
        mesh: &MeshGraph,
        node: &Resource<VirtualNodeSpec>,
        listener: &NodeListener,
        has_ca: bool,
        report: &mut Report,
    ) -> Option<Self> {
        let access = mesh.access.as_ref()?;
        let port = listener.port_mapping.port;
        if !listener.tls.as_ref().is_some_and(|tls| tls::identifies_callers(tls, has_ca)) {
            refuse(access.mode, node, listener, has_ca, report);
            return None;
        }
        let spiffe_ids = access.callers(&node.meta.name, port).map(NodeId::spiffe_id).collect();
        Some(Self { mode: access.mode, spiffe_ids })
    }

    /// For requests. It counts in `http.<stat_prefix>.rbac.*`.
    pub fn http_filter(&self) -> HttpFilter {
        let (rules, shadow_rules) = self.rules();
        let config = http_rbac::Rbac { rules, shadow_rules, ..Default::default() };
        HttpFilter {
            name: "envoy.filters.http.rbac".to_owned(),
            config_type: Some(HttpConfig::TypedConfig(packed(&config))),
            ..Default::default()
        }
    }

    /// For connections. It counts in `<stat_prefix>.rbac.*`.
    pub fn network_filter(&self, stat_prefix: &str) -> Filter {
        let (rules, shadow_rules) = self.rules();
        let stat_prefix = format!("{stat_prefix}.");
        let config = network_rbac::Rbac { rules, shadow_rules, stat_prefix, ..Default::default() };
        network_filter("envoy.filters.network.rbac", &config)
    }

    /// Rules in force and shadow rules, one of them.
    fn rules(&self) -> (Option<Rbac>, Option<Rbac>) {
        let policies = match self.spiffe_ids.as_slice() {
            // A policy must have principals; without policies nobody is allowed.
            [] => HashMap::new(),
            ids => HashMap::from([(POLICY.to_owned(), policy(ids))]),
        };
        let rules = Some(Rbac { action: Action::Allow as i32, policies, ..Default::default() });
        match self.mode {
            Mode::Enforce => (rules, None),
            Mode::DryRun => (None, rules),
        }
    }
}

/// Tells of a caller that declares a backend whose node will not know it: its policy shows no identity of the mesh.
pub fn check_caller(
    mesh: &MeshGraph,
    caller: &Proxy<'_>,
    policy: Option<&ClientTls>,
    target: &Target<'_>,
    has_ca: bool,
    report: &mut Report,
) {
    let Some(access) = &mesh.access else { return };
    let asks = target.listener.tls.as_ref().is_some_and(|tls| tls::identifies_callers(tls, has_ca));
    let Some(anonymous) = asks.then(|| tls::anonymous(policy, target, has_ca)).flatten() else { return };
    let fate = match access.mode {
        Mode::Enforce => "denies",
        Mode::DryRun => "would deny",
    };
    let id = caller.id();
    let message = format!(
        "{TAG} {fate} the calls of {} \"{}\" to virtual node \"{}\" on port {}: {}; give it clientPolicy.tls with \
         certificate sds outrigger:identity, or a certificate of the mesh with its SPIFFE id",
        id.kind.words(),
        id.name,
        target.node.meta.name,
        target.listener.port_mapping.port,
        anonymous.because,
    );
    report.warn(anonymous.at, "access-identities", message);
}

fn network_filter<M: Typed>(name: &str, config: &M) -> Filter {
    Filter { name: name.to_owned(), config_type: Some(ConfigType::TypedConfig(packed(config))) }
}

fn policy(ids: &[String]) -> Policy {
    let principal = |id: &String| {
        let exact =
            StringMatcher { match_pattern: Some(MatchPattern::Exact(id.clone())), ..Default::default() };
        let authenticated = Authenticated { principal_name: Some(exact) };
        Principal { identifier: Some(Identifier::Authenticated(authenticated)) }
    };
    Policy {
        permissions: vec![Permission { rule: Some(Rule::Any(true)) }],
        principals: ids.iter().map(principal).collect(),
        ..Default::default()
    }
}

fn refuse(
    mode: Mode,
    node: &Resource<VirtualNodeSpec>,
    listener: &NodeListener,
    has_ca: bool,
    report: &mut Report,
) {
    let (name, port) = (&node.meta.name, listener.port_mapping.port);
    let missing = match has_ca {
        false => "the mesh issues no identities; let it: serve --mesh-ca DIRECTORY".to_owned(),
        true => format!(
            "callers show none on port {port}; give its listener tls with an acm certificate or sds outrigger:identity, \
             and as trust for client certificates nothing or sds outrigger:trust"
        ),
    };
    let message =
        format!("{TAG} needs identities of the mesh for the callers of virtual node \"{name}\": {missing}");
    match mode {
        Mode::Enforce => report.error(&listener.at, "access-identities", message),
        Mode::DryRun => {
            let message = format!("{message}; until then the dry run leaves it out");
            report.warn(&listener.at, "access-identities", message);
        }
    }
}

#[cfg(test)]
mod tests;
