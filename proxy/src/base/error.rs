//! Every way a request can fail, with what the caller and the operator are told.
//!
//! One enum serves the whole data path: the retry decision, the local reply, the access log's
//! response flags and the response-code details all come from a [`ProxyError`].
//! Codes, flags, details and bodies follow Envoy's local replies so that dashboards keep meaning the same.

use std::fmt;

use super::details::Detail;

/// Envoy response flags as a bit set; several may hold for one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseFlags(pub u32);

/// Declares the flag constants and their short and long names in the order Envoy prints them, which is
/// that in which it raises them: what made a retry impossible comes before the failure that then stood.
macro_rules! response_flags {
    ($($const:ident = $bit:literal, $short:literal, $long:literal;)*) => {
        impl ResponseFlags {
            $(#[doc = $long] pub const $const: ResponseFlags = ResponseFlags(1 << $bit);)*

            /// `(flag, short name, long name)` of every flag, in print order.
            pub const ALL: &'static [(ResponseFlags, &'static str, &'static str)] =
                &[$((ResponseFlags::$const, $short, $long)),*];
        }
    };
}

response_flags! {
    FAULT_DELAY = 9, "DI", "DelayInjected";
    FAULT_ABORT = 10, "FI", "FaultInjected";
    UPSTREAM_RETRY_LIMIT_EXCEEDED = 13, "URX", "UpstreamRetryLimitExceeded";
    UPSTREAM_OVERFLOW = 7, "UO", "UpstreamOverflow";
    FAILED_LOCAL_HEALTH_CHECK = 0, "LH", "FailedLocalHealthCheck";
    NO_HEALTHY_UPSTREAM = 1, "UH", "NoHealthyUpstream";
    UPSTREAM_REQUEST_TIMEOUT = 2, "UT", "UpstreamRequestTimeout";
    LOCAL_RESET = 3, "LR", "LocalReset";
    UPSTREAM_REMOTE_RESET = 4, "UR", "UpstreamRemoteReset";
    UPSTREAM_CONNECTION_FAILURE = 5, "UF", "UpstreamConnectionFailure";
    UPSTREAM_CONNECTION_TERMINATION = 6, "UC", "UpstreamConnectionTermination";
    NO_ROUTE_FOUND = 8, "NR", "NoRouteFound";
    RATE_LIMITED = 11, "RL", "RateLimited";
    UNAUTHORIZED_EXTERNAL_SERVICE = 23, "UAEX", "UnauthorizedExternalService";
    DOWNSTREAM_CONNECTION_TERMINATION = 12, "DC", "DownstreamConnectionTermination";
    STREAM_IDLE_TIMEOUT = 14, "SI", "StreamIdleTimeout";
    DOWNSTREAM_PROTOCOL_ERROR = 15, "DPE", "DownstreamProtocolError";
    UPSTREAM_MAX_STREAM_DURATION = 16, "UMSDR", "UpstreamMaxStreamDurationReached";
    DURATION_TIMEOUT = 17, "DT", "DurationTimeout";
    UPSTREAM_PROTOCOL_ERROR = 18, "UPE", "UpstreamProtocolError";
    NO_CLUSTER_FOUND = 19, "NC", "NoClusterFound";
    OVERLOAD_MANAGER = 20, "OM", "OverloadManagerTerminated";
    DNS_RESOLUTION_FAILED = 21, "DF", "DnsResolutionFailed";
    DOWNSTREAM_REMOTE_RESET = 22, "DR", "DownstreamRemoteReset";
}

impl ResponseFlags {
    /// No flag.
    pub const NONE: ResponseFlags = ResponseFlags(0);

    /// `(short name, long name)` of flags that Envoy raises for features which do not exist here. Configurations name
    /// them; they never occur.
    pub const FOREIGN: &'static [(&'static str, &'static str)] = &[
        ("RLSE", "RateLimitServiceError"),
        ("IH", "InvalidEnvoyRequestHeaders"),
        ("RFCF", "ResponseFromCacheFilter"),
        ("NFCF", "NoFilterConfigFound"),
        ("DO", "DropOverload"),
        ("UDO", "UnconditionalDropOverload"),
    ];

    /// The flag with this short name, [`ResponseFlags::NONE`] for a foreign one; `None`: nobody has such a flag.
    pub fn named(short: &str) -> Option<ResponseFlags> {
        let own = Self::ALL.iter().find(|(_, name, _)| *name == short).map(|(flag, ..)| *flag);
        own.or_else(|| Self::FOREIGN.iter().any(|(name, _)| *name == short).then_some(Self::NONE))
    }

    /// The flags that are in `other` as well.
    #[inline]
    pub fn both(self, other: ResponseFlags) -> ResponseFlags {
        ResponseFlags(self.0 & other.0)
    }

    /// The flags that are not in `other`.
    #[inline]
    pub fn without(self, other: ResponseFlags) -> ResponseFlags {
        ResponseFlags(self.0 & !other.0)
    }

    /// Adds the flags of `other`.
    #[inline]
    pub fn insert(&mut self, other: ResponseFlags) {
        self.0 |= other.0;
    }

    /// True when every flag of `other` is set.
    #[inline]
    pub fn contains(self, other: ResponseFlags) -> bool {
        self.0 & other.0 == other.0
    }

    /// The set flags as `(short, long)` names.
    pub fn names(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        Self::ALL
            .iter()
            .filter(move |(flag, ..)| self.contains(*flag))
            .map(|(_, short, long)| (*short, *long))
    }
}

/// What ended an exchange that no upstream response ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyError {
    /// No virtual host or no route matched: 404.
    NoRoute,
    /// The route's cluster does not exist (yet): the route's `cluster_not_found_response_code`.
    NoCluster {
        /// Status to answer with: 503 unless the route says otherwise.
        status: u16,
    },
    /// The cluster has no host to pick: 503.
    NoHealthyUpstream,
    /// The upstream connection could not be made: 503.
    ConnectFailure(ConnectFailure),
    /// The upstream closed or reset the connection before response headers: 503.
    UpstreamClosed {
        /// True when the connection had served a request before: the keep-alive race.
        reused: bool,
    },
    /// The upstream reset the stream (HTTP/2) before response headers: 503.
    UpstreamReset {
        /// True for REFUSED_STREAM or a stream above the GOAWAY id: certainly not processed.
        refused: bool,
    },
    /// The upstream spoke invalid HTTP: 502.
    UpstreamProtocol(Detail),
    /// A circuit breaker is open: 503 with `x-envoy-overloaded`.
    Overflow,
    /// The route's timeout passed: 504.
    RequestTimeout,
    /// The target names no path that routes could be about (`*`): 404.
    NoPath,
    /// The per-try timeout passed and no retry was possible: 504.
    PerTryTimeout,
    /// Nothing moved on the attempt for the per-try idle timeout and no retry was possible: 504.
    PerTryIdleTimeout,
    /// The attempt's stream lived longer than its maximum and no retry was possible: 504 when the request was
    /// complete, else 408.
    UpstreamMaxDuration {
        /// Whether the whole request had arrived.
        request_complete: bool,
    },
    /// Nothing moved on the stream for the idle timeout: 504 when the request was complete, else 408.
    StreamIdle {
        /// Whether the whole request had arrived.
        request_complete: bool,
    },
    /// The stream lived longer than its maximum: 504 when the request was complete, else 408.
    MaxStreamDuration {
        /// Whether the whole request had arrived.
        request_complete: bool,
    },
    /// The whole request did not arrive within the connection manager's `request_timeout`: 408.
    RequestArrivalTimeout,
    /// The client broke the protocol; the codec decides the status.
    Downstream(DownstreamError),
    /// An upgrade was asked for that is not configured: 403.
    UpgradeNotAllowed,
    /// The request path cannot be normalised: 400.
    BadPath,
    /// The client went away: no reply, the log says 0.
    ClientGone,
    /// The drain time is over: no reply, the connection closes.
    Cut,
    /// A request body larger than the retry buffer arrived while waiting to retry: 507.
    RetryBufferExceeded,
}

/// Why no upstream connection exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectFailure {
    /// Refused, unreachable or reset during connect or TLS handshake. The text is for the log, bounded.
    Remote(String),
    /// TCP connect plus TLS handshake took longer than the cluster's `connect_timeout`.
    Timeout,
    /// No socket to connect with (descriptors, addresses).
    Local(String),
}

/// How a client violated HTTP, with the status it gets before the connection closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DownstreamError {
    /// 400, 408, 414, 417, 426, 431, 501 or 505.
    pub status: u16,
    /// Response-code details, for example `http1.codec_error`.
    pub detail: Detail,
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for ProxyError {}
