//! Internal redirect policies. Source: `envoy.config.route.v3.InternalRedirectPolicy`.

use outrigger_xds_protos::any;
use outrigger_xds_protos::pb::envoy::extensions::internal_redirect::{
    allow_listed_routes::v3::AllowListedRoutesConfig, previous_routes::v3::PreviousRoutesConfig,
    safe_cross_scheme::v3::SafeCrossSchemeConfig,
};
use outrigger_xds_protos::v3::core::TypedExtensionConfig;
use outrigger_xds_protos::v3::route::InternalRedirectPolicy;

use super::path::{Path, Rejection};
use super::{fields, matchers};
use crate::config::internal_redirect::{InternalRedirects, Predicate};

/// Redirects that may be followed at all.
const STATUSES: [u32; 5] = [301, 302, 303, 307, 308];

/// Compiles a policy. Envoy leaves statuses that are no redirects aside.
pub(super) fn compile(
    message: &InternalRedirectPolicy,
    path: &Path<'_>,
) -> Result<InternalRedirects, Rejection> {
    let InternalRedirectPolicy {
        max_internal_redirects,
        redirect_response_codes,
        predicates,
        allow_cross_scheme_redirect,
        response_headers_to_copy,
    } = message;
    let known = redirect_response_codes.iter().filter(|code| STATUSES.contains(code));
    let statuses = match redirect_response_codes.as_slice() {
        [] => vec![302],
        _ => known.map(|code| *code as u16).collect(),
    };
    let predicates_path = path.field("predicates");
    let predicate = |(i, message)| predicate(message, &predicates_path.index(i));
    let copy_path = path.field("response_headers_to_copy");
    let name = |(i, name): (usize, &String)| copied_name(name, &copy_path.index(i));
    Ok(InternalRedirects {
        max: fields::count(max_internal_redirects).unwrap_or(1),
        statuses,
        predicates: predicates.iter().enumerate().map(predicate).collect::<Result<_, _>>()?,
        cross_scheme: *allow_cross_scheme_redirect,
        copied_headers: response_headers_to_copy.iter().enumerate().map(name).collect::<Result<_, _>>()?,
    })
}

/// A header that may be copied: not one that says where the request goes.
fn copied_name(name: &str, path: &Path<'_>) -> Result<Box<str>, Rejection> {
    let name = matchers::header_name(name, path)?;
    if name.starts_with(':') || &*name == "host" {
        return Err(path.reject(format_args!("{name} cannot be copied")));
    }
    Ok(name)
}

fn predicate(message: &TypedExtensionConfig, path: &Path<'_>) -> Result<Predicate, Rejection> {
    let path = path.field("typed_config");
    let config = fields::message(&message.typed_config, &path)?;
    if any::is::<PreviousRoutesConfig>(config) {
        Ok(Predicate::NotVisited)
    } else if any::is::<SafeCrossSchemeConfig>(config) {
        Ok(Predicate::SafeScheme)
    } else if any::is::<AllowListedRoutesConfig>(config) {
        let AllowListedRoutesConfig { allowed_route_names } =
            any::unpack(config).map_err(|error| path.reject(error))?;
        Ok(Predicate::Named(allowed_route_names.iter().map(|name| name.as_str().into()).collect()))
    } else {
        Err(path.reject(format_args!("{} is not supported", config.type_url)))
    }
}
