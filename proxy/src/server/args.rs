//! Command line. Names are Envoy's where Envoy has them; its flags that mean nothing here are accepted,
//! so that an existing entry point keeps working, and named in one warning.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::admin::logging::Level;

/// The Outrigger sidecar: an L7 data plane configured over Envoy v3 xDS.
///
/// Without -c and --config-yaml the bootstrap is built from the App Mesh image's environment
/// (APPMESH_RESOURCE_ARN, APPMESH_XDS_ENDPOINT, ENVOY_*, ...).
#[derive(Debug, Parser)]
#[command(name = "outrigger-proxy", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to serve.
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// What to do instead of serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Programs, removes or shows the interception rules; settings come from the environment
    /// (APPMESH_IGNORE_UID, APPMESH_APP_PORTS, APPMESH_ENVOY_EGRESS_PORT, ...).
    Intercept {
        /// What to do with the rules.
        action: InterceptAction,
    },
    /// Exits 0 when the local proxy is LIVE and configured, else 1.
    Ready,
}

/// What to do with the interception rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum InterceptAction {
    /// Program them.
    Enable,
    /// Remove them.
    Disable,
    /// Print them.
    Status,
}

/// How to serve.
#[derive(Debug, Default, Args)]
pub struct ServeArgs {
    /// Envoy v3 bootstrap, YAML or JSON.
    #[arg(short = 'c', long)]
    pub config_path: Option<PathBuf>,
    /// Bootstrap as text; merged over the file when both are given.
    #[arg(long)]
    pub config_yaml: Option<String>,
    /// Serve, or load everything, open nothing, print the verdict and exit.
    #[arg(long, value_enum, default_value_t)]
    pub mode: Mode,
    /// Worker threads.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub concurrency: Option<u32>,
    /// trace, debug, info, warning, error, critical or off.
    #[arg(short = 'l', long, value_parser = log_level)]
    pub log_level: Option<String>,
    /// Format of our own log lines.
    #[arg(long, value_enum, default_value_t)]
    pub log_format: LogFormat,
    /// node.id
    #[arg(long)]
    pub service_node: Option<String>,
    /// node.cluster
    #[arg(long)]
    pub service_cluster: Option<String>,
    /// node.locality.zone
    #[arg(long)]
    pub service_zone: Option<String>,
    /// Longest drain at shutdown, seconds.
    #[arg(long)]
    pub drain_time_s: Option<u64>,
    /// File that receives the bound admin host:port.
    #[arg(long)]
    pub admin_address_path: Option<PathBuf>,
    /// Unknown fields of the bootstrap are warnings, not errors.
    #[arg(long)]
    pub allow_unknown_static_fields: bool,
    /// The older name of the same.
    #[arg(long, hide = true)]
    pub allow_unknown_fields: bool,
    /// Print which versions could take over a running process, and exit: none.
    #[arg(long, hide = true)]
    pub hot_restart_version: bool,
    /// Flags of Envoy without a meaning here.
    #[command(flatten)]
    pub ignored: IgnoredArgs,
}

impl ServeArgs {
    /// Whether unknown fields of the bootstrap are warnings.
    pub fn tolerates_unknown_fields(&self) -> bool {
        self.allow_unknown_static_fields || self.allow_unknown_fields
    }
}

/// A level that is none is a bad argument; the same in `ENVOY_LOG_LEVEL` becomes `info` with a warning, as in the image.
fn log_level(text: &str) -> Result<String, String> {
    let known = Level::parse(text).map(|_| text.to_owned());
    known.ok_or_else(|| "use trace, debug, info, warning, error, critical or off".to_owned())
}

/// `--mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Serve.
    #[default]
    Serve,
    /// Check the configuration only.
    Validate,
}

/// `--log-format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One object per line.
    Json,
}

/// Declares Envoy's flags that are accepted and do nothing: switches, flags with a value, and those that repeat.
macro_rules! ignored {
    (switches { $($switch:ident,)* } values { $($value:ident,)* } lists { $($list:ident,)* }) => {
        /// Flags of Envoy that are accepted without effect.
        #[derive(Debug, Default, Args)]
        #[allow(missing_docs, reason = "named as Envoy names them")]
        pub struct IgnoredArgs {
            $(#[arg(long, hide = true)] pub $switch: bool,)*
            $(#[arg(long, hide = true)] pub $value: Option<String>,)*
            $(#[arg(long, hide = true)] pub $list: Vec<String>,)*
        }

        impl IgnoredArgs {
            /// The flags that were given, as written on the command line.
            pub fn given(&self) -> Vec<String> {
                let mut given = Vec::new();
                $(if self.$switch { given.push(stringify!($switch)); })*
                $(if self.$value.is_some() { given.push(stringify!($value)); })*
                $(if !self.$list.is_empty() { given.push(stringify!($list)); })*
                given.into_iter().map(|name| format!("--{}", name.replace('_', "-"))).collect()
            }
        }
    };
}

ignored! {
    switches {
        disable_hot_restart,
        skip_deprecated_logs,
        skip_hot_restart_on_no_parent,
        skip_hot_restart_parent_stats,
        cpuset_threads,
        use_dynamic_base_id,
        enable_mutex_tracing,
        enable_fine_grain_logging,
        enable_core_dump,
        reject_unknown_dynamic_fields,
        ignore_unknown_dynamic_fields,
        log_format_escaped,
    }
    values {
        base_id,
        base_id_path,
        restart_epoch,
        parent_shutdown_time_s,
        drain_strategy,
        component_log_level,
        log_path,
        socket_path,
        socket_mode,
        file_flush_interval_msec,
        file_flush_min_size_kb,
        local_address_ip_version,
        disable_extensions,
        bootstrap_version,
    }
    lists {
        stats_tag,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn the_image_s_entry_point_is_understood() {
        let line = "outrigger-proxy -c /tmp/e.yaml -l info --concurrency 2 --drain-time-s 20 \
                    --disable-hot-restart --skip-deprecated-logs --base-id 1 \
                    --stats-tag a:b --stats-tag c:d --hot-restart-version";
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        assert_eq!(cli.serve.concurrency, Some(2));
        assert_eq!(
            cli.serve.ignored.given(),
            ["--disable-hot-restart", "--skip-deprecated-logs", "--base-id", "--stats-tag"]
        );
        assert!(cli.serve.hot_restart_version);
    }

    #[test]
    fn nonsense_is_a_usage_error() {
        for line in
            ["p --concurrency 0", "p --mode dance", "p --no-such-flag", "p intercept maybe", "p -l bogus"]
        {
            let error = Cli::try_parse_from(line.split_whitespace()).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
