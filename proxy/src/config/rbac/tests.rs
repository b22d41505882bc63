use super::*;
use crate::base::matcher::HeaderMatchKind;
use crate::observe::cel::Dialect;
use crate::observe::test_record::Exchange;
use crate::stats::registry::Registry;
use crate::stats::view::Value;

/// A caller with one header and one name.
struct Caller {
    header: Option<&'static str>,
    path: Option<&'static str>,
    name: Option<&'static str>,
}

const NOBODY: Caller = Caller { header: None, path: None, name: None };

impl Facts for Caller {
    fn header(&self, matcher: &HeaderMatch) -> bool {
        matcher.matches(self.header.map(str::as_bytes))
    }

    fn path(&self) -> Option<&[u8]> {
        self.path.map(str::as_bytes)
    }

    fn metadata(&self, matcher: &MetadataMatch) -> bool {
        matcher.matches(None)
    }

    fn destination(&self) -> SocketAddr {
        ([10, 0, 0, 1], 8080).into()
    }

    fn peer(&self) -> SocketAddr {
        ([10, 0, 0, 2], 5).into()
    }

    fn client(&self) -> SocketAddr {
        ([192, 168, 0, 3], 5).into()
    }

    fn server_name(&self) -> &str {
        "a.example"
    }

    fn authenticated(&self, matcher: Option<&StringMatch>) -> bool {
        self.name.is_some_and(|name| matcher.is_none_or(|matcher| matcher.matches(name.as_bytes())))
    }

    fn holds(&self, condition: &Program) -> bool {
        condition.holds(&Exchange::example().record())
    }

    fn caller(&self) -> Option<&str> {
        self.name
    }
}

fn exact(text: &str) -> StringMatch {
    StringMatch::Exact(text.as_bytes().to_vec())
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn policy(name: &str, permission: Rule, principal: Rule) -> Policy {
    Policy {
        name: name.into(),
        permissions: vec![permission],
        principals: vec![principal],
        condition: None,
        stats: None,
    }
}

fn rbac(action: Action, policies: Vec<Policy>) -> (RbacFilter, Registry) {
    let registry = Registry::new();
    let stats = RbacStats::new(&registry, "rbac.", "rbac.");
    let rules = Rbac { rules: Some(Rules { action, policies }), shadow: None };
    let (enforced, shadow) = (Some(Keys::new("", "enforced")), Keys::new("dry.", "shadow"));
    (RbacFilter { rules, stats, told: Default::default(), enforced, shadow }, registry)
}

fn check<'r>(filter: &'r RbacFilter, caller: &Caller, shard: &Shard) -> Access<'r> {
    filter.rules.check(caller, filter, shard).access()
}

#[test]
fn an_action_says_what_a_match_means() {
    let only_named = || vec![policy("named", Rule::Always, Rule::Authenticated(Some(exact("me"))))];
    let me = Caller { name: Some("me"), ..NOBODY };
    for (action, matched, unmatched) in [
        (Action::Allow, Access::Allowed, Access::Denied(None)),
        (Action::Deny, Access::Denied(Some("named")), Access::Allowed),
        (Action::Log, Access::Allowed, Access::Allowed),
    ] {
        let (rbac, registry) = rbac(action, only_named());
        let shard = registry.shard();
        assert_eq!(check(&rbac, &me, &shard), matched, "{action:?}");
        assert_eq!(check(&rbac, &NOBODY, &shard), unmatched, "{action:?}");
    }
    let (empty, registry) = rbac(Action::Allow, Vec::new());
    assert_eq!(
        check(&empty, &me, &registry.shard()),
        Access::Denied(None),
        "nothing is allowed by no policy"
    );
}

#[test]
fn a_policy_wants_a_permission_and_a_principal() {
    let rules = vec![policy("p", Rule::Path(exact("/a")), Rule::Authenticated(None))];
    let (rbac, registry) = rbac(Action::Allow, rules);
    let shard = registry.shard();
    let caller = |path, name| Caller { header: None, path, name };
    assert_eq!(check(&rbac, &caller(Some("/a"), Some("x")), &shard), Access::Allowed);
    assert_eq!(check(&rbac, &caller(Some("/b"), Some("x")), &shard), Access::Denied(None));
    assert_eq!(check(&rbac, &caller(Some("/a"), None), &shard), Access::Denied(None));
    assert_eq!(
        check(&rbac, &caller(None, Some("x")), &shard),
        Access::Denied(None),
        "a connection has no path"
    );
}

#[test]
fn every_kind_of_rule() {
    let header = |invert| HeaderMatch {
        name: "x".into(),
        kind: HeaderMatchKind::Value(exact("1")),
        invert,
        missing_as_empty: false,
    };
    let caller = Caller { header: Some("1"), path: Some("/a"), name: Some("me") };
    let yes = [
        Rule::Always,
        Rule::All(Vec::new()),
        Rule::All(vec![Rule::Always, Rule::Always]),
        Rule::Any(vec![Rule::Not(Box::new(Rule::Always)), Rule::Always]),
        Rule::Header(header(false)),
        Rule::Path(exact("/a")),
        Rule::DestinationIp(net("10.0.0.1/32")),
        Rule::DestinationPort(8080, 8081),
        Rule::ServerName(exact("a.example")),
        Rule::Authenticated(None),
        Rule::Authenticated(Some(exact("me"))),
        Rule::DirectRemoteIp(net("10.0.0.0/8")),
        Rule::RemoteIp(net("192.168.0.0/16")),
    ];
    for rule in &yes {
        assert!(rule.matches(&caller), "{rule:?}");
    }
    let no = [
        Rule::Not(Box::new(Rule::Always)),
        Rule::Any(Vec::new()),
        Rule::All(vec![Rule::Always, Rule::Not(Box::new(Rule::Always))]),
        Rule::Header(header(true)),
        Rule::Path(exact("/a?b")),
        Rule::DestinationIp(net("10.0.0.2/32")),
        Rule::DestinationPort(8081, 9000),
        Rule::DestinationPort(80, 8080),
        Rule::ServerName(exact("b.example")),
        Rule::Authenticated(Some(exact("you"))),
        Rule::DirectRemoteIp(net("192.168.0.0/16")),
        Rule::DirectRemoteIp(net("::/0")),
        Rule::RemoteIp(net("10.0.0.0/8")),
    ];
    for rule in &no {
        assert!(!rule.matches(&caller), "{rule:?}");
    }
}

#[test]
fn shadow_rules_count_and_decide_nothing() {
    let (mut both, registry) = rbac(Action::Allow, vec![policy("all", Rule::Always, Rule::Always)]);
    both.rules.shadow =
        Some(Rules { action: Action::Deny, policies: vec![policy("s", Rule::Always, Rule::Always)] });
    let shard = registry.shard();
    let checked = both.rules.check(&NOBODY, &both, &shard);
    assert_eq!(checked.access(), Access::Allowed);
    let left = serde_json::Value::Object(checked.fields(&both));
    let want = serde_json::json!({
        "dry.shadow_engine_result": "denied", "dry.shadow_effective_policy_id": "s",
        "enforced_engine_result": "allowed", "enforced_effective_policy_id": "all",
    });
    assert_eq!(left, want);
    let view = registry.view();
    let value = |name: &str| view.find(name).map(|stat| view.value(stat));
    for (name, count) in [("allowed", 1), ("denied", 0), ("shadow_allowed", 0), ("shadow_denied", 1)] {
        assert!(
            matches!(value(&format!("rbac.{name}")), Some(Value::Counter(found)) if found == count),
            "{name}"
        );
    }
}

#[test]
fn a_condition_must_hold_besides() {
    for (condition, access) in [
        ("request.method == 'GET'", Access::Allowed),
        ("request.method == 'PUT'", Access::Denied(None)),
        // Neither is what fails or is no truth value.
        ("request.referer == 'a'", Access::Denied(None)),
        ("request.method", Access::Denied(None)),
    ] {
        let condition = Program::parse(condition, Dialect::default()).unwrap();
        let policy = Policy { condition: Some(condition), ..policy("p", Rule::Always, Rule::Always) };
        let (rbac, registry) = rbac(Action::Allow, vec![policy]);
        assert_eq!(check(&rbac, &NOBODY, &registry.shard()), access);
    }
}
