//! Tags of spans and of entries for access-log services.
//! Source: `envoy.type.tracing.v3.CustomTag`.

use outrigger_xds_protos::pb::envoy::r#type::metadata::v3::metadata_kind::Kind;
use outrigger_xds_protos::v3::tracing::CustomTag as TagMessage;
use outrigger_xds_protos::v3::tracing::custom_tag::{Environment, Header, Literal, Metadata, Type};

use super::super::path::{Path, Rejection};
use super::super::{fields, metadata as places};
use crate::observe::format::{Format, MetadataOf};
use crate::observe::trace::tag::{CustomTag, TagValue};

/// More tags than this say nothing more.
const MAX_TAGS: usize = 64;

/// Compiles tags.
pub(in crate::xds::translate) fn compile(
    messages: &[TagMessage],
    path: &Path<'_>,
) -> Result<Vec<CustomTag>, Rejection> {
    if messages.len() > MAX_TAGS {
        return Err(path.reject(format_args!("{} tags are more than {MAX_TAGS}", messages.len())));
    }
    let mut tags = Vec::with_capacity(messages.len());
    for (i, TagMessage { tag, r#type }) in messages.iter().enumerate() {
        let path = path.index(i);
        let name = fields::required(tag, &path.field("tag"))?;
        let value = match r#type {
            None => return Err(path.reject("needs one of literal, environment, request_header, value")),
            Some(Type::Literal(Literal { value })) => TagValue::Literal(value.as_str().into()),
            Some(Type::Environment(Environment { name, default_value })) => {
                TagValue::Literal(std::env::var(name).unwrap_or_else(|_| default_value.clone()).into())
            }
            Some(Type::RequestHeader(Header { name, default_value })) => {
                TagValue::Header(name.to_ascii_lowercase().into(), default_value.as_str().into())
            }
            Some(Type::Value(text)) => {
                let format = Format::parse(text).map_err(|error| path.field("value").reject(error))?;
                TagValue::Format(format, Box::default())
            }
            Some(Type::Metadata(message)) => metadata(message, &path.field("metadata"))?,
        };
        tags.push(CustomTag::new(name, value));
    }
    Ok(tags)
}

/// Metadata of the configuration; that of requests is never there, so its default stands for it.
fn metadata(message: &Metadata, path: &Path<'_>) -> Result<TagValue, Rejection> {
    let Metadata { kind, metadata_key, default_value } = message;
    let of = match kind.as_ref().and_then(|kind| kind.kind.as_ref()) {
        None => return Err(path.field("kind").missing()),
        Some(Kind::Request(_)) => MetadataOf::Request,
        Some(Kind::Route(_)) => MetadataOf::Route,
        Some(Kind::Cluster(_)) => MetadataOf::Cluster,
        Some(Kind::Host(_)) => MetadataOf::Host,
    };
    let Some(message) = metadata_key else {
        return Ok(TagValue::Literal(default_value.as_str().into()));
    };
    let (namespace, keys) = places::key(message, &path.field("metadata_key"))?;
    let format = Format::of_metadata(of, &namespace, keys);
    Ok(TagValue::Format(format, default_value.as_str().into()))
}
