//! Mirror policies of a route table, virtual host or route.
//! Source: `envoy.config.route.v3.RouteAction.RequestMirrorPolicy`.

use std::sync::Arc;

use outrigger_xds_protos::v3::mutation_rules::HeaderMutation;
use outrigger_xds_protos::v3::mutation_rules::header_mutation::Action;
use outrigger_xds_protos::v3::route::route_action::RequestMirrorPolicy;

use super::path::{Path, Rejection};
use super::scope::Scope;
use super::{headers, matchers, rewrite, route_match};
use crate::config::mirror::Mirror;
use crate::config::route::{EntryCluster, HeaderEdits};

/// Compiles the policies of one level; `None` when it has none, so that the level around it counts.
pub(super) fn compile(
    messages: &[RequestMirrorPolicy],
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Option<Arc<[Mirror]>>, Rejection> {
    let path = path.field("request_mirror_policies");
    let policy = |(i, message)| policy(message, &path.index(i), scope);
    let mirrors = messages.iter().enumerate().map(policy).collect::<Result<Vec<_>, _>>()?;
    Ok((!mirrors.is_empty()).then(|| mirrors.into()))
}

fn policy(
    message: &RequestMirrorPolicy,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Mirror, Rejection> {
    let RequestMirrorPolicy {
        cluster,
        cluster_header,
        runtime_fraction,
        trace_sampled: _, // Copies are not traced.
        disable_shadow_host_suffix_append,
        request_headers_mutations,
        host_rewrite_literal,
    } = message;
    let header_path = path.field("cluster_header");
    let target = match (cluster.as_str(), cluster_header.as_str()) {
        (name, "") => EntryCluster::Named(scope.cluster(name, &path.field("cluster"))?),
        ("", header) => EntryCluster::Header(matchers::header_name(header, &header_path)?),
        _ => return Err(header_path.reject("cannot be combined with cluster")),
    };
    let edits_path = path.field("request_headers_mutations");
    let edit = |(i, message)| mutation(message, &edits_path.index(i));
    Ok(Mirror {
        cluster: target,
        share_ppm: route_match::fraction(runtime_fraction, &path.field("runtime_fraction"))?,
        mark_host: !disable_shadow_host_suffix_append,
        host: match host_rewrite_literal.as_str() {
            "" => None,
            host => Some(rewrite::checked(host, &path.field("host_rewrite_literal"))?),
        },
        edits: request_headers_mutations.iter().enumerate().map(edit).collect::<Result<_, _>>()?,
    })
}

fn mutation(message: &HeaderMutation, path: &Path<'_>) -> Result<HeaderEdits, Rejection> {
    use std::slice::from_ref;
    match &message.action {
        None => Err(path.reject("needs one of remove, append")),
        Some(Action::Remove(name)) => Ok(HeaderEdits {
            request_remove: headers::removals(from_ref(name), &path.field("remove"))?,
            ..HeaderEdits::default()
        }),
        Some(Action::Append(option)) => Ok(HeaderEdits {
            request_add: headers::additions(from_ref(option), &path.field("append"))?,
            ..HeaderEdits::default()
        }),
        Some(Action::RemoveOnMatch(_)) => Err(path.field("remove_on_match").unsupported()),
    }
}
