use outrigger_xds_protos::v3::discovery::{DeltaDiscoveryResponse, DiscoveryResponse};
use prost::Message as _;

use super::*;
use crate::ads::machine::Nonce;
use crate::snapshot::tests::eds_cluster;
use crate::snapshot::{Builder, NodeResources, TypeUrl};

fn push() -> Push {
    let mut resources = NodeResources::default();
    resources.insert("a", &eds_cluster("a", ""));
    resources.insert("b", &eds_cluster("b", ""));
    let snapshot = Builder::default().build(&resources).unwrap();
    let set = snapshot.get(&TypeUrl::CLUSTER);
    Push {
        type_url: TypeUrl::CLUSTER,
        nonce: Nonce(7),
        version: set.version(),
        resources: set.iter().cloned().collect(),
        removed: vec!["gone".into()],
        changed: Vec::new(),
    }
}

#[test]
fn state_of_the_world_responses_are_what_the_generated_type_reads() {
    let push = push();
    let bytes = DiscoveryRequest::response(&push).encode_to_vec();
    let read = DiscoveryResponse::decode(bytes.as_slice()).unwrap();
    assert_eq!(read.version_info, push.version.to_string());
    assert_eq!(read.nonce, "7");
    assert_eq!(read.type_url, TypeUrl::CLUSTER.as_str());
    assert!(read.control_plane.unwrap().identifier.starts_with("outrigger/"));
    let anys: Vec<Vec<u8>> = read.resources.iter().map(|any| any.encode_to_vec()).collect();
    assert_eq!(anys, push.resources.iter().map(|r| r.any.to_vec()).collect::<Vec<_>>());
    assert!(read.resource_errors.is_empty() && !read.canary);
}

#[test]
fn delta_responses_are_what_the_generated_type_reads() {
    let push = push();
    let bytes = DeltaDiscoveryRequest::response(&push).encode_to_vec();
    let read = DeltaDiscoveryResponse::decode(bytes.as_slice()).unwrap();
    assert_eq!(read.system_version_info, push.version.to_string());
    assert_eq!(read.nonce, "7");
    assert_eq!(read.removed_resources, ["gone"]);
    assert!(read.control_plane.is_some());
    for (read, sent) in read.resources.iter().zip(&push.resources) {
        assert_eq!((&*read.name, &read.version), (&*sent.name, &sent.version.to_string()));
        assert_eq!(read.resource.as_ref().unwrap().encode_to_vec(), sent.any.to_vec());
        assert!(read.ttl.is_none() && read.aliases.is_empty());
    }
}
