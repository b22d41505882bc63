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
        let asked = Instant::now();
        let turn = self.turn(client).await?;
        let now = now + Duration::from_secs(asked.elapsed().as_secs());
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
pub struct Place {
    /// An address, a network of IPv6 (RFC 6177: nobody has less than a /64), or this machine.
    pub client: String,
    /// The /48 of IPv6, which is what a customer may have at most (RFC 6177).
    pub site: Option<String>,
}

impl Place {
    /// Of an address with a port; what is none is this machine.
    pub fn of(client: &str) -> Self {
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
mod tests;
