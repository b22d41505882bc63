use super::*;
use crate::v3::{cluster::Cluster, listener::Listener};

#[test]
fn names_in_the_table_are_prosts_own() {
    for (written, generated) in checks::names() {
        assert_eq!(written, generated);
    }
}

#[test]
fn unpack_names_both_types() {
    let packed = pack(&Listener { name: "in".into(), ..Default::default() });
    assert_eq!(unpack::<Listener>(&packed).unwrap().name, "in");
    let error = unpack::<Cluster>(&packed).unwrap_err().to_string();
    assert!(error.contains(type_url::CLUSTER) && error.contains(type_url::LISTENER), "{error}");
}

#[test]
fn only_the_name_after_the_last_slash_counts() {
    let mut packed = pack(&Cluster::default());
    packed.type_url = "example.org/a/envoy.config.cluster.v3.Cluster".into();
    assert!(is::<Cluster>(&packed));
    packed.type_url = "envoy.config.cluster.v3.Cluster".into();
    assert!(!is::<Cluster>(&packed));
}

#[test]
fn malformed_bytes_are_an_error_that_names_the_type() {
    let any = Any { type_url: type_url::CLUSTER.into(), value: vec![0x0a, 0xff] };
    let error = unpack::<Cluster>(&any).unwrap_err().to_string();
    assert!(error.starts_with("malformed envoy.config.cluster.v3.Cluster"), "{error}");
}
