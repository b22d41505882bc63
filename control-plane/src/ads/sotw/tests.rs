use super::*;
use crate::ads::fixture::{names, set, strings};

struct Client {
    machine: Sotw,
    nonces: u64,
    last: Option<Push>,
}

impl Client {
    fn new(type_url: TypeUrl) -> Self {
        Self { machine: Sotw::new(type_url), nonces: 0, last: None }
    }

    fn first<const N: usize>(type_url: TypeUrl, names: [&str; N], set: &TypeSnapshot) -> Self {
        let mut client = Self::new(type_url);
        let request = SotwRequest { names: strings(names), ..SotwRequest::default() };
        assert_eq!(client.machine.request(&request, set), Received::Subscribed);
        client
    }

    /// What is sent, if updates are due.
    fn poll(&mut self, set: &TypeSnapshot) -> Option<Push> {
        if self.machine.in_flight() || self.machine.due(set) != Due::Updates {
            return None;
        }
        Some(self.send(set, false))
    }

    fn send(&mut self, set: &TypeSnapshot, with_removals: bool) -> Push {
        self.nonces += 1;
        let push = self.machine.respond(set, Nonce(self.nonces), with_removals);
        self.last = Some(push.clone());
        push
    }

    fn answer<const N: usize>(
        &mut self,
        names: [&str; N],
        error: Option<&str>,
        set: &TypeSnapshot,
    ) -> Received {
        let push = self.last.clone().unwrap();
        let version = if error.is_some() { String::new() } else { push.version.to_string() };
        let nonce = push.nonce.to_string();
        let error = error.map(str::to_owned);
        self.machine.request(&SotwRequest { version, names: strings(names), nonce, error }, set)
    }
}

const CDS: TypeUrl = TypeUrl::CLUSTER;
const EDS: TypeUrl = TypeUrl::ENDPOINTS;

#[test]
fn the_first_wildcard_request_is_answered_even_with_nothing() {
    let none = set([]);
    let mut client = Client::first(CDS, [], &none);
    let push = client.poll(&none).expect("an empty answer");
    assert!(push.resources.is_empty());
    assert_eq!(client.answer([], None, &none), Received::Acked);
    assert_eq!(client.machine.due(&none), Due::Nothing);
}

#[test]
fn one_response_is_in_flight_and_the_latest_state_follows() {
    let (one, two, three) = (set([("a", "1")]), set([("a", "2")]), set([("a", "3")]));
    let mut client = Client::first(CDS, [], &one);
    client.poll(&one).unwrap();
    assert!(client.poll(&two).is_none());
    assert!(client.poll(&three).is_none());
    client.answer([], None, &three);
    let push = client.poll(&three).unwrap();
    assert_eq!(push.version, three.version());
}

#[test]
fn an_unchanged_set_is_not_sent_again() {
    let one = set([("a", "1")]);
    let mut client = Client::first(CDS, [], &one);
    client.poll(&one).unwrap();
    client.answer([], None, &one);
    assert!(client.poll(&set([("a", "1")])).is_none());
}

#[test]
fn stale_nonces_are_ignored_with_all_they_say() {
    let one = set([("a", "1")]);
    let mut client = Client::first(EDS, ["a"], &one);
    let first = client.poll(&one).unwrap();
    client.answer(["a"], None, &one);
    let two = set([("a", "2"), ("b", "1")]);
    client.poll(&two).unwrap();

    let nonce = first.nonce.to_string();
    let stale = SotwRequest { names: strings(["a", "b"]), nonce, ..SotwRequest::default() };
    assert_eq!(client.machine.request(&stale, &two), Received::Stale);
    assert!(client.machine.in_flight());
    assert_eq!(client.machine.names(), 1, "the subscription of a stale request does not count");
    let garbage = SotwRequest { nonce: "no number".into(), ..stale };
    assert_eq!(client.machine.request(&garbage, &two), Received::Stale);

    assert_eq!(client.answer(["a", "b"], None, &two), Received::Acked);
    assert_eq!(names(&client.poll(&two).unwrap().resources), ["b"]);
}

#[test]
fn a_nonce_before_any_response_is_void() {
    let one = set([("a", "1")]);
    let mut client = Client::new(CDS);
    let request = SotwRequest { nonce: "17".into(), ..SotwRequest::default() };
    assert_eq!(client.machine.request(&request, &one), Received::Subscribed);
    assert!(client.poll(&one).is_some());
}

#[test]
fn an_empty_nonce_changes_the_subscription_but_answers_nothing() {
    let one = set([("a", "1"), ("b", "1")]);
    let mut client = Client::first(EDS, ["a"], &one);
    client.poll(&one).unwrap();
    let hasty = SotwRequest { names: strings(["a", "b"]), ..SotwRequest::default() };
    assert_eq!(client.machine.request(&hasty, &one), Received::Subscribed);
    assert!(client.machine.in_flight());
    client.answer(["a", "b"], None, &one);
    assert_eq!(names(&client.poll(&one).unwrap().resources), ["b"]);
}

#[test]
fn a_nack_is_known_by_its_error_and_not_repeated_until_something_changes() {
    let bad = set([("a", "1"), ("b", "bad")]);
    for kind in [CDS, EDS] {
        let mut client = Client::first(kind.clone(), ["a", "b"], &bad);
        let push = client.poll(&bad).unwrap();
        // The version of a first NACK is empty; one that repeats the refused version is a NACK too.
        let request = SotwRequest {
            version: push.version.to_string(),
            names: strings(["a", "b"]),
            nonce: push.nonce.to_string(),
            error: Some("b is bad".into()),
        };
        assert_eq!(client.machine.request(&request, &bad), Received::Nacked("b is bad".into()));
        assert!(client.machine.is_rejected(&bad));
        assert_eq!(client.machine.due(&bad), Due::Nothing, "{kind}: no hot loop");

        let good = set([("a", "1"), ("b", "2")]);
        assert!(!client.machine.is_rejected(&good));
        let push = client.poll(&good).unwrap();
        assert_eq!(
            names(&push.resources),
            ["a", "b"],
            "{kind}: nobody knows what of the refused response was kept"
        );
        assert_eq!(client.answer(["a", "b"], None, &good), Received::Acked);
        assert_eq!(client.machine.due(&good), Due::Nothing);
    }
}

#[test]
fn a_refused_resource_does_not_hold_back_others() {
    let one = set([("a", "bad")]);
    let mut client = Client::first(EDS, ["a", "b"], &one);
    client.poll(&one).unwrap();
    client.answer(["a", "b"], Some("no"), &one);
    let two = set([("a", "bad"), ("b", "1")]);
    let push = client.poll(&two).unwrap();
    assert_eq!(names(&push.resources), ["b"]);
    assert_eq!(client.answer(["a", "b"], None, &two), Received::Acked);
    assert!(client.machine.is_rejected(&two), "a is still refused");
    assert_eq!(client.machine.due(&two), Due::Nothing);
}

#[test]
fn going_back_to_the_accepted_state_after_a_nack_is_sent() {
    let (good, bad) = (set([("a", "1")]), set([("a", "bad")]));
    let mut client = Client::first(CDS, [], &good);
    client.poll(&good).unwrap();
    client.answer([], None, &good);
    client.poll(&bad).unwrap();
    client.answer([], Some("no"), &bad);
    assert_eq!(client.poll(&good).unwrap().version, good.version());
}

#[test]
fn a_request_may_repeat_the_nonce_to_change_names() {
    let one = set([("a", "1"), ("b", "1"), ("c", "1")]);
    let mut client = Client::first(EDS, ["a"], &one);
    client.poll(&one).unwrap();
    assert_eq!(client.answer(["a"], None, &one), Received::Acked);
    assert_eq!(client.answer(["a", "b"], None, &one), Received::Subscribed);
    let push = client.poll(&one).unwrap();
    assert_eq!(names(&push.resources), ["b"]);
    assert_eq!(push.version, set([("a", "1"), ("b", "1")]).version());
}

#[test]
fn a_name_that_is_added_again_is_sent_again() {
    let one = set([("a", "1"), ("b", "1")]);
    for kind in [EDS, CDS] {
        let mut client = Client::first(kind.clone(), ["a", "b"], &one);
        client.poll(&one).unwrap();
        client.answer(["a", "b"], None, &one);
        client.answer(["a"], None, &one);
        assert!(client.poll(&one).is_none_or(|push| names(&push.resources) == ["a"]), "{kind}");
        if client.machine.in_flight() {
            client.answer(["a"], None, &one);
        }
        client.answer(["a", "b"], None, &one);
        let push = client.poll(&one).unwrap_or_else(|| panic!("{kind}: b must be sent again"));
        assert!(names(&push.resources).contains(&"b"));
    }
}

#[test]
fn piecemeal_types_send_only_what_changed() {
    let one = set([("a", "1"), ("b", "1")]);
    let mut client = Client::first(EDS, ["a", "b"], &one);
    client.poll(&one).unwrap();
    client.answer(["a", "b"], None, &one);
    let two = set([("a", "1"), ("b", "2"), ("unwanted", "1")]);
    let push = client.poll(&two).unwrap();
    assert_eq!(names(&push.resources), ["b"]);
    assert_eq!(names(&push.changed), ["b"]);
}

#[test]
fn complete_sets_send_everything_and_say_what_changed() {
    let one = set([("a", "1"), ("b", "1")]);
    let mut client = Client::first(CDS, [], &one);
    assert_eq!(names(&client.poll(&one).unwrap().changed), ["a", "b"]);
    client.answer([], None, &one);
    let push = client.poll(&set([("a", "1"), ("b", "2"), ("c", "1")])).unwrap();
    assert_eq!(names(&push.resources), ["a", "b", "c"]);
    assert_eq!(names(&push.changed), ["b", "c"]);
}

#[test]
fn missing_names_are_remembered_and_pushed_when_they_appear() {
    let none = set([]);
    let mut client = Client::first(EDS, ["a"], &none);
    assert_eq!(
        client.machine.due(&none),
        Due::Nothing,
        "state of the world cannot say that a name does not exist"
    );
    assert_eq!(names(&client.poll(&set([("a", "1")])).unwrap().resources), ["a"]);
}

#[test]
fn a_vanished_piecemeal_resource_is_no_news() {
    let one = set([("a", "1")]);
    let mut client = Client::first(EDS, ["a"], &one);
    client.poll(&one).unwrap();
    client.answer(["a"], None, &one);
    assert_eq!(client.machine.due(&set([])), Due::Nothing);
    assert_eq!(
        client.machine.due(&set([("a", "1")])),
        Due::Nothing,
        "the client never heard that it was gone"
    );
    assert_eq!(client.machine.due(&set([("a", "2")])), Due::Updates);
}

#[test]
fn vanished_members_of_a_complete_set_stay_until_removals_may_go() {
    let old = set([("a", "1"), ("b", "1")]);
    let mut client = Client::first(CDS, [], &old);
    client.poll(&old).unwrap();
    client.answer([], None, &old);

    let new = set([("b", "2"), ("c", "1")]);
    let push = client.poll(&new).unwrap();
    assert_eq!(names(&push.resources), ["a", "b", "c"]);
    client.answer([], None, &new);
    assert_eq!(client.machine.due(&new), Due::Removals);
    let push = client.send(&new, true);
    assert_eq!(names(&push.resources), ["b", "c"]);
    assert_eq!(push.version, new.version());
    assert!(push.changed.is_empty());
    client.answer([], None, &new);
    assert_eq!(client.machine.due(&new), Due::Nothing);
}

#[test]
fn only_removals_leave_the_set_as_it_is_until_they_may_go() {
    let old = set([("a", "1"), ("b", "1")]);
    let mut client = Client::first(CDS, [], &old);
    client.poll(&old).unwrap();
    client.answer([], None, &old);
    let new = set([("b", "1")]);
    assert_eq!(client.machine.due(&new), Due::Removals);
    // Back again before it went.
    assert_eq!(client.machine.due(&old), Due::Nothing);
}

#[test]
fn a_refused_removal_is_not_repeated() {
    let (old, new) = (set([("a", "1"), ("b", "1")]), set([("b", "1")]));
    let mut client = Client::first(CDS, [], &old);
    client.poll(&old).unwrap();
    client.answer([], None, &old);
    client.send(&new, true);
    client.answer([], Some("no"), &new);
    assert_eq!(client.machine.due(&new), Due::Nothing);
    assert!(client.machine.is_rejected(&new));
}

#[test]
fn taking_a_refused_resource_out_is_sent_at_once() {
    let good = set([("a", "1")]);
    let mut client = Client::first(CDS, [], &good);
    client.poll(&good).unwrap();
    client.answer([], None, &good);
    let bad = set([("a", "1"), ("x", "bad")]);
    client.poll(&bad).unwrap();
    client.answer([], Some("x is bad"), &bad);
    // The client never accepted x, so nothing can refer to it.
    let push = client.poll(&good).unwrap();
    assert_eq!(names(&push.resources), ["a"]);
}

#[test]
fn a_reconnecting_client_that_is_up_to_date_is_sent_nothing_of_complete_sets() {
    let one = set([("a", "1")]);
    let mut client = Client::new(CDS);
    let request = SotwRequest { version: one.version().to_string(), ..SotwRequest::default() };
    client.machine.request(&request, &one);
    assert_eq!(client.machine.due(&one), Due::Nothing);
    assert!(client.machine.is_settled("a", &one));
    let two = set([("a", "1"), ("b", "1")]);
    assert_eq!(names(&client.poll(&two).unwrap().changed), ["b"]);
}

#[test]
fn a_reconnecting_client_is_sent_what_it_names_whatever_version_it_claims() {
    // It may have dropped and taken up names in between: the version says nothing about single names.
    let one = set([("a", "1")]);
    for kind in [EDS, CDS] {
        let mut client = Client::new(kind);
        let request = SotwRequest {
            version: one.version().to_string(),
            names: strings(["a"]),
            ..SotwRequest::default()
        };
        client.machine.request(&request, &one);
        assert_eq!(names(&client.poll(&one).unwrap().resources), ["a"]);
    }
}

#[test]
fn a_named_complete_set_is_answered_even_when_names_are_missing() {
    let one = set([("a", "1")]);
    let mut client = Client::first(TypeUrl::LISTENER, ["missing"], &one);
    assert!(client.poll(&one).unwrap().resources.is_empty(), "absence tells the client at once");
    client.answer(["missing"], None, &one);
    assert!(client.poll(&one).is_none());
    assert_eq!(names(&client.poll(&set([("missing", "1")])).unwrap().resources), ["missing"]);
}

#[test]
fn an_invalidated_resource_is_sent_again_once() {
    let one = set([("a", "1"), ("b", "1")]);
    let mut client = Client::first(EDS, ["a", "b"], &one);
    client.poll(&one).unwrap();
    // Even while the response that carries it is in flight.
    client.machine.invalidate("a");
    client.machine.invalidate("not subscribed");
    client.answer(["a", "b"], None, &one);
    assert_eq!(names(&client.poll(&one).unwrap().resources), ["a"]);
    client.answer(["a", "b"], None, &one);
    assert!(client.poll(&one).is_none());
}

#[test]
fn an_empty_list_for_a_piecemeal_type_is_owed_nothing() {
    let one = set([("a", "1")]);
    let client = Client::first(EDS, [], &one);
    assert_eq!(client.machine.due(&one), Due::Nothing);
}
