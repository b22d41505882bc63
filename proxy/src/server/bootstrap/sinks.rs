//! Sinks that statistics are pushed to. Source: `envoy.config.metrics.v3.{StatsSink, StatsdSink, DogStatsdSink}`.

use std::path::PathBuf;

use outrigger_xds_protos::any;
use outrigger_xds_protos::v3::core::{Address, SocketAddress, address};
use outrigger_xds_protos::v3::metrics::{
    DogStatsdSink, StatsSink, StatsdSink, dog_statsd_sink, stats_sink, statsd_sink,
};

use super::reduce::Notes;
use crate::observe::statsd::{Sink, Target};
use crate::xds::translate::fields;
use crate::xds::translate::{Path, Rejection};

/// Envoy's default prefix.
const PREFIX: &str = "envoy";

/// The sinks that are in effect; others are named in warnings.
pub(super) fn compile(
    messages: &[StatsSink],
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<Vec<Sink>, Rejection> {
    let mut sinks = Vec::new();
    for (i, StatsSink { name, config_type }) in messages.iter().enumerate() {
        let path = path.index(i);
        let Some(stats_sink::ConfigType::TypedConfig(config)) = config_type else {
            return Err(path.field("typed_config").missing());
        };
        let config_path = path.field("typed_config");
        if any::is::<DogStatsdSink>(config) {
            let message = any::unpack(config).map_err(|error| config_path.reject(error))?;
            sinks.push(dog_statsd(&message, &config_path)?);
        } else if any::is::<StatsdSink>(config) {
            let message = any::unpack(config).map_err(|error| config_path.reject(error))?;
            sinks.extend(statsd(&message, &config_path, notes)?);
        } else {
            notes.warn(
                &path,
                format_args!("{name:?} ({}) is not in effect; scrape /stats/prometheus", config.type_url),
            );
        }
    }
    Ok(sinks)
}

fn dog_statsd(message: &DogStatsdSink, path: &Path<'_>) -> Result<Sink, Rejection> {
    let DogStatsdSink { prefix, max_bytes_per_datagram, dog_statsd_specifier } = message;
    let Some(dog_statsd_sink::DogStatsdSpecifier::Address(address)) = dog_statsd_specifier else {
        return Err(path.field("address").missing());
    };
    let max_datagram = max_bytes_per_datagram.as_ref().map_or(0, |limit| limit.value);
    Ok(Sink {
        target: target(address, &path.field("address"))?,
        prefix: prefixed(prefix),
        tags: true,
        max_datagram: usize::try_from(max_datagram).unwrap_or(usize::MAX),
    })
}

/// Over UDP; a TCP cluster is named in a warning.
fn statsd(message: &StatsdSink, path: &Path<'_>, notes: &mut Notes) -> Result<Option<Sink>, Rejection> {
    let StatsdSink { prefix, statsd_specifier } = message;
    match statsd_specifier {
        None => Err(path.field("address").missing()),
        Some(statsd_sink::StatsdSpecifier::TcpClusterName(_)) => {
            notes.warn(
                &path.field("tcp_cluster_name"),
                "is not in effect: StatsD goes over UDP; give an address",
            );
            Ok(None)
        }
        Some(statsd_sink::StatsdSpecifier::Address(address)) => {
            let target = target(address, &path.field("address"))?;
            Ok(Some(Sink { target, prefix: prefixed(prefix), tags: false, max_datagram: 0 }))
        }
    }
}

fn prefixed(prefix: &str) -> String {
    if prefix.is_empty() { PREFIX.to_owned() } else { prefix.to_owned() }
}

fn target(message: &Address, path: &Path<'_>) -> Result<Target, Rejection> {
    match &message.address {
        Some(address::Address::Pipe(pipe)) => {
            let path = path.field("pipe");
            Ok(Target::Unix(PathBuf::from(fields::required(&pipe.path, &path.field("path"))?)))
        }
        // The protocol says nothing here: it is UDP, as in Envoy, whatever is written.
        Some(address::Address::SocketAddress(socket)) => {
            let socket = SocketAddress { protocol: 0, ..socket.clone() };
            fields::ip_port(&socket, &path.field("socket_address")).map(Target::Udp)
        }
        _ => Err(path.reject("needs a socket_address or a pipe")),
    }
}
