//! What rate limits tell requests apart by: `rate_limits` of filters, routes and virtual hosts.
//! Source: `envoy.config.route.v3.RateLimit`.

use outrigger_xds_protos::pb::xds::core::v3::CidrRange as MatcherRange;
use outrigger_xds_protos::v3::core::CidrRange;
use outrigger_xds_protos::v3::matcher::AddressMatcher;
use outrigger_xds_protos::v3::route::RateLimit;
use outrigger_xds_protos::v3::route::rate_limit::action::{
    ActionSpecifier, DynamicMetaData, GenericKey, HeaderValueMatch, MaskedRemoteAddress, MetaData,
    QueryParameterValueMatch, QueryParameters, RemoteAddressMatch, RequestHeaders, meta_data::Source,
};
use outrigger_xds_protos::v3::route::rate_limit::{Action, HitsAddend, XRateLimitOption};
use outrigger_xds_protos::v3::wkt;

use super::fields::{refuse, warn_set};
use super::path::{Path, Rejection};
use super::scope::Scope;
use super::{fields, matchers, metadata};
use crate::config::filter::descriptor::{
    DescriptorAction, DescriptorEntry, DescriptorRule, MAX_STAGE, Named, RouteRules,
};
use crate::config::value_match::{MetadataPlace, MetadataSource};

/// Who reads the rules. What only limits by a service of their own understand is refused or left aside.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// The local rate limit that holds them.
    Filter,
    /// Whatever filter reads those of routes.
    Route,
}

/// Rules that a filter holds itself.
pub(super) fn of_filter(
    messages: &[RateLimit],
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Vec<DescriptorRule>, Rejection> {
    rules(messages, Reader::Filter, path, scope)
}

/// Rules of a virtual host.
pub(super) fn of_host(
    messages: &[RateLimit],
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Vec<DescriptorRule>, Rejection> {
    rules(messages, Reader::Route, path, scope)
}

/// Rules of a route; `None` when it says nothing.
pub(super) fn of_route(
    messages: &[RateLimit],
    include_host: &Option<wkt::BoolValue>,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Option<Box<RouteRules>>, Rejection> {
    let rules = of_host(messages, path, scope)?;
    let include_host = fields::flag(include_host, false);
    Ok((include_host || !rules.is_empty()).then(|| Box::new(RouteRules { rules, include_host })))
}

fn rules(
    messages: &[RateLimit],
    reader: Reader,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Vec<DescriptorRule>, Rejection> {
    let mut rules = Vec::with_capacity(messages.len());
    for (i, message) in messages.iter().enumerate() {
        rules.extend(rule(message, reader, &path.index(i), scope)?);
    }
    Ok(rules)
}

fn rule(
    message: &RateLimit,
    reader: Reader,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Option<DescriptorRule>, Rejection> {
    let RateLimit {
        stage,
        disable_key,
        actions,
        limit,
        hits_addend,
        apply_on_stream_done,
        x_ratelimit_option,
    } = message;
    let tell = tell(*x_ratelimit_option, &path.field("x_ratelimit_option"))?;
    let hits = match reader {
        Reader::Filter => {
            // As in Envoy; a rule for the end of a request would never count there.
            refuse!(path; stage, disable_key, limit, apply_on_stream_done);
            hits(hits_addend, &path.field("hits_addend"))?
        }
        Reader::Route => {
            warn_set!(scope, path, "has no effect on local rate limits"; limit, hits_addend, apply_on_stream_done);
            1
        }
    };
    let stage = fields::count_in(stage, 0..=MAX_STAGE, &path.field("stage"))?.unwrap_or(0);
    let actions_path = path.field("actions");
    if actions.is_empty() {
        return Err(actions_path.missing());
    }
    let compile = |(i, message)| action(message, &actions_path.index(i), scope);
    let actions = actions.iter().enumerate().map(compile).collect::<Result<_, _>>()?;
    // A local limit has no runtime to look the key up in: for Envoy a rule that has one is off.
    if !disable_key.is_empty() {
        scope.warn(&path.field("disable_key"), "switches the rule off for local rate limits, as in Envoy");
        return Ok(None);
    }
    Ok(Some(DescriptorRule { stage, actions, hits, tell }))
}

fn tell(number: i32, path: &Path<'_>) -> Result<Option<bool>, Rejection> {
    Ok(match XRateLimitOption::try_from(number) {
        Ok(XRateLimitOption::Unspecified) => None,
        Ok(XRateLimitOption::Off) => Some(false),
        Ok(XRateLimitOption::DraftVersion03) => Some(true),
        Err(_) => return Err(path.reject(fields::unknown_enum(number))),
    })
}

fn hits(message: &Option<HitsAddend>, path: &Path<'_>) -> Result<u64, Rejection> {
    let Some(HitsAddend { number, format, is_negative_hits }) = message else { return Ok(1) };
    refuse!(path; format, is_negative_hits);
    match number {
        Some(wkt::UInt64Value { value: 0 }) => {
            Err(path.field("number").reject("is 0, which would refuse every request; leave it out"))
        }
        Some(number) => Ok(number.value),
        None => Err(path.field("number").missing()),
    }
}

#[allow(deprecated, reason = "the deprecated form is refused by its name")]
fn action(message: &Action, path: &Path<'_>, scope: &mut Scope<'_>) -> Result<DescriptorAction, Rejection> {
    let Some(specifier) = &message.action_specifier else {
        return Err(path.reject("needs an action, such as request_headers, generic_key or remote_address"));
    };
    Ok(match specifier {
        ActionSpecifier::SourceCluster(_) => DescriptorAction::Constant(DescriptorEntry {
            key: "source_cluster".into(),
            value: scope.context.service_cluster.clone(),
        }),
        ActionSpecifier::DestinationCluster(_) => DescriptorAction::DestinationCluster,
        ActionSpecifier::RequestHeaders(message) => {
            let RequestHeaders { header_name, descriptor_key, skip_if_absent } = message;
            let path = path.field("request_headers");
            let name = matchers::header_name(header_name, &path.field("header_name"))?;
            DescriptorAction::Header(named(name, descriptor_key, *skip_if_absent, &path)?)
        }
        ActionSpecifier::QueryParameters(message) => {
            let QueryParameters { query_parameter_name, descriptor_key, skip_if_absent } = message;
            let path = path.field("query_parameters");
            let name = fields::required(query_parameter_name, &path.field("query_parameter_name"))?;
            DescriptorAction::Query(named(name.into(), descriptor_key, *skip_if_absent, &path)?)
        }
        ActionSpecifier::RemoteAddress(_) => DescriptorAction::ClientAddress,
        ActionSpecifier::MaskedRemoteAddress(message) => {
            masked(message, &path.field("masked_remote_address"))?
        }
        ActionSpecifier::GenericKey(message) => {
            let GenericKey { descriptor_value, default_value, descriptor_key } = message;
            let path = path.field("generic_key");
            let key = (&descriptor_key[..], "generic_key");
            DescriptorAction::Constant(constant(key, descriptor_value, default_value, &path, scope)?)
        }
        ActionSpecifier::HeaderValueMatch(message) => {
            header_match(message, &path.field("header_value_match"), scope)?
        }
        ActionSpecifier::QueryParameterValueMatch(message) => {
            query_match(message, &path.field("query_parameter_value_match"), scope)?
        }
        ActionSpecifier::RemoteAddressMatch(message) => {
            client_match(message, &path.field("remote_address_match"), scope)?
        }
        ActionSpecifier::Metadata(message) => {
            let path = path.field("metadata");
            of_metadata(message, metadata_source(message.source, &path)?, &path)?
        }
        ActionSpecifier::DynamicMetadata(message) => {
            let DynamicMetaData { descriptor_key, metadata_key, default_value } = message.clone();
            // The older form of the same.
            let message = MetaData { descriptor_key, metadata_key, default_value, ..MetaData::default() };
            of_metadata(&message, MetadataSource::Request, &path.field("dynamic_metadata"))?
        }
        ActionSpecifier::Extension(_) => return Err(path.field("extension").unsupported()),
    })
}

fn metadata_source(number: i32, path: &Path<'_>) -> Result<MetadataSource, Rejection> {
    let path = path.field("source");
    match Source::try_from(number) {
        Ok(Source::Dynamic) => Ok(MetadataSource::Request),
        Ok(Source::RouteEntry) => Ok(MetadataSource::Route),
        Ok(other) => Err(path.reject(format_args!("{} is not supported", other.as_str_name()))),
        Err(_) => Err(path.reject(fields::unknown_enum(number))),
    }
}

fn of_metadata(
    message: &MetaData,
    source: MetadataSource,
    path: &Path<'_>,
) -> Result<DescriptorAction, Rejection> {
    let MetaData { descriptor_key, metadata_key, default_value, source: _, skip_if_absent } = message;
    let key_path = path.field("metadata_key");
    let (namespace, keys) = metadata::key(fields::message(metadata_key, &key_path)?, &key_path)?;
    Ok(DescriptorAction::Metadata {
        place: MetadataPlace { source, namespace, path: keys },
        key: fields::required(descriptor_key, &path.field("descriptor_key"))?.into(),
        default: default_value.as_str().into(),
        skip_if_absent: *skip_if_absent,
    })
}

fn named(name: Box<str>, key: &str, skip_if_absent: bool, path: &Path<'_>) -> Result<Named, Rejection> {
    let key = fields::required(key, &path.field("descriptor_key"))?.into();
    Ok(Named { name, key, skip_if_absent })
}

fn masked(message: &MaskedRemoteAddress, path: &Path<'_>) -> Result<DescriptorAction, Rejection> {
    let MaskedRemoteAddress { v4_prefix_mask_len, v6_prefix_mask_len } = message;
    let length = |value, longest: u8, name| {
        let length = fields::count_in(value, 0..=longest.into(), &path.field(name))?;
        Ok(length.map_or(longest, |length| length as u8))
    };
    Ok(DescriptorAction::ClientNetwork {
        v4: length(v4_prefix_mask_len, 32, "v4_prefix_mask_len")?,
        v6: length(v6_prefix_mask_len, 128, "v6_prefix_mask_len")?,
    })
}

/// The given key or the action's own, and the value as it stands: operators in it mean nothing to Envoy either.
fn constant(
    (key, own): (&str, &str),
    value: &str,
    default_value: &str,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<DescriptorEntry, Rejection> {
    if !default_value.is_empty() {
        scope.warn(&path.field("default_value"), "has no effect: descriptor_value is taken as it stands");
    }
    let value = fields::required(value, &path.field("descriptor_value"))?;
    Ok(DescriptorEntry { key: if key.is_empty() { own } else { key }.into(), value: value.into() })
}

fn header_match(
    message: &HeaderValueMatch,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<DescriptorAction, Rejection> {
    let HeaderValueMatch { descriptor_value, default_value, descriptor_key, expect_match, headers } = message;
    let list_path = path.field("headers");
    if headers.is_empty() {
        return Err(list_path.missing());
    }
    let compile = |(i, message)| matchers::header(message, &list_path.index(i));
    Ok(DescriptorAction::HeaderMatch {
        headers: headers.iter().enumerate().map(compile).collect::<Result<_, _>>()?,
        expect: fields::flag(expect_match, true),
        entry: constant((descriptor_key, "header_match"), descriptor_value, default_value, path, scope)?,
    })
}

fn query_match(
    message: &QueryParameterValueMatch,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<DescriptorAction, Rejection> {
    let QueryParameterValueMatch {
        descriptor_value,
        default_value,
        descriptor_key,
        expect_match,
        query_parameters,
    } = message;
    let list_path = path.field("query_parameters");
    if query_parameters.is_empty() {
        return Err(list_path.missing());
    }
    let compile = |(i, message)| matchers::query(message, &list_path.index(i));
    Ok(DescriptorAction::QueryMatch {
        query: query_parameters.iter().enumerate().map(compile).collect::<Result<_, _>>()?,
        expect: fields::flag(expect_match, true),
        entry: constant((descriptor_key, "query_match"), descriptor_value, default_value, path, scope)?,
    })
}

fn client_match(
    message: &RemoteAddressMatch,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<DescriptorAction, Rejection> {
    let RemoteAddressMatch { descriptor_value, descriptor_key, default_value, address_matcher } = message;
    let matcher_path = path.field("address_matcher");
    let AddressMatcher { ranges, invert_match } = fields::message(address_matcher, &matcher_path)?;
    // The API has this message twice.
    let range = |range: &MatcherRange| CidrRange {
        address_prefix: range.address_prefix.clone(),
        prefix_len: range.prefix_len,
    };
    let ranges: Vec<CidrRange> = ranges.iter().map(range).collect();
    Ok(DescriptorAction::ClientMatch {
        networks: fields::cidrs(&ranges, &matcher_path.field("ranges"))?,
        invert: *invert_match,
        entry: constant(
            (descriptor_key, "remote_address_match"),
            descriptor_value,
            default_value,
            path,
            scope,
        )?,
    })
}
