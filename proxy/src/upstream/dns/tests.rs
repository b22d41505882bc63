use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA};
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use tokio::net::UdpSocket;

use super::*;
use crate::config::cluster::{AssignmentPolicy, DnsName, Locality, LookupFamily};

/// What the scripted name server says.
#[derive(Clone)]
enum Say {
    Addresses(Vec<IpAddr>, u32),
    NoSuchName,
    Failure,
}

/// A name server on loopback with a script per name and record type.
#[derive(Clone, Default)]
struct Server {
    script: Arc<Mutex<HashMap<(String, RecordType), Say>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(&self) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(self.clone().serve(socket));
        address
    }

    async fn serve(self, socket: UdpSocket) {
        let mut buffer = [0; 4096];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
            let query = Message::from_vec(&buffer[..length]).unwrap();
            let _ = socket.send_to(&self.reply(&query).to_vec().unwrap(), peer).await;
        }
    }

    fn reply(&self, query: &Message) -> Message {
        let question = query.queries[0].clone();
        let name = question.name().to_string();
        self.asked.lock().unwrap().push(name.clone());
        let said = self.script().get(&(name, question.query_type())).cloned();
        let mut reply = Message::response(query.id, query.op_code);
        reply.add_query(question.clone());
        match said {
            Some(Say::Addresses(list, ttl)) => {
                for ip in list {
                    let data = match ip {
                        IpAddr::V4(ip) => RData::A(A(ip)),
                        IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
                    };
                    reply.add_answer(Record::from_rdata(question.name().clone(), ttl, data));
                }
            }
            Some(Say::Failure) => reply.metadata.response_code = ResponseCode::ServFail,
            Some(Say::NoSuchName) | None => reply.metadata.response_code = ResponseCode::NXDomain,
        }
        reply
    }

    fn script(&self) -> MutexGuard<'_, HashMap<(String, RecordType), Say>> {
        self.script.lock().unwrap()
    }

    fn says(&self, name: &str, list: &[&str], ttl: u32) {
        let list: Vec<IpAddr> = ips(list);
        for kind in [RecordType::A, RecordType::AAAA] {
            let of_kind = list.iter().copied().filter(|ip| ip.is_ipv4() == (kind == RecordType::A)).collect();
            self.script().insert((name.to_owned(), kind), Say::Addresses(of_kind, ttl));
        }
    }

    fn fails(&self, name: &str) {
        for kind in [RecordType::A, RecordType::AAAA] {
            self.script().insert((name.to_owned(), kind), Say::Failure);
        }
    }
}

fn ips(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|ip| ip.parse().unwrap()).collect()
}

fn settings(names: &[&str]) -> DnsSettings {
    let name = |host: &&str| DnsName {
        hostname: (*host).into(),
        authority: (*host).into(),
        port: 80,
        weight: 1,
        priority: 0,
        locality: Locality::default(),
        metadata: None,
        labels: None,
        check: None,
    };
    DnsSettings {
        names: names.iter().map(name).collect(),
        policy: AssignmentPolicy::default(),
        refresh: Duration::from_millis(20),
        failure_refresh: Duration::from_millis(20),
        failure_refresh_max: Duration::from_millis(40),
        respect_ttl: false,
        family: LookupFamily::V4Preferred,
    }
}

fn with_server(address: SocketAddr, hosts: PathBuf) -> Lookup {
    Lookup::with_servers(&[address], Duration::from_millis(200), hosts).unwrap()
}

async fn lookup(server: &Server) -> Lookup {
    with_server(server.start().await, "/nonexistent".into())
}

/// A running resolver.
async fn running(server: &Server) -> (mpsc::UnboundedSender<ResolveCommand>, mpsc::Receiver<Resolution>) {
    let (commands, receiver) = mpsc::unbounded_channel();
    let (sender, answers) = mpsc::channel(16);
    tokio::spawn(run(lookup(server).await, receiver, sender));
    (commands, answers)
}

fn start(id: u64, settings: DnsSettings) -> ResolveCommand {
    ResolveCommand::Start { id: QueryId(id), cluster: "c".into(), settings }
}

#[tokio::test]
async fn family_preferences() {
    let server = Server::default();
    server.says("both.", &["10.0.0.1", "fd00::1"], 60);
    server.says("four.", &["10.0.0.4"], 60);
    server.says("six.", &["fd00::6"], 60);
    let lookup = lookup(&server).await;
    let cases: [(LookupFamily, [&[&str]; 3]); 5] = [
        (LookupFamily::Auto, [&["fd00::1"], &["10.0.0.4"], &["fd00::6"]]),
        (LookupFamily::V4Preferred, [&["10.0.0.1"], &["10.0.0.4"], &["fd00::6"]]),
        (LookupFamily::V4Only, [&["10.0.0.1"], &["10.0.0.4"], &[]]),
        (LookupFamily::V6Only, [&["fd00::1"], &[], &["fd00::6"]]),
        (LookupFamily::All, [&["10.0.0.1", "fd00::1"], &["10.0.0.4"], &["fd00::6"]]),
    ];
    for (family, expected) in cases {
        for (name, expected) in ["both.", "four.", "six."].into_iter().zip(expected) {
            let found = lookup.addresses(name, family).await.unwrap();
            assert_eq!(found.addresses, ips(expected), "{family:?} {name}");
        }
    }
}

#[tokio::test]
async fn absent_names_are_empty_and_failures_are_failures() {
    let server = Server::default();
    server.fails("broken.");
    server.says("bare.", &[], 60);
    let lookup = lookup(&server).await;
    for (name, why) in [("absent.", "no such name (NXDOMAIN)"), ("bare.", super::lookup::NO_ADDRESS)] {
        let found = lookup.addresses(name, LookupFamily::All).await.unwrap();
        assert_eq!((found.addresses, found.absent), (ips(&[]), Some(why)), "{name}");
    }
    assert!(lookup.addresses("broken.", LookupFamily::All).await.is_err());
}

#[tokio::test]
async fn one_family_failing_does_not_hide_the_other() {
    let server = Server::default();
    server.says("half.", &["10.0.0.1"], 60);
    server.script().insert(("half.".into(), RecordType::AAAA), Say::Failure);
    server.script().insert(("gone.".into(), RecordType::AAAA), Say::Failure);
    server.script().insert(("gone.".into(), RecordType::A), Say::NoSuchName);
    let lookup = lookup(&server).await;
    for family in [LookupFamily::Auto, LookupFamily::All, LookupFamily::V4Preferred] {
        assert_eq!(lookup.addresses("half.", family).await.unwrap().addresses, ips(&["10.0.0.1"]));
    }
    assert!(lookup.addresses("gone.", LookupFamily::Auto).await.is_err(), "nothing is known for sure");
}

#[tokio::test]
async fn literals_and_the_hosts_file_ask_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let hosts = dir.path().join("hosts");
    std::fs::write(&hosts, "10.1.1.1 db\nfd00::9 db\n").unwrap();
    let server = Server::default();
    let lookup = with_server(server.start().await, hosts);
    let addresses = async |name: &str, family| lookup.addresses(name, family).await.unwrap().addresses;
    assert_eq!(addresses("10.2.2.2", LookupFamily::Auto).await, ips(&["10.2.2.2"]));
    assert_eq!(addresses("db", LookupFamily::V4Only).await, ips(&["10.1.1.1"]));
    assert_eq!(addresses("db", LookupFamily::Auto).await, ips(&["fd00::9"]));
    assert_eq!(addresses("db.", LookupFamily::All).await, ips(&["10.1.1.1", "fd00::9"]));
    assert_eq!(addresses("localhost", LookupFamily::V4Preferred).await, ips(&["127.0.0.1"]));
    assert!(server.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_task_reports_every_round() {
    let server = Server::default();
    server.says("a.", &["10.0.0.1", "10.0.0.2"], 60);
    let (commands, mut answers) = running(&server).await;
    commands.send(start(1, settings(&["a."]))).unwrap();
    let first = answers.recv().await.unwrap();
    assert_eq!((first.id, first.attempts, first.failures), (QueryId(1), 1, 0));
    assert_eq!(first.addresses, [Some(ips(&["10.0.0.1", "10.0.0.2"]))]);
    server.says("a.", &["10.0.0.3"], 60);
    loop {
        if answers.recv().await.unwrap().addresses == [Some(ips(&["10.0.0.3"]))] {
            break;
        }
    }
}

#[tokio::test]
async fn failures_keep_the_last_addresses_and_empty_success_does_not() {
    let server = Server::default();
    server.says("a.", &["10.0.0.1"], 60);
    let (commands, mut answers) = running(&server).await;
    commands.send(start(1, settings(&["a."]))).unwrap();
    assert_eq!(answers.recv().await.unwrap().problem, None);
    server.fails("a.");
    let failed = loop {
        let answer = answers.recv().await.unwrap();
        if answer.failures == 1 {
            break answer;
        }
    };
    assert_eq!(failed.addresses, [Some(ips(&["10.0.0.1"]))]);
    assert!(failed.problem.is_some_and(|problem| problem.starts_with("\"a.\": ")));
    server.says("a.", &[], 60);
    loop {
        if answers.recv().await.unwrap().addresses == [Some(ips(&[]))] {
            break;
        }
    }
}

#[tokio::test]
async fn a_name_that_never_resolved_is_reported_as_such() {
    let server = Server::default();
    server.fails("bad.");
    server.says("good.", &["10.0.0.1"], 60);
    let (commands, mut answers) = running(&server).await;
    commands.send(start(1, settings(&["bad.", "good."]))).unwrap();
    let first = answers.recv().await.unwrap();
    assert_eq!(first.addresses, [None, Some(ips(&["10.0.0.1"]))]);
    assert_eq!((first.attempts, first.failures), (2, 1));
}

#[tokio::test]
async fn a_stopped_task_is_silent() {
    let server = Server::default();
    server.says("a.", &["10.0.0.1"], 60);
    server.says("b.", &["10.0.0.2"], 60);
    let (commands, mut answers) = running(&server).await;
    commands.send(start(1, settings(&["a."]))).unwrap();
    answers.recv().await.unwrap();
    commands.send(ResolveCommand::Stop(QueryId(1))).unwrap();
    commands.send(start(2, settings(&["b."]))).unwrap();
    while answers.recv().await.unwrap().id != QueryId(2) {}
    for _ in 0..5 {
        assert_eq!(answers.recv().await.unwrap().id, QueryId(2));
    }
}

#[tokio::test]
async fn an_unreachable_server_is_a_failure_and_not_a_hang() {
    let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let lookup = with_server(closed, "/nonexistent".into());
    let started = Instant::now();
    assert!(lookup.addresses("a.", LookupFamily::V4Only).await.is_err());
    assert!(started.elapsed() < LOOKUP_LIMIT);
}

#[test]
fn the_time_to_live_counts_only_when_asked_for() {
    let mut settings = settings(&["a."]);
    let ttl = Some(Duration::from_secs(7));
    assert_eq!(pause_after_success(&settings, ttl), settings.refresh);
    settings.respect_ttl = true;
    assert_eq!(pause_after_success(&settings, ttl), Duration::from_secs(7));
    assert_eq!(pause_after_success(&settings, Some(Duration::ZERO)), settings.refresh, "zero says nothing");
    assert_eq!(pause_after_success(&settings, None), settings.refresh);
}

#[test]
fn failures_back_off_with_jitter() {
    let mut settings = settings(&["a."]);
    settings.failure_refresh = Duration::from_secs(1);
    settings.failure_refresh_max = Duration::from_secs(10);
    let longest: Vec<u64> = (1..7).map(|n| pause_after_failure(&settings, n, 1.0).as_secs()).collect();
    assert_eq!(longest, [1, 2, 4, 8, 10, 10]);
    assert_eq!(pause_after_failure(&settings, 3, 0.0), Duration::from_secs(2));
    assert_eq!(pause_after_failure(&settings, u32::MAX, 1.0), Duration::from_secs(10));
}
