//! Questions about a token that somebody else answers: few at a time, fewer for one client, and none again for what was
//! refused a moment ago.
//!
//! Anyone may show anything, so what can be told without asking is told before; what is asked is bounded here. A question
//! that is answered well costs its client nothing, and who finds the turns of its address taken waits for one: many
//! sidecars may share an address, and start together.

use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

use crate::quota::{Pass, Quota, Terms};

/// How many questions are under way at the same time.
const QUESTIONS: usize = 8;
/// How many of them one client may have, and how many may be answered badly.
const CLIENT: Terms = Terms { burst: 32, per_second: 0.5, at_once: 4 };
/// How many more of one client may wait for a turn: a node full of pods, or all behind one gateway.
const CLIENT_LINE: u32 = 252;
/// The same for a site of IPv6, which has 65,536 networks to be clients from.
const SITE: Terms = Terms { burst: 128, per_second: 2.0, at_once: 6 };
/// How many more of one site may wait.
const SITE_LINE: u32 = 1018;
/// How many may wait in all.
const WAITING: usize = 8192;
/// How long a question may wait for its turn.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a refusal is remembered: who was just made known elsewhere is let in soon.
const REFUSED: Duration = Duration::from_secs(10);
/// How many refusals are remembered.
const REMEMBERED: usize = 4096;

/// By what a token is remembered.
pub(super) type Mark = [u8; 32];

/// What a token is remembered by.
pub(super) fn mark(token: &str) -> Mark {
    Sha256::digest(token).into()
}

/// Why there is no good answer; the text is for the audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bad {
    /// Who was asked does not know the token, or it is nobody's that may come in.
    Refused(String),
    /// Nobody knows whether it is good.
    Unanswered(String),
}

/// Bounds the questions to one authority.
#[derive(Debug)]
pub(super) struct Questions {
    turns: Semaphore,
    waiting: Semaphore,
    clients: Quota,
    sites: Quota,
    refused: Mutex<HashMap<Mark, SystemTime>>,
    patience: Duration,
}

/// A question that may be asked now.
struct Turn<'q> {
    client: Pass<'q>,
    site: Option<Pass<'q>>,
    _turn: SemaphorePermit<'q>,
}

impl Default for Questions {
    fn default() -> Self {
        Self {
            turns: Semaphore::new(QUESTIONS),
            waiting: Semaphore::new(WAITING),
            clients: Quota::new(CLIENT),
            sites: Quota::new(SITE),
            refused: Mutex::default(),
            patience: PATIENCE,
        }
    }
}

impl Questions {
    /// Asks about a token that a client shows.
    pub(super) async fn ask<T>(
        &self,
        token: &Mark,
        client: &str,
        now: SystemTime,
        question: impl Future<Output = Result<T, Bad>>,
    ) -> Result<T, String> {
        if self.is_refused(token, now) {
            return Err("was refused a moment ago".to_owned());
        }
        let turn = self.turn(client).await?;
        // It may have been refused while this one waited.
        if self.is_refused(token, now) {
            turn.give_back();
            return Err("was refused a moment ago".to_owned());
        }
        match question.await {
            Ok(answer) => {
                turn.give_back();
                Ok(answer)
            }
            Err(Bad::Unanswered(reason)) => Err(reason),
            Err(Bad::Refused(reason)) => {
                self.refuse(*token, now);
                Err(reason)
            }
        }
    }

    /// Waits for a turn of the client, of its site, and of all.
    async fn turn(&self, client: &str) -> Result<Turn<'_>, &'static str> {
        const HAS_ENOUGH: &str = "too many tokens of this client are checked, or were refused";
        const TOO_MANY: &str = "too many tokens are being checked";
        let end = Instant::now() + self.patience;
        let place = Place::of(client);
        let waits = self.waiting.try_acquire().map_err(|_| TOO_MANY)?;
        let own = timeout_at(end, self.clients.enter_in_turn(&place.client, CLIENT_LINE)).await;
        let client = own.map_err(|_| TOO_MANY)?.ok_or(HAS_ENOUGH)?;
        let site = match &place.site {
            None => None,
            Some(site) => match timeout_at(end, self.sites.enter_in_turn(site, SITE_LINE)).await {
                Ok(Some(site)) => Some(site),
                full => {
                    client.give_back();
                    return Err(if full.is_ok() { HAS_ENOUGH } else { TOO_MANY });
                }
            },
        };
        let turn = timeout_at(end, self.turns.acquire()).await;
        drop(waits);
        match turn {
            Ok(Ok(turn)) => Ok(Turn { client, site, _turn: turn }),
            _ => {
                // Nobody was asked.
                client.give_back();
                site.into_iter().for_each(Pass::give_back);
                Err(TOO_MANY)
            }
        }
    }

    fn is_refused(&self, token: &Mark, now: SystemTime) -> bool {
        self.refused().get(token).is_some_and(|until| now < *until)
    }

    fn refuse(&self, token: Mark, now: SystemTime) {
        let mut refused = self.refused();
        if refused.len() >= REMEMBERED {
            refused.retain(|_, until| now < *until);
        }
        if refused.len() < REMEMBERED {
            refused.insert(token, now + REFUSED);
        }
    }

    fn refused(&self) -> MutexGuard<'_, HashMap<Mark, SystemTime>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// The question has cost nothing, or was none.
    fn give_back(self) {
        self.client.give_back();
        self.site.into_iter().for_each(Pass::give_back);
    }
}

/// Whom a connection comes from.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    /// An address, a network of IPv6 (RFC 6177: nobody has less than a /64), or this machine.
    client: String,
    /// The /48 of IPv6, which is what a customer may have at most (RFC 6177).
    site: Option<String>,
}

impl Place {
    fn of(client: &str) -> Self {
        match client.parse::<SocketAddr>().map(|client| client.ip().to_canonical()) {
            Ok(IpAddr::V4(address)) => Self { client: address.to_string(), site: None },
            Ok(IpAddr::V6(address)) => {
                let [a, b, c, d, ..] = address.segments();
                let network = |d| Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).to_string();
                Self { client: network(d), site: Some(network(0)) }
            }
            Err(_) => Self { client: String::new(), site: None },
        }
    }
}

#[cfg(test)]
mod tests {
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
}
