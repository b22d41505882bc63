use std::sync::Arc;
use std::time::Duration;

use outrigger_xds_protos::any;
use outrigger_xds_protos::v3::discovery::{DeltaDiscoveryResponse, DiscoveryResponse, Resource};
use outrigger_xds_protos::v3::wkt::Any;

use super::super::protocol::{Response, Variant};
use super::super::resource::ResourceType::{
    Cluster as Cds, Endpoints as Eds, Listener as Lds, Routes as Rds,
};
use super::super::settings::Metadata;
use super::super::testing::ads::{AdsHarness, Session};
use super::super::testing::server::Server;
use super::super::testing::*;
use super::*;
use crate::config::cluster::HostAddress;
use crate::config::publish::{self, Subscriber};
use crate::xds::engine::Roots;
use crate::xds::settings::AdsSettings;

/// A running driver and everything around it.
struct Rig {
    handle: Handle,
    snapshots: Subscriber,
    resolve: mpsc::UnboundedReceiver<ResolveCommand>,
    answers: mpsc::Sender<Resolution>,
    task: tokio::task::JoinHandle<()>,
    stats: Registry,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn settings(variant: Variant, target: Target) -> AdsSettings {
    AdsSettings {
        variant,
        target,
        authority: "xds".into(),
        metadata: Metadata { entries: vec![("x-token".into(), "secret".into())], ..Metadata::default() },
        backoff: (Duration::from_millis(10), Duration::from_millis(50)),
        max_response: 64 << 20,
    }
}

fn rig(ads: AdsSettings, resources: &StaticResources) -> Rig {
    let (publisher, snapshots) = publish::channel();
    let (resolve, commands) = mpsc::unbounded_channel();
    let (answers, resolutions) = mpsc::channel(16);
    let stats = Registry::new();
    let timeout = Some(Duration::from_secs(15));
    let dynamic = DynamicSettings {
        ads: Some(ads),
        roots: Roots { clusters: timeout, listeners: timeout },
        load: None,
        warnings: Vec::new(),
    };
    let parts = Parts {
        dynamic,
        node: Node { id: "node-1".into(), cluster: "test".into(), ..Default::default() },
        local_cluster: None,
        ports: Box::new(PaperPorts::default()),
        publisher,
        stats: stats.clone(),
        sinks: None,
        grpc_logs: None,
        tracing: Default::default(),
        resolve,
        resolutions,
        strict_tls: false,
        counts_services: false,
        checked: Arc::default(),
    };
    let (driver, handle) = Driver::new(parts, resources).unwrap();
    Rig { handle, snapshots, resolve: commands, answers, task: tokio::spawn(driver.run()), stats }
}

fn at(harness: &AdsHarness) -> Target {
    Target::Address(HostAddress::Ip(harness.address))
}

impl Rig {
    /// Waits until the snapshot says this.
    async fn until(&mut self, key: &str, value: Option<&str>) {
        let wait = async {
            while describe(&self.snapshots.current()).get(key).map(String::as_str) != value {
                self.snapshots.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(Duration::from_secs(20), wait).await.is_err() {
            panic!("{key} never became {value:?}: {:?}", describe(&self.snapshots.current()));
        }
    }

    async fn done(&self) -> Progress {
        let mut progress = self.handle.progress();
        let wait = progress.wait_for(|progress| progress.phase == InitPhase::Done);
        *tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap().unwrap()
    }

    fn gauge(&self, name: &str) -> String {
        let view = self.stats.view();
        view.find(name).map(|stat| format!("{:?}", view.value(stat))).unwrap()
    }
}

/// One of each: a cluster with a host, a listener that routes to it.
fn world() -> World {
    let mut world = World::default();
    world.set(Cds, "a", eds_cluster("a", 1));
    world.set(Eds, "a", assignment("a", &[(80, 1)]));
    world.set(Lds, "in", rds_listener("in", 1000, "table"));
    world.set(Rds, "table", routes("table", "a"));
    world
}

/// Serves the model's answers over a session until it is told to stop by dropping its handle.
struct Serving {
    edits: mpsc::Sender<(ResourceType, String, Any)>,
    /// How many answers were refused so far.
    refused: watch::Receiver<usize>,
    task: tokio::task::JoinHandle<(Server, Vec<Request>)>,
}

fn serve(mut session: Session, mut server: Server, variant: Variant) -> Serving {
    let (edits, mut edited) = mpsc::channel::<(ResourceType, String, Any)>(16);
    let (refusing, refused) = watch::channel(0);
    let task = tokio::spawn(async move {
        let mut seen = Vec::new();
        loop {
            let answer = tokio::select! {
                request = session.request() => {
                    let Some(request) = request else { return (server, seen) };
                    seen.push(request.clone());
                    let answer = server.request(request);
                    refusing.send_replace(server.nacks.len());
                    answer
                }
                edit = edited.recv() => {
                    let Some((kind, name, resource)) = edit else { return (server, seen) };
                    server.world.set(kind, &name, resource);
                    server.push(kind, variant == Variant::Delta)
                }
            };
            if let Some(answer) = answer {
                session.answer(answer).await;
            }
        }
    });
    Serving { edits, refused, task }
}

impl Serving {
    async fn set(&self, kind: ResourceType, name: &str, resource: Any) {
        self.edits.send((kind, name.to_owned(), resource)).await.unwrap();
    }

    /// Waits for a refusal: what the proxy serves may be seen before the server hears of it.
    async fn refusal(&mut self) {
        self.refused.wait_for(|refused| *refused > 0).await.unwrap();
    }

    /// Ends the stream; what the server knows and what it was asked.
    async fn stop(self) -> (Server, Vec<Request>) {
        drop(self.edits);
        self.task.await.unwrap()
    }
}

const VARIANTS: [Variant; 2] = [Variant::StateOfTheWorld, Variant::Delta];

fn node_of(request: &Request) -> Option<&Node> {
    match request {
        Request::Sotw(request) => request.node.as_ref(),
        Request::Delta(request) => request.node.as_ref(),
    }
}

#[tokio::test]
async fn connects_applies_and_becomes_ready() {
    for variant in VARIANTS {
        let mut harness = AdsHarness::start().await;
        let mut rig = rig(settings(variant, at(&harness)), &StaticResources::default());
        let session = harness.session().await;
        assert_eq!(session.metadata.get("x-token").unwrap(), "secret");
        let serving = serve(session, Server::new(world()), variant);
        rig.until("listener in", Some("127.0.0.1:1000")).await;
        rig.until("routes table", Some("a")).await;
        let progress = rig.done().await;
        assert!(progress.generation >= 1 && progress.generation <= rig.snapshots.current().generation);
        assert!(rig.gauge("control_plane.connected_state").contains('1'));
        let (server, seen) = serving.stop().await;
        assert!(server.nacks.is_empty());
        let nodes = seen.iter().filter(|request| node_of(request).is_some()).count();
        assert_eq!((nodes, node_of(&seen[0]).unwrap().id.as_str()), (1, "node-1"));
    }
}

#[tokio::test]
async fn a_bad_resource_is_nacked_over_the_wire() {
    for variant in VARIANTS {
        let mut harness = AdsHarness::start().await;
        let mut rig = rig(settings(variant, at(&harness)), &StaticResources::default());
        let mut serving = serve(harness.session().await, Server::new(world()), variant);
        rig.until("routes table", Some("a")).await;
        serving.set(Cds, "bad", bad_cluster("bad")).await;
        serving.set(Cds, "good", static_cluster("good", 9)).await;
        rig.until("cluster good", Some("5s 127.0.0.1:9*1")).await;
        serving.refusal().await;
        let (server, _) = serving.stop().await;
        assert!(server.nacks[0].starts_with("Cluster \"bad\": "), "{:?}", server.nacks);
    }
}

#[tokio::test]
async fn a_reconnect_reports_what_is_held_and_changes_nothing() {
    for variant in VARIANTS {
        let mut harness = AdsHarness::start().await;
        let mut rig = rig(settings(variant, at(&harness)), &StaticResources::default());
        let serving = serve(harness.session().await, Server::new(world()), variant);
        rig.until("routes table", Some("a")).await;
        rig.done().await;
        let (mut server, _) = serving.stop().await;
        let generation = rig.snapshots.current().generation;
        server.reconnect();
        let mut session = harness.session().await;
        let first = session.request().await.unwrap();
        assert!(node_of(&first).is_some(), "a new stream needs the node again");
        match &first {
            Request::Sotw(request) => {
                assert!(!request.version_info.is_empty() && request.response_nonce.is_empty());
            }
            Request::Delta(request) => assert!(request.initial_resource_versions.contains_key("a")),
        }
        drop(server.request(first));
        let serving = serve(session, server, variant);
        serving.set(Cds, "b", static_cluster("b", 9)).await;
        rig.until("cluster b", Some("5s 127.0.0.1:9*1")).await;
        assert_eq!(rig.snapshots.current().generation, generation + 1, "only the new cluster was news");
    }
}

#[tokio::test]
async fn the_snapshot_survives_the_control_plane() {
    for variant in VARIANTS {
        let mut harness = AdsHarness::start().await;
        let address = harness.address;
        let mut rig = rig(settings(variant, at(&harness)), &StaticResources::default());
        let serving = serve(harness.session().await, Server::new(world()), variant);
        rig.until("routes table", Some("a")).await;
        let before = describe(&rig.snapshots.current());
        let (server, _) = serving.stop().await;
        drop(harness);
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(describe(&rig.snapshots.current()), before);
        assert!(!rig.task.is_finished());
        let mut harness = AdsHarness::at(address).await;
        let serving = serve(harness.session().await, Server::new(server.world), variant);
        serving.set(Eds, "a", assignment("a", &[(81, 1)])).await;
        rig.until("cluster a", Some("1s 10.0.0.1:81*1")).await;
    }
}

#[tokio::test]
async fn errors_and_clean_ends_are_both_retried() {
    let mut harness = AdsHarness::start().await;
    let _rig = rig(settings(Variant::Delta, at(&harness)), &StaticResources::default());
    harness.session().await.fail(tonic::Status::unavailable("later")).await;
    drop(harness.session().await);
    harness.session().await.fail(tonic::Status::permission_denied("no")).await;
    assert!(harness.session().await.request().await.is_some());
}

/// The same answer again and again; what acknowledges it is long.
fn repeated(variant: Variant, count: usize) -> Response {
    let (nonce, type_url) = (format!("{count}{}", "n".repeat(16 << 10)), Cds.type_url().to_owned());
    let resource = static_cluster("a", 9);
    match variant {
        Variant::StateOfTheWorld => Response::Sotw(DiscoveryResponse {
            version_info: "1".to_owned(),
            nonce,
            type_url,
            resources: vec![resource],
            ..Default::default()
        }),
        Variant::Delta => {
            let (name, version) = ("a".to_owned(), "1".to_owned());
            let resource = Resource { name, version, resource: Some(resource), ..Default::default() };
            Response::Delta(DeltaDiscoveryResponse {
                nonce,
                type_url,
                resources: vec![resource],
                ..Default::default()
            })
        }
    }
}

#[tokio::test]
async fn a_server_that_does_not_read_is_left_for_a_new_stream() {
    for variant in VARIANTS {
        let mut harness = AdsHarness::start().await;
        let mut rig = rig(settings(variant, at(&harness)), &StaticResources::default());
        let deaf = harness.session().await;
        let talking = async {
            let mut count = 0;
            while deaf.try_answer(repeated(variant, count)).await {
                count += 1;
            }
            std::future::pending::<Session>().await
        };
        let mut session = tokio::select! {
            never = talking => never,
            session = harness.session() => session,
        };
        let first = session.request().await.unwrap();
        match &first {
            Request::Sotw(request) => assert_eq!(request.version_info, "1"),
            Request::Delta(request) => assert_eq!(request.initial_resource_versions["a"], "1"),
        }
        let mut server = Server::new(world());
        drop(server.request(first));
        let serving = serve(session, server, variant);
        serving.set(Cds, "b", static_cluster("b", 9)).await;
        rig.until("cluster b", Some("5s 127.0.0.1:9*1")).await;
    }
}

#[tokio::test]
async fn a_large_response_is_accepted() {
    let mut harness = AdsHarness::start().await;
    let rig = rig(settings(Variant::StateOfTheWorld, at(&harness)), &StaticResources::default());
    let mut world = World::default();
    for n in 0..3000u16 {
        let name = format!("cluster-{n}-{}", "x".repeat(2000));
        world.set(Cds, &name, static_cluster(&name, n + 1));
    }
    let serving = serve(harness.session().await, Server::new(world), Variant::StateOfTheWorld);
    let progress = rig.done().await;
    assert_eq!(rig.snapshots.current().clusters.iter().flatten().count(), 3000);
    assert!(progress.generation >= 1);
    drop(serving);
}

#[tokio::test]
async fn a_unix_socket_works() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("xds.sock");
    let mut harness = AdsHarness::at_socket(&path);
    let mut rig =
        rig(settings(Variant::Delta, Target::Address(HostAddress::Pipe(path))), &StaticResources::default());
    let serving = serve(harness.session().await, Server::new(world()), Variant::Delta);
    rig.until("routes table", Some("a")).await;
    drop(serving);
}

#[tokio::test]
async fn a_static_cluster_leads_to_the_control_plane() {
    let mut harness = AdsHarness::start().await;
    let cluster = any::unpack(&static_cluster("xds", harness.address.port())).unwrap();
    let resources = StaticResources { clusters: vec![cluster], ..Default::default() };
    let mut rig = rig(settings(Variant::Delta, Target::Cluster("xds".into())), &resources);
    let serving = serve(harness.session().await, Server::new(world()), Variant::Delta);
    rig.until("routes table", Some("a")).await;
    drop(serving);
}

#[tokio::test]
async fn an_unknown_control_plane_cluster_is_a_start_failure() {
    let (publisher, _snapshots) = publish::channel();
    let (resolve, _commands) = mpsc::unbounded_channel();
    let (_answers, resolutions) = mpsc::channel(1);
    let parts = Parts {
        dynamic: DynamicSettings {
            ads: Some(settings(Variant::Delta, Target::Cluster("typo".into()))),
            roots: Roots::default(),
            load: None,
            warnings: Vec::new(),
        },
        node: Node::default(),
        local_cluster: None,
        ports: Box::new(PaperPorts::default()),
        publisher,
        stats: Registry::new(),
        sinks: None,
        grpc_logs: None,
        tracing: Default::default(),
        resolve,
        resolutions,
        strict_tls: false,
        counts_services: false,
        checked: Arc::default(),
    };
    let faults = Driver::new(parts, &StaticResources::default()).err().unwrap();
    assert_eq!(&*faults[0].1.name, "typo");
    assert!(faults[0].1.reason.contains("ads_config"), "{faults:?}");
}

#[tokio::test]
async fn a_name_is_resolved_by_the_resolver() {
    let mut harness = AdsHarness::start().await;
    let target = Target::Name { host: "control.plane".into(), port: harness.address.port() };
    let mut rig = rig(settings(Variant::Delta, target), &StaticResources::default());
    let Some(ResolveCommand::Start { id, settings, .. }) = rig.resolve.recv().await else {
        panic!("a question")
    };
    assert_eq!(&*settings.names[0].hostname, "control.plane");
    let answer = |addresses| Resolution { id, addresses, attempts: 1, failures: 0, problem: None };
    rig.answers.send(answer(vec![None])).await.unwrap();
    rig.answers.send(answer(vec![Some(vec![harness.address.ip()])])).await.unwrap();
    let serving = serve(harness.session().await, Server::new(world()), Variant::Delta);
    rig.until("routes table", Some("a")).await;
    drop(serving);
}

#[tokio::test]
async fn dumps_tell_what_is_held_and_what_is_waited_for() {
    let mut harness = AdsHarness::start().await;
    let mut rig = rig(settings(Variant::Delta, at(&harness)), &StaticResources::default());
    let waiting = rig.handle.init_dump().await;
    assert_eq!(waiting.unready_targets_dumps[0].target_names, ["Cluster *"]);
    let serving = serve(harness.session().await, Server::new(world()), Variant::Delta);
    rig.until("routes table", Some("a")).await;
    rig.done().await;
    assert!(rig.handle.init_dump().await.unready_targets_dumps.is_empty());
    let urls: Vec<String> =
        rig.handle.config_dump(true).await.into_iter().map(|section| section.type_url).collect();
    let short: Vec<&str> = urls.iter().map(|url| url.rsplit('.').next().unwrap()).collect();
    assert_eq!(
        short,
        [
            "ClustersConfigDump",
            "EndpointsConfigDump",
            "ListenersConfigDump",
            "ScopedRoutesConfigDump",
            "RoutesConfigDump",
            "SecretsConfigDump"
        ]
    );
    drop(serving);
}

#[tokio::test]
async fn one_world_for_a_burst_of_updates() {
    let mut harness = AdsHarness::start().await;
    let mut rig = rig(settings(Variant::Delta, at(&harness)), &StaticResources::default());
    let serving = serve(harness.session().await, Server::new(world()), Variant::Delta);
    rig.until("routes table", Some("a")).await;
    let before = rig.snapshots.current();
    for port in 100..200 {
        serving.set(Eds, "a", assignment("a", &[(port, 1)])).await;
    }
    rig.until("cluster a", Some("1s 10.0.0.1:199*1")).await;
    let after = rig.snapshots.current();
    assert!(after.generation - before.generation < 60, "{} snapshots", after.generation - before.generation);
    let table = |snapshot: &crate::config::Snapshot| snapshot.route_tables[0].clone().unwrap();
    assert!(Arc::ptr_eq(&table(&before), &table(&after)), "what did not change is the same");
    drop(serving);
}
