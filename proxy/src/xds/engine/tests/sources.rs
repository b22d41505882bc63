//! A name is one secret of one source.

use outrigger_xds_protos::v3::cluster::Cluster;

use super::*;

/// A cluster whose certificate comes from the SDS server at this port.
fn secured(name: &str, port: u16) -> Any {
    let sds = format!(
        "{{api_config_source: {{api_type: GRPC, grpc_services: [{{envoy_grpc: {{cluster_name: sds-{port}}}}}]}}}}"
    );
    let context = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
    let text = format!(
        "{{name: {name}, type: STATIC, connect_timeout: 1s, transport_socket: {{name: tls, typed_config: {{
            \"@type\": {context}, common_tls_context: {{tls_certificate_sds_secret_configs: [
                {{name: identity, sds_config: {sds}}}]}}}}}}}}"
    );
    outrigger_xds_protos::any::pack(&outrigger_xds_protos::json::from_text::<Cluster>(&text).unwrap())
}

#[test]
fn a_secret_from_a_second_server_is_refused_unless_everybody_moves() {
    for mut rig in Rig::both() {
        rig.populate();
        rig.push(CDS, "one", secured("one", 1));
        assert!(rig.server.nacks.is_empty(), "{:?}", rig.server.nacks);
        rig.push(CDS, "two", secured("two", 2));
        let refused = rig.engine.store().clusters["two"].refused.clone().unwrap();
        assert!(refused.details.contains("secret \"identity\""), "{}", refused.details);
        assert!(refused.details.contains("cluster \"one\""), "{}", refused.details);
        // The first may change its own server, and then others come after it.
        rig.push(CDS, "one", secured("one", 2));
        assert!(rig.engine.store().clusters["one"].refused.is_none());
        rig.push(CDS, "three", secured("three", 2));
        let third = &rig.engine.store().clusters["three"];
        assert!(third.refused.is_none() && third.latest().is_some());
    }
}

#[test]
fn a_missing_sds_socket_is_named_by_its_variable() {
    let context = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
    let tcp = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
    let text = format!(
        "{{name: in, address: {{socket_address: {{address: 127.0.0.1, port_value: 1000}}}}, filter_chains: [{{
            transport_socket: {{name: tls, typed_config: {{\"@type\": {context}, common_tls_context: {{
                tls_certificate_sds_secret_configs: [{{name: identity, sds_config: {{api_config_source: {{
                    api_type: GRPC,
                    grpc_services: [{{envoy_grpc: {{cluster_name: static_cluster_sds_unix_socket}}}}]}}}}}}]}}}}}},
            filters: [{{name: tcp, typed_config: {{\"@type\": {tcp}, stat_prefix: t, cluster: a}}}}]}}]}}"
    );
    let listener = outrigger_xds_protos::json::from_text::<v3::listener::Listener>(&text).unwrap();
    for mut rig in Rig::both() {
        rig.populate();
        rig.push(LDS, "in", outrigger_xds_protos::any::pack(&listener));
        let refused = rig.engine.store().listeners["in"].refused.clone().unwrap();
        assert!(
            refused.details.contains("; set APPMESH_SDS_SOCKET_PATH to the socket"),
            "{}",
            refused.details
        );
    }
}
