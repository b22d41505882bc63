//! The rules of the moment, and how long a client that they let in may stay.
//!
//! A stream lasts for hours and what its client has shown for minutes, so each holds a [`Grant`] and ends with it: when the
//! proof does (that of an AWS role tells no end), and when other rules do not let the client be the node of the stream. Who
//! still has a right to be here comes back with a new proof and loses nothing; proxies keep what they were given.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use super::{Access, Denied, Nodes, Principal, Shown};

/// The longest sleep between two looks at the clock, which may be set.
const LOOK: Duration = Duration::from_secs(30);

/// Lets clients in by the rules as they are now.
#[derive(Debug)]
pub struct Gate {
    rules: watch::Sender<Arc<Access>>,
}

/// That a client was let in.
#[derive(Debug, Clone)]
pub struct Grant {
    principal: Principal,
    rules: watch::Receiver<Arc<Access>>,
}

/// Why a grant ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// What the client has shown is over.
    Expired,
    /// Other rules.
    Withdrawn,
}

impl Gate {
    /// With these rules at first.
    pub fn new(access: Access) -> Self {
        Self { rules: watch::Sender::new(Arc::new(access)) }
    }

    /// Whether whoever reaches us is let in.
    pub fn is_open(&self) -> bool {
        matches!(**self.rules.borrow(), Access::Open)
    }

    /// From now on others are let in; grants that these would not give end.
    pub fn replace(&self, access: Access) {
        self.rules.send_replace(Arc::new(access));
    }

    /// Decides about a client.
    ///
    /// # Errors
    /// When nothing that it shows is enough.
    pub async fn admit(&self, shown: Shown<'_>, now: SystemTime) -> Result<Grant, Denied> {
        // Before the question: rules that come while it is being asked count.
        let mut rules = self.rules.subscribe();
        let access = Arc::clone(&rules.borrow_and_update());
        Ok(Grant { principal: access.principal(shown, now).await?, rules })
    }
}

impl Grant {
    /// Who it is, for the audit.
    pub fn name(&self) -> &str {
        &self.principal.name
    }

    /// Whether a node is among those that the client may be, by the rules as they are now.
    pub fn includes(&self, node_id: &str) -> bool {
        let access = Arc::clone(&self.rules.borrow());
        access.again(&self.principal, SystemTime::now()).is_ok_and(|now| now.nodes.include(node_id))
    }

    /// Returns when it has ended for somebody who needs the nodes that `enough` asks for.
    pub async fn ended(mut self, enough: impl Fn(&Nodes) -> bool) -> Ended {
        loop {
            let changed = tokio::select! {
                () = passed(self.principal.until) => return Ended::Expired,
                changed = self.rules.changed() => changed,
            };
            if changed.is_err() {
                // The gate is gone, and all that it let in with it.
                return Ended::Withdrawn;
            }
            let access = Arc::clone(&self.rules.borrow_and_update());
            match access.again(&self.principal, SystemTime::now()) {
                Ok(now) if enough(&now.nodes) => self.principal = now,
                _ => return Ended::Withdrawn,
            }
        }
    }
}

/// Returns when a moment is over; never without one.
pub(crate) async fn passed(moment: Option<SystemTime>) {
    let Some(moment) = moment else { return std::future::pending().await };
    while let Ok(left) = moment.duration_since(SystemTime::now()) {
        // A millisecond more, so that it is over indeed.
        tokio::time::sleep(left.min(LOOK) + Duration::from_millis(1)).await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, poll};

    use super::super::Rules;
    use super::*;

    const TOKEN: Shown<'static> =
        Shown { uris: &[], until: None, authorization: Some("Bearer a-long-random-text"), address: "" };

    fn rules(nodes: &str, until: &str) -> Access {
        let text = format!("tokens: [{{token: a-long-random-text, nodes: [{nodes}]{until}}}]");
        Access::Ruled(Box::new(Rules::parse(&text).unwrap()))
    }

    async fn admit(gate: &Gate) -> Grant {
        gate.admit(TOKEN, SystemTime::now()).await.unwrap()
    }

    const A: &str = "mesh/shop/virtualNode/a";

    fn is_a(nodes: &Nodes) -> bool {
        nodes.include(A)
    }

    #[tokio::test]
    async fn other_rules_end_what_they_would_not_give() {
        let gate = Gate::new(rules(A, ""));
        let first = admit(&gate).await;
        let mut staying = Box::pin(first.clone().ended(is_a));
        assert!(poll!(&mut staying).is_pending());
        gate.replace(rules("mesh/shop/virtualNode/b, mesh/shop/virtualNode/a", ""));
        assert!(poll!(&mut staying).is_pending(), "more nodes, and its own");
        gate.replace(rules("mesh/shop/virtualNode/b", ""));
        assert_eq!(staying.await, Ended::Withdrawn);
        for other in [admit(&gate).await, first] {
            assert!(other.includes("mesh/shop/virtualNode/b") && !other.includes(A), "by the rules of now");
        }
        let other = admit(&gate).await;
        gate.replace(Access::Ruled(Box::new(Rules::parse("{}").unwrap())));
        assert!(!other.includes("mesh/shop/virtualNode/b"));
        assert_eq!(other.ended(|_| true).await, Ended::Withdrawn);
        assert!(gate.admit(TOKEN, SystemTime::now()).await.is_err());
    }

    #[tokio::test]
    async fn a_grant_ends_with_its_proof_by_whatever_rules() {
        let gate = Gate::new(rules(A, ", until: 20990101T000000Z"));
        let mut staying = Box::pin(admit(&gate).await.ended(is_a));
        assert!(poll!(&mut staying).is_pending());
        gate.replace(rules(A, ", until: 20200101T000000Z"));
        assert_eq!(staying.await, Ended::Withdrawn, "an end that is past is none to wait for");
        let gate = Gate::new(rules(A, ""));
        let mut grant = admit(&gate).await;
        grant.principal.until = Some(SystemTime::now() + Duration::from_millis(20));
        assert_eq!(grant.ended(is_a).await, Ended::Expired);
        assert!(passed(None).now_or_never().is_none());
    }
}
