//! Services that are told things over gRPC: collectors and access-log services. Source: `GrpcService`.

use outrigger_xds_protos::v3::core::GrpcService;
use outrigger_xds_protos::v3::core::grpc_service::{EnvoyGrpc, TargetSpecifier};

use super::fields::refuse;
use super::path::{Path, Rejection};

/// The part of a service that names a cluster. Whoever calls it has clocks and repetitions of its own.
pub(super) fn envoy_grpc<'m>(message: &'m GrpcService, path: &Path<'_>) -> Result<&'m EnvoyGrpc, Rejection> {
    let GrpcService {
        timeout: _, // Connecting, a message or a call may take five seconds.
        initial_metadata,
        retry_policy: _,
        target_specifier,
    } = message;
    refuse!(path; initial_metadata);
    match target_specifier {
        Some(TargetSpecifier::EnvoyGrpc(envoy)) => Ok(envoy),
        Some(TargetSpecifier::GoogleGrpc(_)) => {
            Err(path.field("google_grpc").reject("only envoy_grpc is supported"))
        }
        None => Err(path.field("envoy_grpc").missing()),
    }
}
