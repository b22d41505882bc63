//! Who is known by an identity of the mesh over TLS: listeners that ask for one, and callers that show none.

use crate::ca::{IDENTITY, TRUST};
use crate::diagnostics::Position;
use crate::graph::service::Target;
use crate::model::{
    ClientCertificate, ClientTls, ListenerCertificate, ListenerTls, TlsMode, Trust, Validation,
};

/// Whose callers a listener can tell apart by identities of the mesh: it shows a certificate of the mesh, or names the
/// mesh's trust for theirs.
pub fn identifies_callers(tls: &ListenerTls, has_ca: bool) -> bool {
    let by_mesh = match &tls.validation {
        Some(validation) => is_mesh_trust(&validation.trust),
        None => is_mesh_certificate(&tls.certificate),
    };
    has_ca && tls.mode != TlsMode::Disabled && by_mesh
}

/// The definition of a listener that asks its callers for their identities in the mesh.
pub fn asking_callers(tls: &ListenerTls) -> ListenerTls {
    let trust = || Validation { trust: Trust::Sds(TRUST.to_owned()), subject_alternative_names: Vec::new() };
    ListenerTls { validation: Some(tls.validation.clone().unwrap_or_else(trust)), ..tls.clone() }
}

pub(super) fn is_mesh_certificate(certificate: &ListenerCertificate) -> bool {
    match certificate {
        ListenerCertificate::Acm { .. } => true,
        ListenerCertificate::Sds(name) => name == IDENTITY,
        ListenerCertificate::File(_) => false,
    }
}

pub(super) fn is_acm(trust: &Trust) -> bool {
    matches!(trust, Trust::Acm { .. })
}

pub(super) fn is_mesh_trust(trust: &Trust) -> bool {
    matches!(trust, Trust::Sds(name) if name == TRUST)
}

/// Why a caller shows no identity of the mesh to a target that asks for one, and where it is written.
pub struct Anonymous<'g> {
    /// The field, and what is the matter with it.
    pub because: &'static str,
    /// Where.
    pub at: &'g Position,
}

/// Whether a caller with this policy shows a target its identity in the mesh, and if not, why.
pub fn anonymous<'g>(
    policy: Option<&'g ClientTls>,
    target: &Target<'g>,
    has_ca: bool,
) -> Option<Anonymous<'g>> {
    let covers = |p: &&ClientTls| p.ports.is_empty() || p.ports.contains(&target.listener.port_mapping.port);
    let Some(policy) = policy.filter(covers) else {
        let server = target.listener.tls.as_ref()?;
        let because = "it has no clientPolicy.tls, and the server's tls.certificate is not the mesh's";
        return (!is_mesh_certificate(&server.certificate)).then_some(Anonymous { because, at: &server.at });
    };
    let by_trust = |trust: &Trust| is_mesh_trust(trust) || has_ca && is_acm(trust);
    let because = match (&policy.certificate, &policy.validation.trust) {
        (Some(ClientCertificate::Sds(name)), _) if name == IDENTITY => return None,
        (Some(ClientCertificate::Sds(_)), _) => "its clientPolicy.tls.certificate.sds is another certificate",
        (Some(ClientCertificate::File(_)), _) => {
            "its clientPolicy.tls.certificate.file is another certificate"
        }
        (None, trust) if by_trust(trust) => return None,
        (None, Trust::Sds(_)) => {
            "it has no clientPolicy.tls.certificate, and its validation.trust.sds is not the mesh's"
        }
        (None, _) => {
            "it has no clientPolicy.tls.certificate, and its validation.trust.file is not the mesh's"
        }
    };
    Some(Anonymous { because, at: &policy.at })
}
