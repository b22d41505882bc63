use outrigger_grammar::regex::full_match;

use super::*;
use crate::base::matcher::{HeaderMatchKind, QueryMatch, QueryMatchKind, StringMatch};
use crate::config::route::{DirectResponse, HeaderEdits, RouteAction, WeightedClusters};
use crate::http::test_heads::request;

fn route(name: &str, path: PathMatch) -> Route {
    Route {
        name: name.into(),
        matches: RouteMatch {
            path,
            headers: Vec::new(),
            query: Vec::new(),
            cookies: Vec::new(),
            ignore_parameters: false,
            grpc: false,
            certificate: None,
            runtime_fraction_ppm: None,
        },
        action: RouteAction::Direct(DirectResponse { status: 200, body: bytes::Bytes::new(), format: None }),
        headers: HeaderEdits::default(),
        filters: Default::default(),
        metadata: None,
        tracing: None,
    }
}

fn literal(text: &str) -> Literal {
    Literal { text: text.as_bytes().into(), ignore_case: false }
}

fn table(domains: &[&str]) -> RouteTable {
    let mut table = RouteTable::default();
    for (index, domain) in domains.iter().enumerate() {
        table.virtual_hosts.push(VirtualHost { name: (*domain).into(), ..VirtualHost::default() });
        match domain.strip_prefix('*') {
            Some("") => table.any = Some(index),
            Some(suffix) => table.suffix.push((suffix.into(), index)),
            None => match domain.strip_suffix('*') {
                Some(prefix) => table.prefix.push((prefix.into(), index)),
                None => drop(table.exact.insert((*domain).into(), index)),
            },
        }
    }
    for list in [&mut table.suffix, &mut table.prefix] {
        list.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
    }
    table
}

fn host_for(table: &RouteTable, authority: &str) -> Option<String> {
    find_virtual_host(table, authority.as_bytes()).map(|host| host.name.to_string())
}

#[test]
fn domains_are_searched_in_envoys_order() {
    let table = table(&["*", "foo.com", "*.foo.com", "*-bar.foo.com", "foo.*", "foo.com:8080"]);
    for (authority, want) in [
        ("foo.com", "foo.com"),
        ("FOO.com", "foo.com"),
        ("foo.com:8080", "foo.com:8080"),
        ("a.foo.com", "*.foo.com"),
        ("x-bar.foo.com", "*-bar.foo.com"),
        ("foo.org", "foo.*"),
        ("foo.", "*"),
        (".foo.com", "*"),
        ("other", "*"),
        ("", "*"),
    ] {
        assert_eq!(host_for(&table, authority).as_deref(), Some(want), "{authority}");
    }
}

#[test]
fn without_a_catch_all_unknown_hosts_find_nothing() {
    assert_eq!(host_for(&table(&["foo.com"]), "bar.com"), None);
    assert_eq!(host_for(&table(&["foo.com"]), "foo.com:80"), None);
}

#[test]
fn ports_are_ignored_when_told() {
    let mut table = table(&["foo.com", "[::1]"]);
    table.ignore_port = true;
    assert_eq!(host_for(&table, "foo.com:80").as_deref(), Some("foo.com"));
    assert_eq!(host_for(&table, "[::1]:80").as_deref(), Some("[::1]"));
    assert_eq!(host_for(&table, "[::1]").as_deref(), Some("[::1]"));
}

#[test]
fn path_kinds() {
    let check = |matcher: PathMatch, path: &str| {
        path_matches(&route("r", matcher).matches, &request("GET", path, "h", &[]))
    };
    assert!(check(PathMatch::Prefix(literal("/foo")), "/foobar?x"));
    assert!(!check(PathMatch::Prefix(literal("/foo")), "/fo"));
    assert!(check(PathMatch::Exact(literal("/foo")), "/foo?x=1"));
    assert!(!check(PathMatch::Exact(literal("/foo")), "/foo/"));
    assert!(check(PathMatch::SeparatedPrefix(literal("/foo")), "/foo"));
    assert!(check(PathMatch::SeparatedPrefix(literal("/foo")), "/foo/bar"));
    assert!(!check(PathMatch::SeparatedPrefix(literal("/foo")), "/foobar"));
    assert!(check(PathMatch::Regex(full_match("/a.c").unwrap()), "/abc?q"));
    assert!(!check(PathMatch::Regex(full_match("/a.c").unwrap()), "/abcd"));
    assert!(check(
        PathMatch::Prefix(Literal { text: b"/foo".as_slice().into(), ignore_case: true }),
        "/FOO/x"
    ));
    assert!(!check(PathMatch::Connect, "/"));
}

#[test]
fn first_matching_route_wins_and_all_conditions_must_hold() {
    let mut special = route("special", PathMatch::Prefix(literal("/")));
    special.matches.headers = vec![HeaderMatch {
        name: "x-env".into(),
        kind: HeaderMatchKind::Value(StringMatch::Exact(b"b".to_vec())),
        invert: false,
        missing_as_empty: false,
    }];
    special.matches.query = vec![QueryMatch {
        name: "v".into(),
        kind: QueryMatchKind::Value(StringMatch::Prefix(b"1".to_vec())),
    }];
    let mut table = table(&["*"]);
    table.virtual_hosts[0].routes = vec![special, route("rest", PathMatch::Prefix(literal("/")))];
    let name = |head: &RequestHead| {
        find(find_virtual_host(&table, head.authority())?, head, 0, ShownCertificate::None)
            .map(|found| found.route.name.to_string())
    };
    assert_eq!(
        name(&request("GET", "/?v=1", "h", &[("x-env", "a"), ("x-env", "b")])).as_deref(),
        Some("special")
    );
    assert_eq!(name(&request("GET", "/?v=2", "h", &[("x-env", "b")])).as_deref(), Some("rest"));
    assert_eq!(name(&request("GET", "/?v=1", "h", &[("x-env", "a,b")])).as_deref(), Some("rest"));
    assert_eq!(name(&request("GET", "/?v=1", "h", &[])).as_deref(), Some("rest"));
}

#[test]
fn weights_are_exact_over_the_whole_range() {
    let entry = |cluster, weight| WeightedCluster {
        cluster: EntryCluster::Named(ClusterId(cluster)),
        weight,
        headers: HeaderEdits::default(),
        host_rewrite: None,
        filters: Default::default(),
        metadata_match: None,
    };
    let choice = ClusterChoice::Weighted(WeightedClusters {
        entries: vec![entry(0, 0), entry(1, 30), entry(2, 70)],
        total: 100,
        chosen_by: ChosenBy::Random,
    });
    let snapshot = Snapshot::default();
    let ends = Ends { client: ([10, 0, 0, 1], 1).into(), destination: ([10, 0, 0, 2], 80).into() };
    let hits = |id| {
        (0..1000)
            .filter(|r| {
                choose_cluster(&choice, &snapshot, &request("GET", "/", "h", &[]), ends, *r).cluster
                    == Some(ClusterId(id))
            })
            .count()
    };
    assert_eq!([hits(0), hits(1), hits(2)], [0, 300, 700]);
}
