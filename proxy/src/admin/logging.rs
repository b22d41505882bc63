//! `/logging`: levels of our own logs, by Envoy's logger names.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// A level in Envoy's naming.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Everything.
    Trace,
    /// For debugging.
    Debug,
    /// Normal operation.
    Info,
    /// Something is wrong but handled.
    Warning,
    /// Something failed.
    Error,
    /// Shown as errors here.
    Critical,
    /// Nothing.
    Off,
}

const LEVELS: &[(&str, Level)] = &[
    ("trace", Level::Trace),
    ("debug", Level::Debug),
    ("info", Level::Info),
    ("warning", Level::Warning),
    ("error", Level::Error),
    ("critical", Level::Critical),
    ("off", Level::Off),
];

impl Level {
    /// The level of this name; `warn` is understood too.
    pub fn parse(name: &str) -> Option<Self> {
        let name = if name == "warn" { "warning" } else { name };
        LEVELS.iter().find(|(known, _)| *known == name).map(|(_, level)| *level)
    }

    /// Envoy's name.
    pub fn name(self) -> &'static str {
        LEVELS.iter().find(|(_, level)| *level == self).map_or("off", |(name, _)| name)
    }

    /// What `tracing` calls it.
    fn directive(self) -> &'static str {
        match self {
            Level::Trace => "trace",
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warning => "warn",
            Level::Error | Level::Critical => "error",
            Level::Off => "off",
        }
    }
}

/// Envoy's logger names and the modules that stand behind them here.
const LOGGERS: &[(&str, &str)] = &[
    ("admin", "outrigger_proxy::admin"),
    ("config", "outrigger_proxy::xds"),
    ("conn_handler", "outrigger_proxy::worker"),
    ("connection", "outrigger_proxy::net"),
    ("dns", "outrigger_proxy::upstream::dns"),
    ("file", "outrigger_proxy::observe::access_log"),
    ("filter", "outrigger_proxy::tcp"),
    ("http", "outrigger_proxy::http"),
    ("http2", "outrigger_proxy::http::codec::h2"),
    ("main", "outrigger_proxy::server"),
    ("pool", "outrigger_proxy::upstream::pool"),
    ("router", "outrigger_proxy::http::attempt"),
    ("stats", "outrigger_proxy::stats"),
    ("upstream", "outrigger_proxy::upstream"),
];

/// Why a change was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogLevelError {
    /// No such logger.
    #[error("unknown logger name")]
    UnknownLogger,
    /// No such level.
    #[error("unknown logger level")]
    UnknownLevel,
    /// The subscriber did not take it.
    #[error("{0}")]
    Refused(String),
}

/// Installs filter directives in `tracing_subscriber::filter::Targets` syntax.
pub type ApplyDirectives = Box<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// The levels now, and the way to change them.
pub struct LogLevels {
    levels: Mutex<BTreeMap<&'static str, Level>>,
    apply: ApplyDirectives,
}

impl fmt::Debug for LogLevels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogLevels").field("levels", &self.levels).finish_non_exhaustive()
    }
}

impl LogLevels {
    /// All loggers at `level`; `apply` installs changes (a `tracing_subscriber` reload handle).
    pub fn new(level: Level, apply: ApplyDirectives) -> Self {
        let levels = LOGGERS.iter().map(|(name, _)| (*name, level)).collect();
        Self { levels: Mutex::new(levels), apply }
    }

    /// Filter directives for one level everywhere. Libraries stay quiet below `info`: at `debug` the
    /// HTTP/2 and TLS crates write several lines per frame.
    pub fn directives_for(level: Level) -> String {
        match level {
            Level::Trace | Level::Debug => format!("info,outrigger_proxy={}", level.directive()),
            level => level.directive().to_owned(),
        }
    }

    /// Sets every logger.
    pub fn set_all(&self, level: &str) -> Result<(), LogLevelError> {
        let level = Level::parse(level).ok_or(LogLevelError::UnknownLevel)?;
        self.change(|levels| levels.values_mut().for_each(|current| *current = level))
    }

    /// Sets several loggers, all or none.
    pub fn set(&self, changes: &[(&str, &str)]) -> Result<(), LogLevelError> {
        let resolve = |(name, level): &(&str, &str)| {
            let known =
                LOGGERS.iter().find(|(known, _)| known == name).ok_or(LogLevelError::UnknownLogger)?;
            Ok((known.0, Level::parse(level).ok_or(LogLevelError::UnknownLevel)?))
        };
        let changes: Vec<_> = changes.iter().map(resolve).collect::<Result<_, _>>()?;
        self.change(|levels| levels.extend(changes))
    }

    /// Names and levels in order.
    pub fn list(&self) -> Vec<(&'static str, Level)> {
        let levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        levels.iter().map(|(name, level)| (*name, *level)).collect()
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<&'static str, Level>)) -> Result<(), LogLevelError> {
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = levels.clone();
        change(&mut next);
        (self.apply)(&directives(&next)).map_err(LogLevelError::Refused)?;
        *levels = next;
        Ok(())
    }
}

fn directives(levels: &BTreeMap<&'static str, Level>) -> String {
    let base = levels.get("main").copied().unwrap_or(Level::Info);
    let mut directives = LogLevels::directives_for(base);
    for (name, module) in LOGGERS {
        let level = levels.get(name).copied().unwrap_or(base);
        directives.push_str(&format!(",{module}={}", level.directive()));
    }
    directives
}

#[cfg(test)]
mod tests;
