//! What each response flag means here, and what to do about it. [`details`](super::details) has what needs no flag.

/// Meaning of a flag or of details.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cause {
    /// What happened.
    pub(super) what: &'static str,
    /// What to do.
    pub(super) next: &'static str,
    /// Which state is behind it.
    pub(super) about: About,
}

/// Which part of the process knows more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// Hosts and their health.
    Hosts,
    /// Connections to hosts, TLS.
    Connections,
    /// Circuit breakers.
    Breakers,
    /// Route tables.
    Routes,
    /// The list of clusters.
    Clusters,
    /// Timeouts and the hosts that are slow.
    Requests,
    /// How busy the process is.
    Load,
    /// Statistics whose names hold one of these: what a filter has counted.
    Counted(&'static [&'static str]),
    /// Nothing: it is in the request or the client.
    Client,
}

/// The meaning of a flag by its short name.
pub(super) fn of(flag: &str) -> Option<&'static Cause> {
    CAUSES.iter().find(|(short, _)| *short == flag).map(|(_, cause)| cause)
}

pub(super) const fn cause(about: About, what: &'static str, next: &'static str) -> Cause {
    Cause { what, next, about }
}

const fn flag(
    short: &'static str,
    about: About,
    what: &'static str,
    next: &'static str,
) -> (&'static str, Cause) {
    (short, cause(about, what, next))
}

/// Statistics of filters, by parts of their names.
pub(super) const AUTHZ: About = About::Counted(&["ext_authz."]);
pub(super) const FAULTS: About = About::Counted(&[".fault."]);
pub(super) const RATE_LIMITS: About = About::Counted(&["local_rate_limit."]);

static CAUSES: &[(&str, Cause)] = &[
    flag(
        "UH",
        About::Hosts,
        "the cluster had no host that may be used",
        "if there are no hosts, look at service discovery (registration, DNS name, namespace); if they fail checks, ask a host on its health-check path yourself; if they are ejected, look at their errors (UF, 5xx)",
    ),
    flag(
        "UF",
        About::Connections,
        "a connection to the host could not be made: refused, timed out, or the TLS handshake failed",
        "see the failure reason in the log (%UPSTREAM_TRANSPORT_FAILURE_REASON%); check that the application listens on this port, security groups and network policies, and with TLS the trust and names of both sides",
    ),
    flag(
        "UC",
        About::Connections,
        "the host closed the connection before its response was complete",
        "the application ended, crashed or closes idle connections sooner than we do: make its keep-alive timeout longer than the idle timeout of the pool, or let GETs be retried on reset",
    ),
    flag(
        "UO",
        About::Breakers,
        "a circuit breaker of the cluster was open: too many connections, pending requests, requests or retries",
        "raise the connection pool of the virtual node's listener if the load is meant to be, else find why requests stay long (slow hosts, missing timeouts)",
    ),
    flag(
        "NR",
        About::Routes,
        "no virtual host knew the request's host, or no route of it matched",
        "compare host, path, method and headers with the routes; a client that sends the address instead of the service's name has no virtual host; a node must name the service as a backend",
    ),
    flag(
        "NC",
        About::Clusters,
        "the route names a cluster that is not there, or not yet",
        "see whether the control plane sent it and whether it was rejected or is still warming (/config_dump, /init_dump)",
    ),
    flag(
        "UT",
        About::Requests,
        "the host did not answer within the route's timeout",
        "compare the timeout (15 s unless set) with the host's response times; raise the route's and the listener's timeout together, as both hold",
    ),
    flag(
        "URX",
        About::Requests,
        "the last allowed retry failed as well; the flag beside this one says how",
        "look at the other flag: retries hide single failures only",
    ),
    flag(
        "UR",
        About::Connections,
        "the host reset the stream",
        "look at the application's own log at that time; with gRPC the status of its trailers says more",
    ),
    flag(
        "UPE",
        About::Connections,
        "the host's answer was no valid HTTP",
        "check that the listener's protocol (http, http2, grpc) is the one that the application speaks on this port, and whether it expects TLS",
    ),
    flag(
        "UMSDR",
        About::Requests,
        "the stream lived longer than its route allows",
        "raise max_stream_duration, or send shorter streams",
    ),
    flag(
        "DT",
        About::Requests,
        "the request lived longer than max_stream_duration or max_connection_duration allow",
        "raise the limit if such long requests are meant to be",
    ),
    flag(
        "SI",
        About::Requests,
        "no byte moved on the stream for the idle timeout",
        "a streaming side that is silent for long needs a longer idle timeout on its route or listener, or keep-alive messages",
    ),
    flag(
        "DC",
        About::Client,
        "the client closed the connection before the response was complete, or a drain cut it",
        "compare the client's timeout with the request's duration; with downstream_local_disconnect(drain_time_over) the proxy ended before the request: raise LISTENER_DRAIN_WAIT_TIME_S",
    ),
    flag(
        "DR",
        About::Client,
        "the client reset the stream",
        "the client cancelled; compare its deadline with the request's duration",
    ),
    flag(
        "DPE",
        About::Client,
        "the client sent what is no valid HTTP, or too large a head",
        "see the details; PROXY protocol or TLS on a plain listener looks like this, and so do heads above the limit",
    ),
    flag("LR", About::Connections, "we reset the stream ourselves", "see the details for the reason"),
    flag("LH", About::Hosts, "this proxy fails health checks on purpose", "POST /healthcheck/ok ends that"),
    flag(
        "DF",
        About::Hosts,
        "the host's name could not be resolved",
        "ask the same name server for the name; in App Mesh names are absolute (trailing dot)",
    ),
    flag("DI", FAULTS, "a fault filter delayed the request", "remove the fault from the route or filter"),
    flag("FI", FAULTS, "a fault filter answered", "remove the fault from the route or filter"),
    flag("RL", RATE_LIMITS, "a rate limit was reached", "raise the limit, or send less"),
    flag(
        "UAEX",
        AUTHZ,
        "the external authorization service denied the request, or could not be asked",
        "the details say which: with ext_authz_denied ask the service why; with ext_authz_error see whether it answers in time (statistics and hosts of its cluster, http.<prefix>.ext_authz.error)",
    ),
    flag(
        "OM",
        About::Load,
        "the proxy was out of a resource",
        "give it more memory or CPU, or fewer connections; see which overload actions are active",
    ),
    foreign("RLSE", "a global rate-limit service failed"),
    foreign("IH", "an x-envoy-* header was refused (strict_check_request_headers)"),
    foreign("RFCF", "the cache filter answered"),
    foreign("NFCF", "a filter's configuration had not arrived"),
    foreign("DO", "load was dropped as the endpoints' drop_overload says"),
    foreign("UDO", "all load was dropped as the endpoints' drop_overload says"),
];

/// A flag of Envoy's for what does not exist here.
const fn foreign(short: &'static str, what: &'static str) -> (&'static str, Cause) {
    flag(short, About::Client, what, "this proxy never raises it: the line was written by an Envoy")
}
