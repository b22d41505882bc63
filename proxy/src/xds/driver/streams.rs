//! Streams that secrets have to themselves, at work: a client for each, all reporting into one queue.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use super::target::{reach_of, update};
use super::{Driver, EVENTS};
use crate::config::Snapshot;
use crate::xds::client::{Client, Event, Reach, Requests, Service};
use crate::xds::engine::{StreamCommand, StreamId};
use crate::xds::settings::{AdsSettings, Target};

/// All of them.
pub(super) struct SecretStreams {
    open: HashMap<StreamId, Open>,
    /// What the engine wants while nothing runs yet.
    waiting: Vec<StreamCommand>,
    running: bool,
    reports: mpsc::Sender<(StreamId, Event)>,
    events: mpsc::Receiver<(StreamId, Event)>,
}

struct Open {
    target: Target,
    reach: watch::Sender<Reach>,
    requests: Option<Requests>,
    tasks: [AbortHandle; 2],
}

impl Drop for Open {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl SecretStreams {
    pub(super) fn new() -> Self {
        let (reports, events) = mpsc::channel(EVENTS);
        Self { open: HashMap::new(), waiting: Vec::new(), running: false, reports, events }
    }

    /// The next thing that happens to one of them.
    pub(super) async fn next(&mut self) -> (StreamId, Event) {
        match self.events.recv().await {
            Some(event) => event,
            // One sender is here.
            None => std::future::pending().await,
        }
    }

    /// From now on there is a runtime.
    pub(super) fn run(&mut self, snapshot: &Snapshot) {
        self.running = true;
        for command in std::mem::take(&mut self.waiting) {
            self.obey(command, snapshot);
        }
    }

    /// Does what the engine wants, once there is a runtime.
    pub(super) fn obey(&mut self, command: StreamCommand, snapshot: &Snapshot) {
        if !self.running {
            self.waiting.push(command);
            return;
        }
        match command {
            StreamCommand::Open(id, settings) => {
                let open = self.open(id, &settings);
                open.reach_cluster(snapshot);
                self.open.insert(id, open);
            }
            StreamCommand::Send(id, request) => {
                let Some(open) = self.open.get_mut(&id) else { return };
                if open.requests.as_ref().is_some_and(|stream| !stream.send(*request)) {
                    // Gone already, or the server does not read: the next stream starts from what is known.
                    open.requests = None;
                }
            }
            StreamCommand::Close(id) => drop(self.open.remove(&id)),
        }
    }

    fn open(&self, id: StreamId, settings: &Arc<AdsSettings>) -> Open {
        let addresses = match &settings.target {
            Target::Address(address) => vec![address.clone()],
            Target::Cluster(_) | Target::Name { .. } => Vec::new(),
        };
        let (reach, reached) = watch::channel(Reach { addresses, ..Reach::default() });
        let (sender, mut events) = mpsc::channel(1);
        let client = tokio::spawn(Client::new(Service::Secrets, (**settings).clone(), reached, sender).run());
        let reports = self.reports.clone();
        let forward = tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                if reports.send((id, event)).await.is_err() {
                    return;
                }
            }
        });
        let tasks = [client.abort_handle(), forward.abort_handle()];
        Open { target: settings.target.clone(), reach, requests: None, tasks }
    }

    /// Tells the clients the hosts of their clusters.
    pub(super) fn reach_clusters(&self, snapshot: &Snapshot) {
        self.open.values().for_each(|open| open.reach_cluster(snapshot));
    }
}

impl Open {
    fn reach_cluster(&self, snapshot: &Snapshot) {
        let Target::Cluster(name) = &self.target else { return };
        let id = snapshot.cluster_names.get(name.as_str());
        if let Some(slot) = id.and_then(|id| snapshot.cluster(*id)) {
            update(&self.reach, reach_of(slot));
        }
    }
}

impl Driver {
    pub(super) fn stream_event(&mut self, id: StreamId, event: Event) {
        match event {
            Event::Opened(requests) => {
                if let Some(open) = self.secret_streams.open.get_mut(&id) {
                    open.requests = Some(requests);
                    self.engine.stream_opened(id);
                }
            }
            Event::Accepted => {}
            Event::Response(response) => {
                self.engine.stream_response(id, response, super::now());
                self.merge.note(std::time::Instant::now());
            }
            Event::Closed => {
                self.engine.stream_closed(id);
                if let Some(open) = self.secret_streams.open.get_mut(&id) {
                    open.requests = None;
                }
            }
        }
    }
}
