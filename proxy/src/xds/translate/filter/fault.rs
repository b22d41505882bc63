//! Fault injection. Source: `envoy.extensions.filters.http.fault.v3.HTTPFault`.

use std::sync::Arc;

use outrigger_xds_protos::v3::fault::fault_abort::{ErrorType, HeaderAbort};
use outrigger_xds_protos::v3::fault::{FaultAbort, HttpFault};
use outrigger_xds_protos::v3::fault_common::fault_delay::{FaultDelaySecifier, HeaderDelay};
use outrigger_xds_protos::v3::fault_common::fault_rate_limit::{FixedLimit, HeaderLimit, LimitType};
use outrigger_xds_protos::v3::fault_common::{FaultDelay, FaultRateLimit};
use outrigger_xds_protos::v3::types::FractionalPercent;

use crate::config::filter::fault::{
    Abort, AbortStatus, Delay, Fault, FaultCallers, FaultFilter, ResponseRate, Share,
};
use crate::stats::scope::FaultStats;
use crate::xds::translate::fields::{self, refuse};
use crate::xds::translate::matchers;
use crate::xds::translate::path::{Path, Rejection};
use crate::xds::translate::scope::Scope;

/// The filter in a chain.
pub(super) fn filter(
    message: &HttpFault,
    stat_prefix: &str,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<FaultFilter, Rejection> {
    Ok(FaultFilter {
        stats: FaultStats::for_manager(&scope.context.stats, stat_prefix),
        active: Arc::default(),
        callers: FaultCallers::new(&scope.context.stats, stat_prefix),
        settings: settings(message, path, scope)?,
    })
}

/// One set of settings, of the filter or of a route.
pub(super) fn settings(
    message: &HttpFault,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Fault, Rejection> {
    let HttpFault {
        delay,
        abort,
        upstream_cluster,
        headers,
        downstream_nodes,
        max_active_faults,
        response_rate_limit,
        delay_percent_runtime: _, // There is no runtime: the values of the other fields hold.
        abort_percent_runtime: _,
        delay_duration_runtime: _,
        abort_http_status_runtime: _,
        max_active_faults_runtime: _,
        response_rate_limit_percent_runtime: _,
        abort_grpc_status_runtime: _,
        disable_downstream_cluster_stats,
        filter_metadata,
    } = message;
    refuse!(path; filter_metadata);
    let headers_path = path.field("headers");
    let header = |(i, matcher)| matchers::header(matcher, &headers_path.index(i));
    let delay = delay.as_ref().map(|message| compile_delay(message, &path.field("delay")));
    let abort = abort.as_ref().map(|message| compile_abort(message, &path.field("abort")));
    let rate =
        response_rate_limit.as_ref().map(|message| compile_rate(message, &path.field("response_rate_limit")));
    Ok(Fault {
        delay: delay.transpose()?,
        abort: abort.transpose()?,
        response_rate: rate.transpose()?,
        upstream_cluster: match upstream_cluster.as_str() {
            "" => None,
            name => Some(scope.context.clusters.intern(name)),
        },
        headers: headers.iter().enumerate().map(header).collect::<Result<_, _>>()?,
        downstream_nodes: downstream_nodes.iter().map(|node| node.as_str().into()).collect(),
        max_active: fields::count(max_active_faults),
        no_caller_stats: *disable_downstream_cluster_stats,
    })
}

fn compile_delay(message: &FaultDelay, path: &Path<'_>) -> Result<Delay, Rejection> {
    let FaultDelay { percentage, fault_delay_secifier } = message;
    let fixed = match fault_delay_secifier {
        Some(FaultDelaySecifier::FixedDelay(delay)) => {
            fields::positive_duration(&Some(*delay), &path.field("fixed_delay"))?
        }
        Some(FaultDelaySecifier::HeaderDelay(HeaderDelay {})) => None,
        None => return Err(path.reject("needs one of fixed_delay, header_delay")),
    };
    Ok(Delay { fixed, share: share(percentage, &path.field("percentage"))? })
}

fn compile_abort(message: &FaultAbort, path: &Path<'_>) -> Result<Abort, Rejection> {
    let FaultAbort { percentage, response_body, error_type } = message;
    let status = match error_type {
        Some(ErrorType::HttpStatus(code)) => {
            AbortStatus::Http(fields::status(*code, 200..600, &path.field("http_status"))?)
        }
        Some(ErrorType::GrpcStatus(code)) => AbortStatus::Grpc(*code),
        Some(ErrorType::HeaderAbort(HeaderAbort {})) => AbortStatus::Header,
        None => return Err(path.reject("needs one of http_status, grpc_status, header_abort")),
    };
    let share = share(percentage, &path.field("percentage"))?;
    Ok(Abort { status, share, body: response_body.as_str().into() })
}

fn compile_rate(message: &FaultRateLimit, path: &Path<'_>) -> Result<ResponseRate, Rejection> {
    let FaultRateLimit { percentage, limit_type } = message;
    let fixed = match limit_type {
        Some(LimitType::FixedLimit(FixedLimit { limit_kbps: 0 })) => {
            return Err(path.field("fixed_limit").field("limit_kbps").reject("must be at least 1"));
        }
        Some(LimitType::FixedLimit(FixedLimit { limit_kbps })) => Some(*limit_kbps),
        Some(LimitType::HeaderLimit(HeaderLimit {})) => None,
        None => return Err(path.reject("needs one of fixed_limit, header_limit")),
    };
    Ok(ResponseRate { fixed, share: share(percentage, &path.field("percentage"))? })
}

/// None of the requests when absent, as in Envoy.
fn share(percentage: &Option<FractionalPercent>, path: &Path<'_>) -> Result<Share, Rejection> {
    let Some(percentage) = percentage else { return Ok(Share::default()) };
    let FractionalPercent { numerator, denominator } = *percentage;
    // One part in the same unit says how much a part is.
    let unit = fields::parts_per_million(&FractionalPercent { numerator: 1, denominator }, path)?;
    Ok(Share { numerator, unit })
}
