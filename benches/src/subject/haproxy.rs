//! HAProxy with the scenario's routing.

use std::process::Command;

use tempfile::TempDir;

use super::Topology;
use crate::Result;
use crate::packages::Tool;
use crate::scenario::{HEADER, HOST, PREFIX, Protocol};

/// The command that runs it in the foreground, and the directory of its configuration.
pub(super) fn command(tool: &Tool, topology: &Topology) -> Result<(Command, TempDir)> {
    let files = tempfile::tempdir()?;
    let config = files.path().join("haproxy.cfg");
    std::fs::write(&config, configuration(topology))?;
    let mut command = tool.command();
    command.arg("-db").arg("-f").arg(config);
    Ok((command, files))
}

fn configuration(topology: &Topology) -> String {
    let Topology { listen, backend, protocol } = topology;
    let protocol = if *protocol == Protocol::Http2 { "proto h2" } else { "" };
    let (name, value) = HEADER;
    // Descriptors for 10,000 idle clients are there, but not for the two per client it would plan for.
    format!(
        "global
    nbthread 1
    maxconn 11000
    ulimit-n 20000
    no strict-limits
defaults
    mode http
    timeout connect 1s
    timeout client 1h
    timeout server 1h
    timeout http-keep-alive 1h
    timeout http-request 1h
frontend ingress
    bind {listen} {protocol}
    acl of_host hdr(host) -i {HOST}
    acl of_path path_beg {PREFIX}
    acl of_route req.hdr({name}) {value}
    use_backend service if of_host of_path of_route
    default_backend none
backend service
    http-reuse always
    server service {backend} {protocol} maxconn 1024
backend none
    http-request return status 404
"
    )
}
