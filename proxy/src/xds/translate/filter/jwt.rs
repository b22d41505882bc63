//! `envoy.extensions.filters.http.jwt_authn.v3`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use outrigger_xds_protos::v3::jwt_authn::jwt_claim_to_header::PathSegment;
use outrigger_xds_protos::v3::jwt_authn::jwt_provider::JwksSourceSpecifier;
use outrigger_xds_protos::v3::jwt_authn::jwt_requirement::RequiresType;
use outrigger_xds_protos::v3::jwt_authn::per_route_config::RequirementSpecifier;
use outrigger_xds_protos::v3::jwt_authn::requirement_rule::RequirementType;
use outrigger_xds_protos::v3::jwt_authn::{
    JwksAsyncFetch, JwtAuthentication, JwtClaimToHeader, JwtHeader, JwtProvider, JwtRequirement,
    PerRouteConfig, ProviderWithAudiences, RemoteJwks, RequirementRule,
};

use super::super::fields;
use super::super::fields::{refuse, warn_set};
use super::super::path::{Path, Rejection};
use super::super::scope::Scope;
use super::super::{call, data_source, matchers, route_match};
use crate::config::filter::jwt::{
    InMetadata, Jwt, JwtRoute, KeySource, Keys, Provider, RemoteKeys, Requirement, Rule, Tolerance,
};
use crate::stats::scope::JwtStats;

/// Requirements within requirements: deeper ones are refused, so that checking them needs little stack.
const DEEPEST: usize = 16;
/// Envoy's default `clock_skew_seconds`.
const SKEW: u32 = 60;
/// Its default `cache_duration`, and the shortest one that makes sense.
const CACHE: Duration = Duration::from_secs(600);
/// Its default `failed_refetch_duration`.
const AGAIN: Duration = Duration::from_secs(1);

/// The filter of a connection manager.
pub(super) fn filter(
    message: &JwtAuthentication,
    stat_prefix: &str,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Jwt, Rejection> {
    let JwtAuthentication {
        providers,
        rules,
        filter_state_rules,
        bypass_cors_preflight,
        requirement_map,
        strip_failure_response,
        stat_prefix: below,
    } = message;
    refuse!(path; filter_state_rules);
    let stats = JwtStats::for_manager(&scope.context.stats, stat_prefix, below);
    // In the order of their names, so that the same configuration does the same everywhere.
    let sorted: BTreeMap<&String, &JwtProvider> = providers.iter().collect();
    let providers_path = path.field("providers");
    let mut names = HashMap::new();
    let mut compiled = Vec::with_capacity(sorted.len());
    for (name, message) in sorted {
        names.insert(name.as_str(), compiled.len());
        compiled.push(provider(message, &stats, &providers_path.key(name), scope)?);
    }
    let map_path = path.field("requirement_map");
    let named = requirement_map.iter().map(|(name, message)| {
        Ok((name.as_str().into(), requirement(message, &names, 0, &map_path.key(name))?))
    });
    let named: BTreeMap<Box<str>, Requirement> = named.collect::<Result<_, Rejection>>()?;
    let rules_path = path.field("rules");
    let one = |(i, message): (usize, &RequirementRule)| {
        rule(message, &names, requirement_map, &rules_path.index(i))
    };
    let rules = rules.iter().enumerate().map(one).collect::<Result<_, _>>()?;
    Ok(Jwt {
        providers: compiled,
        rules,
        named,
        bypass_preflight: *bypass_cors_preflight,
        silent: *strip_failure_response,
        stats,
    })
}

/// What a route says.
pub(super) fn of_route(message: &PerRouteConfig, path: &Path<'_>) -> Result<JwtRoute, Rejection> {
    match &message.requirement_specifier {
        Some(RequirementSpecifier::Disabled(true)) => Ok(JwtRoute::Off),
        Some(RequirementSpecifier::Disabled(false)) => {
            Err(path.field("disabled").reject("must be true when given"))
        }
        Some(RequirementSpecifier::RequirementName(name)) => {
            Ok(JwtRoute::Named(fields::required(name, &path.field("requirement_name"))?.into()))
        }
        None => Err(path.reject("needs one of disabled, requirement_name")),
    }
}

fn provider(
    message: &JwtProvider,
    stats: &JwtStats,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Provider, Rejection> {
    let JwtProvider {
        issuer,
        audiences,
        subjects,
        require_expiration,
        max_lifetime,
        forward,
        from_headers,
        from_params,
        from_cookies,
        forward_payload_header,
        pad_forward_payload_header,
        payload_in_metadata,
        normalize_payload_in_metadata,
        header_in_metadata,
        failed_status_in_metadata,
        clock_skew_seconds,
        jwt_cache_config,
        claim_to_headers,
        clear_route_cache,
        jwks_source_specifier,
    } = message;
    warn_set!(scope, path, "has no effect: every token is verified"; jwt_cache_config);
    let headers_path = path.field("from_headers");
    let header = |(i, JwtHeader { name, value_prefix }): (usize, &JwtHeader)| {
        let name = matchers::header_name(name, &headers_path.index(i).field("name"))?;
        Ok((name, value_prefix.as_str().into()))
    };
    let mut headers = from_headers.iter().enumerate().map(header).collect::<Result<Vec<_>, Rejection>>()?;
    let mut parameters: Vec<Box<str>> = from_params.iter().map(|name| name.as_str().into()).collect();
    let cookies: Vec<Box<str>> = from_cookies.iter().map(|name| name.as_str().into()).collect();
    if headers.is_empty() && parameters.is_empty() && cookies.is_empty() {
        headers.push(("authorization".into(), "Bearer ".into()));
        parameters.push("access_token".into());
    }
    let payload_path = path.field("forward_payload_header");
    let payload_header = match forward_payload_header.as_str() {
        "" => None,
        name => Some((matchers::header_name(name, &payload_path)?, *pad_forward_payload_header)),
    };
    let subjects_path = path.field("subjects");
    let subjects = subjects.as_ref().map(|matcher| matchers::string(matcher, &subjects_path)).transpose()?;
    let lifetime = fields::duration(max_lifetime, &path.field("max_lifetime"))?;
    let given = |name: &String| (!name.is_empty()).then(|| name.as_str().into());
    let spaced = normalize_payload_in_metadata.iter().flat_map(|it| &it.space_delimited_claims);
    let metadata = InMetadata {
        payload: given(payload_in_metadata),
        header: given(header_in_metadata),
        failure: given(failed_status_in_metadata),
        spaced: spaced.map(|name| name.as_str().into()).collect(),
    };
    let claims_path = path.field("claim_to_headers");
    let claim = |(i, message)| claim_header(message, &claims_path.index(i));
    Ok(Provider {
        issuer: issuer.as_str().into(),
        audiences: audiences.iter().map(|one| one.as_str().into()).collect(),
        subjects,
        require_expiration: *require_expiration,
        max_lifetime: lifetime.map(|lifetime| lifetime.as_secs()),
        keys: keys(jwks_source_specifier.as_ref(), stats, path, scope)?,
        headers,
        parameters,
        cookies,
        forward: *forward,
        payload_header,
        claims: claim_to_headers.iter().enumerate().map(claim).collect::<Result<_, Rejection>>()?,
        skew: u64::from(if *clock_skew_seconds == 0 { SKEW } else { *clock_skew_seconds }),
        metadata,
        clear_route: *clear_route_cache,
    })
}

fn claim_header(message: &JwtClaimToHeader, path: &Path<'_>) -> Result<(Box<str>, Vec<Box<str>>), Rejection> {
    let JwtClaimToHeader { header_name, claim_name, claim_path } = message;
    let header = matchers::header_name(header_name, &path.field("header_name"))?;
    let list_path = path.field("claim_path");
    let segment = |(i, PathSegment { key }): (usize, &PathSegment)| {
        Ok(fields::required(key, &list_path.index(i).field("key"))?.into())
    };
    let claim = match (claim_name.as_str(), claim_path.is_empty()) {
        ("", false) => claim_path.iter().enumerate().map(segment).collect::<Result<_, Rejection>>()?,
        (name, true) => {
            let name = fields::required(name, &path.field("claim_name"))?;
            name.split('.').map(Into::into).collect()
        }
        (_, false) => return Err(list_path.reject("is in place of claim_name, not beside it")),
    };
    Ok((header, claim))
}

fn keys(
    source: Option<&JwksSourceSpecifier>,
    stats: &JwtStats,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<KeySource, Rejection> {
    match source {
        Some(JwksSourceSpecifier::LocalJwks(source)) => {
            let path = path.field("local_jwks");
            if source.watched_directory.is_some() {
                return Err(path.field("watched_directory").unsupported());
            }
            let keys =
                Keys::parse(&data_source::read(source, &path)?).map_err(|reason| path.reject(reason))?;
            Ok(KeySource::Local(keys))
        }
        Some(JwksSourceSpecifier::RemoteJwks(message)) => {
            let remote = remote(message, stats, &path.field("remote_jwks"), scope)?;
            Ok(KeySource::Remote(Arc::new(remote)))
        }
        None => Err(path.field("local_jwks").missing()),
    }
}

fn remote(
    message: &RemoteJwks,
    stats: &JwtStats,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<RemoteKeys, Rejection> {
    let RemoteJwks { http_uri, cache_duration, async_fetch, retry_policy } = message;
    let (callee, uri) = call::http(http_uri, retry_policy, path, "http_uri", scope)?;
    let uri_path = path.field("http_uri");
    let place = place(uri).ok_or_else(|| {
        uri_path.field("uri").reject(format_args!("{uri:?} is no http or https URI with a host"))
    })?;
    let cache = fields::positive_duration(cache_duration, &path.field("cache_duration"))?.unwrap_or(CACHE);
    let background = match async_fetch {
        None => None,
        // Requests wait for the first set in any case, so a listener can always begin at once.
        Some(JwksAsyncFetch { fast_listener: _, failed_refetch_duration }) => {
            let path = path.field("async_fetch");
            let again = fields::duration(failed_refetch_duration, &path.field("failed_refetch_duration"))?;
            Some(again.unwrap_or(AGAIN))
        }
    };
    Ok(RemoteKeys::new(callee, place, cache, background, stats.clone()))
}

/// Whether a URI is https, its host, and its path with the query.
fn place(uri: &str) -> Option<(bool, Box<str>, Box<str>)> {
    let (https, rest) = match uri.split_once("://")? {
        (scheme, rest) if scheme.eq_ignore_ascii_case("https") => (true, rest),
        (scheme, rest) if scheme.eq_ignore_ascii_case("http") => (false, rest),
        _ => return None,
    };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let sound = !host.is_empty() && rest.bytes().all(|byte| byte.is_ascii_graphic()) && !host.contains('@');
    let path = if path.is_empty() { "/" } else { path };
    sound.then(|| (https, host.into(), path.into()))
}

fn rule(
    message: &RequirementRule,
    names: &HashMap<&str, usize>,
    named: &HashMap<String, JwtRequirement>,
    path: &Path<'_>,
) -> Result<Rule, Rejection> {
    let RequirementRule { r#match, requirement_type } = message;
    let matching = route_match::compile(r#match, false, &path.field("match"))?;
    let requires = match requirement_type {
        None => None,
        Some(RequirementType::Requires(message)) => {
            Some(requirement(message, names, 0, &path.field("requires"))?)
        }
        Some(RequirementType::RequirementName(name)) => {
            let path = path.field("requirement_name");
            let message = named
                .get(name)
                .ok_or_else(|| path.reject(format_args!("{name:?} is not in requirement_map")))?;
            Some(requirement(message, names, 0, &path)?)
        }
    };
    Ok(Rule { matching, requires })
}

fn requirement(
    message: &JwtRequirement,
    names: &HashMap<&str, usize>,
    depth: usize,
    path: &Path<'_>,
) -> Result<Requirement, Rejection> {
    if depth > DEEPEST {
        return Err(path.reject(format_args!("requirements are nested more than {DEEPEST} deep")));
    }
    let provider = |name: &str, path: &Path<'_>| {
        let unknown = || path.reject(format_args!("{name:?} is not among the providers"));
        names.get(name).copied().ok_or_else(unknown)
    };
    let all = |messages: &[JwtRequirement], path: &Path<'_>| {
        let path = path.field("requirements");
        let one = |(i, message)| requirement(message, names, depth + 1, &path.index(i));
        messages.iter().enumerate().map(one).collect::<Result<Vec<_>, _>>()
    };
    Ok(match &message.requires_type {
        Some(RequiresType::ProviderName(name)) => {
            Requirement::Provider(provider(name, &path.field("provider_name"))?, None)
        }
        Some(RequiresType::ProviderAndAudiences(ProviderWithAudiences { provider_name, audiences })) => {
            let path = path.field("provider_and_audiences");
            let audiences = audiences.iter().map(|one| one.as_str().into()).collect();
            Requirement::Provider(provider(provider_name, &path.field("provider_name"))?, Some(audiences))
        }
        Some(RequiresType::RequiresAny(list)) => any(all(&list.requirements, &path.field("requires_any"))?),
        Some(RequiresType::RequiresAll(list)) => {
            Requirement::All(all(&list.requirements, &path.field("requires_all"))?)
        }
        Some(RequiresType::AllowMissing(_)) => Requirement::Tolerant(Tolerance::Missing),
        Some(RequiresType::AllowMissingOrFailed(_)) => Requirement::Tolerant(Tolerance::Failed),
        Some(RequiresType::ExtractOnlyWithoutValidation(_)) => {
            return Err(path.field("extract_only_without_validation").unsupported());
        }
        // It requires nothing.
        None => Requirement::All(Vec::new()),
    })
}

/// Among alternatives, what is tolerated belongs to the whole.
fn any(mut requirements: Vec<Requirement>) -> Requirement {
    let tolerances = requirements.iter().filter_map(|one| match one {
        Requirement::Tolerant(tolerance) => Some(*tolerance),
        _ => None,
    });
    let tolerance = tolerances.max().unwrap_or_default();
    requirements.retain(|one| !matches!(one, Requirement::Tolerant(_)));
    Requirement::Any(requirements, tolerance)
}
