//! All types of one stream: which may be sent when. Pure; time comes in as an argument.
//!
//! Make before break: clusters, then their endpoints, then (once the client has accepted both) listeners, then
//! routes; what vanished goes last, when nothing that the client holds can still refer to it. A step waits for the
//! ACK of the steps before it, never for longer than [`Policy::patience`]: a NACK, or a client that never asks for
//! what a step needs, holds up nobody else for good. Only types that the client asked for on this stream count.
//! A changed cluster has its endpoints sent again, a changed listener its routes: a client that warms the new one
//! waits for them although they did not change (Envoy issue 13009).

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::machine::{Due, Machine, Nonce, Push, Received};
use crate::snapshot::{NodeSnapshot, Reference, Resource, TypeUrl};

/// Bounds and waits of a stream.
#[derive(Debug, Clone)]
pub struct Policy {
    /// How long a step of an update waits for the steps before it.
    pub patience: Duration,
    /// How many types a client may ask for on one stream.
    pub max_types: usize,
    /// How many names a client may ask for of one type.
    pub max_names: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self { patience: Duration::from_secs(5), max_types: 32, max_names: 100_000 }
    }
}

/// A client that wants more than [`Policy`] allows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Excess {
    /// Too many types.
    #[error("more than {0} resource types on one stream")]
    Types(usize),
    /// Too many names.
    #[error("more than {max} names of type {type_url} on one stream")]
    Names {
        /// The type.
        type_url: TypeUrl,
        /// The limit.
        max: usize,
    },
}

/// The answer to "what now?".
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Send this, and ask again.
    Send(Push),
    /// Nothing to send before this instant, unless a request or a snapshot comes first.
    Wait(Option<Instant>),
}

/// The machines of one stream, and the order among them.
#[derive(Debug)]
pub struct Stream<M> {
    policy: Policy,
    machines: BTreeMap<TypeUrl, M>,
    /// Since when a type has had something to say and could not.
    blocked: BTreeMap<TypeUrl, Instant>,
    /// Resources whose parent was sent before the client first asked for their type.
    early: BTreeSet<Reference>,
    last_nonce: u64,
}

/// Whether a type that has something to say may.
enum Gate {
    Open,
    /// Until what it waits for is settled, or patience ends.
    Waiting,
    /// Until what it waits for is settled.
    Held,
}

impl<M: Machine> Stream<M> {
    /// A stream before its first request.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            machines: BTreeMap::new(),
            blocked: BTreeMap::new(),
            early: BTreeSet::new(),
            last_nonce: 0,
        }
    }

    /// Takes a request.
    ///
    /// # Errors
    /// When the client wants more than the policy allows; the stream is then of no more use.
    pub fn request(
        &mut self,
        type_url: &TypeUrl,
        request: &M::Request,
        snapshot: &NodeSnapshot,
    ) -> Result<Received, Excess> {
        let known = self.machines.len();
        let first = !self.machines.contains_key(type_url);
        if first && known >= self.policy.max_types {
            return Err(Excess::Types(self.policy.max_types));
        }
        let machine = self.machines.entry(type_url.clone()).or_insert_with(|| M::new(type_url.clone()));
        let received = machine.request(request, snapshot.get(type_url));
        if machine.names() > self.policy.max_names {
            return Err(Excess::Names { type_url: type_url.clone(), max: self.policy.max_names });
        }
        if first {
            let early = self.early.iter().filter(|child| child.type_url == *type_url);
            early.for_each(|child| machine.invalidate(&child.name));
            self.early.retain(|child| child.type_url != *type_url);
        }
        Ok(received)
    }

    /// What to do now.
    pub fn next(&mut self, snapshot: &NodeSnapshot, now: Instant) -> Next {
        let mut wake = None;
        for type_url in self.machines.keys().cloned().collect::<Vec<_>>() {
            match self.consider(&type_url, snapshot, now) {
                Next::Send(push) => return Next::Send(push),
                Next::Wait(until) => wake = wake.into_iter().chain(until).min(),
            }
        }
        Next::Wait(wake)
    }

    /// The version of what the client has of a type, if nothing more is due for it and it did not refuse.
    pub fn current(&self, type_url: &TypeUrl, snapshot: &NodeSnapshot) -> Option<crate::snapshot::Version> {
        let set = snapshot.get(type_url);
        let machine = self.machines.get(type_url)?;
        let quiet = machine.due(set) == Due::Nothing && !machine.in_flight() && !machine.is_rejected(set);
        quiet.then(|| machine.version(set))
    }

    fn consider(&mut self, type_url: &TypeUrl, snapshot: &NodeSnapshot, now: Instant) -> Next {
        let Some(due) = self.idle_due(type_url, snapshot) else {
            self.blocked.remove(type_url);
            return Next::Wait(None);
        };
        let since = *self.blocked.entry(type_url.clone()).or_insert(now);
        let deadline = since + self.policy.patience;
        let out_of_patience = now >= deadline;
        let removals = self.removal_gate(type_url, snapshot);
        let gate = match due {
            Due::Updates => self.update_gate(type_url, snapshot),
            Due::Removals | Due::Nothing => self.removal_gate(type_url, snapshot),
        };
        match gate {
            Gate::Held => {
                self.blocked.remove(type_url);
                Next::Wait(None)
            }
            Gate::Waiting if !out_of_patience => Next::Wait(Some(deadline)),
            Gate::Waiting | Gate::Open => {
                let overdue = due == Due::Removals && out_of_patience;
                Next::Send(self.send(type_url, snapshot, matches!(removals, Gate::Open) || overdue))
            }
        }
    }

    /// What is due for a type, unless nothing is or its last response awaits its answer.
    fn idle_due(&self, type_url: &TypeUrl, snapshot: &NodeSnapshot) -> Option<Due> {
        let machine = self.machines.get(type_url).filter(|m| !m.in_flight())?;
        Some(machine.due(snapshot.get(type_url))).filter(|due| *due != Due::Nothing)
    }

    fn send(&mut self, type_url: &TypeUrl, snapshot: &NodeSnapshot, with_removals: bool) -> Push {
        self.last_nonce += 1;
        self.blocked.remove(type_url);
        let machine = self.machines.entry(type_url.clone()).or_insert_with(|| M::new(type_url.clone()));
        let push = machine.respond(snapshot.get(type_url), Nonce(self.last_nonce), with_removals);
        push.changed.iter().for_each(|parent| self.invalidate_children(parent, snapshot));
        push
    }

    fn invalidate_children(&mut self, parent: &Resource, snapshot: &NodeSnapshot) {
        let existing = |child: &&Reference| snapshot.get(&child.type_url).get(&child.name).is_some();
        for child in parent.children.iter().filter(existing) {
            match self.machines.get_mut(&child.type_url) {
                Some(machine) => machine.invalidate(&child.name),
                None => drop(self.early.insert(child.clone())),
            }
        }
    }

    /// Whether updates of a type may go: not before what they refer to.
    fn update_gate(&self, type_url: &TypeUrl, snapshot: &NodeSnapshot) -> Gate {
        let clusters_accepted = || self.is_accepted(&TypeUrl::CLUSTER, snapshot);
        let endpoints_accepted = || self.is_accepted(&TypeUrl::ENDPOINTS, snapshot);
        let endpoints_known = || self.has_children(&TypeUrl::CLUSTER, snapshot);
        let open = match type_url {
            t if *t == TypeUrl::ENDPOINTS => self.is_sent(&TypeUrl::CLUSTER, snapshot),
            t if *t == TypeUrl::LISTENER => clusters_accepted() && endpoints_accepted() && endpoints_known(),
            t if *t == TypeUrl::ROUTE => {
                clusters_accepted()
                    && endpoints_accepted()
                    && endpoints_known()
                    && self.is_sent(&TypeUrl::LISTENER, snapshot)
            }
            _ => true,
        };
        if open { Gate::Open } else { Gate::Waiting }
    }

    /// Whether removals of a type may go: not before nothing refers to it. Listeners are referred to by nobody; the
    /// rest waits for all others, and while a client sticks to an old listener or route because it refused the new
    /// one, for longer than any patience.
    fn removal_gate(&self, type_url: &TypeUrl, snapshot: &NodeSnapshot) -> Gate {
        let order = [TypeUrl::CLUSTER, TypeUrl::ENDPOINTS, TypeUrl::LISTENER, TypeUrl::ROUTE];
        if *type_url == TypeUrl::LISTENER || !order.contains(type_url) {
            return Gate::Open;
        }
        let resuming = self.machines.get(type_url).is_some_and(Machine::is_resuming);
        if resuming && !self.machines.contains_key(&TypeUrl::LISTENER) {
            // It has yet to ask for what may refer to what it brought along.
            return Gate::Waiting;
        }
        let refused = |t: &TypeUrl| self.machines.get(t).is_some_and(|m| m.is_rejected(snapshot.get(t)));
        if [TypeUrl::CLUSTER, TypeUrl::LISTENER, TypeUrl::ROUTE].iter().any(refused) {
            return Gate::Held;
        }
        let mut others = order.iter().filter(|t| *t != type_url);
        let ready =
            others.all(|t| self.is_accepted(t, snapshot)) && self.has_children(&TypeUrl::LISTENER, snapshot);
        if ready { Gate::Open } else { Gate::Waiting }
    }

    /// Whether the client has been sent all updates of a type, or does not ask for it here.
    fn is_sent(&self, type_url: &TypeUrl, snapshot: &NodeSnapshot) -> bool {
        self.machines.get(type_url).is_none_or(|m| m.due(snapshot.get(type_url)) < Due::Updates)
    }

    /// Whether the client has answered for all of them too.
    fn is_accepted(&self, type_url: &TypeUrl, snapshot: &NodeSnapshot) -> bool {
        self.is_sent(type_url, snapshot) && self.machines.get(type_url).is_none_or(|m| !m.in_flight())
    }

    /// Whether the client has answered for all that its resources of a type have it ask for. A client that refused
    /// the parents need never ask.
    fn has_children(&self, parent: &TypeUrl, snapshot: &NodeSnapshot) -> bool {
        let Some(machine) = self.machines.get(parent) else { return true };
        if machine.is_rejected(snapshot.get(parent)) {
            return true;
        }
        let mut children = machine.wanted(snapshot.get(parent)).flat_map(|r| r.children.iter());
        children.all(|child| {
            let set = snapshot.get(&child.type_url);
            let settled = self.machines.get(&child.type_url).is_some_and(|m| m.is_settled(&child.name, set));
            settled || set.get(&child.name).is_none()
        })
    }
}

#[cfg(test)]
mod tests;
