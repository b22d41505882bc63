//! Questions about a token that somebody else answers: few at a time, fewer for one client, and none again for what was
//! refused a moment ago.
//!
//! Anyone may show anything, so what can be told without asking is told before; what is asked is bounded here. A question
//! that is answered well costs its client nothing: many sidecars may share one address.

use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::quota::{Quota, Terms};

/// How many questions are under way at the same time.
const QUESTIONS: usize = 8;
/// How many of them one client may have, and how many may be answered badly.
const CLIENT: Terms = Terms { burst: 32, per_second: 0.5, at_once: 4 };
/// How long a question may wait for its turn.
const PATIENCE: Duration = Duration::from_secs(10);
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
    /// Who was asked does not know the token.
    Refused(String),
    /// Nobody knows whether it is good.
    Unanswered(String),
}

/// Bounds the questions to one authority.
#[derive(Debug)]
pub(super) struct Questions {
    turns: Semaphore,
    clients: Quota,
    refused: Mutex<HashMap<Mark, SystemTime>>,
}

impl Default for Questions {
    fn default() -> Self {
        let (turns, clients) = (Semaphore::new(QUESTIONS), Quota::new(CLIENT));
        Self { turns, clients, refused: Mutex::default() }
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
        let pass = self.clients.enter(&place(client), Instant::now());
        let pass = pass.ok_or("too many tokens of this client are checked, or were refused")?;
        let turn = tokio::time::timeout(PATIENCE, self.turns.acquire()).await;
        let _turn = turn.map_err(|_| "too many tokens are being checked")?.map_err(|e| e.to_string())?;
        match question.await {
            Ok(answer) => {
                pass.give_back();
                Ok(answer)
            }
            Err(Bad::Unanswered(reason)) => Err(reason),
            Err(Bad::Refused(reason)) => {
                self.refuse(*token, now);
                Err(reason)
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

/// Whom a connection comes from: an address, a network of IPv6 (RFC 6177: nobody has less than a /64), or this machine.
fn place(client: &str) -> String {
    match client.parse::<SocketAddr>().map(|client| client.ip().to_canonical()) {
        Ok(IpAddr::V4(address)) => address.to_string(),
        Ok(IpAddr::V6(address)) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).to_string()
        }
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

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

    #[test]
    fn clients_are_told_apart_by_address_or_network() {
        assert_eq!(place("192.0.2.1:1"), place("192.0.2.1:2"));
        assert_eq!(place("192.0.2.1:1"), place("[::ffff:192.0.2.1]:1"));
        assert_ne!(place("192.0.2.1:1"), place("192.0.2.2:1"));
        assert_eq!(place("[2001:db8:1:2::3]:1"), place("[2001:db8:1:2:ffff::4]:2"));
        assert_ne!(place("[2001:db8:1:2::3]:1"), place("[2001:db8:1:3::3]:1"));
        assert_eq!(place("unix:pid=1,uid=0"), place("unix:pid=2,uid=0"));
    }
}
