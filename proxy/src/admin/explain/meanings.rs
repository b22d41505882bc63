//! What each of the response-code details means, and what to do about it.

use super::causes::{AUTHZ, About, Cause, cause};
use crate::base::details::Detail;

/// What some details mean.
pub(super) struct Meaning {
    pub(super) details: &'static [Detail],
    pub(super) says: Says,
    /// Whether a host may have been chosen before.
    pub(super) hosts: bool,
}

pub(super) enum Says {
    /// The same as the flag beside them.
    Flag(&'static str),
    /// That of the flag for the reason in their braces.
    Reset,
    /// More than the flag beside them.
    More(Cause),
    /// No flag is beside them. Failed requests may end so with these statuses.
    Silent(&'static [u16], Cause),
    /// Nor here, and with any status that the configuration or the host says.
    Open(Cause),
}

impl Says {
    pub(super) fn cause(&self) -> Option<&Cause> {
        match self {
            Says::More(cause) | Says::Silent(_, cause) | Says::Open(cause) => Some(cause),
            Says::Flag(_) | Says::Reset => None,
        }
    }
}

const fn says(details: &'static [Detail], says: Says) -> Meaning {
    Meaning { details, says, hosts: false }
}

/// The same, where a host may have been chosen.
const fn after_host(details: &'static [Detail], says: Says) -> Meaning {
    Meaning { details, says, hosts: true }
}

const fn flagged(details: &'static [Detail], flag: &'static str) -> Meaning {
    says(details, Says::Flag(flag))
}

/// A meaning for every one of [`Detail::ALL`]; a test holds it to that.
pub(super) static MEANINGS: &[Meaning] = &[
    after_host(
        &[Detail::VIA_UPSTREAM],
        Says::Open(cause(
            About::Requests,
            "the answer is the host's own; the proxy passed it on as it came",
            "look at the application's log at that time; a retry policy on 5xx or gateway-error hides single failures",
        )),
    ),
    after_host(
        &[Detail::MAX_DURATION_TIMEOUT],
        Says::Silent(
            &[408, 504],
            cause(
                About::Requests,
                "the stream lived longer than max_stream_duration allows",
                "raise the limit of the route or the connection manager if such long streams are meant to be",
            ),
        ),
    ),
    after_host(
        &[Detail::RETRY_BUFFER_EXCEEDED],
        Says::Silent(
            &[507],
            cause(
                About::Requests,
                "a retry was due, and the body is longer than what is kept for one",
                "see why the first try failed; raise the route's request_body_buffer_limit (per_request_buffer_limit_bytes), or do not retry such requests",
            ),
        ),
    ),
    after_host(
        &[Detail::REQUEST_OVERALL_TIMEOUT],
        Says::Silent(
            &[408],
            cause(
                About::Client,
                "the request did not arrive as a whole within request_timeout",
                "look at the client and the network to it, or raise request_timeout",
            ),
        ),
    ),
    says(
        &[Detail::REQUEST_HEADER_TIMEOUT],
        Says::Silent(
            &[408],
            cause(
                About::Client,
                "the request's head did not arrive within request_headers_timeout",
                "look at the client and the network to it",
            ),
        ),
    ),
    says(
        &[Detail::REQUEST_PAYLOAD_TOO_LARGE],
        Says::Silent(
            &[413],
            cause(
                About::Client,
                "the body is longer than a filter that needs all of it may hold",
                "raise the limit, or send less",
            ),
        ),
    ),
    says(
        &[Detail::RBAC_ACCESS_DENIED],
        Says::Silent(
            &[403],
            cause(
                About::Counted(&["rbac."]),
                "an RBAC rule denied the caller; the policy stands in the brackets, none where no rule allowed it",
                "compare the caller's identity, address and headers with the rules; with declared backends the caller must name the service as one",
            ),
        ),
    ),
    says(
        &[Detail::JWT_ACCESS_DENIED],
        Says::Silent(
            &[401, 403],
            cause(
                About::Counted(&[".jwt_authn."]),
                "the request's token was missing or not accepted; the reason stands in the braces",
                "check issuer, audiences, times and key of the token; keys that cannot be fetched count in jwt_authn.jwks_fetch_failed",
            ),
        ),
    ),
    says(
        &[Detail::UPGRADE_FAILED],
        Says::Silent(
            &[403],
            cause(
                About::Client,
                "the request asked for an upgrade (WebSocket, CONNECT) that neither route nor connection manager allows",
                "allow it in upgrade_configs of the route or the connection manager; a client that only offers h2c can be told not to",
            ),
        ),
    ),
    says(
        &[Detail::OVERLOAD],
        Says::Silent(
            &[503],
            cause(
                About::Load,
                "the process had too much to do and answered requests itself",
                "give it more memory or CPU, or fewer connections; see which overload actions are active",
            ),
        ),
    ),
    says(
        &[Detail::CONCURRENCY_LIMIT],
        Says::Silent(
            &[503],
            cause(
                About::Load,
                "adaptive concurrency let no further request through",
                "find why the hosts became slow; the limit follows their latency",
            ),
        ),
    ),
    says(
        &[Detail::ABSOLUTE_PATH_REJECTED],
        Says::Silent(
            &[404],
            cause(
                About::Client,
                "the request's target has no path that routes could match: * or, where it is not allowed, a whole URL",
                "send a path; allow_absolute_url of the connection manager takes whole URLs",
            ),
        ),
    ),
    says(
        &[Detail::PATH_NORMALIZATION_FAILED],
        Says::Silent(
            &[400],
            cause(
                About::Client,
                "the path cannot be made normal: broken percent-encoding, escaped slashes that are refused, a fragment",
                "see normalize_path and path_with_escaped_slashes_action of the connection manager, and what the client sends",
            ),
        ),
    ),
    says(
        &[Detail::PATH_NORMALIZATION_REDIRECT],
        Says::Silent(
            &[],
            cause(
                About::Client,
                "the path holds escaped slashes, and the client was sent to the one without",
                "that is path_with_escaped_slashes_action UNESCAPE_AND_REDIRECT of the connection manager; let the client send the plain path",
            ),
        ),
    ),
    says(
        &[Detail::MISSING_HOST],
        Says::Silent(
            &[400],
            cause(
                About::Client,
                "the request has no host",
                "let the client send a Host header (HTTP/1.1 needs it)",
            ),
        ),
    ),
    says(
        &[Detail::DIRECT_RESPONSE],
        Says::Open(cause(
            About::Routes,
            "the route answers by itself",
            "see the route's direct_response or redirect, and require_tls of the virtual host",
        )),
    ),
    says(
        &[Detail::INTERNAL_REDIRECT],
        Says::Silent(
            &[],
            cause(
                About::Routes,
                "a redirect was followed inside",
                "the line after this one tells of the redirected request",
            ),
        ),
    ),
    says(
        &[Detail::CORS],
        Says::Silent(
            &[],
            cause(
                About::Counted(&[".cors."]),
                "the CORS filter answered a browser's preflight",
                "see the route's allowed origins and methods if the browser refuses to go on",
            ),
        ),
    ),
    says(
        &[Detail::HEALTH_OK, Detail::HEALTH_OK_CLUSTERS, Detail::HEALTH_CACHED],
        Says::Silent(
            &[],
            cause(
                About::Client,
                "the health-check filter answered a check",
                "with health_check_cached it repeats what the application has said within cache_time",
            ),
        ),
    ),
    says(
        &[Detail::EXT_AUTHZ_DENIED],
        Says::More(cause(
            AUTHZ,
            "the external authorization service denied the request",
            "ask the service why",
        )),
    ),
    says(
        &[Detail::EXT_AUTHZ_ERROR],
        Says::More(cause(
            About::Connections,
            "the external authorization service could not be asked",
            "see its cluster's hosts, and whether it answers within its timeout",
        )),
    ),
    says(
        &[Detail::EXT_AUTHZ_INVALID],
        Says::More(cause(
            AUTHZ,
            "the external authorization service allowed the request with changes that cannot be made: no valid header, or one that its rules forbid",
            "see decoder_header_mutation_rules of the filter and what the service adds",
        )),
    ),
    says(
        &[Detail::HEALTH_NO_CLUSTER, Detail::HEALTH_CLUSTER_EMPTY, Detail::HEALTH_CLUSTER_UNHEALTHY],
        Says::More(cause(
            About::Hosts,
            "the health-check filter found too few usable hosts in a cluster that it watches (cluster_min_healthy_percentages)",
            "see that cluster's hosts",
        )),
    ),
    flagged(&[Detail::HEALTH_FAILED], "LH"),
    flagged(&[Detail::LOCAL_RATE_LIMITED], "RL"),
    flagged(&[Detail::FAULT_ABORT], "FI"),
    says(
        &[Detail::FILTER_CHAIN_NOT_FOUND],
        Says::More(cause(
            About::Client,
            "no filter chain of the listener is for this connection: its port, its addresses, its server name, or TLS or no TLS",
            "compare filter_chain_match of the listener's chains with the connection; a default_filter_chain takes what none matches",
        )),
    ),
    flagged(&[Detail::ROUTE_NOT_FOUND], "NR"),
    flagged(&[Detail::CLUSTER_NOT_FOUND], "NC"),
    flagged(&[Detail::NO_HEALTHY_UPSTREAM], "UH"),
    flagged(&[Detail::RESPONSE_TIMEOUT, Detail::PER_TRY_TIMEOUT, Detail::PER_TRY_IDLE_TIMEOUT], "UT"),
    flagged(&[Detail::UPSTREAM_MAX_DURATION], "UMSDR"),
    flagged(&[Detail::STREAM_IDLE_TIMEOUT], "SI"),
    flagged(&[Detail::DOWNSTREAM_REMOTE_DISCONNECT, Detail::DOWNSTREAM_LOCAL_DISCONNECT], "DC"),
    flagged(&[Detail::ANSWER_TOO_LONG], "UPE"),
    says(&[Detail::RESET_BEFORE_RESPONSE, Detail::RESET_AFTER_RESPONSE], Says::Reset),
    says(
        &[
            Detail::H1_HEADERS_TOO_LARGE,
            Detail::H1_TOO_MANY_HEADERS,
            Detail::H2_HEADERS_TOO_LARGE,
            Detail::H2_TOO_MANY_HEADERS,
        ],
        Says::More(cause(
            About::Client,
            "the request's headers are too large or too many",
            "raise max_request_headers_kb or max_headers_count of the connection manager, or send fewer: cookies grow",
        )),
    ),
    says(
        &[Detail::LOW_VERSION],
        Says::More(cause(
            About::Client,
            "the client speaks HTTP/1.0, which is off",
            "accept_http_10 of the connection manager lets it in",
        )),
    ),
    says(
        &[Detail::UPGRADE_WITH_BODY, Detail::H1_EXPECTATION_FAILED],
        Says::More(cause(
            About::Client,
            "the request asks for what this proxy does not do: an upgrade with a body, or an expectation other than 100-continue",
            "change the client",
        )),
    ),
    says(
        &[Detail::H1_UNDERSCORE, Detail::H2_UNDERSCORE],
        Says::More(cause(
            About::Client,
            "a header's name holds an underscore",
            "headers_with_underscores_action of the connection manager refuses it; rename the header, or allow or drop such",
        )),
    ),
    // The client's message is no valid HTTP; in the log of a try it is the host's.
    flagged(
        &[
            Detail::H1_CODEC,
            Detail::H1_URI_TOO_LONG,
            Detail::H1_INVALID_URL,
            Detail::H1_INVALID_SCHEME,
            Detail::H1_LENGTH_NOT_ALLOWED,
            Detail::H1_LENGTH_AND_CODING,
            Detail::H1_CODING_NOT_ALLOWED,
            Detail::H1_INVALID_CODING,
            Detail::H1_CONNECTION_REJECTED,
            Detail::H2_PROTOCOL,
            Detail::H2_MESSAGING,
            Detail::H2_INVALID_FIELD,
            Detail::H2_LENGTH_MISMATCH,
            Detail::H2_INVALID_NAME,
            Detail::H2_INVALID_VALUE,
            Detail::H2_INVALID_REQUEST,
            Detail::H2_INVALID_METHOD,
        ],
        "DPE",
    ),
    flagged(
        &[
            Detail::H1_INFORMATIONAL,
            Detail::H1_UNASKED_UPGRADE,
            Detail::H1_UNSENDABLE,
            Detail::H1_BODY_TOO_LONG,
            Detail::H1_BODY_TOO_SHORT,
            Detail::H2_INVALID_STATUS,
        ],
        "UPE",
    ),
];
