//! What went wrong where no response flag was raised, by the response-code details.

use super::Question;
use super::causes::{About, Cause, cause};

/// What is behind a question without flags; `None`: nothing that failed.
pub(super) fn of(question: &Question) -> Option<&'static Cause> {
    let details = question.details.as_str();
    let failed = question.status.is_some_and(|status| status >= 400);
    // A host's own answer is no failure when it is known to be a good one.
    let good = |cause: &Cause| cause.flag == CAUSES[0].flag && !failed && question.status.is_some();
    let named = CAUSES.iter().find(|cause| details.starts_with(cause.flag)).filter(|cause| !good(cause));
    // A line without details tells by its host whether somebody else has answered.
    named.or_else(|| match (&question.host, details.is_empty() && failed) {
        (_, false) => None,
        (Some(_), true) => Some(&CAUSES[0]),
        (None, true) => Some(&UNTOLD),
    })
}

static UNTOLD: Cause = cause(
    "no details",
    About::Client,
    "the proxy answered by itself and raised no flag: an access rule (403), a token (401), a direct response, a limit on the body (413) or too much to do (503)",
    "add %RESPONSE_CODE_DETAILS% to the log's format; the next such line says which",
);

static CAUSES: &[Cause] = &[
    cause(
        "via_upstream",
        About::Requests,
        "the answer is the host's own; the proxy passed it on as it came",
        "look at the application's log at that time; a retry policy on 5xx or gateway-error hides single failures",
    ),
    cause(
        "rbac_access_denied",
        About::Client,
        "an RBAC rule denied the caller; the policy stands in the brackets, none where no rule allowed it",
        "compare the caller's identity, address and headers with the rules; with declared backends the caller must name the service as one",
    ),
    cause(
        "jwt_authn_access_denied",
        About::Client,
        "the request's token was missing or not accepted; the reason stands in the braces",
        "check issuer, audiences, times and key of the token; keys that cannot be fetched count in jwt_authn.jwks_fetch_failed",
    ),
    cause(
        "ext_authz_denied",
        About::Client,
        "the external authorization service denied the request",
        "ask the service why",
    ),
    cause(
        "ext_authz_error",
        About::Connections,
        "the external authorization service could not be asked",
        "see its cluster's hosts, and whether it answers within its timeout",
    ),
    cause(
        "overload",
        About::Load,
        "the process had too much to do and answered requests itself",
        "give it more memory or CPU, or fewer connections; see which overload actions are active",
    ),
    cause(
        "max_duration_timeout",
        About::Requests,
        "the stream lived longer than max_stream_duration allows",
        "raise the limit of the route or the connection manager if such long streams are meant to be",
    ),
    cause(
        "request_overall_timeout",
        About::Client,
        "the request did not arrive as a whole within request_timeout",
        "look at the client and the network to it, or raise request_timeout",
    ),
    cause(
        "request_header_timeout",
        About::Client,
        "the request's head did not arrive within request_headers_timeout",
        "look at the client and the network to it",
    ),
    cause(
        "request_payload_too_large",
        About::Client,
        "the body is longer than the buffer filter or a retry may hold",
        "raise the limit, or send less",
    ),
    cause(
        "reached_concurrency_limit",
        About::Load,
        "adaptive concurrency let no further request through",
        "find why the hosts became slow; the limit follows their latency",
    ),
    cause(
        "direct_response",
        About::Routes,
        "the route answers by itself",
        "see the route's direct_response or redirect",
    ),
    cause(
        "internal_redirect",
        About::Routes,
        "a redirect was followed inside",
        "the line after this one tells of the redirected request",
    ),
];

#[cfg(test)]
pub(super) fn all() -> impl Iterator<Item = &'static Cause> {
    CAUSES.iter().chain(std::iter::once(&UNTOLD))
}
