//! The table of endpoints: paths, methods, help texts and handlers.

use hyper::{Method, StatusCode};

use super::logging::LogLevelError;
use super::query::Query;
use super::reply::Reply;
use super::{AdminState, DrainRequest, clusters, dump, explain, home, info, listeners, stats, tap};
use crate::base::drain::DrainScope;

/// One endpoint.
pub(super) struct Endpoint {
    pub(super) path: &'static str,
    /// Changes something: needs POST.
    pub(super) mutates: bool,
    pub(super) help: &'static str,
    /// Parameters with their help.
    pub(super) parameters: &'static [(&'static str, &'static str)],
    handler: Handler,
}

enum Handler {
    /// Answers at once.
    Now(fn(&AdminState, &Query) -> Reply),
    /// Asks the owner of the configuration.
    ConfigDump,
    InitDump,
    Configured,
    /// What was refused is told, too.
    Explain,
}

const FORMAT: (&str, &str) = ("format", "File format to use; One of (text, json)");
const USED_ONLY: (&str, &str) =
    ("usedonly", "Only include stats that have been written by system since restart");
const FILTER: (&str, &str) = ("filter", "Regular expression for filtering stats");
const INVERT: (&str, &str) = ("invert_filter", "Invert the filter regex");
const TEXT_READOUTS: (&str, &str) =
    ("text_readouts", "Render text_readouts as new gaugues with value 0 (increases Prometheus data size)");

macro_rules! endpoint {
    ($path:literal, $method:ident, $help:literal, [$($parameter:expr),* $(,)?], $handler:expr) => {
        Endpoint {
            path: $path,
            mutates: endpoint!(@mutates $method),
            help: $help,
            parameters: &[$($parameter),*],
            handler: $handler,
        }
    };
    (@mutates GET) => { false };
    (@mutates POST) => { true };
}

/// All endpoints by path.
pub(super) static ENDPOINTS: &[Endpoint] = &[
    endpoint!("/", GET, "Admin home page", [], Handler::Now(home::page)),
    endpoint!("/certs", GET, "print certs on machine", [], Handler::Now(info::certs)),
    endpoint!(
        "/clusters",
        GET,
        "upstream cluster status",
        [FORMAT, ("filter", "Regular expression for filtering clusters by name")],
        Handler::Now(clusters::clusters)
    ),
    endpoint!(
        "/config_dump",
        GET,
        "dump current configs",
        [
            ("resource", "The resource to dump"),
            (
                "mask",
                "The mask to apply. When both resource and mask are specified, the mask is applied to \
              every element in the desired repeated field so that only a subset of fields are returned"
            ),
            (
                "name_regex",
                "Dump only the currently loaded configurations whose names match the specified regex"
            ),
            ("include_eds", "Dump currently loaded configuration including EDS"),
        ],
        Handler::ConfigDump
    ),
    endpoint!(
        "/configured",
        GET,
        "print what keeps the proxy from being LIVE and configured, return 200 if nothing does, otherwise 503",
        [],
        Handler::Configured
    ),
    endpoint!(
        "/drain_listeners",
        POST,
        "drain listeners",
        [
            ("graceful", "When draining listeners, enter a graceful drain period prior to closing listeners"),
            ("skip_exit", "When draining listeners, drain the connections but never stop the listeners"),
            ("inboundonly", "Drains all inbound listeners, by their traffic_direction"),
        ],
        Handler::Now(drain_listeners)
    ),
    endpoint!(
        "/explain",
        GET,
        "why requests fail: from a response flag or an access-log line to the cause and the next step",
        [
            ("flag", "Response flags, as in the access log"),
            ("line", "A line of the access log"),
            ("cluster", "The cluster that was chosen"),
            ("authority", "The host that was asked for"),
            ("details", "Response-code details, as in the access log"),
            FORMAT,
        ],
        Handler::Explain
    ),
    endpoint!(
        "/healthcheck/fail",
        POST,
        "cause the server to fail health checks",
        [],
        Handler::Now(|state, _| health(state, true))
    ),
    endpoint!(
        "/healthcheck/ok",
        POST,
        "cause the server to pass health checks",
        [],
        Handler::Now(|state, _| health(state, false))
    ),
    endpoint!("/help", GET, "print out list of admin commands", [], Handler::Now(|_, _| Reply::text(help()))),
    endpoint!(
        "/hot_restart_version",
        GET,
        "print the hot restart compatibility version",
        [],
        Handler::Now(info::hot_restart_version)
    ),
    endpoint!("/init_dump", GET, "dump what the start still waits for", [], Handler::InitDump),
    endpoint!("/listeners", GET, "print listener info", [FORMAT], Handler::Now(listeners::listeners)),
    endpoint!(
        "/logging",
        POST,
        "query/change logging levels",
        [
            (
                "paths",
                "Change multiple logging levels by setting to <logger_name1>:<desired_level1>,\
              <logger_name2>:<desired_level2>"
            ),
            (
                "level",
                "desired logging level, this will change all loggers's level; One of (, trace, debug, \
              info, warning, error, critical, off)"
            ),
        ],
        Handler::Now(logging)
    ),
    endpoint!("/memory", GET, "print current allocation/heap usage", [], Handler::Now(info::memory)),
    endpoint!("/quitquitquit", POST, "exit the server", [], Handler::Now(quit)),
    endpoint!(
        "/ready",
        GET,
        "print server state, return 200 if LIVE, otherwise return 503",
        [],
        Handler::Now(info::ready)
    ),
    endpoint!("/reopen_logs", POST, "reopen access logs", [], Handler::Now(reopen_logs)),
    endpoint!("/reset_counters", POST, "reset all counters to zero", [], Handler::Now(reset_counters)),
    endpoint!("/runtime", GET, "print runtime values", [], Handler::Now(info::runtime)),
    endpoint!(
        "/server_info",
        GET,
        "print server version/status information",
        [],
        Handler::Now(info::server_info)
    ),
    endpoint!(
        "/stats",
        GET,
        "print server stats",
        [
            USED_ONLY,
            FILTER,
            INVERT,
            ("format", "Format to use; One of (text, json, prometheus)"),
            ("type", "Stat types to include.; One of (All, Counters, Histograms, Gauges, TextReadouts)"),
            (
                "histogram_buckets",
                "Histogram bucket display mode; One of (cumulative, disjoint, detailed, summary)"
            ),
        ],
        Handler::Now(stats::stats)
    ),
    endpoint!(
        "/stats/prometheus",
        GET,
        "print server stats in prometheus format",
        [
            USED_ONLY,
            TEXT_READOUTS,
            FILTER,
            INVERT,
            ("histogram_buckets", "Histogram bucket display mode; One of (cumulative, summary)"),
        ],
        Handler::Now(stats::prometheus)
    ),
    endpoint!(
        "/tap",
        GET,
        "requests as they end, one JSON object per line",
        [
            (
                "match",
                "Conditions like path:/cart,status:5xx,flag:UF; keys are path, method, authority, cluster, status, flag"
            ),
            ("count", "Show so many, 100 unless set"),
            ("seconds", "Watch so long, 60 unless set"),
        ],
        Handler::Now(tap::tap)
    ),
];

/// Answers one request.
pub(super) async fn answer(
    state: &std::sync::Arc<AdminState>,
    method: &Method,
    path: &str,
    query: Query,
) -> Reply {
    let Some(endpoint) = ENDPOINTS.iter().find(|endpoint| endpoint.path == path) else {
        return Reply::error(StatusCode::NOT_FOUND, format!("invalid path. {}", help()));
    };
    if endpoint.mutates && method != Method::POST {
        let text = format!("Method {method} not allowed, POST required.");
        return Reply::error(StatusCode::METHOD_NOT_ALLOWED, text);
    }
    if ![Method::GET, Method::HEAD, Method::POST].contains(method) {
        return Reply::error(StatusCode::METHOD_NOT_ALLOWED, format!("Method {method} not allowed."));
    }
    match endpoint.handler {
        Handler::Now(handler) => blocking(state, move |state| handler(state, &query)).await,
        Handler::ConfigDump => {
            let sections = state.config.sections(query.has("include_eds")).await;
            blocking(state, move |_| dump::config_dump(sections, &query)).await
        }
        Handler::Explain => {
            let held = explain::Held {
                sections: state.config.sections(true).await,
                unresolved: state.config.unresolved().await,
            };
            blocking(state, move |state| explain::explain(state, &held, &query)).await
        }
        Handler::InitDump => Reply::json(&state.config.unready().await),
        Handler::Configured => info::configured(state.process.state(), &state.config.unconfigured().await),
    }
}

/// Large answers take milliseconds to prepare: not on the threads that drive xDS.
async fn blocking(
    state: &std::sync::Arc<AdminState>,
    handler: impl FnOnce(&AdminState) -> Reply + Send + 'static,
) -> Reply {
    let state = state.clone();
    tokio::task::spawn_blocking(move || handler(&state))
        .await
        .unwrap_or_else(|_| Reply::error(StatusCode::INTERNAL_SERVER_ERROR, "the admin handler failed\n"))
}

/// The list that `/help` prints.
fn help() -> String {
    let mut text = "admin commands are:\n".to_owned();
    for Endpoint { path, mutates, help, parameters, .. } in ENDPOINTS {
        text.push_str(&format!("  {path}{}: {help}\n", if *mutates { " (POST)" } else { "" }));
        for (name, help) in *parameters {
            text.push_str(&format!("      {name}: {help}\n"));
        }
    }
    text
}

fn drain_listeners(state: &AdminState, query: &Query) -> Reply {
    let scope = if query.has("inboundonly") { DrainScope::InboundOnly } else { DrainScope::All };
    let (graceful, skip_exit) = (query.has("graceful"), query.has("skip_exit"));
    state.process.drain(DrainRequest { scope, graceful, skip_exit });
    Reply::ok()
}

fn health(state: &AdminState, failing: bool) -> Reply {
    state.process.fail_health_checks(failing);
    Reply::ok()
}

fn quit(state: &AdminState, _: &Query) -> Reply {
    state.process.quit();
    Reply::ok()
}

fn reopen_logs(state: &AdminState, _: &Query) -> Reply {
    state.process.reopen_logs();
    Reply::ok()
}

fn reset_counters(state: &AdminState, _: &Query) -> Reply {
    state.registry.reset_counters();
    Reply::ok()
}

const LOGGING_USAGE: &str = "usage: /logging?<name>=<level> (change single level)
usage: /logging?paths=name1:level1,name2:level2,... (change multiple levels)
usage: /logging?level=<level> (change all levels)
levels: trace debug info warning error critical off 
";

fn logging(state: &AdminState, query: &Query) -> Reply {
    match change_levels(state, query) {
        Ok(()) => Reply::text(active_loggers(state)),
        Err(error) => Reply::error(
            StatusCode::BAD_REQUEST,
            format!("error: {error}\n\n{LOGGING_USAGE}{}\n", active_loggers(state)),
        ),
    }
}

fn change_levels(state: &AdminState, query: &Query) -> Result<(), LogLevelError> {
    let mut parameters = query.iter();
    match (parameters.next(), parameters.next()) {
        (None, _) => Ok(()),
        (Some(_), Some(_)) => Err(LogLevelError::Refused("invalid number of parameters".to_owned())),
        (Some(("level", "")), None) => Ok(()),
        (Some(("level", level)), None) => state.logging.set_all(level),
        (Some(("paths", paths)), None) => {
            let pair =
                |path: &'_ str| path.split_once(':').map(|(name, level)| (name.to_owned(), level.to_owned()));
            let pairs: Option<Vec<_>> = paths.split(',').map(pair).collect();
            let pairs = pairs.ok_or(LogLevelError::UnknownLevel)?;
            let pairs: Vec<_> = pairs.iter().map(|(name, level)| (name.as_str(), level.as_str())).collect();
            state.logging.set(&pairs)
        }
        (Some((name, level)), None) => state.logging.set(&[(name, level)]),
    }
}

fn active_loggers(state: &AdminState) -> String {
    let lines = state.logging.list().into_iter().map(|(name, level)| format!("  {name}: {}\n", level.name()));
    format!("active loggers:\n{}\n", lines.collect::<String>())
}
