//! Route configurations: virtual hosts and their lookup tables.
//! Source: `envoy.config.route.v3.RouteConfiguration`, `VirtualHost`.

use std::sync::Arc;

use outrigger_xds_protos::v3::route::Route as RouteMessage;
use outrigger_xds_protos::v3::route::route::Action;
use outrigger_xds_protos::v3::route::virtual_host::TlsRequirementType;
use outrigger_xds_protos::v3::route::{
    RetryPolicy as RetryMessage, RouteConfiguration, VirtualHost as HostMessage,
};

use super::fields;
use super::fields::{refuse, warn_set};
use super::headers::{self, Lists};
use super::path::{Path, Rejection};
use super::scope::Scope;
use super::{
    RequiredCluster, filter, matchers, metadata, mirror, rate_limits, retry, route_action, route_match,
    service, tracing,
};
use crate::config::mirror::Mirror;
use crate::config::route::{Route, RouteTable, TlsRequirement, VirtualHost};

/// Largest direct response body unless the table says otherwise.
const MAX_DIRECT_BODY: u32 = 4096;

/// What routes inherit from the messages around them.
pub(super) struct Inherited<'m> {
    pub(super) max_direct_body: usize,
    /// Check that named clusters exist.
    pub(super) validate_clusters: bool,
    pub(super) retry_policy: Option<(&'m RetryMessage, &'m Path<'m>)>,
    pub(super) hedge: bool,
    pub(super) replay_limit: Option<usize>,
    pub(super) ignore_parameters: bool,
    pub(super) mirrors: Option<&'m Arc<[Mirror]>>,
}

/// Compiles a table. `validate_default` is Envoy's: true for tables inside a listener, false over RDS.
pub(super) fn table(
    message: &RouteConfiguration,
    validate_default: bool,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Arc<RouteTable>, Rejection> {
    let RouteConfiguration {
        name,
        virtual_hosts,
        vhds,
        internal_only_headers,
        response_headers_to_add,
        response_headers_to_remove,
        request_headers_to_add,
        request_headers_to_remove,
        most_specific_header_mutations_wins,
        validate_clusters,
        max_direct_response_body_size_bytes,
        cluster_specifier_plugins,
        request_mirror_policies,
        ignore_port_in_host_matching,
        vhost_header,
        ignore_path_parameters_in_path_matching,
        typed_per_filter_config,
        metadata: _, // No operator reads a table's.
        route_specifiers,
    } = message;
    refuse!(path; vhds, cluster_specifier_plugins, route_specifiers);
    let filters = filter::overrides(typed_per_filter_config, path, scope)?;
    let lists = Lists {
        request_add: request_headers_to_add,
        request_remove: request_headers_to_remove,
        response_add: response_headers_to_add,
        response_remove: response_headers_to_remove,
    };
    let mirrors = mirror::compile(request_mirror_policies, path, scope)?;
    let inherited = Inherited {
        max_direct_body: fields::count(max_direct_response_body_size_bytes).unwrap_or(MAX_DIRECT_BODY)
            as usize,
        validate_clusters: fields::flag(validate_clusters, validate_default),
        retry_policy: None,
        hedge: false,
        replay_limit: None,
        ignore_parameters: *ignore_path_parameters_in_path_matching,
        mirrors: mirrors.as_ref(),
    };
    let mut table = RouteTable {
        name: name.as_str().into(),
        ignore_port: *ignore_port_in_host_matching,
        host_header: match vhost_header.as_str() {
            "" => None,
            name => Some(matchers::header_name(name, &path.field("vhost_header"))?),
        },
        headers: headers::edits(lists, path)?,
        most_specific_wins: *most_specific_header_mutations_wins,
        internal_only_headers: header_names(internal_only_headers, &path.field("internal_only_headers"))?,
        filters,
        ..RouteTable::default()
    };
    let hosts_path = path.field("virtual_hosts");
    for (index, host) in virtual_hosts.iter().enumerate() {
        let path = hosts_path.index(index);
        add_domains(&mut table, &host.domains, index, &path.field("domains"))?;
        table.virtual_hosts.push(virtual_host(host, &inherited, &path, scope)?);
    }
    sort_wildcards(&mut table);
    Ok(Arc::new(table))
}

fn header_names(names: &[String], path: &Path<'_>) -> Result<Vec<Box<str>>, Rejection> {
    names.iter().enumerate().map(|(i, name)| matchers::header_name(name, &path.index(i))).collect()
}

/// Enters the domains of virtual host `index` into the lookup tables. A domain may occur once per table.
fn add_domains(
    table: &mut RouteTable,
    domains: &[String],
    index: usize,
    path: &Path<'_>,
) -> Result<(), Rejection> {
    if domains.is_empty() {
        return Err(path.missing());
    }
    for (i, domain) in domains.iter().enumerate() {
        let domain = domain.to_ascii_lowercase();
        if add_domain(table, &domain, index).is_err() {
            return Err(path.index(i).reject(bad_domain(&domain)));
        }
    }
    Ok(())
}

/// Enters one lower-case domain; an error when it is malformed or already there.
fn add_domain(table: &mut RouteTable, domain: &str, index: usize) -> Result<(), ()> {
    let (list, part) = match (domain, domain.strip_prefix('*'), domain.strip_suffix('*')) {
        ("*", ..) => return table.any.replace(index).map_or(Ok(()), |_| Err(())),
        (_, Some(part), _) => (&mut table.suffix, part),
        (_, _, Some(part)) => (&mut table.prefix, part),
        (exact, ..) if exact.is_empty() || exact.contains('*') => return Err(()),
        (exact, ..) => return table.exact.insert(exact.into(), index).map_or(Ok(()), |_| Err(())),
    };
    if part.contains('*') || list.iter().any(|(known, _)| &**known == part) {
        return Err(());
    }
    list.push((part.into(), index));
    Ok(())
}

fn bad_domain(domain: &str) -> String {
    let wildcards = domain.matches('*').count();
    if domain.is_empty()
        || wildcards > 1
        || (wildcards == 1 && !domain.starts_with('*') && !domain.ends_with('*'))
    {
        format!("{domain:?} is not a domain; a star may only stand at one end")
    } else {
        format!("{domain:?} occurs twice in this route configuration")
    }
}

/// Longest wildcard first: the first hit is the most specific one.
fn sort_wildcards(table: &mut RouteTable) {
    for list in [&mut table.suffix, &mut table.prefix] {
        list.sort_by_key(|(part, _)| std::cmp::Reverse(part.len()));
    }
}

#[allow(deprecated, reason = "deprecated fields are decided on like the others")]
fn virtual_host(
    message: &HostMessage,
    inherited: &Inherited<'_>,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<VirtualHost, Rejection> {
    let HostMessage {
        name,
        domains: _, // Entered into the lookup tables by the caller.
        routes,
        matcher,
        require_tls,
        virtual_clusters,
        rate_limits,
        request_headers_to_add,
        request_headers_to_remove,
        response_headers_to_add,
        response_headers_to_remove,
        cors,
        typed_per_filter_config,
        include_request_attempt_count,
        include_attempt_count_in_response,
        retry_policy,
        retry_policy_typed_config,
        hedge_policy,
        include_is_timeout_retry_header,
        per_request_buffer_limit_bytes,
        request_body_buffer_limit,
        request_mirror_policies,
        metadata,
        route_specifiers,
    } = message;
    refuse!(path; matcher, retry_policy_typed_config, route_specifiers);
    warn_set!(scope, path, "has no effect: per-virtual-cluster statistics do not exist"; virtual_clusters);
    let mut filters = filter::overrides(typed_per_filter_config, path, scope)?;
    filters.cors = filter::cors_of_route(cors, &path.field("cors"))?;
    let lists = Lists {
        request_add: request_headers_to_add,
        request_remove: request_headers_to_remove,
        response_add: response_headers_to_add,
        response_remove: response_headers_to_remove,
    };
    let retry_path = path.field("retry_policy");
    let mirrors = mirror::compile(request_mirror_policies, path, scope)?;
    let inherited = Inherited {
        mirrors: mirrors.as_ref().or(inherited.mirrors),
        retry_policy: retry_policy.as_ref().map(|policy| (policy, &retry_path)),
        hedge: retry::hedge(hedge_policy, &path.field("hedge_policy"))?.unwrap_or(false),
        replay_limit: retry::replay_limit(
            request_body_buffer_limit,
            per_request_buffer_limit_bytes,
            path,
            scope,
        ),
        ..*inherited
    };
    let routes_path = path.field("routes");
    let mut compile = |(i, message)| route(message, &inherited, &routes_path.index(i), scope);
    let mut routes = routes.iter().enumerate().map(&mut compile).collect::<Result<Vec<_>, _>>()?;
    let name = fields::required(name, &path.field("name"))?;
    service::tell(&mut routes, name, scope);
    Ok(VirtualHost {
        name: name.into(),
        headers: headers::edits(lists, path)?,
        include_request_attempt_count: *include_request_attempt_count,
        include_attempt_count_in_response: *include_attempt_count_in_response,
        include_is_timeout_retry: *include_is_timeout_retry_header,
        require_tls: tls_requirement(*require_tls, &path.field("require_tls"))?,
        filters,
        rate_limits: rate_limits::of_host(rate_limits, &path.field("rate_limits"), scope)?,
        metadata: metadata::all(metadata),
        routes,
    })
}

fn tls_requirement(number: i32, path: &Path<'_>) -> Result<TlsRequirement, Rejection> {
    Ok(match TlsRequirementType::try_from(number) {
        Ok(TlsRequirementType::None) => TlsRequirement::None,
        Ok(TlsRequirementType::ExternalOnly) => TlsRequirement::External,
        Ok(TlsRequirementType::All) => TlsRequirement::All,
        Err(_) => return Err(path.reject(fields::unknown_enum(number))),
    })
}

#[allow(deprecated, reason = "deprecated fields are decided on like the others")]
fn route(
    message: &RouteMessage,
    inherited: &Inherited<'_>,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Route, Rejection> {
    let RouteMessage {
        name,
        r#match,
        metadata,
        decorator,
        typed_per_filter_config,
        request_headers_to_add,
        request_headers_to_remove,
        response_headers_to_add,
        response_headers_to_remove,
        tracing,
        per_request_buffer_limit_bytes,
        stat_prefix,
        request_body_buffer_limit,
        route_specifiers,
        action,
    } = message;
    refuse!(path; route_specifiers);
    warn_set!(scope, path, "has no effect: per-route statistics do not exist"; stat_prefix);
    let mut filters = filter::overrides(typed_per_filter_config, path, scope)?;
    if let Some(Action::Route(message)) = action {
        filters.cors = filter::cors_of_route(&message.cors, &path.field("route").field("cors"))?;
    }
    let lists = Lists {
        request_add: request_headers_to_add,
        request_remove: request_headers_to_remove,
        response_add: response_headers_to_add,
        response_remove: response_headers_to_remove,
    };
    let own_limit =
        retry::replay_limit(request_body_buffer_limit, per_request_buffer_limit_bytes, path, scope);
    let inherited = Inherited { replay_limit: own_limit.or(inherited.replay_limit), ..*inherited };
    let match_path = path.field("match");
    let matches = route_match::compile(r#match, inherited.ignore_parameters, &match_path)?;
    let template = route_match::template(r#match, &match_path)?;
    let action =
        action.as_ref().ok_or_else(|| path.reject("needs one of route, redirect, direct_response"))?;
    Ok(Route {
        name: name.as_str().into(),
        matches,
        action: route_action::compile(action, template.as_ref(), &inherited, path, scope)?,
        headers: headers::edits(lists, path)?,
        filters,
        metadata: metadata::all(metadata),
        tracing: tracing::of_route(tracing, decorator, path, scope)?.map(Box::new),
    })
}

/// Notes that `name` must exist, when the table validates.
pub(super) fn require_cluster(name: &str, inherited: &Inherited<'_>, path: &Path<'_>, scope: &mut Scope<'_>) {
    if inherited.validate_clusters {
        scope.required_clusters.push(RequiredCluster { path: path.to_string(), name: name.to_owned() });
    }
}
