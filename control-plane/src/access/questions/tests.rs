use std::future::ready;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;

use super::*;

const CLIENT_ADDRESS: &str = "192.0.2.1:40000";

fn bad<T>(reason: &str) -> Result<T, Bad> {
    Err(Bad::Refused(reason.to_owned()))
}

#[tokio::test]
async fn what_was_refused_is_not_asked_again_for_a_while() {
    let (questions, now, token) = (Questions::default(), SystemTime::UNIX_EPOCH, mark("forged"));
    let refused = questions.ask(&token, CLIENT_ADDRESS, now, ready(bad::<()>("unknown"))).await;
    assert_eq!(refused, Err("unknown".to_owned()));
    let unasked = async { panic!("nobody is asked") };
    let again = questions.ask::<()>(&token, "192.0.2.2:1", now + REFUSED / 2, unasked).await;
    assert_eq!(again, Err("was refused a moment ago".to_owned()));
    assert_eq!(questions.ask(&mark("other"), CLIENT_ADDRESS, now, ready(Ok(1))).await, Ok(1));
    assert_eq!(questions.ask(&token, CLIENT_ADDRESS, now + REFUSED, ready(Ok(2))).await, Ok(2));
}

#[tokio::test]
async fn nothing_is_remembered_of_who_could_not_be_asked() {
    let (questions, now, token) = (Questions::default(), SystemTime::UNIX_EPOCH, mark("good"));
    let away = ready(Err::<(), _>(Bad::Unanswered("away".to_owned())));
    assert_eq!(questions.ask(&token, CLIENT_ADDRESS, now, away).await, Err("away".to_owned()));
    assert_eq!(questions.ask(&token, CLIENT_ADDRESS, now, ready(Ok(1))).await, Ok(1));
}

#[tokio::test]
async fn a_client_may_be_wrong_so_often_and_others_are_served() {
    let (questions, now) = (Questions::default(), SystemTime::UNIX_EPOCH);
    let mut asked = 0;
    for number in 0..1000 {
        let question = async {
            asked += 1;
            bad::<()>("unknown")
        };
        let client = format!("192.0.2.1:{}", number + 1);
        questions.ask(&mark(&number.to_string()), &client, now, question).await.unwrap_err();
    }
    // What comes back while this runs is a token in two seconds.
    assert!((CLIENT.burst..CLIENT.burst + 30).contains(&asked), "{asked}");
    assert_eq!(questions.ask(&mark("good"), "192.0.2.2:1", now, ready(Ok(1))).await, Ok(1));
}

#[tokio::test]
async fn who_is_right_may_ask_as_often_as_it_likes() {
    let (questions, now) = (Questions::default(), SystemTime::UNIX_EPOCH);
    for number in 0..10 * CLIENT.burst {
        let token = mark(&number.to_string());
        assert_eq!(questions.ask(&token, CLIENT_ADDRESS, now, ready(Ok(number))).await, Ok(number));
    }
}

#[test]
fn refusals_do_not_pile_up() {
    let (questions, now) = (Questions::default(), SystemTime::UNIX_EPOCH);
    for number in 0..2 * REMEMBERED {
        questions.refuse(mark(&number.to_string()), now);
    }
    assert_eq!(questions.refused().len(), REMEMBERED);
    questions.refuse(mark("later"), now + REFUSED);
    assert_eq!(questions.refused().len(), 1);
}

#[tokio::test]
async fn many_that_start_together_behind_one_address_wait_for_one_another() {
    let (questions, now) = (Questions::default(), SystemTime::UNIX_EPOCH);
    let (under_way, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let question = || async {
        let others = under_way.fetch_add(1, Ordering::SeqCst);
        most.fetch_max(others + 1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(10)).await;
        under_way.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    };
    let marks: Vec<Mark> = (0..100).map(|number| mark(&number.to_string())).collect();
    let asked = marks.iter().map(|mark| questions.ask(mark, CLIENT_ADDRESS, now, question()));
    assert!(join_all(asked).await.iter().all(Result::is_ok));
    assert_eq!(most.into_inner(), CLIENT.at_once as usize);
}

#[tokio::test]
async fn who_waits_is_not_kept_for_ever() {
    let questions = Questions { patience: Duration::from_millis(20), ..Questions::default() };
    let now = SystemTime::UNIX_EPOCH;
    let marks: Vec<Mark> = (0..10).map(|number| mark(&number.to_string())).collect();
    let endless = |mark| questions.ask::<()>(mark, CLIENT_ADDRESS, now, std::future::pending());
    let mut held: Vec<_> = marks.iter().take(4).map(|mark| Box::pin(endless(mark))).collect();
    for one in &mut held {
        assert!(futures_util::poll!(one).is_pending());
    }
    for mark in &marks[4..] {
        assert_eq!(endless(mark).await, Err("too many tokens are being checked".to_owned()));
    }
    drop(held);
    assert_eq!(questions.ask(&marks[9], CLIENT_ADDRESS, now, ready(Ok(1))).await, Ok(1));
    assert_eq!(questions.waiting.available_permits(), WAITING);
}

#[tokio::test]
async fn a_site_may_be_wrong_so_often_from_whatever_network() {
    let (questions, now) = (Questions::default(), SystemTime::UNIX_EPOCH);
    let mut asked = 0;
    for number in 0..10_000 {
        let question = async {
            asked += 1;
            bad::<()>("unknown")
        };
        let client = format!("[2001:db8:1:{number:x}::1]:1");
        questions.ask(&mark(&number.to_string()), &client, now, question).await.unwrap_err();
    }
    // What comes back while this runs are two tokens a second.
    assert!((SITE.burst..SITE.burst + 120).contains(&asked), "{asked}");
    for other in ["[2001:db8:2::1]:1", "192.0.2.2:1"] {
        assert_eq!(questions.ask(&mark("good"), other, now, ready(Ok(1))).await, Ok(1));
    }
}

#[test]
fn clients_are_told_apart_by_address_or_network() {
    let place = |client: &str| Place::of(client).client;
    assert_eq!(place("192.0.2.1:1"), place("192.0.2.1:2"));
    assert_eq!(place("192.0.2.1:1"), place("[::ffff:192.0.2.1]:1"));
    assert_ne!(place("192.0.2.1:1"), place("192.0.2.2:1"));
    assert_eq!(place("[2001:db8:1:2::3]:1"), place("[2001:db8:1:2:ffff::4]:2"));
    assert_ne!(place("[2001:db8:1:2::3]:1"), place("[2001:db8:1:3::3]:1"));
    assert_eq!(place("unix:pid=1,uid=0"), place("unix:pid=2,uid=0"));
    let site = |client: &str| Place::of(client).site;
    assert_eq!(site("[2001:db8:1:2::3]:1"), site("[2001:db8:1:3::3]:1"));
    assert_ne!(site("[2001:db8:1:2::3]:1"), site("[2001:db8:2:2::3]:1"));
    assert_eq!((site("192.0.2.1:1"), site("[::ffff:192.0.2.1]:1")), (None, None));
}
