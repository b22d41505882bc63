//! Statistics: a registry of named counters, gauges and histograms with one writer shard per worker,
//! and the handle bundles that configuration carries. Names are Envoy's.
//!
//! Writers never lock: a handle is an index into cells that only one worker writes ([`cells`]). Names
//! live once per bundle, not once per statistic ([`registry`]), and go away with the last owner of the
//! bundle, so churn does not leak. Readers sum the shards ([`view`]).

pub mod cells;
pub mod histogram;
pub mod interval;
pub mod registry;
pub mod scope;
pub mod tags;
pub mod view;
