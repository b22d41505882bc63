//! `/tap`: requests as they end, one JSON object per line, until enough were shown, time is over, or the client
//! has gone.

use std::time::Duration;

use futures_util::stream;
use hyper::StatusCode;

use super::AdminState;
use super::query::Query;
use super::reply::Reply;
use crate::observe::tap::{Match, Watch};

/// Lines and seconds unless told otherwise, and at most.
const COUNT: (u64, u64) = (100, 10_000);
const SECONDS: (u64, u64) = (60, 300);

/// Answers `/tap`.
pub(super) fn tap(state: &AdminState, query: &Query) -> Reply {
    let limit = |name: &str, (usual, most): (u64, u64)| match query.get(name).map(str::parse) {
        None => Ok(usual),
        Some(Ok(value)) if (1..=most).contains(&value) => Ok(value),
        Some(_) => Err(format!("{name} is a number from 1 to {most}")),
    };
    let watch = || {
        let (count, seconds) = (limit("count", COUNT)?, limit("seconds", SECONDS)?);
        let watch = state.snapshots.tap().watch(Match::parse(query.get("match").unwrap_or_default())?)?;
        Ok::<_, String>(lines(watch, count, Duration::from_secs(seconds)))
    };
    match watch() {
        Ok(lines) => Reply::live("application/x-ndjson", lines),
        Err(problem) => Reply::error(
            StatusCode::BAD_REQUEST,
            format!("{problem}\nusage: /tap?match=path:/cart,status:5xx,flag:UF&count=100&seconds=60\n"),
        ),
    }
}

/// The lines of `watch`; what it lost is told before the next one.
fn lines(watch: Watch, count: u64, time: Duration) -> impl stream::Stream<Item = String> + Send {
    stream::unfold((watch, count, None), move |(mut watch, left, deadline)| async move {
        // The clock starts with the answer.
        let deadline = deadline.unwrap_or_else(|| tokio::time::Instant::now() + time);
        let left = left.checked_sub(1)?;
        let line = tokio::time::timeout_at(deadline, watch.lines.recv()).await.ok().flatten()?;
        let line = match watch.take_missed() {
            0 => line,
            missed => format!("{{\"missed\":{missed}}}\n{line}"),
        };
        Some((line, (watch, left, Some(deadline))))
    })
}
