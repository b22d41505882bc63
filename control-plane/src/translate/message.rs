//! Building blocks of messages that several resources share.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use outrigger_xds_protos::any::{self, Typed};
use outrigger_xds_protos::v3::core::address::Address as AddressKind;
use outrigger_xds_protos::v3::core::config_source::ConfigSourceSpecifier;
use outrigger_xds_protos::v3::core::socket_address::PortSpecifier;
use outrigger_xds_protos::v3::core::{
    Address, AggregatedConfigSource, ApiVersion, ConfigSource, HeaderValue, HeaderValueOption, Metadata,
    SocketAddress,
};
use outrigger_xds_protos::v3::matcher::RegexMatcher;
use outrigger_xds_protos::v3::matcher::regex_matcher::{EngineType, GoogleRe2};
use outrigger_xds_protos::v3::wkt;

use crate::model::IpPreference;

/// Filter metadata that the image's statistics filter reads.
const STATS_METADATA: &str = "aws.appmesh.aggregate_stats";

/// A protobuf duration.
pub fn duration(duration: Duration) -> wkt::Duration {
    // Nanoseconds below a second fit; seconds are bounded when definitions are read.
    wkt::Duration { seconds: duration.as_secs() as i64, nanos: duration.subsec_nanos() as i32 }
}

/// A wrapped number.
pub fn number(value: u32) -> wkt::UInt32Value {
    wkt::UInt32Value { value }
}

/// A wrapped boolean.
pub fn boolean(value: bool) -> wkt::BoolValue {
    wkt::BoolValue { value }
}

/// A packed message.
pub fn packed<M: Typed>(message: &M) -> wkt::Any {
    any::pack(message)
}

/// An address to bind or to connect to.
pub fn address(host: impl Into<String>, port: u16, ipv4_compat: bool) -> Address {
    let socket = SocketAddress {
        address: host.into(),
        ipv4_compat,
        port_specifier: Some(PortSpecifier::PortValue(port.into())),
        ..Default::default()
    };
    Address { address: Some(AddressKind::SocketAddress(socket)) }
}

/// "On the stream that this came by", without a limit on waiting: a listener or cluster is not used half.
pub fn ads() -> ConfigSource {
    ConfigSource {
        initial_fetch_timeout: Some(wkt::Duration::default()),
        resource_api_version: ApiVersion::V3 as i32,
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..Default::default()
    }
}

/// A regular expression over the whole text. The engine is named for proxies that demand it.
#[allow(deprecated, reason = "proxies before 1.24 refuse an expression without its engine")]
pub fn regex(pattern: impl Into<String>) -> RegexMatcher {
    RegexMatcher { regex: pattern.into(), engine_type: Some(EngineType::GoogleRe2(GoogleRe2::default())) }
}

/// A text as a regular expression that matches just it.
pub fn escaped(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_punctuation() {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

/// A header that is set, whatever the client sent.
pub fn header(name: &str, value: &str) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue { key: name.to_owned(), value: value.to_owned(), ..Default::default() }),
        append_action: 2, // OVERWRITE_IF_EXISTS_OR_ADD
        ..Default::default()
    }
}

/// Metadata for the statistics filter: its `config` is JSON text.
pub fn stats_metadata(tags: &[(&str, &str)]) -> Metadata {
    let tags: Vec<serde_json::Value> =
        tags.iter().map(|(key, value)| serde_json::json!({"key": key, "value": value})).collect();
    let config = serde_json::json!({ "tags": tags }).to_string();
    let value = wkt::Value { kind: Some(wkt::value::Kind::StringValue(config)) };
    let fields = wkt::Struct { fields: HashMap::from([("config".to_owned(), value)]) };
    Metadata { filter_metadata: HashMap::from([(STATS_METADATA.to_owned(), fields)]), ..Default::default() }
}

/// Where the node's application listens: one address without fallback.
pub fn loopback(preference: Option<IpPreference>) -> IpAddr {
    match preference {
        Some(IpPreference::V6Only | IpPreference::V6Preferred) => Ipv6Addr::LOCALHOST.into(),
        _ => Ipv4Addr::LOCALHOST.into(),
    }
}
