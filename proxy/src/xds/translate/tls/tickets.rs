//! Session resumption of a server: tickets, their keys, their life.
//! Source: `DownstreamTlsContext.session_ticket_keys_type`, `session_timeout`, `TlsSessionTicketKeys`.

use std::sync::Arc;

use outrigger_xds_protos::v3::tls::downstream_tls_context::SessionTicketKeysType;
use outrigger_xds_protos::v3::tls::{DownstreamTlsContext, TlsSessionTicketKeys};
use outrigger_xds_protos::v3::wkt;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::NoServerSessionStorage;
use zeroize::Zeroizing;

use super::super::data_source;
use super::super::fields;
use super::super::path::{Path, Rejection};
use super::super::scope::Scope;
use super::super::secret::Secret;
use super::secret_of;
use super::validation::Trust;
use crate::config::secret::tickets::{TicketKey, Tickets};

/// What Envoy's library gives a session when nothing is said.
const LIFETIME_S: u64 = 7200;
/// RFC 8446, section 4.6.1.
const MAX_LIFETIME_S: u64 = 7 * 24 * 3600;

/// How a server resumes sessions.
pub(super) enum Resume {
    /// By tickets under keys of its own, which change with every configuration.
    OwnKeys,
    /// By tickets under these keys.
    Keys(Arc<Vec<TicketKey>>),
    /// Not by tickets; also while the keys have not arrived.
    NoTickets,
}

/// Reads what a context says.
pub(super) fn compile(
    keys: &Option<SessionTicketKeysType>,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Resume, Rejection> {
    Ok(match keys {
        None | Some(SessionTicketKeysType::DisableStatelessSessionResumption(false)) => Resume::OwnKeys,
        Some(SessionTicketKeysType::DisableStatelessSessionResumption(true)) => Resume::NoTickets,
        Some(SessionTicketKeysType::SessionTicketKeys(message)) => {
            Resume::Keys(read(message, &path.field("session_ticket_keys"), scope)?)
        }
        Some(SessionTicketKeysType::SessionTicketKeysSdsSecretConfig(config)) => {
            let path = path.field("session_ticket_keys_sds_secret_config");
            match secret_of(config, &path, scope)?.as_deref() {
                None => Resume::NoTickets,
                Some(Secret::Tickets(keys)) => Resume::Keys(keys.clone()),
                Some(_) => return Err(path.reject("is not a session_ticket_keys secret")),
            }
        }
    })
}

/// The keys of a message.
pub(in super::super) fn read(
    message: &TlsSessionTicketKeys,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Arc<Vec<TicketKey>>, Rejection> {
    let path = path.field("keys");
    if message.keys.is_empty() {
        return Err(path.missing());
    }
    let mut keys = Vec::new();
    for (i, source) in message.keys.iter().enumerate() {
        let path = path.index(i);
        let bytes = Zeroizing::new(data_source::watched(source, &path, scope)?);
        keys.push(TicketKey::new(&bytes).ok_or_else(|| path.reject("must be 80 bytes"))?);
    }
    Ok(Arc::new(keys))
}

/// Sets up a server.
pub(super) fn apply(
    config: &mut ServerConfig,
    resume: Resume,
    message: &DownstreamTlsContext,
    rules: [u8; 32],
    path: &Path<'_>,
) -> Result<(), Rejection> {
    let timeout = fields::duration(&message.session_timeout, &path.field("session_timeout"))?;
    let lifetime = timeout.map_or(LIFETIME_S, |timeout| timeout.as_secs()).min(MAX_LIFETIME_S) as u32;
    if message.disable_stateful_session_resumption {
        config.session_storage = Arc::new(NoServerSessionStorage {});
    }
    match resume {
        // A ticketer of its own: tickets of another trust or certificate must not skip verification here.
        Resume::OwnKeys => config.ticketer = Ticketer::new().map_err(|error| path.reject(error))?,
        Resume::Keys(keys) => config.ticketer = Arc::new(Tickets::new(keys, rules, lifetime)),
        Resume::NoTickets if message.disable_stateful_session_resumption => config.send_tls13_tickets = 0,
        Resume::NoTickets => {}
    }
    Ok(())
}

/// What a ticket under shared keys is bound to: everything that is asked of a client.
pub(super) fn rules(trust: &Trust, mandatory: bool) -> [u8; 32] {
    let mut rules = match trust {
        Trust::Verified(trust, _) => trust.rules,
        Trust::Absent | Trust::NotArrived => [0; 32],
    };
    rules[0] ^= u8::from(mandatory);
    rules
}

/// Whether a session timeout is left without effect.
pub(super) fn ignores_timeout(resume: &Resume, timeout: &Option<wkt::Duration>) -> bool {
    timeout.is_some() && matches!(resume, Resume::OwnKeys)
}
