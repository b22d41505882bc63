//! What leaves the data path about a request: access-log lines now, spans later.

pub mod access_log;
pub mod collect;
pub mod format;
pub mod prometheus;
pub mod record;
#[cfg(test)]
mod test_record;
