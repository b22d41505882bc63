//! The status of gRPC requests.

use super::super::Out;
use super::super::operator::GrpcStatusForm;
use crate::base::grpc::status_from_http;
use crate::http::header_id::HeaderId;
use crate::observe::record::Record;

/// gRPC status codes in order: camel and snake spelling.
const GRPC_CODES: [(&str, &str); 17] = [
    ("OK", "OK"),
    ("Canceled", "CANCELLED"),
    ("Unknown", "UNKNOWN"),
    ("InvalidArgument", "INVALID_ARGUMENT"),
    ("DeadlineExceeded", "DEADLINE_EXCEEDED"),
    ("NotFound", "NOT_FOUND"),
    ("AlreadyExists", "ALREADY_EXISTS"),
    ("PermissionDenied", "PERMISSION_DENIED"),
    ("ResourceExhausted", "RESOURCE_EXHAUSTED"),
    ("FailedPrecondition", "FAILED_PRECONDITION"),
    ("Aborted", "ABORTED"),
    ("OutOfRange", "OUT_OF_RANGE"),
    ("Unimplemented", "UNIMPLEMENTED"),
    ("Internal", "INTERNAL"),
    ("Unavailable", "UNAVAILABLE"),
    ("DataLoss", "DATA_LOSS"),
    ("Unauthenticated", "UNAUTHENTICATED"),
];

pub(super) fn grpc_status(record: &Record<'_>, form: GrpcStatusForm, out: &mut Out<'_>) -> bool {
    let Some(code) = grpc_code(record) else { return false };
    match (GRPC_CODES.get(code as usize), form) {
        (Some((camel, _)), GrpcStatusForm::Camel) => out.plain(camel.as_bytes()),
        (Some((_, snake)), GrpcStatusForm::Snake) => out.plain(snake.as_bytes()),
        _ => out.number(code),
    }
    true
}

/// The status of a gRPC request.
pub(in crate::observe) fn grpc_code(record: &Record<'_>) -> Option<u64> {
    record.request.filter(|head| head.is_grpc())?;
    grpc_code_of_any(record)
}

/// From trailers, else headers, else the HTTP status.
pub(in crate::observe) fn grpc_code_of_any(record: &Record<'_>) -> Option<u64> {
    let blocks = [record.trailers, record.response.map(|head| &head.block)];
    let told = blocks.iter().flatten().find_map(|block| block.get(HeaderId::GrpcStatus));
    match told {
        Some(value) => {
            Some(std::str::from_utf8(value).ok().and_then(|value| value.parse().ok()).unwrap_or(2))
        }
        None if record.status > 0 => Some(status_from_http(record.status).into()),
        None => None,
    }
}
