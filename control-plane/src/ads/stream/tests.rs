use super::*;
use crate::ads::delta::{Delta, DeltaRequest};
use crate::ads::fixture::{names, snapshot, strings};
use crate::ads::sotw::{Sotw, SotwRequest};

/// A client of either variant that answers by hand.
struct Client<M: Machine> {
    stream: Stream<M>,
    now: Instant,
    last: BTreeMap<TypeUrl, Nonce>,
    /// Names a state-of-the-world client repeats in every request.
    names: BTreeMap<TypeUrl, Vec<String>>,
}

trait Speak: Machine {
    fn ask(names: &[String]) -> Self::Request;
    fn answer(names: &[String], nonce: Nonce, error: Option<&str>) -> Self::Request;
}

impl Speak for Sotw {
    fn ask(names: &[String]) -> SotwRequest {
        SotwRequest { names: names.to_vec(), ..SotwRequest::default() }
    }
    fn answer(names: &[String], nonce: Nonce, error: Option<&str>) -> SotwRequest {
        let error = error.map(str::to_owned);
        SotwRequest { names: names.to_vec(), nonce: nonce.to_string(), error, ..SotwRequest::default() }
    }
}

impl Speak for Delta {
    fn ask(names: &[String]) -> DeltaRequest {
        DeltaRequest { subscribe: names.to_vec(), ..DeltaRequest::default() }
    }
    fn answer(_: &[String], nonce: Nonce, error: Option<&str>) -> DeltaRequest {
        DeltaRequest { nonce: nonce.to_string(), error: error.map(str::to_owned), ..DeltaRequest::default() }
    }
}

const CDS: TypeUrl = TypeUrl::CLUSTER;
const EDS: TypeUrl = TypeUrl::ENDPOINTS;
const LDS: TypeUrl = TypeUrl::LISTENER;
const RDS: TypeUrl = TypeUrl::ROUTE;

impl<M: Speak> Client<M> {
    fn new() -> Self {
        let policy = Policy { max_types: 6, max_names: 3, ..Policy::default() };
        Self {
            stream: Stream::new(policy),
            now: Instant::now(),
            last: BTreeMap::new(),
            names: BTreeMap::new(),
        }
    }

    /// A client of all four types that has accepted everything in `snapshot`.
    fn with_all(snapshot: &NodeSnapshot) -> Self {
        let mut client = Self::new();
        for (parent, child) in [(CDS, EDS), (LDS, RDS)] {
            client.ask(parent.clone(), [], snapshot);
            client.accept_next(&parent, snapshot);
            let children = snapshot.get(&parent).iter().map(|r| r.name.to_string()).collect::<Vec<_>>();
            client.subscribe(child.clone(), children, snapshot);
            client.accept_next(&child, snapshot);
        }
        assert!(client.next(snapshot).is_none());
        client
    }

    fn subscribe(&mut self, type_url: TypeUrl, names: Vec<String>, snapshot: &NodeSnapshot) {
        self.stream.request(&type_url, &M::ask(&names), snapshot).unwrap();
        self.names.insert(type_url, names);
    }

    fn ask<const N: usize>(&mut self, type_url: TypeUrl, names: [&str; N], snapshot: &NodeSnapshot) {
        self.subscribe(type_url, strings(names), snapshot);
    }

    fn next(&mut self, snapshot: &NodeSnapshot) -> Option<Push> {
        match self.stream.next(snapshot, self.now) {
            Next::Send(push) => {
                self.last.insert(push.type_url.clone(), push.nonce);
                Some(push)
            }
            Next::Wait(_) => None,
        }
    }

    fn answer(&mut self, type_url: &TypeUrl, error: Option<&str>, snapshot: &NodeSnapshot) {
        let names = self.names.get(type_url).cloned().unwrap_or_default();
        let request = M::answer(&names, self.last[type_url], error);
        self.stream.request(type_url, &request, snapshot).unwrap();
    }

    fn expect(&mut self, type_url: &TypeUrl, snapshot: &NodeSnapshot) -> Push {
        let push = self.next(snapshot).unwrap_or_else(|| panic!("{type_url} is due"));
        assert_eq!(push.type_url, *type_url);
        push
    }

    fn accept_next(&mut self, type_url: &TypeUrl, snapshot: &NodeSnapshot) -> Push {
        let push = self.expect(type_url, snapshot);
        self.answer(type_url, None, snapshot);
        push
    }

    fn accept(&mut self, type_url: &TypeUrl, snapshot: &NodeSnapshot) {
        self.answer(type_url, None, snapshot);
    }
}

fn old() -> NodeSnapshot {
    snapshot(&[("a", "1")], &[("a", "1")], &[("in", "1")], &[("in", "->a")])
}

/// Cluster a is replaced by b, and the route moves.
fn moved() -> NodeSnapshot {
    snapshot(&[("b", "1")], &[("b", "1")], &[("in", "2")], &[("in", "->b")])
}

fn removed(push: &Push) -> Vec<&str> {
    push.removed.iter().map(|name| &**name).collect()
}

#[test]
fn sotw_makes_before_it_breaks() {
    let (old, new) = (old(), moved());
    let mut client = Client::<Sotw>::with_all(&old);
    let push = client.expect(&CDS, &new);
    assert_eq!(names(&push.resources), ["a", "b"], "the old cluster stays for now");
    assert!(client.next(&new).is_none(), "listeners wait for clusters to be accepted");
    client.accept(&CDS, &new);
    assert!(client.next(&new).is_none(), "and for the endpoints that the client must now ask for");
    client.ask_again_for_endpoints(["a", "b"], &new);
    let push = client.expect(&EDS, &new);
    assert_eq!(names(&push.resources), ["b"]);
    assert!(client.next(&new).is_none());
    client.accept(&EDS, &new);
    client.expect(&LDS, &new);
    client.expect(&RDS, &new);
    assert!(client.next(&new).is_none());
    client.accept(&LDS, &new);
    assert!(client.next(&new).is_none(), "the old cluster stays until the routes have moved");
    client.accept(&RDS, &new);
    let push = client.accept_next(&CDS, &new);
    assert_eq!(names(&push.resources), ["b"]);
    assert!(client.next(&new).is_none());
}

impl Client<Sotw> {
    fn ask_again_for_endpoints<const N: usize>(&mut self, names: [&str; N], snapshot: &NodeSnapshot) {
        self.names.insert(EDS, strings(names));
        self.answer(&EDS, None, snapshot);
    }
}

#[test]
fn delta_makes_before_it_breaks() {
    let (old, new) = (old(), moved());
    let mut client = Client::<Delta>::with_all(&old);
    let push = client.accept_next(&CDS, &new);
    assert_eq!((names(&push.resources), removed(&push)), (vec!["b"], vec![]));
    assert!(client.next(&new).is_none());
    client.ask(EDS, ["b"], &new);
    let push = client.accept_next(&EDS, &new);
    assert_eq!((names(&push.resources), removed(&push)), (vec!["b"], vec![]));
    client.accept_next(&LDS, &new);
    client.accept_next(&RDS, &new);
    let push = client.accept_next(&CDS, &new);
    assert_eq!((names(&push.resources), removed(&push)), (vec![], vec!["a"]));
    let push = client.accept_next(&EDS, &new);
    assert_eq!(removed(&push), ["a"]);
    assert!(client.next(&new).is_none());
}

/// A client that was away while cluster a was replaced asks for clusters first, as proxies do, and only then for the
/// listeners and routes that still lead to a.
#[test]
fn what_vanished_between_two_streams_goes_last_in_delta() {
    let (old, new) = (old(), moved());
    let mut client = Client::<Delta>::new();
    client.resume(&CDS, [], &old, &new);
    let push = client.accept_next(&CDS, &new);
    assert_eq!((names(&push.resources), removed(&push)), (vec!["b"], vec![]), "a must stay for now");
    assert!(client.next(&new).is_none());
    client.resume(&EDS, ["a", "b"], &old, &new);
    client.accept_next(&EDS, &new);
    client.resume(&LDS, [], &old, &new);
    client.accept_next(&LDS, &new);
    assert!(client.next(&new).is_none(), "the routes are not moved yet");
    client.resume(&RDS, ["in"], &old, &new);
    client.accept_next(&RDS, &new);
    assert_eq!(removed(&client.accept_next(&CDS, &new)), ["a"]);
}

#[test]
fn what_vanished_between_two_streams_goes_late_if_nothing_else_is_asked_for() {
    let (old, new) = (old(), moved());
    let mut client = Client::<Delta>::new();
    client.resume(&CDS, [], &old, &new);
    client.accept_next(&CDS, &new);
    assert!(client.next(&new).is_none());
    client.now += Policy::default().patience;
    assert_eq!(removed(&client.accept_next(&CDS, &new)), ["a"]);
}

/// In state of the world an answer without a name takes it away: there is none until the routes have moved, and then
/// the client names the new cluster.
#[test]
fn what_vanished_between_two_streams_is_not_taken_from_who_names_it() {
    let new = moved();
    let resuming = |names: &[String]| SotwRequest {
        version: "of-an-earlier-stream".to_owned(),
        names: names.to_vec(),
        ..SotwRequest::default()
    };
    let mut client = Client::<Sotw>::new();
    for (type_url, name) in [(CDS, "a"), (EDS, "a"), (LDS, "in"), (RDS, "in")] {
        let names = strings([name]);
        client.stream.request(&type_url, &resuming(&names), &new).unwrap();
        client.names.insert(type_url.clone(), names);
        if type_url == CDS || type_url == EDS {
            assert!(client.next(&new).is_none(), "cluster a must stay for now");
        }
    }
    client.accept_next(&LDS, &new);
    client.expect(&RDS, &new);
    client.names.insert(CDS, strings(["b"]));
    client.ask(CDS, ["b"], &new);
    let push = client.expect(&CDS, &new);
    assert_eq!(names(&push.resources), ["b"]);

    // Who keeps naming it is told in the end, and who comes for the first time at once.
    let mut stubborn = Client::<Sotw>::new();
    stubborn.stream.request(&CDS, &resuming(&strings(["a"])), &new).unwrap();
    assert!(stubborn.next(&new).is_none());
    stubborn.now += Policy::default().patience;
    assert!(stubborn.expect(&CDS, &new).resources.is_empty());
    let mut newcomer = Client::<Sotw>::new();
    newcomer.ask(CDS, ["a"], &new);
    assert!(newcomer.expect(&CDS, &new).resources.is_empty());
}

impl Client<Delta> {
    /// Asks on a new stream, holding what `old` has.
    fn resume<const N: usize>(
        &mut self,
        type_url: &TypeUrl,
        names: [&str; N],
        old: &NodeSnapshot,
        snapshot: &NodeSnapshot,
    ) {
        let held = old.get(type_url).iter().map(|r| (r.name.to_string(), r.version.to_string()));
        let request = DeltaRequest {
            subscribe: strings(names),
            initial_versions: held.collect(),
            ..DeltaRequest::default()
        };
        self.stream.request(type_url, &request, snapshot).unwrap();
    }
}

#[test]
fn a_nack_holds_up_no_other_type() {
    let (old, new) = (old(), snapshot(&[("a", "bad")], &[("a", "2")], &[("in", "2")], &[("in", "2")]));
    let mut client = Client::<Delta>::with_all(&old);
    client.expect(&CDS, &new);
    client.answer(&CDS, Some("bad"), &new);
    client.accept_next(&EDS, &new);
    client.accept_next(&LDS, &new);
    client.accept_next(&RDS, &new);
    assert!(client.next(&new).is_none(), "and is not sent again");
}

#[test]
fn nothing_is_removed_while_the_client_sticks_to_what_refers_to_it() {
    let (old, new) = (old(), moved());
    let mut client = Client::<Delta>::with_all(&old);
    client.accept_next(&CDS, &new);
    client.ask(EDS, ["b"], &new);
    client.accept_next(&EDS, &new);
    client.accept_next(&LDS, &new);
    client.expect(&RDS, &new);
    client.answer(&RDS, Some("no such thing"), &new);
    assert!(client.next(&new).is_none());
    client.now += Duration::from_secs(3600);
    assert!(client.next(&new).is_none(), "its old route still leads to cluster a");

    let fixed = snapshot(&[("b", "1")], &[("b", "1")], &[("in", "2")], &[("in", "->b, fixed")]);
    client.accept_next(&RDS, &fixed);
    assert_eq!(removed(&client.accept_next(&CDS, &fixed)), ["a"]);
}

#[test]
fn a_client_that_never_answers_holds_up_others_only_so_long() {
    let (old, new) = (old(), snapshot(&[("a", "2")], &[("a", "1")], &[("in", "2")], &[("in", "->a")]));
    let mut client = Client::<Sotw>::with_all(&old);
    client.expect(&CDS, &new);
    // The endpoints go again, in sequence, because their cluster changed.
    client.accept_next(&EDS, &new);
    let Next::Wait(Some(wake)) = client.stream.next(&new, client.now) else {
        panic!("listeners have a deadline")
    };
    client.now = wake;
    client.expect(&LDS, &new);
}

#[test]
fn a_client_that_never_asks_for_endpoints_gets_its_listeners_late() {
    let new = old();
    let mut client = Client::<Delta>::new();
    client.ask(CDS, [], &new);
    client.ask(LDS, [], &new);
    client.accept_next(&CDS, &new);
    assert!(client.next(&new).is_none());
    client.now += Policy::default().patience;
    client.accept_next(&LDS, &new);
}

#[test]
fn types_that_are_not_asked_for_do_not_count() {
    let (old, new) = (old(), moved());
    let mut clusters_only = Client::<Sotw>::new();
    clusters_only.ask(CDS, [], &old);
    clusters_only.accept_next(&CDS, &old);
    assert_eq!(names(&clusters_only.expect(&CDS, &new).resources), ["b"], "nothing here can refer to a");

    let mut routes_first = Client::<Sotw>::new();
    routes_first.ask(LDS, ["in"], &old);
    routes_first.accept_next(&LDS, &old);
    routes_first.ask(RDS, ["in"], &old);
    routes_first.accept_next(&RDS, &old);
    routes_first.ask(CDS, ["a"], &old);
    routes_first.accept_next(&CDS, &old);
    routes_first.ask(EDS, ["a"], &old);
    routes_first.accept_next(&EDS, &old);
}

#[test]
fn listeners_are_removed_without_waiting() {
    let old = old();
    let new = snapshot(&[("a", "1")], &[("a", "1")], &[], &[]);
    let mut client = Client::<Delta>::with_all(&old);
    assert_eq!(removed(&client.accept_next(&LDS, &new)), ["in"]);
    assert_eq!(removed(&client.accept_next(&RDS, &new)), ["in"]);
}

fn a_changed_parent_has_its_children_sent_again<M: Speak>() {
    let old = old();
    let new = snapshot(&[("a", "2")], &[("a", "1")], &[("in", "2")], &[("in", "->a")]);
    let mut client = Client::<M>::with_all(&old);
    client.expect(&CDS, &new);
    let push = client.expect(&EDS, &new);
    assert_eq!(names(&push.resources), ["a"]);
    client.accept(&CDS, &new);
    client.accept(&EDS, &new);
    client.expect(&LDS, &new);
    let push = client.expect(&RDS, &new);
    assert_eq!(names(&push.resources), ["in"]);
    client.accept(&LDS, &new);
    client.accept(&RDS, &new);
    assert!(client.next(&new).is_none());
}

#[test]
fn a_changed_parent_has_its_children_sent_again_sotw() {
    a_changed_parent_has_its_children_sent_again::<Sotw>();
}

#[test]
fn a_changed_parent_has_its_children_sent_again_delta() {
    a_changed_parent_has_its_children_sent_again::<Delta>();
}

#[test]
fn children_are_sent_again_even_if_the_parent_went_before_they_were_asked_for() {
    // A delta client reconnects: its endpoints are current, the cluster is not, and the cluster's request comes first.
    let old = old();
    let new = snapshot(&[("a", "2")], &[("a", "1")], &[], &[]);
    let held = |t: &TypeUrl| {
        old.get(t).iter().map(|r| (r.name.to_string(), r.version.to_string())).collect::<Vec<_>>()
    };
    let mut client = Client::<Delta>::new();
    let request = DeltaRequest { initial_versions: held(&CDS), ..DeltaRequest::default() };
    client.stream.request(&CDS, &request, &new).unwrap();
    client.expect(&CDS, &new);
    let request =
        DeltaRequest { subscribe: strings(["a"]), initial_versions: held(&EDS), ..DeltaRequest::default() };
    client.stream.request(&EDS, &request, &new).unwrap();
    assert_eq!(names(&client.expect(&EDS, &new).resources), ["a"]);
}

#[test]
fn endpoints_alone_go_alone() {
    let old = old();
    let new = snapshot(&[("a", "1")], &[("a", "2")], &[("in", "1")], &[("in", "->a")]);
    let mut client = Client::<Sotw>::with_all(&old);
    client.accept_next(&EDS, &new);
    assert!(client.next(&new).is_none());
}

#[test]
fn endless_churn_does_not_starve_what_comes_last() {
    let states: Vec<_> = (0..100)
        .map(|i| {
            let content = format!("{i}");
            snapshot(&[("a", &content)], &[("a", "1")], &[("in", &content)], &[("in", "->a")])
        })
        .collect();
    let mut client = Client::<Delta>::with_all(&states[0]);
    let mut listeners = 0;
    for state in &states[1..] {
        // The client answers for clusters only after the next change.
        while let Some(push) = client.next(state) {
            listeners += usize::from(push.type_url == LDS);
            if push.type_url != CDS {
                client.accept(&push.type_url, state);
            }
        }
        client.now += Duration::from_secs(1);
        client.accept(&CDS, state);
    }
    assert!(listeners >= 10, "{listeners} listener updates in 100 s");
}

#[test]
fn unknown_types_are_served_with_nothing_and_harm_nobody() {
    let snapshot = old();
    let unknown = TypeUrl::new("type.googleapis.com/envoy.service.runtime.v3.Runtime");
    let mut sotw = Client::<Sotw>::new();
    sotw.ask(unknown.clone(), ["rtds"], &snapshot);
    assert!(sotw.next(&snapshot).is_none());
    sotw.ask(CDS, [], &snapshot);
    sotw.accept_next(&CDS, &snapshot);

    let mut delta = Client::<Delta>::new();
    delta.ask(unknown.clone(), ["rtds"], &snapshot);
    assert_eq!(removed(&delta.accept_next(&unknown, &snapshot)), ["rtds"]);
}

#[test]
fn types_and_names_have_limits() {
    let snapshot = old();
    let mut client = Client::<Sotw>::new();
    for i in 0..6 {
        client.ask(TypeUrl::new(&format!("type.googleapis.com/t{i}")), [], &snapshot);
    }
    let excess = client.stream.request(&CDS, &SotwRequest::default(), &snapshot);
    assert_eq!(excess, Err(Excess::Types(6)));

    let mut client = Client::<Delta>::new();
    client.ask(EDS, ["a", "b", "c"], &snapshot);
    let more = DeltaRequest { subscribe: strings(["d"]), ..DeltaRequest::default() };
    assert_eq!(client.stream.request(&EDS, &more, &snapshot), Err(Excess::Names { type_url: EDS, max: 3 }));
}

#[test]
fn what_the_client_brought_is_current_without_a_push() {
    let snapshot = old();
    let mut client = Client::<Sotw>::new();
    let version = snapshot.get(&CDS).version();
    let request = SotwRequest { version: version.to_string(), ..SotwRequest::default() };
    client.stream.request(&CDS, &request, &snapshot).unwrap();
    assert_eq!(client.stream.current(&CDS, &snapshot), Some(version));
    assert_eq!(client.stream.current(&CDS, &moved()), None);
    assert_eq!(client.stream.current(&LDS, &snapshot), None);
}
