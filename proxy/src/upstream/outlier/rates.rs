//! Which hosts stand out by the share of their successes.

use crate::config::outlier::Volume;

/// A host's interval: its uid, requests, percentage of successes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    pub(super) host: u64,
    pub(super) requests: u64,
    pub(super) rate: f64,
}

/// The samples with enough requests, when there are enough of them.
fn judged(samples: &[Sample], volume: Volume) -> Vec<Sample> {
    let enough = |sample: &&Sample| sample.requests >= u64::from(volume.requests);
    let valid: Vec<Sample> = samples.iter().filter(enough).copied().collect();
    if valid.len() < volume.minimum_hosts as usize { Vec::new() } else { valid }
}

/// What success rates come to.
#[derive(Debug, PartialEq)]
pub(super) struct Verdict {
    pub(super) mean: f64,
    /// Below this a host stands out.
    pub(super) threshold: f64,
    /// The hosts that do.
    pub(super) hosts: Vec<u64>,
}

/// Hosts whose success rate is below the mean less `factor` thousandths of the standard deviation; `None` when
/// there is not enough to judge by.
pub(super) fn by_success_rate(samples: &[Sample], volume: Volume, factor: u32) -> Option<Verdict> {
    let judged = judged(samples, volume);
    if judged.is_empty() {
        return None;
    }
    let count = judged.len() as f64;
    let mean = judged.iter().map(|sample| sample.rate).sum::<f64>() / count;
    let variance = judged.iter().map(|sample| (sample.rate - mean).powi(2)).sum::<f64>() / count;
    let threshold = mean - variance.sqrt() * f64::from(factor) / 1000.0;
    let below = judged.iter().filter(|sample| sample.rate < threshold);
    Some(Verdict { mean, threshold, hosts: below.map(|sample| sample.host).collect() })
}

/// Hosts that fail this percentage of requests or more.
pub(super) fn by_failures(samples: &[Sample], volume: Volume, percent: u32) -> Vec<u64> {
    let judged = judged(samples, volume);
    let fails = |sample: &&Sample| 100.0 - sample.rate >= f64::from(percent);
    judged.iter().filter(fails).map(|sample| sample.host).collect()
}
