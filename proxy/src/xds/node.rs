//! Who we say we are: the bootstrap's node, completed with what control planes look at.
//!
//! Control planes gate features by the user agent's build version, so it is that of the Envoy whose API this is;
//! who it really is stands in the build metadata. Whatever the bootstrap sets, stays.

use std::collections::HashMap;

use outrigger_xds_protos::identity;
use outrigger_xds_protos::v3::core::node::UserAgentVersionType;
use outrigger_xds_protos::v3::core::{BuildVersion, Node};
use outrigger_xds_protos::v3::types::SemanticVersion;
use outrigger_xds_protos::v3::wkt::{Struct, Value, value::Kind};

/// The Envoy whose resources are understood.
const ENVOY: (u32, u32, u32) = (1, 37, 0);

/// What servers may rely on. Source: xDS "client features".
const FEATURES: [&str; 4] = [
    "envoy.lb.does_not_support_overprovisioning",
    "envoy.lrs.supports_send_all_clusters",
    identity::OWN_KEY,
    "xds.config.resource-in-sotw",
];

/// Fills in what the bootstrap left open.
pub fn complete(mut node: Node) -> Node {
    if node.user_agent_name.is_empty() {
        node.user_agent_name = "envoy".to_owned();
    }
    node.user_agent_version_type
        .get_or_insert_with(|| UserAgentVersionType::UserAgentBuildVersion(build_version()));
    for feature in FEATURES {
        if node.client_features.iter().all(|known| known != feature) {
            node.client_features.push(feature.to_owned());
        }
    }
    node
}

fn build_version() -> BuildVersion {
    let (major_number, minor_number, patch) = ENVOY;
    let label = concat!("outrigger-", env!("CARGO_PKG_VERSION"));
    let label = Value { kind: Some(Kind::StringValue(label.to_owned())) };
    BuildVersion {
        version: Some(SemanticVersion { major_number, minor_number, patch }),
        metadata: Some(Struct { fields: HashMap::from([("build.label".to_owned(), label)]) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_filled_in() {
        let node = complete(Node { id: "n".into(), ..Default::default() });
        assert_eq!((node.id.as_str(), node.user_agent_name.as_str()), ("n", "envoy"));
        assert!(matches!(node.user_agent_version_type, Some(UserAgentVersionType::UserAgentBuildVersion(_))));
        assert_eq!(node.client_features, FEATURES);
    }

    #[test]
    fn what_is_set_stays() {
        let own = Node {
            user_agent_name: "mine".into(),
            user_agent_version_type: Some(UserAgentVersionType::UserAgentVersion("9".into())),
            client_features: vec![FEATURES[1].into()],
            ..Default::default()
        };
        let node = complete(own.clone());
        assert_eq!(node.user_agent_name, "mine");
        assert_eq!(node.user_agent_version_type, own.user_agent_version_type);
        assert_eq!(node.client_features, [FEATURES[1], FEATURES[0], FEATURES[2], FEATURES[3]]);
    }
}
