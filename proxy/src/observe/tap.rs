//! A live view of requests as they end, for somebody who watches right now.
//!
//! Nobody watching costs one relaxed load per request. Watched, a worker formats matching requests into bounded
//! queues; a watcher that is too slow loses lines, which are counted for it, and never holds up a worker.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::format::FormatError;
use super::format::json::JsonFormat;
use super::record::Record;
use crate::base::error::ResponseFlags;
use crate::http::head::RequestHead;

/// Lines that wait for one watcher.
const QUEUE: usize = 256;
/// Watchers at a time.
const MAX_WATCHERS: usize = 8;

/// Where workers show what they served.
#[derive(Debug, Default)]
pub struct Tap {
    watching: AtomicUsize,
    next: AtomicU64,
    watchers: Mutex<Vec<Watcher>>,
}

#[derive(Debug)]
struct Watcher {
    id: u64,
    matches: Match,
    format: JsonFormat,
    lines: mpsc::Sender<String>,
    missed: Arc<AtomicU64>,
}

/// One who watches; ends when dropped.
#[derive(Debug)]
pub struct Watch {
    /// Matching requests, one JSON object with newline each.
    pub lines: mpsc::Receiver<String>,
    missed: Arc<AtomicU64>,
    tap: Arc<Tap>,
    id: u64,
}

/// Conditions on a request, all of which must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// Prefix of the path.
    path: Option<String>,
    method: Option<String>,
    authority: Option<String>,
    cluster: Option<String>,
    /// Prefix of the digits: `503`, `5`.
    status: Option<String>,
    flags: Option<Flagged>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flagged {
    /// With any flag.
    Somehow,
    /// With any of these.
    With(ResponseFlags),
}

impl Match {
    /// From `path:/cart,status:5xx,flag:UF`. Keys are path (a prefix), method, authority, cluster, status (`503` or
    /// `5xx`) and flag (short names with `+`, or `any`). Empty matches everything.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut matches = Self::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once(':').unwrap_or((part, ""));
            let own = || Some(value.to_owned()).filter(|value| !value.is_empty());
            match key {
                "path" => matches.path = own(),
                "method" => matches.method = own(),
                "authority" => matches.authority = own(),
                "cluster" => matches.cluster = own(),
                "status" => matches.status = Some(status(value)?),
                "flag" => matches.flags = Some(flags(value)?),
                _ => return Err("keys are path, method, authority, cluster, status, flag".to_owned()),
            }
        }
        Ok(matches)
    }

    fn holds(&self, record: &Record<'_>) -> bool {
        let head =
            |holds: fn(&RequestHead, &str) -> bool, wanted: &Option<String>| match (wanted, record.request) {
                (None, _) => true,
                (Some(wanted), Some(request)) => holds(request, wanted),
                (Some(_), None) => false,
            };
        self.flags.is_none_or(|flags| match flags {
            Flagged::Somehow => record.flags != ResponseFlags::NONE,
            Flagged::With(wanted) => record.flags.0 & wanted.0 != 0,
        }) && self.cluster.as_ref().is_none_or(|cluster| *cluster == record.cluster)
            && self.status.as_ref().is_none_or(|digits| record.status.to_string().starts_with(&**digits))
            && head(|head, path| head.path_and_query().starts_with(path.as_bytes()), &self.path)
            && head(|head, method| head.method_text() == method.as_bytes(), &self.method)
            && head(|head, name| head.authority().eq_ignore_ascii_case(name.as_bytes()), &self.authority)
    }
}

fn status(text: &str) -> Result<String, String> {
    let digits = text.trim_end_matches('x');
    let whole = text.len() == 3 && !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if whole { Ok(digits.to_owned()) } else { Err("status is like 503 or 5xx".to_owned()) }
}

fn flags(text: &str) -> Result<Flagged, String> {
    if text == "any" {
        return Ok(Flagged::Somehow);
    }
    let mut flags = ResponseFlags::NONE;
    for name in text.split('+') {
        flags.insert(ResponseFlags::named(name).ok_or("flag is a response flag, several with +, or any")?);
    }
    Ok(Flagged::With(flags))
}

impl Tap {
    /// Whether anybody watches.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.watching.load(Ordering::Relaxed) > 0
    }

    /// Shows a finished request to those whom it concerns.
    #[cold]
    pub fn show(&self, record: &Record<'_>) {
        for watcher in self.watchers().iter().filter(|watcher| watcher.matches.holds(record)) {
            let Ok(place) = watcher.lines.try_reserve() else {
                watcher.missed.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            let mut line = Vec::new();
            watcher.format.render(record, &mut line);
            line.push(b'\n');
            place.send(String::from_utf8_lossy(&line).into_owned());
        }
    }

    /// Begins to watch. Refused when too many do.
    pub fn watch(self: &Arc<Self>, matches: Match) -> Result<Watch, String> {
        let format = summary_format().map_err(|error| error.to_string())?;
        let (sender, lines) = mpsc::channel(QUEUE);
        let (id, missed) = (self.next.fetch_add(1, Ordering::Relaxed), Arc::<AtomicU64>::default());
        let mut watchers = self.watchers();
        if watchers.len() >= MAX_WATCHERS {
            return Err(format!("{MAX_WATCHERS} watch already"));
        }
        watchers.push(Watcher { id, matches, format, lines: sender, missed: missed.clone() });
        self.watching.store(watchers.len(), Ordering::Relaxed);
        Ok(Watch { lines, missed, tap: self.clone(), id })
    }

    fn watchers(&self) -> MutexGuard<'_, Vec<Watcher>> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    /// Lines that were lost since this was last asked, because they were not taken in time.
    pub fn take_missed(&self) -> u64 {
        self.missed.swap(0, Ordering::Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watchers = self.tap.watchers();
        watchers.retain(|watcher| watcher.id != self.id);
        self.tap.watching.store(watchers.len(), Ordering::Relaxed);
    }
}

/// What is shown of a request: no header but those that every access log has, and of what clients choose a bounded part, as
/// lines may wait.
fn summary_format() -> Result<JsonFormat, FormatError> {
    let template = json!({
        "time": "%EMIT_TIME%",
        "method": "%REQ(:METHOD):32%",
        "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH):1024%",
        "authority": "%REQ(:AUTHORITY):256%",
        "protocol": "%PROTOCOL%",
        "request_id": "%REQ(X-REQUEST-ID):128%",
        "client": "%DOWNSTREAM_REMOTE_ADDRESS%",
        "status": "%RESPONSE_CODE%",
        "grpc_status": "%GRPC_STATUS_NUMBER%",
        "flags": "%RESPONSE_FLAGS%",
        "details": "%RESPONSE_CODE_DETAILS:256%",
        "failure": "%UPSTREAM_TRANSPORT_FAILURE_REASON:256%",
        "duration_ms": "%DURATION%",
        "upstream_ms": "%RESPONSE_DURATION%",
        "bytes_received": "%BYTES_RECEIVED%",
        "bytes_sent": "%BYTES_SENT%",
        "route": "%ROUTE_NAME%",
        "cluster": "%UPSTREAM_CLUSTER%",
        "host": "%UPSTREAM_HOST%",
        "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    });
    match template {
        Value::Object(template) => JsonFormat::parse(&template, false),
        _ => Err(FormatError("the template is no object".to_owned())),
    }
}

#[cfg(test)]
mod tests;
