//! The table: what each side demands and shows, and whether a request gets through.

use outrigger_tests::Result;
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::tls::{Authority, Identity};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, GeneralSubtree,
    IsCa, KeyUsagePurpose, NameConstraints, SerialNumber, date_time_ymd,
};
use serde_json::{Value, json};

/// One setting and its verdict.
pub struct Cell {
    pub name: &'static str,
    pub server: Server,
    /// Absent: plain text.
    pub client: Option<Value>,
    pub passes: bool,
    pub planes: Planes,
}

/// What a listener takes.
pub struct Server {
    pub tls: Option<Value>,
    pub plain: bool,
    /// The chain is for this server name only.
    pub only_for: Option<&'static str>,
}

/// Which data planes can be set up so.
#[derive(Clone, Copy)]
pub enum Planes {
    Any,
    /// Only an Envoy can be told to be so old-fashioned; ours refuses the configuration.
    EnvoyServer,
    EnvoyClient,
    /// Envoy 1.40 does not load such a certificate of its own, or takes the setting and does not hold to it. We do.
    OurServer,
    /// Likewise.
    OurClient,
}

impl Planes {
    pub fn include(self, near: DataPlane, far: DataPlane) -> bool {
        match self {
            Self::Any => true,
            Self::EnvoyServer => far == DataPlane::Envoy,
            Self::EnvoyClient => near == DataPlane::Envoy,
            Self::OurServer => far == DataPlane::Outrigger,
            Self::OurClient => near == DataPlane::Outrigger,
        }
    }
}

const OK: bool = true;
const NO: bool = false;

fn pem(text: &str) -> Value {
    json!({"inline_string": text})
}

fn own(identity: &Identity) -> Value {
    json!([{"certificate_chain": pem(&identity.certificate), "private_key": pem(&identity.key)}])
}

fn strict(identity: &Identity) -> Server {
    terminating(json!({"common_tls_context": {"tls_certificates": own(identity)}}))
}

fn terminating(context: Value) -> Server {
    Server { tls: Some(context), plain: false, only_for: None }
}

/// A server that demands and checks client certificates.
fn mutual(identity: &Identity, validation: Value) -> Server {
    terminating(json!({
        "require_client_certificate": true,
        "common_tls_context": {"tls_certificates": own(identity), "validation_context": validation},
    }))
}

fn validating(validation: Value) -> Value {
    json!({"common_tls_context": {"validation_context": validation}})
}

fn trusting(authority: &Authority) -> Value {
    json!({"trusted_ca": pem(&authority.certificate())})
}

/// `validation` with further fields.
fn with(mut validation: Value, fields: Value) -> Value {
    for (name, value) in fields.as_object().into_iter().flatten() {
        validation[name] = value.clone();
    }
    validation
}

fn named(authority: &Authority, kind: &str, matcher: Value) -> Value {
    with(
        trusting(authority),
        json!({"match_typed_subject_alt_names": [{"san_type": kind, "matcher": matcher}]}),
    )
}

fn showing(identity: &Identity) -> Value {
    json!({"common_tls_context": {"tls_certificates": own(identity)}})
}

/// A serial number that lists can name.
fn numbered(serial: u64) -> impl FnOnce(&mut CertificateParams) {
    move |params| params.serial_number = Some(SerialNumber::from(serial))
}

fn valid(from: i32, until: i32) -> impl FnOnce(&mut CertificateParams) {
    move |params| {
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
    }
}

fn for_purposes(purposes: &[ExtendedKeyUsagePurpose]) -> impl FnOnce(&mut CertificateParams) {
    let purposes = purposes.to_vec();
    move |params| params.extended_key_usages = purposes
}

struct Table(Vec<Cell>);

impl Table {
    fn add(&mut self, name: &'static str, server: Server, client: Option<Value>, passes: bool) {
        self.0.push(Cell { name, server, client, passes, planes: Planes::Any });
    }

    fn only(&mut self, planes: Planes) {
        if let Some(cell) = self.0.last_mut() {
            cell.planes = planes;
        }
    }
}

/// All cells.
pub fn table() -> Result<Vec<Cell>> {
    let mut table = Table(Vec::new());
    let ours = Authority::new()?;
    let foreign = Authority::new_with(|params| {
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "foreign authority");
    })?;
    names(&mut table, &ours)?;
    servers(&mut table, &ours, &foreign)?;
    revocation(&mut table, &ours, &foreign)?;
    pins(&mut table, &ours)?;
    chains(&mut table)?;
    clients(&mut table, &ours, &foreign)?;
    spiffe(&mut table, &ours, &foreign)?;
    modes(&mut table, &ours)?;
    parameters(&mut table, &ours)?;
    Ok(table.0)
}

fn names(table: &mut Table, ours: &Authority) -> Result<()> {
    let rich = ours.issue(&["a.mesh", "spiffe://mesh/a", "10.1.2.3"])?;
    let rich = || strict(&rich);
    let cells = [
        ("name exact", "DNS", json!({"exact": "a.mesh"}), OK),
        ("name in other case", "DNS", json!({"exact": "A.Mesh"}), OK),
        ("name wrong", "DNS", json!({"exact": "b.mesh"}), NO),
        ("name prefix", "DNS", json!({"prefix": "a."}), OK),
        ("name prefix wrong", "DNS", json!({"prefix": "b."}), NO),
        ("name suffix", "DNS", json!({"suffix": ".mesh"}), OK),
        ("name contains", "DNS", json!({"contains": ".me"}), OK),
        ("name regex", "DNS", json!({"safe_regex": {"regex": "[a-c]\\.mesh"}}), OK),
        ("name regex in part", "DNS", json!({"safe_regex": {"regex": "[a-c]\\.mes"}}), NO),
        ("name prefix in other case", "DNS", json!({"prefix": "A."}), NO),
        ("name prefix without case", "DNS", json!({"prefix": "A.", "ignore_case": true}), OK),
        ("uri exact", "URI", json!({"exact": "spiffe://mesh/a"}), OK),
        ("uri wrong", "URI", json!({"exact": "spiffe://mesh/b"}), NO),
        ("uri prefix", "URI", json!({"prefix": "spiffe://mesh/"}), OK),
        ("uri as name", "DNS", json!({"exact": "spiffe://mesh/a"}), NO),
        ("name as uri", "URI", json!({"exact": "a.mesh"}), NO),
        ("address exact", "IP_ADDRESS", json!({"exact": "10.1.2.3"}), OK),
        ("address wrong", "IP_ADDRESS", json!({"exact": "10.1.2.4"}), NO),
        ("no mail address", "EMAIL", json!({"exact": "a.mesh"}), NO),
    ];
    for (name, kind, matcher, passes) in cells {
        table.add(name, rich(), Some(validating(named(ours, kind, matcher))), passes);
    }
    let mail = ours.issue_with(&[], |params| {
        let address = "ops@mesh".try_into().map(rcgen::SanType::Rfc822Name);
        params.subject_alt_names.extend(address);
    })?;
    let matcher = json!({"exact": "ops@mesh"});
    table.add("mail address", strict(&mail), Some(validating(named(ours, "EMAIL", matcher))), OK);
    let any = with(trusting(ours), json!({"match_subject_alt_names": [{"exact": "spiffe://mesh/a"}]}));
    table.add("name of any kind", rich(), Some(validating(any)), OK);
    let wild = ours.issue(&["*.mesh"])?;
    for (name, want, passes) in [
        ("wildcard", "a.mesh", OK),
        ("wildcard two labels", "b.a.mesh", NO),
        ("wildcard no label", "mesh", NO),
    ] {
        let client = validating(named(ours, "DNS", json!({"exact": want})));
        table.add(name, strict(&wild), Some(client), passes);
    }
    Ok(())
}

fn servers(table: &mut Table, ours: &Authority, foreign: &Authority) -> Result<()> {
    use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    let good = ours.issue(&["a"])?;
    let trust = || Some(validating(trusting(ours)));
    table.add("trusted", strict(&good), trust(), OK);
    table.add("untrusted", strict(&foreign.issue(&["a"])?), trust(), NO);
    table.add("authority of the same name", strict(&Authority::new()?.issue(&["a"])?), trust(), NO);
    table.add("nobody verifies", strict(&foreign.issue(&["a"])?), Some(json!({})), OK);
    let lax = with(trusting(ours), json!({"trust_chain_verification": "ACCEPT_UNTRUSTED"}));
    table.add("untrusted accepted", strict(&foreign.issue(&["a"])?), Some(validating(lax)), OK);
    let expired = ours.issue_with(&["a"], valid(2020, 2021))?;
    let unborn = ours.issue_with(&["a"], valid(2090, 2091))?;
    let any_time = || Some(validating(with(trusting(ours), json!({"allow_expired_certificate": true}))));
    table.add("expired", strict(&expired), trust(), NO);
    table.add("not yet valid", strict(&unborn), trust(), NO);
    table.add("expired allowed", strict(&expired), any_time(), OK);
    table.add("not yet valid allowed", strict(&unborn), any_time(), OK);
    let for_clients = ours.issue_with(&["a"], for_purposes(&[ClientAuth]))?;
    table.add("server with client purpose", strict(&for_clients), trust(), NO);
    let for_both = ours.issue_with(&["a"], for_purposes(&[ClientAuth, ServerAuth]))?;
    table.add("server with both purposes", strict(&for_both), trust(), OK);
    let no_signer =
        ours.issue_with(&["a"], |params| params.key_usages = vec![KeyUsagePurpose::KeyAgreement])?;
    table.add("key may not sign", strict(&no_signer), trust(), NO);
    table.only(Planes::OurServer);
    let signer =
        ours.issue_with(&["a"], |params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature])?;
    table.add("key may sign", strict(&signer), trust(), OK);
    for (name, is_ca) in [("self signed leaf", false), ("self signed authority", true)] {
        let alone = Identity::self_signed(&["a"], is_ca)?;
        let trust = validating(json!({"trusted_ca": pem(&alone.certificate)}));
        table.add(name, strict(&alone), Some(trust), OK);
    }
    Ok(())
}

fn revocation(table: &mut Table, ours: &Authority, foreign: &Authority) -> Result<()> {
    let seven = ours.issue_with(&["a"], numbered(7))?;
    let against = |list: &str| Some(validating(with(trusting(ours), json!({"crl": pem(list)}))));
    table.add("revoked", strict(&seven), against(&ours.revocation_list(&[7], 2090)?), NO);
    table.add("not revoked", strict(&seven), against(&ours.revocation_list(&[8], 2090)?), OK);
    table.add("list of others", strict(&seven), against(&foreign.revocation_list(&[8], 2090)?), NO);
    table.add("list expired", strict(&seven), against(&ours.revocation_list(&[8], 2021)?), NO);
    // The newest list that is valid now counts, wherever it stands.
    let (old, new) = (ours.revocation_list_of(&[], 2019..2090)?, ours.revocation_list_of(&[7], 2024..2090)?);
    table.add("old list then new", strict(&seven), against(&format!("{old}{new}")), NO);
    table.add("new list then old", strict(&seven), against(&format!("{new}{old}")), NO);
    let (old, new) = (ours.revocation_list_of(&[7], 2019..2090)?, ours.revocation_list_of(&[], 2024..2090)?);
    table.add("old list that revokes then new", strict(&seven), against(&format!("{old}{new}")), OK);
    table.add("new list then old that revokes", strict(&seven), against(&format!("{new}{old}")), OK);
    let ended = ours.revocation_list_of(&[], 2024..2025)?;
    table.add("ended list then valid", strict(&seven), against(&format!("{ended}{old}")), NO);
    table.add("valid list then ended", strict(&seven), against(&format!("{old}{ended}")), NO);
    let early = ours.revocation_list_of(&[], 2080..2090)?;
    table.add("list of the future then valid", strict(&seven), against(&format!("{early}{old}")), NO);
    table.add("valid list then one of the future", strict(&seven), against(&format!("{old}{early}")), NO);
    table.add("list of the future", strict(&ours.issue(&["a"])?), against(&early), NO);
    let validation = with(trusting(ours), json!({"crl": pem(&ours.revocation_list(&[7], 2090)?)}));
    table.add("client revoked", mutual(&seven, validation.clone()), Some(showing(&seven)), NO);
    let eight = ours.issue_with(&["a"], numbered(8))?;
    table.add("client not revoked", mutual(&seven, validation), Some(showing(&eight)), OK);
    Ok(())
}

fn pins(table: &mut Table, ours: &Authority) -> Result<()> {
    use base64::Engine;
    let (good, other) = (ours.issue(&["a"])?, ours.issue(&["a"])?);
    let certificate = |identity: &Identity| -> Result<String> { Ok(hexadecimal(&sha256(&identity.der()?))) };
    let key = |identity: &Identity| -> Result<String> {
        let key = rcgen::KeyPair::from_pem(&identity.key)?;
        let info = rcgen::PublicKeyData::subject_public_key_info(&key);
        Ok(base64::engine::general_purpose::STANDARD.encode(sha256(&info)))
    };
    let pinned = |fields: Value| Some(validating(with(trusting(ours), fields)));
    let right = json!({"verify_certificate_hash": [certificate(&other)?, certificate(&good)?]});
    let wrong = json!({"verify_certificate_hash": [certificate(&other)?]});
    table.add("certificate pinned", strict(&good), pinned(right.clone()), OK);
    table.add("certificate not pinned", strict(&good), pinned(wrong.clone()), NO);
    table.add("certificate pinned alone", strict(&good), Some(validating(right)), OK);
    table.add("certificate not pinned alone", strict(&good), Some(validating(wrong)), NO);
    table.add("key pinned", strict(&good), pinned(json!({"verify_certificate_spki": [key(&good)?]})), OK);
    table.add(
        "key not pinned",
        strict(&good),
        pinned(json!({"verify_certificate_spki": [key(&other)?]})),
        NO,
    );
    let either =
        json!({"verify_certificate_spki": [key(&other)?], "verify_certificate_hash": [certificate(&good)?]});
    table.add("one pin of two", strict(&good), pinned(either), OK);
    Ok(())
}

pub fn sha256(bytes: &[u8]) -> Vec<u8> {
    let suite = rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let hash = suite.tls13().map(|suite| suite.common.hash_provider.hash(bytes));
    hash.map(|hash| hash.as_ref().to_vec()).unwrap_or_default()
}

pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn chains(table: &mut Table) -> Result<()> {
    let root = Authority::new()?;
    let middle = root.intermediate("intermediate")?;
    let leaf = middle.issue(&["a"])?;
    let whole = Identity {
        certificate: format!("{}{}", leaf.certificate, middle.certificate()),
        key: leaf.key.clone(),
    };
    let trust = |authority: &Authority| Some(validating(trusting(authority)));
    table.add("chain", strict(&whole), trust(&root), OK);
    table.add("chain incomplete", strict(&leaf), trust(&root), NO);
    table.add("intermediate trusted", strict(&leaf), trust(&middle), OK);
    let shallow = |depth: u32| Some(validating(with(trusting(&root), json!({"max_verify_depth": depth}))));
    table.add("chain too deep", strict(&whole), shallow(0), NO);
    table.only(Planes::OurClient);
    table.add("chain not too deep", strict(&whole), shallow(1), OK);
    let lower = middle.intermediate("lower")?;
    let leaf = lower.issue(&["a"])?;
    let certificate = format!("{}{}{}", leaf.certificate, lower.certificate(), middle.certificate());
    let long = Identity { certificate, key: leaf.key.clone() };
    table.add("long chain too deep", strict(&long), shallow(1), NO);
    table.only(Planes::OurClient);
    table.add("long chain far too deep", strict(&long), shallow(0), NO);
    table.only(Planes::OurClient);
    table.add("long chain not too deep", strict(&long), shallow(2), OK);
    let lists = format!("{}{}", root.revocation_list(&[], 2090)?, middle.revocation_list(&[], 2090)?);
    let checked = |list: &str, leaf_only: bool| {
        let fields = json!({"crl": pem(list), "only_verify_leaf_cert_crl": leaf_only});
        Some(validating(with(trusting(&root), fields)))
    };
    table.add("lists for the chain", strict(&whole), checked(&lists, false), OK);
    let last = middle.revocation_list(&[], 2090)?;
    table.add("list for the leaf only", strict(&whole), checked(&last, false), NO);
    table.add("only the leaf checked", strict(&whole), checked(&last, true), OK);
    let old = Authority::new_with(valid(2020, 2021))?;
    table.add("authority expired", strict(&old.issue_with(&["a"], valid(2020, 2090))?), trust(&old), NO);
    let narrow = Authority::new_with(|params| {
        let permitted_subtrees = vec![GeneralSubtree::DnsName("mesh".to_owned())];
        params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });
    })?;
    table.add("name permitted", strict(&narrow.issue(&["a.mesh"])?), trust(&narrow), OK);
    table.add("name not permitted", strict(&narrow.issue(&["a.evil"])?), trust(&narrow), NO);
    let leaf_as_authority = Authority::new_with(|params| params.is_ca = IsCa::ExplicitNoCa)?;
    table.add(
        "listed issuer that is no authority",
        strict(&leaf_as_authority.issue(&["a"])?),
        trust(&leaf_as_authority),
        OK,
    );
    let short = Authority::new_with(|params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)))?;
    let below = short.intermediate("too far below")?;
    let leaf = below.issue(&["a"])?;
    let whole = Identity {
        certificate: format!("{}{}", leaf.certificate, below.certificate()),
        key: leaf.key.clone(),
    };
    // What an authority says about itself binds nobody who lists it (RFC 5280, 6.1).
    table.add("path longer than the authority allows", strict(&whole), trust(&short), OK);
    Ok(())
}

fn clients(table: &mut Table, ours: &Authority, foreign: &Authority) -> Result<()> {
    use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    let server = ours.issue(&["server"])?;
    let demanding = || mutual(&server, trusting(ours));
    let good = ours.issue(&["spiffe://mesh/a"])?;
    table.add("client trusted", demanding(), Some(showing(&good)), OK);
    table.add("client without certificate", demanding(), Some(json!({})), NO);
    table.add("client untrusted", demanding(), Some(showing(&foreign.issue(&["spiffe://mesh/a"])?)), NO);
    table.add("client expired", demanding(), Some(showing(&ours.issue_with(&["a"], valid(2020, 2021))?)), NO);
    table.add(
        "client not yet valid",
        demanding(),
        Some(showing(&ours.issue_with(&["a"], valid(2090, 2091))?)),
        NO,
    );
    let wrong = ours.issue_with(&["a"], for_purposes(&[ServerAuth]))?;
    table.add("client with server purpose", demanding(), Some(showing(&wrong)), NO);
    let right = ours.issue_with(&["a"], for_purposes(&[ClientAuth]))?;
    table.add("client with client purpose", demanding(), Some(showing(&right)), OK);
    let uri = |want: &str| mutual(&server, named(ours, "URI", json!({"exact": want})));
    table.add("client name", uri("spiffe://mesh/a"), Some(showing(&good)), OK);
    table.add("client name wrong", uri("spiffe://mesh/b"), Some(showing(&good)), NO);
    table.add("client name missing", uri("spiffe://mesh/a"), Some(json!({})), NO);
    let asking = |validation: Value| {
        terminating(json!({
            "common_tls_context": {"tls_certificates": own(&server), "validation_context": validation},
        }))
    };
    table.add("asked and silent", asking(trusting(ours)), Some(json!({})), OK);
    table.add("asked and trusted", asking(trusting(ours)), Some(showing(&good)), OK);
    let stranger = foreign.issue(&["spiffe://mesh/a"])?;
    table.add("asked and untrusted", asking(trusting(ours)), Some(showing(&stranger)), NO);
    let names = named(ours, "URI", json!({"exact": "spiffe://mesh/a"}));
    table.add("asked by name and silent", asking(names), Some(json!({})), NO);
    let anyone = terminating(json!({
        "require_client_certificate": true, "common_tls_context": {"tls_certificates": own(&server)},
    }));
    table.add("any certificate", anyone, Some(showing(&stranger)), OK);
    let anyone = terminating(json!({
        "require_client_certificate": true, "common_tls_context": {"tls_certificates": own(&server)},
    }));
    table.add("any certificate and none", anyone, Some(json!({})), NO);
    table.only(Planes::OurServer);
    let both = with(showing(&good), json!({}));
    let mut both = both;
    both["common_tls_context"]["validation_context"] = named(ours, "DNS", json!({"exact": "server"}));
    table.add("both verify", uri("spiffe://mesh/a"), Some(both), OK);
    Ok(())
}

/// A validation context of the SPIFFE validator.
fn domains(bundles: &[(&str, &str)]) -> Value {
    let domain = |(name, bundle): &(&str, &str)| json!({"name": name, "trust_bundle": pem(bundle)});
    json!({"custom_validator_config": {
        "name": "envoy.tls.cert_validator.spiffe",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig",
            "trust_domains": bundles.iter().map(domain).collect::<Vec<_>>(),
        },
    }})
}

fn spiffe(table: &mut Table, ours: &Authority, foreign: &Authority) -> Result<()> {
    use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    let (here, there) = (ours.certificate(), foreign.certificate());
    let one = || domains(&[("mesh", &here)]);
    let two = || domains(&[("mesh", &here), ("partner", &there)]);
    let may_sign =
        |params: &mut CertificateParams| params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let svid = |authority: &Authority, names: &[&str]| authority.issue_with(names, may_sign);
    let good = svid(ours, &["spiffe://mesh/a"])?;
    let against = |context: Value| Some(validating(context));
    let names = |kind: &str, want: &str| json!({"match_typed_subject_alt_names": [{"san_type": kind, "matcher": {"exact": want}}]});
    table.add("domain", strict(&good), against(one()), OK);
    table.add("domain unknown", strict(&svid(ours, &["spiffe://elsewhere/a"])?), against(one()), NO);
    table.add(
        "domain of another authority",
        strict(&svid(foreign, &["spiffe://mesh/a"])?),
        against(two()),
        NO,
    );
    table.add("domain of two", strict(&svid(foreign, &["spiffe://partner/a"])?), against(two()), OK);
    table.add("domain without path", strict(&svid(ours, &["spiffe://mesh"])?), against(one()), NO);
    table.add("domain in a name", strict(&svid(ours, &["mesh"])?), against(one()), NO);
    table.add(
        "domain by its identity",
        strict(&good),
        against(with(one(), names("URI", "spiffe://mesh/a"))),
        OK,
    );
    table.add("domain by another", strict(&good), against(with(one(), names("URI", "spiffe://mesh/b"))), NO);
    let rich = svid(ours, &["spiffe://mesh/a", "a.mesh"])?;
    let mut both = with(one(), names("DNS", "a.mesh"));
    if let Some(list) = both["match_typed_subject_alt_names"].as_array_mut() {
        list.push(json!({"san_type": "URI", "matcher": {"exact": "spiffe://mesh/b"}}));
    }
    table.add("domain by a name and another identity", strict(&rich), against(both), NO);
    table.add("domain by a name", strict(&rich), against(with(one(), names("DNS", "a.mesh"))), OK);
    table.add("domain by another name", strict(&rich), against(with(one(), names("DNS", "b.mesh"))), NO);
    table.only(Planes::OurClient);
    let many = svid(ours, &["spiffe://mesh/a", "spiffe://partner/b"])?;
    table.add("domain of two identities", strict(&many), against(two()), NO);
    table.only(Planes::OurClient);
    let expired = ours.issue_with(&["spiffe://mesh/a"], |params| {
        may_sign(params);
        valid(2020, 2021)(params);
    })?;
    table.add("domain expired", strict(&expired), against(one()), NO);
    let any_time = with(one(), json!({"allow_expired_certificate": true}));
    table.add("domain expired allowed", strict(&expired), against(any_time), OK);
    let unlimited = ours.issue(&["spiffe://mesh/a"])?;
    table.add("domain without key usage", strict(&unlimited), against(one()), NO);
    let signer = ours.issue_with(&["spiffe://mesh/a"], |params| {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign];
    })?;
    table.add("domain with signing key", strict(&signer), against(one()), NO);
    let purpose = |purposes: &[ExtendedKeyUsagePurpose]| {
        ours.issue_with(&["spiffe://mesh/a"], |params| {
            may_sign(params);
            for_purposes(purposes)(params);
        })
    };
    table.add("domain for both purposes", strict(&purpose(&[ServerAuth, ClientAuth])?), against(one()), OK);
    table.add("domain for the other purpose", strict(&purpose(&[ClientAuth])?), against(one()), NO);
    table.only(Planes::OurClient);
    let listed = |serials: &[u64]| -> Result<Value> {
        let bundle = format!("{here}{}", ours.revocation_list(serials, 2090)?);
        Ok(domains(&[("mesh", &bundle)]))
    };
    let seven = ours.issue_with(&["spiffe://mesh/a"], |params| {
        may_sign(params);
        numbered(7)(params);
    })?;
    table.add("domain revoked", strict(&seven), against(listed(&[7])?), NO);
    table.add("domain not revoked", strict(&seven), against(listed(&[8])?), OK);
    let demanding = |context: Value| mutual(&good, context);
    table.add("domain of client", demanding(one()), Some(showing(&good)), OK);
    let stranger = svid(foreign, &["spiffe://mesh/a"])?;
    table.add("domain of client of another authority", demanding(two()), Some(showing(&stranger)), NO);
    let asking = |context: Value| {
        terminating(
            json!({"common_tls_context": {"tls_certificates": own(&good), "validation_context": context}}),
        )
    };
    table.add("domain of client not demanded", asking(one()), Some(json!({})), NO);
    Ok(())
}

fn modes(table: &mut Table, ours: &Authority) -> Result<()> {
    let server = ours.issue(&["server"])?;
    let trust = || Some(validating(trusting(ours)));
    let permissive = |server: Server| Server { plain: true, ..server };
    table.add("plain text into strict", strict(&server), None, NO);
    table.add("tls into plain text", Server { tls: None, plain: true, only_for: None }, trust(), NO);
    table.add("plain text into permissive", permissive(strict(&server)), None, OK);
    table.add("tls into permissive", permissive(strict(&server)), trust(), OK);
    let demanding = || permissive(mutual(&server, trusting(ours)));
    table.add("plain text into mutual permissive", demanding(), None, OK);
    table.add("no certificate into mutual permissive", demanding(), trust(), NO);
    table.add("certificate into mutual permissive", demanding(), Some(showing(&ours.issue(&["a"])?)), OK);
    let for_name = || Server { only_for: Some("a.mesh"), ..strict(&server) };
    let asking = |name: &str| Some(with(validating(trusting(ours)), json!({"sni": name})));
    table.add("chain for the server name", for_name(), asking("a.mesh"), OK);
    table.add("chain for another name", for_name(), asking("b.mesh"), NO);
    table.add("chain for a name without one", for_name(), trust(), NO);
    let sni = || {
        terminating(json!({"require_sni": true, "common_tls_context": {"tls_certificates": own(&server)}}))
    };
    table.add("server name demanded", sni(), asking("a.mesh"), OK);
    table.add("server name missing", sni(), trust(), NO);
    table.only(Planes::OurServer);
    Ok(())
}

fn parameters(table: &mut Table, ours: &Authority) -> Result<()> {
    let server = ours.issue(&["server"])?;
    let serving = |params: Value| {
        terminating(json!({"common_tls_context": {"tls_certificates": own(&server), "tls_params": params}}))
    };
    let asking = |params: Value| {
        let mut context = validating(trusting(ours));
        context["common_tls_context"]["tls_params"] = params;
        Some(context)
    };
    let until = |version: &str| json!({"tls_maximum_protocol_version": version});
    let from = |version: &str| json!({"tls_minimum_protocol_version": version, "tls_maximum_protocol_version": "TLSv1_3"});
    let old = json!({"tls_minimum_protocol_version": "TLSv1_0", "tls_maximum_protocol_version": "TLSv1_1"});
    table.add("client of 1.2", serving(json!({})), asking(until("TLSv1_2")), OK);
    table.add("client of 1.3", serving(json!({})), asking(from("TLSv1_3")), OK);
    table.add("client of 1.2 to 1.3", serving(from("TLSv1_3")), asking(until("TLSv1_2")), NO);
    table.add("client of 1.3 to 1.2", serving(until("TLSv1_2")), asking(from("TLSv1_3")), NO);
    table.add("client of 1.1", serving(json!({})), asking(old.clone()), NO);
    table.only(Planes::EnvoyClient);
    table.add("server of 1.1", serving(old), asking(json!({})), NO);
    table.only(Planes::EnvoyServer);
    let suite = |name: &str| json!({"tls_maximum_protocol_version": "TLSv1_2", "cipher_suites": [name]});
    let (one, other) = ("ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-ECDSA-AES128-GCM-SHA256");
    table.add("suite in common", serving(suite(one)), asking(suite(one)), OK);
    table.add("no suite in common", serving(suite(one)), asking(suite(other)), NO);
    let curve = |name: &str| json!({"ecdh_curves": [name]});
    table.add("curve in common", serving(curve("P-256")), asking(curve("P-256")), OK);
    table.add("no curve in common", serving(curve("P-256")), asking(curve("X25519")), NO);
    Ok(())
}
