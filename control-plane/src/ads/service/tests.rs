use super::*;

#[test]
fn every_streaming_method_of_the_discovery_services_is_offered() {
    let services = [
        ("discovery.v3.AggregatedDiscoveryService", "AggregatedResources", None, "ADS"),
        ("listener.v3.ListenerDiscoveryService", "Listeners", Some(TypeUrl::LISTENER), "LDS"),
        ("route.v3.RouteDiscoveryService", "Routes", Some(TypeUrl::ROUTE), "RDS"),
        ("cluster.v3.ClusterDiscoveryService", "Clusters", Some(TypeUrl::CLUSTER), "CDS"),
        ("endpoint.v3.EndpointDiscoveryService", "Endpoints", Some(TypeUrl::ENDPOINTS), "EDS"),
        ("secret.v3.SecretDiscoveryService", "Secrets", Some(TypeUrl::SECRET), "SDS"),
    ];
    for (service, suffix, type_url, short) in services {
        for (prefix, variant) in [("Stream", Variant::Sotw), ("Delta", Variant::Delta)] {
            let method = Method::at(&format!("/envoy.service.{service}/{prefix}{suffix}"));
            assert_eq!(method, Some(Method { variant, type_url: type_url.clone() }), "{service}");
            assert_eq!(method.unwrap().service(), short);
        }
    }
}

#[test]
fn nothing_else_is() {
    for path in [
        "/",
        "/envoy.service.cluster.v3.ClusterDiscoveryService/FetchClusters",
        "/envoy.service.cluster.v3.ClusterDiscoveryService/StreamRoutes",
        "/envoy.service.cluster.v3.ClusterDiscoveryService/StreamClusters/",
        "/envoy.service.status.v3.ClientStatusDiscoveryService/StreamClientStatus",
        "/envoy.api.v2.ClusterDiscoveryService/StreamClusters",
    ] {
        assert_eq!(Method::at(path), None, "{path}");
    }
}
