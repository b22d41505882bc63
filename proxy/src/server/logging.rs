//! Our own log: text or JSON, with levels that can change at run time.

use std::str::FromStr;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use super::args::LogFormat;
use super::log_lines::Lines;
use crate::admin::logging::{Level, LogLevels};

/// Installs the subscriber. A level that Envoy does not know becomes `info`, with the warning to log.
pub fn install(level: Option<&str>, format: LogFormat, lines: Lines) -> (LogLevels, Option<String>) {
    let parsed = level.map_or(Some(Level::Info), Level::parse);
    let unknown =
        parsed.is_none().then(|| format!("unknown log level {:?}; using info", level.unwrap_or_default()));
    let level = parsed.unwrap_or(Level::Info);
    let directives = LogLevels::directives_for(level);
    let filter =
        Targets::from_str(&directives).unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO));
    let (filter, handle) = reload::Layer::new(filter);
    let layer = match format {
        LogFormat::Text => fmt::layer().with_writer(lines).with_ansi(false).with_target(false).boxed(),
        LogFormat::Json => fmt::layer().with_writer(lines).json().boxed(),
    };
    // A second subscriber in one process (tests) keeps the first.
    if Registry::default().with(filter).with(layer).try_init().is_ok() {
        // The usual hook writes to stderr itself, and waits for whoever reads it.
        std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    }
    let apply = move |directives: &str| {
        let filter = Targets::from_str(directives).map_err(|error| error.to_string())?;
        handle.reload(filter).map_err(|error| error.to_string())
    };
    (LogLevels::new(level, Box::new(apply)), unknown)
}
