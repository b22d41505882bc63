//! nginx with the scenario's routing.

use std::process::Command;

use tempfile::TempDir;

use super::Topology;
use crate::Result;
use crate::packages::Tool;
use crate::scenario::{HEADER, HOST, PREFIX};

/// The command that runs it in the foreground, and the directory of its configuration and temporary files.
pub(super) fn command(tool: &Tool, topology: &Topology) -> Result<(Command, TempDir)> {
    let files = tempfile::tempdir()?;
    let config = files.path().join("nginx.conf");
    std::fs::write(&config, configuration(topology, &files.path().display().to_string()))?;
    let mut command = tool.command();
    command.arg("-p").arg(files.path()).arg("-e").arg("stderr").arg("-c").arg(config);
    Ok((command, files))
}

fn configuration(topology: &Topology, directory: &str) -> String {
    let Topology { listen, backend, .. } = topology;
    let variable = HEADER.0.replace('-', "_");
    let value = HEADER.1;
    // A master started as root would give its worker to a user that may not exist.
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    format!(
        "{user}
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
events {{ worker_connections 20000; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    upstream service {{
        server {backend};
        keepalive 128;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {listen} default_server backlog=4096;
        location / {{ return 404; }}
    }}
    server {{
        listen {listen};
        server_name {HOST};
        location / {{ return 404; }}
        location {PREFIX} {{
            if ($http_{variable} != {value}) {{ return 404; }}
            proxy_pass http://service;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_set_header Host $host;
            proxy_max_temp_file_size 0;
        }}
    }}
}}
"
    )
}
