use super::*;
use crate::ads::fixture::{names, resource, set, strings};

struct Client {
    machine: Delta,
    nonces: u64,
}

impl Client {
    fn new(type_url: TypeUrl) -> Self {
        Self { machine: Delta::new(type_url), nonces: 0 }
    }

    fn subscribed<const N: usize>(type_url: TypeUrl, names: [&str; N], set: &TypeSnapshot) -> Self {
        let mut client = Self::new(type_url);
        client.subscribe(names, set);
        client
    }

    /// A client that holds all of `set`.
    fn holding<const N: usize>(type_url: TypeUrl, names: [&str; N], set: &TypeSnapshot) -> Self {
        let mut client = Self::subscribed(type_url, names, set);
        client.poll(set).unwrap();
        assert_eq!(client.answer(None, set), Received::Acked);
        client
    }

    fn subscribe<const N: usize>(&mut self, names: [&str; N], set: &TypeSnapshot) -> Received {
        self.machine.request(&DeltaRequest { subscribe: strings(names), ..DeltaRequest::default() }, set)
    }

    fn unsubscribe<const N: usize>(&mut self, names: [&str; N], set: &TypeSnapshot) -> Received {
        self.machine.request(&DeltaRequest { unsubscribe: strings(names), ..DeltaRequest::default() }, set)
    }

    fn answer(&mut self, error: Option<&str>, set: &TypeSnapshot) -> Received {
        let error = error.map(str::to_owned);
        self.machine
            .request(&DeltaRequest { nonce: self.nonces.to_string(), error, ..DeltaRequest::default() }, set)
    }

    fn poll(&mut self, set: &TypeSnapshot) -> Option<Push> {
        if self.machine.in_flight() || self.machine.due(set) == Due::Nothing {
            return None;
        }
        self.nonces += 1;
        Some(self.machine.respond(set, Nonce(self.nonces), true))
    }
}

fn removed(push: &Push) -> Vec<&str> {
    push.removed.iter().map(|name| &**name).collect()
}

const CDS: TypeUrl = TypeUrl::CLUSTER;
const EDS: TypeUrl = TypeUrl::ENDPOINTS;

#[test]
fn the_first_wildcard_request_is_answered_even_with_nothing() {
    let none = set([]);
    for names in [&[][..], &["*"][..]] {
        let mut client = Client::new(CDS);
        let subscribe = names.iter().map(|n| n.to_string()).collect();
        client.machine.request(&DeltaRequest { subscribe, ..DeltaRequest::default() }, &none);
        let push = client.poll(&none).expect("an empty answer");
        assert!(push.resources.is_empty() && push.removed.is_empty());
        client.answer(None, &none);
        assert!(client.poll(&none).is_none());
    }
}

#[test]
fn only_differences_are_sent() {
    let one = set([("a", "1"), ("b", "1"), ("c", "1")]);
    let mut client = Client::holding(CDS, [], &one);
    assert!(client.poll(&one).is_none());
    let two = set([("a", "1"), ("b", "2"), ("d", "1")]);
    let push = client.poll(&two).unwrap();
    assert_eq!(names(&push.resources), ["b", "d"]);
    assert_eq!(removed(&push), ["c"]);
    assert_eq!(push.version, two.version());
    client.answer(None, &two);
    assert!(client.poll(&two).is_none());
}

#[test]
fn one_response_is_in_flight_and_the_latest_state_follows() {
    let one = set([("a", "1")]);
    let mut client = Client::subscribed(CDS, [], &one);
    client.poll(&one).unwrap();
    let three = set([("a", "3"), ("b", "1")]);
    assert!(client.poll(&set([("a", "2")])).is_none());
    client.answer(None, &three);
    assert_eq!(names(&client.poll(&three).unwrap().resources), ["a", "b"]);
}

#[test]
fn subscription_changes_count_whatever_the_nonce() {
    let one = set([("a", "1"), ("b", "1"), ("c", "1")]);
    let mut client = Client::holding(EDS, ["a"], &one);
    for (nonce, name) in [("999", "b"), ("no number", "c")] {
        let request =
            DeltaRequest { subscribe: strings([name]), nonce: nonce.to_owned(), ..DeltaRequest::default() };
        client.machine.request(&request, &one);
        assert_eq!(names(&client.poll(&one).unwrap().resources), [name]);
        client.answer(None, &one);
    }
    let unsubscribe =
        DeltaRequest { unsubscribe: strings(["a"]), nonce: "0".into(), ..DeltaRequest::default() };
    assert_eq!(client.machine.request(&unsubscribe, &one), Received::Stale);
    assert!(client.poll(&set([("a", "2"), ("b", "1"), ("c", "1")])).is_none());
}

#[test]
fn a_stale_nonce_answers_nothing() {
    let one = set([("a", "1")]);
    let mut client = Client::holding(CDS, [], &one);
    client.poll(&set([("a", "2")])).unwrap();
    let stale = DeltaRequest { nonce: "1".into(), ..DeltaRequest::default() };
    assert_eq!(client.machine.request(&stale, &one), Received::Stale);
    assert!(client.machine.in_flight());
}

#[test]
fn an_ack_may_carry_a_subscription() {
    let one = set([("a", "1"), ("b", "1")]);
    let mut client = Client::subscribed(EDS, ["a"], &one);
    client.poll(&one).unwrap();
    let both = DeltaRequest { subscribe: strings(["b"]), nonce: "1".into(), ..DeltaRequest::default() };
    assert_eq!(client.machine.request(&both, &one), Received::Acked);
    assert_eq!(names(&client.poll(&one).unwrap().resources), ["b"]);
}

#[test]
fn subscribing_again_is_answered_though_nothing_changed() {
    let one = set([("a", "1"), ("b", "1")]);
    let mut client = Client::holding(EDS, ["a", "b"], &one);
    client.subscribe(["a"], &one);
    assert_eq!(names(&client.poll(&one).unwrap().resources), ["a"]);
    client.answer(None, &one);
    assert!(client.poll(&one).is_none());

    let mut wild = Client::holding(CDS, [], &one);
    wild.subscribe(["b"], &one);
    assert_eq!(names(&wild.poll(&one).unwrap().resources), ["b"]);
    wild.answer(None, &one);
    wild.subscribe(["*"], &one);
    assert_eq!(names(&wild.poll(&one).unwrap().resources), ["a", "b"]);
}

#[test]
fn missing_names_are_answered_with_a_removal_and_remembered() {
    let none = set([]);
    let mut client = Client::subscribed(EDS, ["a"], &none);
    let push = client.poll(&none).unwrap();
    assert_eq!(removed(&push), ["a"]);
    client.answer(None, &none);
    assert!(client.poll(&none).is_none(), "once is enough");
    client.subscribe(["a"], &none);
    assert_eq!(removed(&client.poll(&none).unwrap()), ["a"], "unless it asks again");
    client.answer(None, &none);
    assert_eq!(names(&client.poll(&set([("a", "1")])).unwrap().resources), ["a"]);
}

#[test]
fn unsubscribing_needs_no_answer_and_forgets() {
    let one = set([("a", "1"), ("b", "1")]);
    let mut client = Client::holding(EDS, ["a", "b"], &one);
    client.unsubscribe(["a", "never subscribed"], &one);
    assert!(client.poll(&set([("a", "2"), ("b", "1")])).is_none());
    client.subscribe(["a"], &one);
    assert_eq!(names(&client.poll(&one).unwrap().resources), ["a"]);
}

#[test]
fn unsubscribing_while_the_resource_is_in_flight_forgets_it_too() {
    let one = set([("a", "1")]);
    let mut client = Client::subscribed(EDS, ["a"], &one);
    client.poll(&one).unwrap();
    client.unsubscribe(["a"], &one);
    client.answer(None, &one);
    assert!(client.poll(&one).is_none());
    client.subscribe(["a"], &one);
    assert_eq!(names(&client.poll(&one).unwrap().resources), ["a"]);
}

#[test]
fn unsubscribing_a_name_that_the_wildcard_covers_is_answered() {
    let one = set([("a", "1")]);
    let mut client = Client::holding(CDS, ["*", "a", "missing"], &one);
    client.unsubscribe(["a", "missing"], &one);
    let push = client.poll(&one).unwrap();
    assert_eq!(names(&push.resources), ["a"]);
    assert_eq!(removed(&push), ["missing"]);
    client.answer(None, &one);
    client.unsubscribe(["a"], &one);
    assert!(client.poll(&one).is_none(), "it was not subscribed by name any more");
}

#[test]
fn unsubscribing_the_wildcard_leaves_the_names() {
    let one = set([("a", "1"), ("b", "1")]);
    let mut client = Client::holding(CDS, ["*", "a"], &one);
    client.unsubscribe(["*"], &one);
    let two = set([("a", "2"), ("b", "2")]);
    assert_eq!(names(&client.poll(&two).unwrap().resources), ["a"]);
    client.answer(None, &two);
    assert!(client.poll(&set([("a", "2")])).is_none(), "b is no business of the client any more");
}

#[test]
fn the_legacy_wildcard_ends_only_by_name() {
    let one = set([("a", "1")]);
    let mut client = Client::holding(CDS, [], &one);
    client.subscribe(["a"], &one);
    client.poll(&one).unwrap();
    client.answer(None, &one);
    let two = set([("a", "1"), ("b", "1")]);
    assert_eq!(names(&client.poll(&two).unwrap().resources), ["b"]);
    client.answer(None, &two);
    client.unsubscribe(["*"], &two);
    client.unsubscribe(["a"], &two);
    client.machine.request(&DeltaRequest::default(), &two);
    assert!(client.poll(&set([("a", "9"), ("b", "9")])).is_none(), "empty means no change, not everything");
}

#[test]
fn a_nack_is_not_repeated_until_something_of_it_changes() {
    let bad = set([("a", "bad"), ("b", "1")]);
    let mut client = Client::subscribed(CDS, [], &bad);
    client.poll(&bad).unwrap();
    assert_eq!(client.answer(Some("a is bad"), &bad), Received::Nacked("a is bad".into()));
    assert!(client.poll(&bad).is_none());
    assert!(client.machine.is_rejected(&bad));

    // A stranger goes through alone.
    let more = set([("a", "bad"), ("b", "1"), ("c", "1")]);
    assert_eq!(names(&client.poll(&more).unwrap().resources), ["c"]);
    client.answer(None, &more);
    assert!(client.poll(&more).is_none());

    // A fix brings the companions along: nobody knows what of the response was kept.
    let good = set([("a", "2"), ("b", "1"), ("c", "1")]);
    assert_eq!(names(&client.poll(&good).unwrap().resources), ["a", "b"]);
    client.answer(None, &good);
    assert!(!client.machine.is_rejected(&good));
    assert!(client.poll(&good).is_none());
}

#[test]
fn two_refused_responses_are_two_matters() {
    let one = set([("a", "bad")]);
    let mut client = Client::subscribed(CDS, [], &one);
    client.poll(&one).unwrap();
    client.answer(Some("a"), &one);
    let two = set([("a", "bad"), ("b", "bad")]);
    client.poll(&two).unwrap();
    client.answer(Some("b"), &two);
    let three = set([("a", "bad"), ("b", "2")]);
    assert_eq!(names(&client.poll(&three).unwrap().resources), ["b"]);
    client.answer(None, &three);
    assert!(client.poll(&three).is_none());
    assert!(client.machine.is_rejected(&three));
}

#[test]
fn taking_the_refused_resource_out_unblocks_its_companions() {
    let bad = set([("a", "bad"), ("b", "1")]);
    let mut client = Client::subscribed(CDS, [], &bad);
    client.poll(&bad).unwrap();
    client.answer(Some("a is bad"), &bad);
    let good = set([("b", "1")]);
    let push = client.poll(&good).unwrap();
    assert_eq!(names(&push.resources), ["b"]);
    assert!(push.removed.is_empty(), "a was never accepted");
}

#[test]
fn a_refused_removal_is_not_repeated() {
    let one = set([("a", "1"), ("b", "1")]);
    let mut client = Client::holding(CDS, [], &one);
    let two = set([("b", "1")]);
    assert_eq!(removed(&client.poll(&two).unwrap()), ["a"]);
    client.answer(Some("no"), &two);
    assert!(client.poll(&two).is_none());
}

#[test]
fn a_refused_resource_is_sent_to_a_client_that_asks_for_it_again() {
    let bad = set([("a", "bad")]);
    let mut client = Client::subscribed(EDS, ["a"], &bad);
    client.poll(&bad).unwrap();
    client.answer(Some("no"), &bad);
    client.subscribe(["a"], &bad);
    assert_eq!(names(&client.poll(&bad).unwrap().resources), ["a"]);
}

fn reconnect(type_url: TypeUrl, subscribe: &[&str], held: &[(&str, &str)], set: &TypeSnapshot) -> Client {
    let mut client = Client::new(type_url);
    let version =
        |(name, content): &(&str, &str)| (name.to_string(), resource(name, content).version.to_string());
    let request = DeltaRequest {
        subscribe: subscribe.iter().map(|n| n.to_string()).collect(),
        initial_versions: held.iter().map(version).collect(),
        ..DeltaRequest::default()
    };
    client.machine.request(&request, set);
    client
}

#[test]
fn a_reconnecting_client_is_sent_only_what_differs() {
    let now = set([("same", "1"), ("changed", "2"), ("new", "1")]);
    let held = [("same", "1"), ("changed", "1"), ("vanished", "1")];
    let mut client = reconnect(CDS, &[], &held, &now);
    let push = client.poll(&now).unwrap();
    assert_eq!(names(&push.resources), ["changed", "new"]);
    assert_eq!(removed(&push), ["vanished"]);

    let mut client = reconnect(EDS, &["same", "changed", "new", "vanished", "missing"], &held, &now);
    let push = client.poll(&now).unwrap();
    assert_eq!(names(&push.resources), ["changed", "new"]);
    assert_eq!(removed(&push), ["missing", "vanished"]);
}

#[test]
fn a_reconnecting_client_that_is_up_to_date_is_sent_no_resource() {
    let now = set([("a", "1")]);
    let mut named = reconnect(EDS, &["a"], &[("a", "1")], &now);
    assert!(named.poll(&now).is_none());
    assert!(named.machine.is_settled("a", &now));
    let mut wild = reconnect(CDS, &[], &[("a", "1")], &now);
    let push = wild.poll(&now).unwrap();
    assert!(
        push.resources.is_empty() && push.removed.is_empty(),
        "an empty answer shows that the stream works"
    );
}

#[test]
fn versions_from_elsewhere_never_match() {
    let now = set([("a", "1")]);
    let mut client = Client::new(EDS);
    let request = DeltaRequest {
        subscribe: strings(["a"]),
        initial_versions: vec![("a".into(), "v17".into())],
        ..DeltaRequest::default()
    };
    client.machine.request(&request, &now);
    assert_eq!(names(&client.poll(&now).unwrap().resources), ["a"]);
}

#[test]
fn initial_versions_count_on_the_first_request_only() {
    let one = set([("a", "1"), ("b", "1")]);
    let mut client = Client::holding(EDS, ["a"], &one);
    let request = DeltaRequest {
        subscribe: strings(["b"]),
        initial_versions: vec![("b".into(), resource("b", "1").version.to_string())],
        ..DeltaRequest::default()
    };
    client.machine.request(&request, &one);
    assert_eq!(names(&client.poll(&one).unwrap().resources), ["b"]);
}

#[test]
fn what_is_held_but_not_subscribed_is_nobodys_business() {
    let now = set([]);
    let mut client = reconnect(EDS, &["a"], &[("a", "1"), ("b", "1")], &now);
    assert_eq!(removed(&client.poll(&now).unwrap()), ["a"]);
}

#[test]
fn removals_wait_for_their_time_and_answers_do_not() {
    let one = set([("a", "1"), ("b", "1")]);
    let mut client = Client::holding(CDS, [], &one);
    let two = set([("b", "1")]);
    assert_eq!(client.machine.due(&two), Due::Removals);
    client.subscribe(["missing"], &two);
    assert_eq!(client.machine.due(&two), Due::Updates);
    let push = client.machine.respond(&two, Nonce(2), false);
    assert_eq!(removed(&push), ["missing"]);
    client.nonces = 2;
    client.answer(None, &two);
    assert_eq!(client.machine.due(&two), Due::Removals);
}

#[test]
fn an_invalidated_resource_is_sent_again_once() {
    let one = set([("a", "1"), ("b", "1")]);
    let mut client = Client::subscribed(EDS, ["a"], &one);
    client.poll(&one).unwrap();
    client.machine.invalidate("a");
    client.machine.invalidate("b");
    client.answer(None, &one);
    assert_eq!(names(&client.poll(&one).unwrap().resources), ["a"]);
    client.answer(None, &one);
    assert!(client.poll(&one).is_none());
}
