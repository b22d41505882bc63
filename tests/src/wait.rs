//! Waiting for something to become true, with a bound.

use std::future::Future;
use std::time::{Duration, Instant};

use crate::Result;

/// What a limit is multiplied by: limits are chosen for a machine that does nothing else.
const BUSY: u32 = 2;

/// Polls `check` until it returns `Some`, at most for twice `limit`; the error names `what` was awaited.
pub async fn until<T, F: Future<Output = Option<T>>>(
    what: &str,
    limit: Duration,
    mut check: impl FnMut() -> F,
) -> Result<T> {
    let (start, limit) = (Instant::now(), limit * BUSY);
    loop {
        if let Some(value) = check().await {
            return Ok(value);
        }
        if start.elapsed() > limit {
            return Err(format!("waited {limit:?} in vain for {what}").into());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Bounds a future; the error names `what` did not finish.
pub async fn within<T>(what: &str, limit: Duration, work: impl Future<Output = T>) -> Result<T> {
    let expired = |_| format!("{what} did not finish within {limit:?}").into();
    tokio::time::timeout(limit, work).await.map_err(expired)
}
