//! Revocation lists. RFC 5280, section 5.
//!
//! Of several lists of one authority the newest counts that is valid now, wherever it stands: one that was published in
//! advance, or an old one that was left in the file, changes nothing. webpki takes the first list that is about a
//! certificate, and knows only when a list ends; so which lists there are at a moment is decided here.

use std::time::SystemTime;

use rustls_pki_types::CertificateRevocationListDer;
use webpki::{CertRevocationList, OwnedCertRevocationList};

use super::der::{self, Reader};
use super::x509;

/// Revocation lists of the authorities.
#[derive(Debug)]
pub struct Revocation {
    /// The newest first.
    lists: Vec<List>,
    /// Whether intermediate authorities may be revoked as well.
    pub whole_chain: bool,
}

#[derive(Debug)]
struct List {
    content: CertRevocationList<'static>,
    this_update: SystemTime,
    next_update: SystemTime,
}

/// The lists that count at a moment.
pub(super) struct InForce<'r> {
    /// The newest first.
    pub(super) lists: Vec<&'r CertRevocationList<'static>>,
    /// There are others, which ended before.
    pub(super) some_ended: bool,
}

impl Revocation {
    /// Takes lists; the error says what is wrong with one.
    pub fn new(lists: &[CertificateRevocationListDer<'_>], whole_chain: bool) -> Result<Self, String> {
        let mut read = lists.iter().map(List::read).collect::<Result<Vec<_>, _>>()?;
        read.sort_by_key(|list| std::cmp::Reverse(list.this_update));
        Ok(Self { lists: read, whole_chain })
    }

    /// The lists that were published and not to be replaced yet.
    pub(super) fn in_force(&self, now: SystemTime) -> InForce<'_> {
        let ended = |list: &&List| list.next_update <= now;
        let valid = self.lists.iter().filter(|list| list.this_update <= now && !ended(list));
        InForce {
            lists: valid.map(|list| &list.content).collect(),
            some_ended: self.lists.iter().any(|list| ended(&list)),
        }
    }
}

impl List {
    fn read(der: &CertificateRevocationListDer<'_>) -> Result<Self, String> {
        let unusable = |error: webpki::Error| format!("not a usable revocation list: {error}");
        let content = OwnedCertRevocationList::from_der(der).map_err(unusable)?.into();
        let (this_update, next_update) =
            times(der).ok_or("not a usable revocation list: it says from when until when in no known way")?;
        Ok(Self { content, this_update, next_update })
    }
}

/// `thisUpdate` and `nextUpdate`.
fn times(list: &[u8]) -> Option<(SystemTime, SystemTime)> {
    let mut list = Reader(Reader(list).expect(der::SEQUENCE)?);
    let mut body = Reader(list.expect(der::SEQUENCE)?);
    let _version = body.optional(der::INTEGER);
    let _algorithm = body.expect(der::SEQUENCE)?;
    let _issuer = body.expect(der::SEQUENCE)?;
    Some((x509::time(body.next()?)?, x509::time(body.next()?)?))
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, IsCa,
        KeyIdMethod, KeyPair, SerialNumber, date_time_ymd,
    };

    use super::*;

    fn list(from: i32, until: i32, number: u64) -> CertificateRevocationListDer<'static> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(from, 1, 1),
            next_update: date_time_ymd(until, 1, 1),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&issuer).unwrap().der().clone()
    }

    #[test]
    fn what_is_published_and_not_replaced_counts_the_newest_first() {
        let lists = [list(2020, 2090, 1), list(2015, 2016, 2), list(2024, 2080, 3), list(2070, 2090, 4)];
        let revocation = Revocation::new(&lists, true).unwrap();
        let at = |year| SystemTime::from(date_time_ymd(year, 6, 1));
        let count = |year| {
            let found = revocation.in_force(at(year));
            (found.lists.len(), found.some_ended)
        };
        assert_eq!(count(2014), (0, false));
        assert_eq!(count(2017), (0, true));
        assert_eq!(count(2030), (2, true));
        assert_eq!(count(2075), (3, true));
        let years: Vec<SystemTime> = revocation.lists.iter().map(|list| list.this_update).collect();
        assert!(years.is_sorted_by(|one, next| one > next));
    }
}
