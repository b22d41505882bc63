//! Cross-origin resource sharing. Source: `envoy.extensions.filters.http.cors.v3.CorsPolicy`, and the older
//! `envoy.config.route.v3.CorsPolicy` with the same fields.

use outrigger_xds_protos::v3::core::RuntimeFractionalPercent;
use outrigger_xds_protos::v3::cors::CorsPolicy as PolicyMessage;
use outrigger_xds_protos::v3::route::CorsPolicy as RouteMessage;
use outrigger_xds_protos::v3::route::cors_policy::EnabledSpecifier;

use super::share;
use crate::config::filter::cors::CorsPolicy;
use crate::xds::translate::matchers;
use crate::xds::translate::path::{Path, Rejection};

/// Requests per million when a share is not given.
const ALL: u32 = 1_000_000;

/// The policy of `typed_per_filter_config`.
pub(super) fn policy(message: &PolicyMessage, path: &Path<'_>) -> Result<CorsPolicy, Rejection> {
    let PolicyMessage {
        allow_origin_string_match,
        allow_methods,
        allow_headers,
        expose_headers,
        max_age,
        allow_credentials,
        filter_enabled,
        shadow_enabled,
        allow_private_network_access,
        forward_not_matching_preflights,
    } = message;
    let text = |text: &str, name| header_text(text, &path.field(name));
    let origins_path = path.field("allow_origin_string_match");
    let origin = |(i, matcher)| matchers::string(matcher, &origins_path.index(i));
    Ok(CorsPolicy {
        origins: allow_origin_string_match.iter().enumerate().map(origin).collect::<Result<_, _>>()?,
        methods: text(allow_methods, "allow_methods")?,
        headers: text(allow_headers, "allow_headers")?,
        expose: text(expose_headers, "expose_headers")?,
        max_age: text(max_age, "max_age")?,
        credentials: allow_credentials.map(|flag| flag.value),
        private_network: allow_private_network_access.map(|flag| flag.value),
        forward_mismatch: forward_not_matching_preflights.map(|flag| flag.value),
        enabled_ppm: share(filter_enabled, ALL, &path.field("filter_enabled"))?,
        shadow_ppm: share(shadow_enabled, 0, &path.field("shadow_enabled"))?,
    })
}

/// The policy of a virtual host's or route action's `cors`, read where no level has a typed one.
pub(in crate::xds::translate) fn of_route(
    message: &Option<RouteMessage>,
    path: &Path<'_>,
) -> Result<Option<Box<CorsPolicy>>, Rejection> {
    let Some(message) = message else { return Ok(None) };
    let RouteMessage {
        allow_origin_string_match,
        allow_methods,
        allow_headers,
        expose_headers,
        max_age,
        allow_credentials,
        shadow_enabled,
        allow_private_network_access,
        forward_not_matching_preflights,
        enabled_specifier,
    } = message.clone();
    let typed = PolicyMessage {
        allow_origin_string_match,
        allow_methods,
        allow_headers,
        expose_headers,
        max_age,
        allow_credentials,
        filter_enabled: enabled_specifier.map(enabled),
        shadow_enabled,
        allow_private_network_access,
        forward_not_matching_preflights,
    };
    policy(&typed, path).map(|policy| Some(Box::new(policy)))
}

fn enabled(specifier: EnabledSpecifier) -> RuntimeFractionalPercent {
    let EnabledSpecifier::FilterEnabled(share) = specifier;
    share
}

/// Text that becomes a header value.
fn header_text(text: &str, path: &Path<'_>) -> Result<Box<str>, Rejection> {
    if text.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(path.reject("must not hold control characters"));
    }
    Ok(text.into())
}
