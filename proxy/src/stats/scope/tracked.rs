//! Bundles that a cluster asks for (`track_cluster_stats`): sizes of requests and responses, shares of timeouts.

use super::super::registry::{Histogram, Registry};
use super::{bundle, sanitize};

bundle! {
    /// `cluster.<name>.upstream_{rq,rs}_*_size` in bytes and `*_count` in fields, one of each per try.
    SizeStats(prefix) {
        sizes: workers(prefix) {
            upstream_rq_headers_size: Histogram,
            upstream_rq_headers_count: Histogram,
            upstream_rq_body_size: Histogram,
            upstream_rs_headers_size: Histogram,
            upstream_rs_headers_count: Histogram,
            upstream_rs_body_size: Histogram,
        }
    }
}

bundle! {
    /// `cluster.<name>.upstream_rq_timeout_budget_*`, in whole percent.
    BudgetStats(prefix) {
        budgets: workers(prefix) {
            upstream_rq_timeout_budget_percent_used: Histogram,
            upstream_rq_timeout_budget_per_try_percent_used: Histogram,
        }
    }
}

/// What one cluster asks for.
#[derive(Clone, Debug)]
pub struct TrackedStats {
    /// `request_response_sizes`
    pub sizes: Option<SizeStats>,
    /// `timeout_budgets`
    pub budgets: Option<BudgetStats>,
}

impl TrackedStats {
    /// Of the cluster called `name` (its `alt_stat_name` when it has one); `None` when it asks for nothing.
    pub fn for_cluster(registry: &Registry, name: &str, sizes: bool, budgets: bool) -> Option<Box<Self>> {
        let prefix = format!("cluster.{}.", sanitize(name));
        let stats = Self {
            sizes: sizes.then(|| SizeStats::new(registry, &prefix)),
            budgets: budgets.then(|| BudgetStats::new(registry, &prefix)),
        };
        (sizes || budgets).then(|| Box::new(stats))
    }
}
