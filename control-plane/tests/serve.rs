//! `outrigger serve` as a process: what it prints, follows, survives, and how it ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Helpers of tests are tests.

mod common;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use common::{CDS, LIMIT, Names, Sotw, channel_to};
use outrigger::listen::Address;
use rustix::process::{Pid, Signal, kill_process};

const NODE: &str = "mesh/cloud-native-mesh/virtualNode/microservice-a";

const EXAMPLE: &str = include_str!("../examples/mesh.yaml");

/// The program, its directory of definitions, and what it says.
struct Serve {
    process: Child,
    stderr: Receiver<String>,
    definitions: PathBuf,
    xds: Address,
    admin: String,
    _directory: tempfile::TempDir,
}

impl Serve {
    fn start(more: &[&str]) -> Self {
        Self::start_with(EXAMPLE, more)
    }

    fn start_with(text: &str, more: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let definitions = directory.path().join("mesh.yaml");
        std::fs::write(&definitions, text).unwrap();
        let addresses = directory.path().join("addresses");
        let mut process = command(&definitions, &addresses, more).spawn().unwrap();
        let stderr = lines(process.stderr.take().unwrap());
        let text = wait_for(&addresses, &mut process, &stderr);
        let line = |key: &str| text.lines().find_map(|l| l.strip_prefix(key)).unwrap().to_owned();
        let (xds, admin) = (line("xds: ").parse().unwrap(), line("admin: "));
        Self { process, stderr, definitions, xds, admin, _directory: directory }
    }

    fn edit(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(&self.definitions).unwrap();
        assert!(text.contains(from));
        self.rewrite(&text.replace(from, to));
    }

    fn rewrite(&self, text: &str) {
        let staged = self.definitions.with_extension("new");
        std::fs::write(&staged, text).unwrap();
        std::fs::rename(staged, &self.definitions).unwrap();
    }

    /// Waits for a line with this text.
    fn says(&self, text: &str) -> String {
        self.until_says(text).pop().unwrap()
    }

    /// The lines up to one with this text.
    fn until_says(&self, text: &str) -> Vec<String> {
        let (deadline, mut heard) = (Instant::now() + LIMIT, Vec::new());
        while heard.last().is_none_or(|line: &String| !line.contains(text)) {
            let left = deadline.saturating_duration_since(Instant::now());
            heard.push(self.stderr.recv_timeout(left).unwrap_or_else(|_| panic!("it never says {text:?}")));
        }
        heard
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    fn ends_with(&mut self, code: i32) {
        let deadline = Instant::now() + LIMIT;
        loop {
            match self.process.try_wait().unwrap() {
                Some(status) => return assert_eq!(status.code(), Some(code)),
                None if Instant::now() > deadline => panic!("it does not end"),
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    async fn page(&self, path: &str) -> String {
        common::page(&self.admin, path).await
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn command(definitions: &Path, addresses: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
    command.arg("serve").arg(definitions).args(["--xds", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    command.arg("--address-file").arg(addresses).args(more).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn lines(stderr: std::process::ChildStderr) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

fn wait_for(file: &Path, process: &mut Child, stderr: &Receiver<String>) -> String {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Ok(text) = std::fs::read_to_string(file) {
            return text;
        }
        let ended = process.try_wait().unwrap();
        if ended.is_some() || Instant::now() > deadline {
            panic!("no addresses ({ended:?}): {:?}", stderr.iter().collect::<Vec<_>>());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

async fn connect(serve: &Serve) -> Sotw {
    connect_as(serve, NODE).await
}

async fn connect_as(serve: &Serve, node: &str) -> Sotw {
    let mut client = Sotw::open(channel_to(&serve.xds).await, node).await;
    client.ask(CDS, &[]).await;
    client
}

#[tokio::test]
async fn edits_are_served_and_bad_ones_reported() {
    let serve = Serve::start(&[]);
    assert_eq!(serve.page("/ready").await, "ready\n");
    let mut client = connect(&serve).await;
    let first = client.next().await;
    assert!(!first.resources.is_empty());
    client.ack(&first, &[]).await;

    serve.edit("Port: 8080", "Port: 808000");
    let error = serve.says(": error[");
    assert!(error.contains("mesh.yaml:"), "{error}");
    serve.says("the last good state stays served");
    client.silence().await;
    let metrics = serve.page("/metrics").await;
    assert!(metrics.contains("reloads_total{result=\"failure\"} 1\n"), "{metrics}");
    let mut second = connect(&serve).await;
    assert_eq!(second.next().await.version_info, first.version_info, "newcomers get the last good state too");

    serve.edit("Port: 808000", "Port: 9090");
    let changed = client.next().await;
    assert_ne!(changed.version_info, first.version_info);
    assert!(serve.page("/nodes").await.contains(NODE));

    std::fs::remove_file(&serve.definitions).unwrap();
    serve.says("cannot read");
    client.ack(&changed, &[]).await;
    client.silence().await;
}

const ACM: &str =
    ", tls: {mode: STRICT, certificate: {acm: {certificateArn: 'arn:aws:acm:r:1:certificate/c'}}}";

/// Two virtual nodes that listen on a port, the first with this beside its port mapping.
fn two_nodes(port: u16, tls: &str) -> String {
    let node = |name: &str, tls: &str| {
        let listener = format!("{{portMapping: {{port: {port}, protocol: http}}{tls}}}");
        format!(
            "- meshName: m\n  virtualNodeName: {name}\n  spec:\n    listeners:\n      - {listener}\n    \
             serviceDiscovery: {{dns: {{hostname: {name}.local}}}}\n"
        )
    };
    node("secure", tls) + &node("plain", "")
}

/// Accepts what the client is sent until its application is reached at this port.
async fn listening(client: &mut Sotw, port: u16) {
    let wanted = format!("_http_{port}");
    loop {
        let response = client.next().await;
        client.ack(&response, &[]).await;
        if response.names().iter().any(|name| name.ends_with(&wanted)) {
            return;
        }
    }
}

#[tokio::test]
async fn one_proxy_that_cannot_be_translated_does_not_hold_back_the_others() {
    let serve = Serve::start_with(&two_nodes(8080, ACM), &[]);
    let words = serve.says("virtualNode/secure cannot be given");
    assert!(words.contains("it is refused") && words.contains("mesh.yaml:5:"), "{words}");
    let mut plain = connect_as(&serve, "mesh/m/virtualNode/plain").await;
    listening(&mut plain, 8080).await;
    let nodes = serve.page("/nodes").await;
    assert!(nodes.contains("\"served\":\"nothing\"") && nodes.contains("error[tls-acm]"), "{nodes}");
    let refusal = connect_as(&serve, "mesh/m/virtualNode/secure").await.end().await.unwrap_err();
    assert_eq!(refusal.code(), tonic::Code::FailedPrecondition);
    assert!(refusal.message().contains("error[tls-acm]"), "{refusal}");
    assert!(serve.page("/metrics").await.contains("reloads_total{result=\"partial\"} 1\n"));

    serve.rewrite(&two_nodes(8081, ""));
    listening(&mut plain, 8081).await;
    let mut secure = connect_as(&serve, "mesh/m/virtualNode/secure").await;
    let good = secure.next().await;
    secure.ack(&good, &[]).await;

    serve.rewrite(&two_nodes(8082, ACM));
    assert!(serve.says("it keeps its last good state").contains("virtualNode/secure cannot be given"));
    listening(&mut plain, 8082).await;
    secure.silence().await;
    let nodes = serve.page("/nodes").await;
    assert!(nodes.contains("\"served\":\"last good state\""), "{nodes}");
    let mut newcomer = connect_as(&serve, "mesh/m/virtualNode/secure").await;
    assert_eq!(newcomer.next().await.version_info, good.version_info);
}

/// An operator's log is not filled with what was said at the edit before.
#[tokio::test]
async fn a_warning_is_told_when_it_is_new() {
    let serve = Serve::start(&[]);
    let heard = serve.until_says("the definitions are served");
    assert!(heard.iter().any(|line| line.contains("warning[router-not-provider]")), "{heard:?}");
    // Moves every line, and so what there is to warn about.
    serve.edit("Resources:\n", "Description: moved\nResources:\n");
    let heard = serve.until_says("the definitions have changed");
    assert_eq!(heard.len(), 1, "{heard:?}");
    serve.edit("MaxRetries: 3", "MaxRetries: 3\n            Unheard: of");
    serve.says("error[unknown-key]");
    serve.edit("            Unheard: of\n", "");
    serve.says("the definitions have changed");
}

#[tokio::test]
async fn it_ends_with_0_when_told_to() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut serve = Serve::start(&[]);
        let mut client = connect(&serve).await;
        client.next().await;
        serve.signal(signal);
        client.end().await.expect("the stream ends with OK");
        serve.ends_with(0);
    }
}

#[tokio::test]
async fn it_listens_on_a_unix_socket_too() {
    let directory = tempfile::tempdir().unwrap();
    let address = format!("unix:{}", directory.path().join("xds.sock").display());
    let serve = Serve::start(&["--xds", &address]);
    let mut client = Sotw::open(channel_to(&address.parse().unwrap()).await, "microservice-b").await;
    client.ask(CDS, &[]).await;
    client.next().await;
    drop(serve);
}

fn fails(definitions: &Path, more: &[&str]) -> (Option<i32>, String) {
    let directory = tempfile::tempdir().unwrap();
    let output = command(definitions, &directory.path().join("addresses"), more).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn what_cannot_start_says_why() {
    let example = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/mesh.yaml"));
    let directory = tempfile::tempdir().unwrap();
    let broken = directory.path().join("broken.yaml");
    let text = std::fs::read_to_string(example).unwrap().replace("Port: 8080", "Port: 808000");
    std::fs::write(&broken, text).unwrap();

    let (code, stderr) = fails(&broken, &[]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("broken.yaml:") && stderr.contains("errors in the definitions"), "{stderr}");
    let (code, stderr) = fails(Path::new("/no/such/file"), &[]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("/no/such/file"), "{stderr}");
    let (code, stderr) = fails(example, &["--xds", "0.0.0.0:0"]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("--insecure-plaintext-xds"), "{stderr}");
    let (code, stderr) = fails(example, &["--xds", "nonsense"]);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("HOST:PORT or unix:/PATH"), "{stderr}");
}
