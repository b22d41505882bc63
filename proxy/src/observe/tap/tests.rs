use super::*;
use crate::observe::test_record::{Exchange, request};

#[test]
fn only_matching_requests_are_shown_and_only_while_somebody_watches() {
    let tap = Arc::new(Tap::default());
    assert!(!tap.is_on());
    let exchange = Exchange::example();
    let record = exchange.record();
    let mut all = tap.watch(Match::parse("").unwrap()).unwrap();
    let mut failed = tap.watch(Match::parse("status:5xx").unwrap()).unwrap();
    assert!(tap.is_on());
    tap.show(&record);
    let line: Value = serde_json::from_str(&all.lines.try_recv().unwrap()).unwrap();
    assert_eq!((&line["status"], &line["method"]), (&json!(200), &json!("GET")));
    assert!(failed.lines.try_recv().is_err());
    drop((all, failed));
    assert!(!tap.is_on());
}

#[test]
fn a_watcher_that_does_not_take_lines_loses_them_counted() {
    let tap = Arc::new(Tap::default());
    let watch = tap.watch(Match::default()).unwrap();
    let exchange = Exchange::example();
    (0..QUEUE + 3).for_each(|_| tap.show(&exchange.record()));
    assert_eq!((watch.take_missed(), watch.take_missed()), (3, 0));
    let _others: Vec<_> = (1..MAX_WATCHERS).map(|_| tap.watch(Match::default()).unwrap()).collect();
    assert!(tap.watch(Match::default()).is_err());
}

#[test]
fn a_line_is_bounded_whatever_the_client_sends() {
    let tap = Arc::new(Tap::default());
    let mut watch = tap.watch(Match::default()).unwrap();
    let mut exchange = Exchange::example();
    let long = format!("/{}", "\u{1}".repeat(50_000));
    exchange.request = request("GET", &long, &long, &[("x-request-id", &long)]);
    tap.show(&exchange.record());
    let line = watch.lines.try_recv().unwrap();
    assert!(line.len() < 10_000, "{}", line.len());
}

#[test]
fn conditions_are_read_and_hold_together() {
    let exchange = Exchange::example();
    let record = exchange.record();
    let holds = |text: &str| Match::parse(text).unwrap().holds(&record);
    let path = String::from_utf8(exchange.record().request.unwrap().path_and_query().to_vec()).unwrap();
    assert!(holds("method:GET,status:200") && holds("status:2xx") && holds(&format!("path:{}", &path[..2])));
    assert!(
        !holds("method:POST")
            && !holds("method:GET,status:500")
            && !holds("cluster:nowhere")
            && !holds("flag:any")
    );
    let failed = Record { flags: ResponseFlags::NO_ROUTE_FOUND, ..exchange.record() };
    let holds = |text: &str| Match::parse(text).unwrap().holds(&failed);
    assert!(holds("flag:any") && holds("flag:NR+RLSE") && !holds("flag:RLSE") && !holds("flag:UH"));
    for wrong in ["status:5", "status:xxx", "flag:QQ", "flag:", "size:3"] {
        assert!(Match::parse(wrong).is_err(), "{wrong}");
    }
}
