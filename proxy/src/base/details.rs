//! Response-code details: why an exchange ended as it did (`%RESPONSE_CODE_DETAILS%`).
//!
//! Owns the words. Whoever answers, refuses or cuts says one of them: there is no other way to make a [`Details`], so
//! that `/explain`, which has an explanation of each, knows them all. Source: Envoy `ResponseCodeDetailValues`,
//! `Http1ResponseCodeDetailValues`, `Http2ResponseCodeDetailValues`.

use std::borrow::Cow;
use std::fmt;

/// One of the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Detail(&'static str);

/// A word, or nothing yet, with what was added to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details(Cow<'static, str>);

macro_rules! details {
    ($($name:ident = $text:literal;)*) => {
        impl Detail {
            $(#[doc = $text] pub const $name: Detail = Detail($text);)*

            /// Every one.
            pub const ALL: &'static [Detail] = &[$(Detail::$name),*];
        }
    };
}

details! {
    VIA_UPSTREAM = "via_upstream";
    DIRECT_RESPONSE = "direct_response";
    INTERNAL_REDIRECT = "internal_redirect";

    FILTER_CHAIN_NOT_FOUND = "filter_chain_not_found";
    ROUTE_NOT_FOUND = "route_not_found";
    CLUSTER_NOT_FOUND = "cluster_not_found";
    NO_HEALTHY_UPSTREAM = "no_healthy_upstream";
    RESET_BEFORE_RESPONSE = "upstream_reset_before_response_started";
    RESET_AFTER_RESPONSE = "upstream_reset_after_response_started";
    RESPONSE_TIMEOUT = "response_timeout";
    PER_TRY_TIMEOUT = "upstream_per_try_timeout";
    PER_TRY_IDLE_TIMEOUT = "upstream_per_try_idle_timeout";
    UPSTREAM_MAX_DURATION = "upstream_max_stream_duration_reached";
    RETRY_BUFFER_EXCEEDED = "request_payload_exceeded_retry_buffer_limit";

    STREAM_IDLE_TIMEOUT = "stream_idle_timeout";
    MAX_DURATION_TIMEOUT = "max_duration_timeout";
    REQUEST_OVERALL_TIMEOUT = "request_overall_timeout";
    REQUEST_HEADER_TIMEOUT = "request_header_timeout";
    REQUEST_PAYLOAD_TOO_LARGE = "request_payload_too_large";
    DOWNSTREAM_REMOTE_DISCONNECT = "downstream_remote_disconnect";
    DOWNSTREAM_LOCAL_DISCONNECT = "downstream_local_disconnect";
    OVERLOAD = "overload";

    UPGRADE_FAILED = "upgrade_failed";
    ABSOLUTE_PATH_REJECTED = "absolute_path_rejected";
    PATH_NORMALIZATION_FAILED = "path_normalization_failed";
    PATH_NORMALIZATION_REDIRECT = "path_normalization_redirect";
    UPGRADE_WITH_BODY = "upgrade_with_body";
    LOW_VERSION = "low_version";
    MISSING_HOST = "missing_host_header";

    RBAC_ACCESS_DENIED = "rbac_access_denied_matched_policy";
    JWT_ACCESS_DENIED = "jwt_authn_access_denied";
    EXT_AUTHZ_DENIED = "ext_authz_denied";
    EXT_AUTHZ_ERROR = "ext_authz_error";
    EXT_AUTHZ_INVALID = "ext_authz_invalid";
    LOCAL_RATE_LIMITED = "local_rate_limited";
    CONCURRENCY_LIMIT = "reached_concurrency_limit";
    FAULT_ABORT = "fault_filter_abort";
    CORS = "cors_response";
    HEALTH_OK = "health_check_ok";
    HEALTH_OK_CLUSTERS = "health_check_ok_cluster_healthy";
    HEALTH_CACHED = "health_check_cached";
    HEALTH_FAILED = "health_check_failed";
    HEALTH_NO_CLUSTER = "health_check_failed_no_cluster_found";
    HEALTH_CLUSTER_EMPTY = "health_check_failed_cluster_empty";
    HEALTH_CLUSTER_UNHEALTHY = "health_check_failed_cluster_unhealthy";

    H1_CODEC = "http1.codec_error";
    H1_HEADERS_TOO_LARGE = "http1.headers_too_large";
    H1_TOO_MANY_HEADERS = "http1.too_many_headers";
    H1_URI_TOO_LONG = "http1.uri_too_long";
    H1_INVALID_URL = "http1.invalid_url";
    H1_INVALID_SCHEME = "http1.invalid_scheme";
    H1_EXPECTATION_FAILED = "http1.expectation_failed";
    H1_LENGTH_NOT_ALLOWED = "http1.content_length_not_allowed";
    H1_LENGTH_AND_CODING = "http1.content_length_and_chunked_not_allowed";
    H1_CODING_NOT_ALLOWED = "http1.transfer_encoding_not_allowed";
    H1_INVALID_CODING = "http1.invalid_transfer_encoding";
    H1_CONNECTION_REJECTED = "http1.connection_header_rejected";
    H1_UNDERSCORE = "http1.unexpected_underscore";
    H1_INFORMATIONAL = "http1.too_many_informational_responses";
    H1_UNASKED_UPGRADE = "http1.unexpected_upgrade";
    H1_UNSENDABLE = "http1.invalid_outgoing_head";
    H1_BODY_TOO_LONG = "http1.body_longer_than_content_length";
    H1_BODY_TOO_SHORT = "http1.body_shorter_than_content_length";
    H2_PROTOCOL = "http2.protocol_error";
    H2_MESSAGING = "http2.violation.of.messaging.rule";
    H2_INVALID_FIELD = "http2.invalid.header.field";
    H2_TOO_MANY_HEADERS = "http2.too_many_headers";
    H2_HEADERS_TOO_LARGE = "http2.header_list_size_too_large";
    H2_LENGTH_MISMATCH = "http2.content_length_mismatch";
    H2_UNDERSCORE = "http2.unexpected_underscore";
    H2_INVALID_NAME = "http2.invalid_header_name";
    H2_INVALID_VALUE = "http2.invalid_header_value";
    H2_INVALID_REQUEST = "http2.invalid_request";
    H2_INVALID_METHOD = "http2.invalid_method";
    H2_INVALID_STATUS = "http2.invalid_status";
    ANSWER_TOO_LONG = "answer_too_long";
}

impl Detail {
    /// The word.
    pub const fn text(self) -> &'static str {
        self.0
    }

    /// The word, and behind it without a gap what else is known. Blanks become `_`, so that it stays one word.
    pub fn with(self, more: impl fmt::Display) -> Details {
        let text = format!("{}{more}", self.0);
        Details(match text.contains(char::is_whitespace) {
            true => text.replace(char::is_whitespace, "_").into(),
            false => text.into(),
        })
    }
}

impl Details {
    /// The same with one more word, in braces.
    pub fn and(&self, note: Detail) -> Self {
        Self(format!("{}{{{}}}", self.0, note.0).into())
    }
}

impl From<Detail> for Details {
    fn from(detail: Detail) -> Self {
        Self(Cow::Borrowed(detail.0))
    }
}

impl std::ops::Deref for Details {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Details {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_stays_one_word() {
        let told = Detail::RBAC_ACCESS_DENIED.with("[a policy]");
        assert_eq!(&*told, "rbac_access_denied_matched_policy[a_policy]");
        let noted = Details::from(Detail::VIA_UPSTREAM).and(Detail::RETRY_BUFFER_EXCEEDED);
        assert_eq!(&*noted, "via_upstream{request_payload_exceeded_retry_buffer_limit}");
    }

    #[test]
    fn no_word_stands_twice() {
        for (i, one) in Detail::ALL.iter().enumerate() {
            assert!(!Detail::ALL[..i].contains(one), "{one:?}");
        }
    }
}
