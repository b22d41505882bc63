//! The names of a certificate as logs and headers tell them.

use super::x509::{Certificate, Name};

/// The names of a certificate as texts, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Described {
    /// URIs: SPIFFE identities.
    pub uris: Vec<String>,
    /// DNS names.
    pub dns_names: Vec<String>,
    /// IP addresses.
    pub addresses: Vec<String>,
    /// Mail addresses.
    pub emails: Vec<String>,
    /// Texts of `otherName`s.
    pub other_names: Vec<String>,
    /// The subject in RFC 2253 form; empty when it has none.
    pub subject: String,
}

impl Described {
    /// The names of a certificate.
    pub fn of(parsed: &Certificate<'_>) -> Self {
        let mut described = Self {
            subject: parsed.subject_text(),
            other_names: parsed.other_names.iter().map(|name| (*name).to_owned()).collect(),
            ..Self::default()
        };
        for name in &parsed.names {
            let list = match name {
                Name::Uri(_) => &mut described.uris,
                Name::Dns(_) => &mut described.dns_names,
                Name::Ip(_) => &mut described.addresses,
                Name::Email(_) => &mut described.emails,
            };
            list.push(name.text().into_owned());
        }
        described
    }
}
