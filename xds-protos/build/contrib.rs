//! Messages of Envoy's contrib extensions, which `envoy-types` does not have. `src/contrib.rs` has their Rust types.

use prost_reflect::DescriptorPool;
use prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use prost_reflect::prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto};

use crate::Result;

/// Adds them to the pool. Source: `envoy/extensions/load_balancing_policies/peak_ewma/v3alpha/peak_ewma.proto`.
pub fn add(pool: &mut DescriptorPool) -> Result<()> {
    let fields = [
        ("decay_time", "google.protobuf.Duration"),
        ("aggregation_interval", "google.protobuf.Duration"),
        ("max_samples_per_host", "google.protobuf.UInt32Value"),
        ("default_rtt", "google.protobuf.Duration"),
        ("penalty_value", "google.protobuf.DoubleValue"),
    ];
    let field = |(at, (name, kind)): (usize, &(&str, &str))| FieldDescriptorProto {
        name: Some((*name).to_owned()),
        number: Some(at as i32 + 1),
        label: Some(Label::Optional.into()),
        r#type: Some(Type::Message.into()),
        type_name: Some(format!(".{kind}")),
        ..FieldDescriptorProto::default()
    };
    let message = DescriptorProto {
        name: Some("PeakEwma".to_owned()),
        field: fields.iter().enumerate().map(field).collect(),
        ..DescriptorProto::default()
    };
    let file = |name: &str| format!("google/protobuf/{name}.proto");
    pool.add_file_descriptor_proto(FileDescriptorProto {
        name: Some("envoy/extensions/load_balancing_policies/peak_ewma/v3alpha/peak_ewma.proto".to_owned()),
        package: Some("envoy.extensions.load_balancing_policies.peak_ewma.v3alpha".to_owned()),
        dependency: vec![file("duration"), file("wrappers")],
        message_type: vec![message],
        syntax: Some("proto3".to_owned()),
        ..FileDescriptorProto::default()
    })?;
    Ok(())
}
