//! TLS termination and origination.

use super::{Fields, FromNode, Reader};
use crate::model::{
    CertificateFiles, ClientCertificate, ClientTls, ListenerCertificate, ListenerTls, TlsMode, Trust,
    Validation,
};
use crate::source::node::Node;

impl FromNode for ListenerTls {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, "tls", cx)?;
        let words = [
            ("STRICT", TlsMode::Strict),
            ("PERMISSIVE", TlsMode::Permissive),
            ("DISABLED", TlsMode::Disabled),
        ];
        let mode = fields.required_with("mode", cx, |n, cx| cx.keyword(n, "mode", &words));
        let certificate = fields.required("certificate", cx);
        let validation = fields.optional_with("validation", cx, |n, cx| validation(n, &LISTENER_TRUST, cx));
        fields.finish(cx)?;
        Some(Self { mode: mode?, certificate: certificate?, validation, at: node.at.clone().into() })
    }
}

impl FromNode for ListenerCertificate {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, "certificate", cx)?;
        let certificate = match fields.exactly_one(&["acm", "file", "sds"], cx) {
            Some("acm") => fields.optional_with("acm", cx, acm_certificate),
            Some("file") => fields.optional("file", cx).map(Self::File),
            Some(_) => fields.optional_with("sds", cx, secret).map(Self::Sds),
            None => None,
        };
        fields.finish(cx)?;
        certificate
    }
}

fn acm_certificate(node: &Node, cx: &mut Reader<'_>) -> Option<ListenerCertificate> {
    let mut fields = Fields::open(node, "acm", cx)?;
    let certificate_arn = fields.required_text("certificateArn", 1..=2048, cx);
    fields.finish(cx)?;
    Some(ListenerCertificate::Acm { certificate_arn: certificate_arn?, at: node.at.clone().into() })
}

impl FromNode for CertificateFiles {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, "file", cx)?;
        let certificate_chain = fields.required_text("certificateChain", 1..=255, cx);
        let private_key = fields.required_text("privateKey", 1..=255, cx);
        fields.finish(cx)?;
        Some(Self { certificate_chain: certificate_chain?, private_key: private_key? })
    }
}

impl FromNode for ClientTls {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, "tls", cx)?;
        let enforce = fields.optional("enforce", cx);
        let ports = fields.list("ports", 1..=65535, cx);
        let certificate = fields.optional("certificate", cx);
        let validation = fields.required_with("validation", cx, |n, cx| validation(n, &CLIENT_TRUST, cx));
        fields.finish(cx)?;
        Some(Self { enforce, ports, certificate, validation: validation?, at: node.at.clone().into() })
    }
}

impl FromNode for ClientCertificate {
    fn from_node(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::open(node, "certificate", cx)?;
        let certificate = match fields.exactly_one(&["file", "sds"], cx) {
            Some("file") => fields.optional("file", cx).map(Self::File),
            Some(_) => fields.optional_with("sds", cx, secret).map(Self::Sds),
            None => None,
        };
        fields.finish(cx)?;
        certificate
    }
}

/// Members of a client policy's trust.
const CLIENT_TRUST: [&str; 3] = ["acm", "file", "sds"];
/// Members of a listener's trust: private certificate authorities of the cloud are not among them.
const LISTENER_TRUST: [&str; 2] = ["file", "sds"];

fn validation(node: &Node, members: &[&'static str], cx: &mut Reader<'_>) -> Option<Validation> {
    let mut fields = Fields::open(node, "validation", cx)?;
    let trust = fields.required_with("trust", cx, |n, cx| trust(n, members, cx));
    let names = fields.optional_with("subjectAlternativeNames", cx, alternative_names);
    fields.finish(cx)?;
    Some(Validation { trust: trust?, subject_alternative_names: names.unwrap_or_default() })
}

fn trust(node: &Node, members: &[&'static str], cx: &mut Reader<'_>) -> Option<Trust> {
    let mut fields = Fields::open(node, "trust", cx)?;
    let trust = match fields.exactly_one(members, cx) {
        Some("acm") => fields.optional_with("acm", cx, acm_trust),
        Some("file") => fields.optional_with("file", cx, file_trust),
        Some(_) => fields.optional_with("sds", cx, secret).map(Trust::Sds),
        None => None,
    };
    fields.finish(cx)?;
    trust
}

fn file_trust(node: &Node, cx: &mut Reader<'_>) -> Option<Trust> {
    let mut fields = Fields::open(node, "file", cx)?;
    let chain = fields.required_text("certificateChain", 1..=255, cx);
    fields.finish(cx)?;
    chain.map(Trust::File)
}

fn acm_trust(node: &Node, cx: &mut Reader<'_>) -> Option<Trust> {
    let mut fields = Fields::open(node, "acm", cx)?;
    let arns = fields.required_list("certificateAuthorityArns", 1..=3, cx);
    fields.finish(cx)?;
    Some(Trust::Acm { certificate_authority_arns: arns?, at: node.at.clone().into() })
}

fn alternative_names(node: &Node, cx: &mut Reader<'_>) -> Option<Vec<String>> {
    let mut fields = Fields::open(node, "subjectAlternativeNames", cx)?;
    let names = fields.required_with("match", cx, |n, cx| {
        let mut fields = Fields::open(n, "match", cx)?;
        let names = fields.required_list("exact", 1..=1000, cx);
        fields.finish(cx)?;
        names
    });
    fields.finish(cx)?;
    names
}

fn secret(node: &Node, cx: &mut Reader<'_>) -> Option<String> {
    let mut fields = Fields::open(node, "sds", cx)?;
    let name = fields.required_text("secretName", 1..=2048, cx);
    fields.finish(cx)?;
    name
}
