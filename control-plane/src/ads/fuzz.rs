//! What clients of discovery may say, in any order, while resources change: each variant brings every client that
//! accepts what it is sent to what it has asked for, and then is silent.

#![allow(clippy::unwrap_used, clippy::panic, reason = "what does not hold is a finding")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::delta::{Delta, DeltaRequest};
use super::fixture::snapshot;
use super::sotw::{Sotw, SotwRequest};
use super::stream::{Next, Policy, Stream};
use super::subscription::Subscription;
use super::{Machine, Push, Received};
use crate::snapshot::{NodeSnapshot, TypeUrl, Version};

const TYPES: [TypeUrl; 4] = [TypeUrl::CLUSTER, TypeUrl::ENDPOINTS, TypeUrl::LISTENER, TypeUrl::ROUTE];
const NAMES: [&str; 3] = ["a", "b", "c"];
const CONTENTS: [&str; 3] = ["1", "2", "3"];
/// More than that many responses without a change in between are no progress.
const MOST: usize = 100;

/// The variant, then steps of two bytes.
pub fn streams(data: &[u8]) {
    match data.split_first() {
        Some((b'd', steps)) => play(&mut Client::<Delta>::new(), steps),
        Some((_, steps)) => play(&mut Client::<Sotw>::new(), steps),
        None => {}
    }
}

/// The requests of a variant.
trait Speak: Machine {
    const IS_DELTA: bool;

    /// Asks for names, those that are new and those that are not wanted any more, or only answers.
    fn say(names: &[String], added: &[String], dropped: &[String]) -> Self::Request;
    fn answering(request: Self::Request, nonce: &str, error: Option<&str>) -> Self::Request;
}

impl Speak for Sotw {
    const IS_DELTA: bool = false;

    fn say(names: &[String], _: &[String], _: &[String]) -> SotwRequest {
        SotwRequest { names: names.to_vec(), ..SotwRequest::default() }
    }

    fn answering(request: SotwRequest, nonce: &str, error: Option<&str>) -> SotwRequest {
        SotwRequest { nonce: nonce.to_owned(), error: error.map(str::to_owned), ..request }
    }
}

impl Speak for Delta {
    const IS_DELTA: bool = true;

    fn say(_: &[String], added: &[String], dropped: &[String]) -> DeltaRequest {
        let (subscribe, unsubscribe) = (added.to_vec(), dropped.to_vec());
        DeltaRequest { subscribe, unsubscribe, ..DeltaRequest::default() }
    }

    fn answering(request: DeltaRequest, nonce: &str, error: Option<&str>) -> DeltaRequest {
        DeltaRequest { nonce: nonce.to_owned(), error: error.map(str::to_owned), ..request }
    }
}

/// What a client knows of a type.
#[derive(Default)]
struct Side {
    names: Vec<String>,
    subscription: Subscription,
    held: BTreeMap<Arc<str>, Version>,
    /// Sent and not answered.
    open: Option<Push>,
    last_nonce: String,
}

struct Client<M> {
    stream: Stream<M>,
    now: Instant,
    sides: BTreeMap<TypeUrl, Side>,
    last_nonce: u64,
    /// It has refused something: nobody knows what it holds.
    refused: bool,
}

fn play<M: Speak>(client: &mut Client<M>, steps: &[u8]) {
    let mut world = World::default();
    let mut snapshot = world.snapshot();
    for step in steps.chunks_exact(2).take(100) {
        let [kind, of] = [step[0], step[1]];
        let type_url = TYPES[usize::from(of % 4)].clone();
        match kind % 8 {
            0 | 1 => {
                world.change(usize::from(of % 4), usize::from(of / 4 % 3), usize::from(of / 16 % 4));
                snapshot = world.snapshot();
            }
            2 => client.ask(&type_url, of / 4, &snapshot),
            3 => drop(client.step(&snapshot)),
            4 => client.answer(&type_url, None, &snapshot),
            5 if of & 0x80 != 0 => client.answer(&type_url, Some("refused"), &snapshot),
            5 => client.answer(&type_url, None, &snapshot),
            6 => client.babble(&type_url, of / 4, &snapshot),
            _ => client.now += Duration::from_millis(u64::from(of) * 50),
        }
    }
    client.finish(&snapshot);
}

/// Contents by type and name.
#[derive(Default)]
struct World([BTreeMap<&'static str, &'static str>; 4]);

impl World {
    fn change(&mut self, of: usize, name: usize, content: usize) {
        match CONTENTS.get(content) {
            Some(content) => drop(self.0[of].insert(NAMES[name], content)),
            None => drop(self.0[of].remove(NAMES[name])),
        }
    }

    fn snapshot(&self) -> NodeSnapshot {
        let [clusters, endpoints, listeners, routes] = self
            .0
            .each_ref()
            .map(|named| named.iter().map(|(name, content)| (*name, *content)).collect::<Vec<_>>());
        snapshot(&clusters, &endpoints, &listeners, &routes)
    }
}

impl<M: Speak> Client<M> {
    fn new() -> Self {
        let (stream, now) = (Stream::new(Policy::default()), Instant::now());
        Self { stream, now, sides: BTreeMap::new(), last_nonce: 0, refused: false }
    }

    /// Asks for the names that `mask` says, everything perhaps among them, in place of those before.
    fn ask(&mut self, type_url: &TypeUrl, mask: u8, snapshot: &NodeSnapshot) {
        let complete = type_url.is_complete_set();
        let mut names: Vec<String> =
            (0..3).filter(|bit| mask & (1 << bit) != 0).map(|bit| NAMES[bit].to_owned()).collect();
        names.extend((complete && mask & 8 != 0).then(|| "*".to_owned()));
        let side = self.sides.entry(type_url.clone()).or_default();
        let dropped: Vec<String> = side.names.iter().filter(|name| !names.contains(name)).cloned().collect();
        let added: Vec<String> = names.iter().filter(|name| !side.names.contains(name)).cloned().collect();
        let mut request = M::say(&names, &added, &dropped);
        if M::IS_DELTA {
            side.subscription.subscribe(&added, complete);
            for name in &dropped {
                side.subscription.unsubscribe(name, complete);
                // What is named again because of `*` is told again.
                side.held.remove(name.as_str());
            }
        } else {
            // A new list of names answers what came last.
            request = M::answering(request, &side.last_nonce, None);
            side.accept(false, complete);
            side.subscription.replace(&names, complete);
        }
        side.names = names;
        let Side { subscription, held, .. } = side;
        held.retain(|name, _| subscription.covers(name));
        self.stream.request(type_url, &request, snapshot).unwrap();
    }

    /// Answers what was sent of a type, if anything was.
    fn answer(&mut self, type_url: &TypeUrl, error: Option<&str>, snapshot: &NodeSnapshot) {
        let Some(side) = self.sides.get_mut(type_url) else { return };
        let Some(nonce) = side.open.as_ref().map(|push| push.nonce.to_string()) else { return };
        match error {
            None => side.accept(M::IS_DELTA, type_url.is_complete_set()),
            Some(_) => drop(side.open.take()),
        }
        self.refused |= error.is_some();
        let request = M::answering(M::say(&side.names, &[], &[]), &nonce, error);
        let received = self.stream.request(type_url, &request, snapshot).unwrap();
        match error {
            None => assert_eq!(received, Received::Acked),
            Some(error) => assert_eq!(received, Received::Nacked(error.to_owned())),
        }
    }

    /// Answers what was never sent, or long ago.
    fn babble(&mut self, type_url: &TypeUrl, of: u8, snapshot: &NodeSnapshot) {
        let Some(side) = self.sides.get(type_url) else { return };
        let nonce = match of % 4 {
            0 => "x".to_owned(),
            1 => (self.last_nonce + 1).to_string(),
            2 => "-1".to_owned(),
            _ => "18446744073709551616".to_owned(),
        };
        let error = Some("never").filter(|_| of & 4 != 0);
        let request = M::answering(M::say(&side.names, &[], &[]), &nonce, error);
        let received = self.stream.request(type_url, &request, snapshot).unwrap();
        assert!(matches!(received, Received::Stale | Received::Subscribed), "{received:?}");
    }

    /// Takes the next response. Whether there was one; else until when there is none.
    fn step(&mut self, snapshot: &NodeSnapshot) -> Result<(), Option<Instant>> {
        let push = match self.stream.next(snapshot, self.now) {
            Next::Send(push) => push,
            Next::Wait(until) => return Err(until),
        };
        let set = snapshot.get(&push.type_url);
        assert!(push.nonce.0 > self.last_nonce, "{:?} again", push.nonce);
        self.last_nonce = push.nonce.0;
        let Some(side) = self.sides.get_mut(&push.type_url) else { panic!("nobody asked for {push:?}") };
        assert!(side.open.is_none(), "a second response before the first is answered: {push:?}");
        for resource in &push.resources {
            assert!(side.subscription.covers(&resource.name), "nobody asked for {:?}", resource.name);
            // In state of the world what vanished is repeated until nothing refers to it.
            assert!(!M::IS_DELTA || set.get(&resource.name) == Some(resource), "{resource:?} is no more");
        }
        assert!(push.removed.iter().all(|name| set.get(name).is_none()), "removed, but there: {push:?}");
        side.last_nonce = push.nonce.to_string();
        side.open = Some(push);
        Ok(())
    }

    /// Accepts everything until nothing more comes.
    fn finish(&mut self, snapshot: &NodeSnapshot) {
        for _ in 0..MOST {
            for type_url in TYPES {
                self.answer(&type_url, None, snapshot);
            }
            match self.step(snapshot) {
                Ok(()) => {}
                Err(Some(until)) => self.now = until.max(self.now),
                Err(None) => return self.check(snapshot),
            }
        }
        panic!("still not silent after {MOST} responses");
    }

    fn check(&self, snapshot: &NodeSnapshot) {
        for (type_url, side) in self.sides.iter().filter(|_| !self.refused) {
            let set = snapshot.get(type_url);
            let wanted: BTreeMap<Arc<str>, Version> =
                side.subscription.wanted(set).map(|r| (Arc::clone(&r.name), r.version)).collect();
            let mut held = side.held.clone();
            if !M::IS_DELTA && !type_url.is_complete_set() {
                // Nobody can tell it that these are gone.
                held.retain(|name, _| set.get(name).is_some());
            }
            assert_eq!(held, wanted, "{type_url}");
        }
    }
}

impl Side {
    /// What came last counts now.
    fn accept(&mut self, is_delta: bool, complete: bool) {
        let Some(push) = self.open.take() else { return };
        if complete && !is_delta {
            self.held.clear();
        }
        for resource in &push.resources {
            self.held.insert(Arc::clone(&resource.name), resource.version);
        }
        for name in &push.removed {
            self.held.remove(name);
        }
        let Self { subscription, held, .. } = self;
        held.retain(|name, _| subscription.covers(name));
    }
}
