//! Applying a new snapshot: cluster state, listeners, drains. Sockets of unchanged listeners stay as they are.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Worker;
use super::accept;
use crate::base::drain::{Drain, DrainPhase};
use crate::base::ids::ListenerId;
use crate::config::Snapshot;
use crate::config::listener::{Direction, FilterChain, Listener, ListenerSlot, NetworkFilter};
use crate::config::live::ListenerSockets;
use crate::config::publish::Subscriber;
use crate::http::filter::jwt;
use crate::upstream::view::View;

/// How often idle connections and idle hosts are looked at.
const SWEEP: Duration = Duration::from_secs(1);

/// A listener this worker serves.
#[derive(Debug)]
struct Served {
    id: ListenerId,
    slot: Arc<ListenerSlot>,
    accepting: Option<accept::Accepting>,
    drains: ChainDrains,
}

/// A chain and the signal its connections follow.
type ChainDrain = (Arc<FilterChain>, Drain);

/// Drain signals of one listener's chains: a removed chain drains alone.
#[derive(Clone, Debug)]
pub(super) struct ChainDrains {
    state: Rc<State>,
}

#[derive(Debug)]
struct State {
    chains: RefCell<Vec<ChainDrain>>,
    /// How far the listener is on its way out: a chain that is used for the first time then begins from there.
    phase: Cell<DrainPhase>,
    /// What the listener is now; `None` once it is gone.
    listener: RefCell<Option<Arc<Listener>>>,
    /// How long connections of what is gone may take to end.
    time: Duration,
}

impl ChainDrains {
    fn new(listener: &Arc<Listener>, time: Duration) -> Self {
        let state = State {
            chains: RefCell::default(),
            phase: Cell::new(DrainPhase::Running),
            listener: RefCell::new(Some(listener.clone())),
            time,
        };
        Self { state: Rc::new(state) }
    }

    /// The signal connections of `chain` follow. One that was removed while the connection's first bytes were looked at
    /// drains from the beginning.
    pub(super) fn of(&self, chain: &Arc<FilterChain>) -> Drain {
        let mut chains = self.state.chains.borrow_mut();
        if let Some((_, drain)) = chains.iter().find(|(known, _)| Arc::ptr_eq(known, chain)) {
            return drain.clone();
        }
        let drain = Drain::new();
        drain.advance(self.phase());
        match &*self.state.listener.borrow() {
            Some(listener) if has(listener, chain) => chains.push((chain.clone(), drain.clone())),
            _ => retire(&drain, self.state.time),
        }
        drain
    }

    /// How far the listener is on its way out.
    pub(super) fn phase(&self) -> DrainPhase {
        self.state.phase.get()
    }

    /// The listener is `next` now: drains the chains that it no longer has.
    fn change(&self, next: &Arc<Listener>) {
        self.state.chains.borrow_mut().retain(|(chain, drain)| {
            let kept = has(next, chain);
            if !kept {
                retire(drain, self.state.time);
            }
            kept
        });
        self.state.listener.replace(Some(next.clone()));
    }

    /// The listener is gone: all of its connections end in time.
    fn retire(&self) {
        self.state.listener.replace(None);
        for (_, drain) in self.state.chains.borrow_mut().drain(..) {
            retire(&drain, self.state.time);
        }
    }

    fn advance(&self, phase: DrainPhase) {
        self.state.phase.set(self.phase().max(phase));
        for (_, drain) in self.state.chains.borrow().iter() {
            drain.advance(phase);
        }
    }
}

fn has(listener: &Listener, chain: &Arc<FilterChain>) -> bool {
    listener.chains.iter().chain(&listener.default_chain).any(|other| Arc::ptr_eq(other, chain))
}

/// Asks connections to end and cuts those that have not after `time`.
fn retire(drain: &Drain, time: Duration) {
    drain.advance(DrainPhase::Draining);
    let drain = drain.clone();
    tokio::task::spawn_local(async move {
        tokio::time::sleep(time).await;
        drain.advance(DrainPhase::Terminating);
    });
}

/// Follows publications until the publisher is gone, and the process-wide drain.
pub(super) async fn follow(worker: Rc<Worker>, mut snapshots: Subscriber) {
    let mut served: HashMap<usize, Served> = HashMap::new();
    apply(&worker, &mut served, snapshots.current());
    refresh_keys(&worker);
    let mut phases = (DrainPhase::Running, DrainPhase::Running);
    loop {
        tokio::select! {
            next = snapshots.changed() => match next {
                Some(snapshot) => apply(&worker, &mut served, snapshot),
                // Nothing will change any more; drains still may.
                None => std::future::pending().await,
            },
            () = beyond(&worker.drains.all, phases.0) => phases.0 = worker.drains.all.phase(),
            () = beyond(&worker.drains.inbound, phases.1) => phases.1 = worker.drains.inbound.phase(),
        }
        refresh_keys(&worker);
        drain_listeners(&mut served, phases);
    }
}

/// Keys for tokens that are fetched before anybody asks: one worker does it for all.
fn refresh_keys(worker: &Worker) {
    if worker.local.index == 0 {
        jwt::fetch::refresh(&worker.local, &worker.local.view().snapshot);
    }
}

/// Waits until `drain` has left `phase`.
async fn beyond(drain: &Drain, phase: DrainPhase) {
    let next = match phase {
        DrainPhase::Running => DrainPhase::Draining,
        DrainPhase::Draining => DrainPhase::Closing,
        DrainPhase::Closing => DrainPhase::Terminating,
        DrainPhase::Terminating => return std::future::pending().await,
    };
    drain.reached(next).await;
}

/// Switches to `snapshot`.
fn apply(worker: &Rc<Worker>, served: &mut HashMap<usize, Served>, snapshot: Arc<Snapshot>) {
    let local = &worker.local;
    let (view, retired) = View::next(&local.view(), snapshot.clone(), local);
    let view = Rc::new(view);
    local.set_view(view.clone());
    local.measures.set(measures(&snapshot));
    for old in retired {
        old.end(local);
    }
    apply_listeners(worker, served, &snapshot);
    worker.progress.set_applied(local.index, snapshot.generation);
}

/// Whether any access log tells what streams take on the wire.
fn measures(snapshot: &Snapshot) -> bool {
    let chains = |slot: &Arc<ListenerSlot>| {
        slot.config.chains.iter().chain(&slot.config.default_chain).any(|chain| match &chain.filter {
            NetworkFilter::Http(settings) => settings.access_logs.iter().any(|log| log.measures()),
            // Their bytes are counted anyway.
            NetworkFilter::Tcp(_) => false,
        })
    };
    snapshot.listeners.iter().flatten().any(chains)
}

fn apply_listeners(worker: &Rc<Worker>, served: &mut HashMap<usize, Served>, snapshot: &Snapshot) {
    served.retain(|index, old| {
        let stays = snapshot.listeners.get(*index).is_some_and(Option::is_some);
        if !stays {
            old.retire(worker);
        }
        stays
    });
    for (index, slot) in snapshot.listeners.iter().enumerate() {
        let Some(slot) = slot else { continue };
        match served.get_mut(&index) {
            Some(old) if Arc::ptr_eq(&old.slot, slot) => {}
            Some(old) if same_sockets(old.slot.sockets.as_ref(), slot.sockets.as_ref()) => {
                // In place: the accept loop reads the listener from the view for every connection.
                old.drains.change(&slot.config);
                old.slot = slot.clone();
            }
            _ => {
                if let Some(mut old) = served.remove(&index) {
                    old.retire(worker);
                }
                served.insert(index, Served::start(worker, index, slot));
            }
        }
    }
}

fn same_sockets(one: Option<&Arc<ListenerSockets>>, other: Option<&Arc<ListenerSockets>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        _ => false,
    }
}

fn drain_listeners(served: &mut HashMap<usize, Served>, (all, inbound): (DrainPhase, DrainPhase)) {
    for listener in served.values_mut() {
        let phase = match listener.slot.config.direction {
            Direction::Inbound => all.max(inbound),
            Direction::Outbound | Direction::Unspecified => all,
        };
        if phase >= DrainPhase::Closing {
            listener.stop();
        }
        listener.drains.advance(phase);
    }
}

impl Served {
    fn start(worker: &Rc<Worker>, index: usize, slot: &Arc<ListenerSlot>) -> Self {
        let drains = ChainDrains::new(&slot.config, worker.drain_time);
        let id = ListenerId(index as u32);
        worker.listeners.borrow_mut().insert(id, drains.clone());
        let accepting = slot.sockets.as_ref().and_then(|sockets| {
            let socket = sockets.sockets.get(worker.local.index)?;
            Some(accept::start(worker, id, socket, drains.clone()))
        });
        Self { id, slot: slot.clone(), accepting, drains }
    }

    /// Closes this worker's socket once its queue is empty; connections go on.
    fn stop(&mut self) {
        if let Some(accepting) = self.accepting.take() {
            accepting.stop();
        }
    }

    /// Stops, and gives the connections time to end.
    fn retire(&mut self, worker: &Worker) {
        self.stop();
        self.drains.retire();
        worker.listeners.borrow_mut().remove(&self.id);
    }
}

/// Closes what has been idle for too long, once a second.
pub(super) async fn sweep(worker: Rc<Worker>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        if worker.local.overload.as_ref().is_some_and(|overload| overload.shrink_heap.is_saturated()) {
            worker.local.bufs.shrink();
        }
        let view = worker.local.view();
        let now = Instant::now();
        for cluster in view.clusters() {
            cluster.sweep(&worker.local, now);
        }
        refresh_keys(&worker);
    }
}
