//! How long to wait before a retry.

use std::time::{Duration, SystemTime};

use fastrand::Rng;

use crate::config::retry::{ResetFormat, ResetHeader, RetryPolicy};
use crate::http::head::HeaderBlock;

/// Envoy's default back-off base (`upstream.base_retry_backoff_ms`).
const BASE_INTERVAL: Duration = Duration::from_millis(25);

/// Uniform in a window that doubles from the base interval up to the maximum. `retry`: how many there were before.
pub(super) fn exponential(policy: Option<&RetryPolicy>, retry: u32, rng: &mut Rng) -> Duration {
    let (base, max) = policy
        .map_or((BASE_INTERVAL, BASE_INTERVAL * 10), |policy| (policy.base_interval, policy.max_interval));
    base.saturating_mul(1 << retry.min(20)).min(max).mul_f64(rng.f64())
}

/// The wait that the response asks for, with up to half of it added so that callers do not come back all at once.
/// `None`: it says nothing, or more than the policy believes.
pub(super) fn told(
    policy: &RetryPolicy,
    response: &HeaderBlock,
    rng: &mut Rng,
    clock: impl FnOnce() -> SystemTime,
) -> Option<Duration> {
    if policy.reset_headers.is_empty() {
        return None;
    }
    let now = clock().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut waits = policy.reset_headers.iter().filter_map(|header| interval(header, response, now));
    let wait = waits.find(|wait| *wait <= policy.max_reset_interval)?;
    (!wait.is_zero()).then(|| wait + (wait / 2).mul_f64(rng.f64()))
}

/// What one header says, `now` in seconds since the epoch.
fn interval(header: &ResetHeader, response: &HeaderBlock, now: u64) -> Option<Duration> {
    let value = response.get_by_name(header.name.as_bytes())?;
    let number: u64 = std::str::from_utf8(value).ok()?.trim().parse().ok()?;
    let seconds = match header.format {
        ResetFormat::Seconds => number,
        ResetFormat::UnixTimestamp => number.checked_sub(now)?,
    };
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval_of(format: ResetFormat, value: &str) -> Option<u64> {
        let mut block = HeaderBlock::default();
        block.append(b"retry-after", value.as_bytes());
        let header = ResetHeader { name: "retry-after".into(), format };
        interval(&header, &block, 1_000).map(|wait| wait.as_secs())
    }

    #[test]
    fn numbers_mean_what_the_format_says() {
        assert_eq!(interval_of(ResetFormat::Seconds, "120"), Some(120));
        assert_eq!(interval_of(ResetFormat::UnixTimestamp, "1120"), Some(120));
        assert_eq!(interval_of(ResetFormat::UnixTimestamp, "999"), None);
        for garbage in ["", "-1", "1.5", "Wed, 21 Oct 2015 07:28:00 GMT", "99999999999999999999"] {
            assert_eq!(interval_of(ResetFormat::Seconds, garbage), None, "{garbage}");
        }
    }
}
