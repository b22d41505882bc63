//! What leaves the data path about its traffic: access-log lines, spans, metrics that are scraped or pushed.

pub mod access_log;
pub mod cel;
pub mod collect;
pub mod connection;
pub mod emf;
pub mod expiry;
pub mod format;
pub mod mesh;
pub mod platform;
pub mod prometheus;
pub mod protobuf;
pub mod queue;
pub mod record;
pub mod statsd;
pub mod tap;
#[cfg(any(test, fuzzing))]
pub(crate) mod test_record;
pub mod trace;
