//! Metadata: what load balancing reads of it (`filter_metadata["envoy.lb"]`), and all of it for logs.
//! Source: `envoy.config.core.v3.Metadata`, `google.protobuf.Struct`.

use std::sync::Arc;

use outrigger_xds_protos::pb::envoy::r#type::metadata::v3::metadata_key::path_segment::Segment;
use outrigger_xds_protos::pb::envoy::r#type::metadata::v3::{MetadataKey, metadata_key::PathSegment};
use outrigger_xds_protos::pb::google::protobuf::{ListValue, Struct, Value, value::Kind};
use outrigger_xds_protos::v3::core::Metadata as Message;

use super::fields;
use super::path::{Path, Rejection};
use crate::config::metadata::{BALANCING, Namespaces};
use crate::config::subset::{Criterion, Metadata, MetadataValue};

/// What balancing reads of a message; `None` when there is nothing.
pub(super) fn of_balancing(message: &Option<Message>) -> Option<Arc<Metadata>> {
    let fields = message.as_ref()?.filter_metadata.get(BALANCING)?;
    (!fields.fields.is_empty()).then(|| Arc::new(of_struct(fields)))
}

/// Everything in a message; `None` when there is nothing.
pub(super) fn all(message: &Option<Message>) -> Option<Arc<Namespaces>> {
    of_spaces(message, |_| true)
}

/// All but what balancing reads, of which hosts have it anyway.
pub(super) fn beside_balancing(message: &Option<Message>) -> Option<Arc<Namespaces>> {
    of_spaces(message, |name| name != BALANCING)
}

fn of_spaces(message: &Option<Message>, keeps: fn(&str) -> bool) -> Option<Arc<Namespaces>> {
    let kept = message.as_ref()?.filter_metadata.iter().filter(|(name, _)| keeps(name));
    Namespaces::new(kept.map(|(name, fields)| (name.as_str().into(), Arc::new(of_struct(fields)))))
}

/// The fields of a struct.
pub(super) fn of_struct(message: &Struct) -> Metadata {
    Metadata::new(message.fields.iter().map(|(key, field)| Criterion::new(key, value(field))))
}

/// A namespace and the keys below it, each within the one before; at least one, as the API demands.
pub(super) fn key(message: &MetadataKey, path: &Path<'_>) -> Result<(Box<str>, Vec<Box<str>>), Rejection> {
    let MetadataKey { key, path: segments } = message;
    let segments_path = path.field("path");
    if segments.is_empty() {
        return Err(segments_path.missing());
    }
    let segment = |(i, PathSegment { segment }): (usize, &PathSegment)| {
        let segment_path = segments_path.index(i);
        let path = segment_path.field("key");
        let Some(Segment::Key(key)) = segment else { return Err(path.missing()) };
        Ok(fields::required(key, &path)?.into())
    };
    let segments = segments.iter().enumerate().map(segment).collect::<Result<_, _>>()?;
    Ok((fields::required(key, &path.field("key"))?.into(), segments))
}

fn value(message: &Value) -> MetadataValue {
    match &message.kind {
        None | Some(Kind::NullValue(_)) => MetadataValue::Null,
        // Both zeros are the same number.
        Some(Kind::NumberValue(number)) => MetadataValue::Number((number + 0.0).to_bits()),
        Some(Kind::StringValue(text)) => MetadataValue::Text(text.as_str().into()),
        Some(Kind::BoolValue(flag)) => MetadataValue::Bool(*flag),
        Some(Kind::StructValue(message)) => {
            let mut fields: Vec<(Box<str>, MetadataValue)> =
                message.fields.iter().map(|(key, field)| (key.as_str().into(), value(field))).collect();
            fields.sort_by(|one, other| one.0.cmp(&other.0));
            MetadataValue::Struct(fields)
        }
        Some(Kind::ListValue(ListValue { values })) => {
            MetadataValue::List(values.iter().map(value).collect())
        }
    }
}
