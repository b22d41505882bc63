//! Active checks and passive ejection in callers' proxies.

use outrigger_xds_protos::v3::cluster::OutlierDetection as OutlierMessage;
use outrigger_xds_protos::v3::core::HealthCheck as HealthCheckMessage;
use outrigger_xds_protos::v3::core::health_check::{
    GrpcHealthCheck, HealthChecker, HttpHealthCheck, TcpHealthCheck,
};
use outrigger_xds_protos::v3::types::CodecClientType;

use super::message::{duration, number};
use crate::model::{HealthCheck, OutlierDetection, Protocol};

/// An active check.
pub fn check(check: &HealthCheck) -> HealthCheckMessage {
    let path = check.path.clone().unwrap_or_else(|| "/".to_owned());
    let http = |codec: CodecClientType| {
        HealthChecker::HttpHealthCheck(HttpHealthCheck {
            path,
            codec_client_type: codec as i32,
            ..Default::default()
        })
    };
    let checker = match check.protocol {
        Protocol::Http => http(CodecClientType::Http1),
        Protocol::Http2 => http(CodecClientType::Http2),
        Protocol::Grpc => HealthChecker::GrpcHealthCheck(GrpcHealthCheck::default()),
        Protocol::Tcp => HealthChecker::TcpHealthCheck(TcpHealthCheck::default()),
    };
    HealthCheckMessage {
        timeout: Some(duration(check.timeout)),
        interval: Some(duration(check.interval)),
        unhealthy_threshold: Some(number(check.unhealthy_threshold)),
        healthy_threshold: Some(number(check.healthy_threshold)),
        health_checker: Some(checker),
        ..Default::default()
    }
}

/// Ejection by consecutive server errors alone; the proxy's own success-rate ejection stays off.
pub fn outlier(detection: &OutlierDetection) -> OutlierMessage {
    OutlierMessage {
        consecutive_5xx: Some(number(detection.max_server_errors)),
        interval: Some(duration(detection.interval)),
        base_ejection_time: Some(duration(detection.base_ejection_duration)),
        max_ejection_percent: Some(number(detection.max_ejection_percent)),
        enforcing_success_rate: Some(number(0)),
        ..Default::default()
    }
}
