//! gRPC's statuses and HTTP's.

/// `grpc-status` of a response that has none, by its HTTP status. Source: gRPC's `http-grpc-status-mapping`.
pub fn status_from_http(status: u16) -> u8 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

/// HTTP status that counts for a gRPC status (statistics, outlier detection). Source: Envoy's `Grpc::Utility`.
pub fn status_to_http(status: u8) -> u16 {
    match status {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}
