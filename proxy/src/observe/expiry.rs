//! Certificates that come to their end: the gauge, and what the log says in time.
//!
//! Short lives are told by their share, long ones by days: a certificate of a day that was not renewed after four fifths
//! of it is as late as one of a year in its last month.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use crate::config::Snapshot;
use crate::config::publish::Subscriber;
use crate::config::secret::ShownCertificate;
use crate::config::secret::x509::Certificate;

/// How often the certificates in use are looked at.
const INTERVAL: Duration = Duration::from_secs(5);
/// The longest warning ahead.
const AHEAD: Duration = Duration::from_secs(30 * 24 * 3600);

/// Every certificate in use: authorities, and whole chains.
pub fn certificates(snapshot: &Snapshot) -> impl Iterator<Item = &ShownCertificate> {
    let listeners = snapshot.listeners.iter().flatten();
    let chains = listeners.flat_map(|slot| slot.config.chains.iter().chain(&slot.config.default_chain));
    let servers = chains.filter_map(|chain| chain.tls.as_ref()).map(|tls| &tls.shown);
    let clusters = snapshot.clusters.iter().flatten().filter_map(|slot| slot.config.tls.as_ref());
    let shown = servers.chain(clusters.map(|tls| &tls.shown));
    shown.flat_map(|shown| shown.own.iter().chain(&shown.authorities))
}

/// How long until the first one expires, zero once it has; `None` without any. Of those that Envoy looks at for its gauge:
/// leaves and authorities, no intermediates of chains.
pub fn until_first(snapshot: &Snapshot, now: SystemTime) -> Option<Duration> {
    let counted = certificates(snapshot).filter(|certificate| certificate.is_counted);
    let ends = counted.filter_map(|certificate| certificate.validity).map(|(_, until)| until);
    ends.min().map(|until| until.duration_since(now).unwrap_or_default())
}

/// Warns about certificates that are close to their end, for as long as the process.
pub async fn run(snapshots: Subscriber) {
    let mut told = Told::default();
    let mut ticks = tokio::time::interval(INTERVAL);
    loop {
        ticks.tick().await;
        let snapshot = snapshots.current();
        for warning in told.due(certificates(&snapshot), SystemTime::now()) {
            tracing::warn!("{warning}");
        }
    }
}

/// What was said already, by certificate.
#[derive(Debug, Default)]
struct Told(HashMap<Vec<u8>, Stage>);

/// How late it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Late,
    VeryLate,
    Expired,
}

impl Told {
    /// One text for each certificate that reached a stage it was not in before.
    fn due<'c>(
        &mut self,
        certificates: impl Iterator<Item = &'c ShownCertificate>,
        now: SystemTime,
    ) -> Vec<String> {
        let mut texts = Vec::new();
        let mut present = HashMap::new();
        for certificate in certificates {
            let Some((from, until)) = certificate.validity else { continue };
            let Some(stage) = stage(from, until, now) else { continue };
            let key = certificate.der.to_vec();
            let known = present.get(&key).or_else(|| self.0.get(&key));
            if known.is_none_or(|known| *known < stage) {
                texts.push(describe(certificate, until, now));
            }
            present.insert(key, stage);
        }
        self.0 = present;
        texts
    }
}

fn stage(from: SystemTime, until: SystemTime, now: SystemTime) -> Option<Stage> {
    let Ok(left) = until.duration_since(now) else { return Some(Stage::Expired) };
    let life = until.duration_since(from).unwrap_or_default();
    let late = (life / 5).min(AHEAD);
    match left {
        left if left < late / 4 => Some(Stage::VeryLate),
        left if left < late => Some(Stage::Late),
        _ => None,
    }
}

fn describe(certificate: &ShownCertificate, until: SystemTime, now: SystemTime) -> String {
    let path = &certificate.path;
    let subject = Certificate::parse(&certificate.der).map(|parsed| parsed.subject_text());
    let subject =
        subject.filter(|text| !text.is_empty()).map(|text| format!(" ({text})")).unwrap_or_default();
    match until.duration_since(now) {
        Err(_) => format!("certificate {path}{subject} has expired: handshakes with it fail"),
        Ok(left) => {
            let (minutes, seconds) = (left.as_secs() / 60, left.as_secs() % 60);
            let (days, hours, minutes) = (minutes / 1440, minutes / 60 % 24, minutes % 60);
            format!(
                "certificate {path}{subject} was not renewed and expires in {days} d {hours} h {minutes} min {seconds} s: from then on \
                 handshakes with it fail, open connections stay"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn each_stage_is_told_once() {
        let at = |hours: u64| UNIX_EPOCH + Duration::from_secs(hours * 3600);
        let validity = Some((at(0), at(20)));
        let der = std::sync::Arc::new(vec![1].into());
        let certificate = ShownCertificate { path: "a.pem".into(), der, validity, is_counted: false };
        let mut told = Told::default();
        let mut say = |hour| told.due([&certificate, &certificate].into_iter(), at(hour)).len();
        assert_eq!([say(1), say(16), say(17), say(18)], [0, 0, 1, 0], "a fifth of the life is left");
        assert_eq!([say(20), say(20), say(21), say(22)], [1, 0, 1, 0]);
        let texts = Told::default().due([&certificate].into_iter(), at(17));
        assert!(texts[0].contains("a.pem") && texts[0].contains("0 d 3 h 0 min 0 s"), "{texts:?}");
        assert_eq!(stage(at(0), at(24 * 365), at(24 * 300)), None, "long lives are told a month ahead");
        assert_eq!(stage(at(0), at(24 * 365), at(24 * 340)), Some(Stage::Late));
    }
}
