//! A certificate authority for one test, and TLS clients that trust it.

use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
};
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::netns::Place;
use crate::{Result, client, wait};

/// An authority that lives as long as the test.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate with its key, as PEM.
#[derive(Clone)]
pub struct Identity {
    /// The leaf certificate.
    pub certificate: String,
    /// Its private key, PKCS#8.
    pub key: String,
}

impl Authority {
    /// A new authority with a key of its own.
    pub fn new() -> Result<Self> {
        Self::new_with(|_| {})
    }

    /// The same, changed before it is signed.
    pub fn new_with(change: impl FnOnce(&mut CertificateParams)) -> Result<Self> {
        let mut parameters = authority_parameters("test authority")?;
        change(&mut parameters);
        Ok(Self { issuer: CertifiedIssuer::self_signed(parameters, KeyPair::generate()?)? })
    }

    /// The trust bundle.
    pub fn certificate(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for these names: DNS names, addresses, mail addresses or `spiffe://` URIs.
    pub fn issue(&self, names: &[&str]) -> Result<Identity> {
        self.issue_with(names, |_| {})
    }

    /// The same, changed before it is signed.
    pub fn issue_with(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Result<Identity> {
        let mut parameters = parameters_for(names)?;
        change(&mut parameters);
        let key = KeyPair::generate()?;
        let certificate = parameters.signed_by(&key, &self.issuer)?;
        Ok(Identity { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// An authority below this one.
    pub fn intermediate(&self, name: &str) -> Result<Self> {
        self.intermediate_with(name, |_| {})
    }

    /// The same, changed before it is signed.
    pub fn intermediate_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Result<Self> {
        let mut parameters = authority_parameters(name)?;
        change(&mut parameters);
        Ok(Self { issuer: CertifiedIssuer::signed_by(parameters, KeyPair::generate()?, &self.issuer)? })
    }

    /// A revocation list of these serial numbers, to be followed by the next one in that year.
    pub fn revocation_list(&self, serials: &[u64], next_year: i32) -> Result<String> {
        self.revocation_list_of(serials, 2019..next_year)
    }

    /// The same, published in the first of these years.
    pub fn revocation_list_of(&self, serials: &[u64], years: Range<i32>) -> Result<String> {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: rcgen::date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(years.start, 1, 1),
            next_update: rcgen::date_time_ymd(years.end, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(list.signed_by(&self.issuer)?.pem()?)
    }

    /// A client that trusts this authority, offers these protocols, and has an identity or none.
    pub fn client(&self, protocols: &[&str], identity: Option<&Identity>) -> Result<ClientConfig> {
        client_of(&self.certificate(), protocols, identity)
    }
}

fn authority_parameters(name: &str) -> Result<CertificateParams> {
    let mut parameters = CertificateParams::new(Vec::new())?;
    // Subject and issuer of a leaf must differ, or it passes for self-signed.
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(parameters)
}

fn parameters_for(names: &[&str]) -> Result<CertificateParams> {
    let (uris, hosts): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| name.contains("://"));
    let mut parameters = CertificateParams::new(hosts.into_iter().map(str::to_owned).collect::<Vec<_>>())?;
    for uri in uris {
        parameters.subject_alt_names.push(SanType::URI(uri.try_into()?));
    }
    Ok(parameters)
}

impl Identity {
    /// A certificate that vouches for itself.
    pub fn self_signed(names: &[&str], is_ca: bool) -> Result<Self> {
        let mut parameters = parameters_for(names)?;
        if is_ca {
            parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        let key = KeyPair::generate()?;
        Ok(Self { certificate: parameters.self_signed(&key)?.pem(), key: key.serialize_pem() })
    }

    /// The certificate in DER.
    pub fn der(&self) -> Result<CertificateDer<'static>> {
        Ok(CertificateDer::from_pem_slice(self.certificate.as_bytes())?)
    }

    /// Writes `<name>.pem` and `<name>.key` for configurations that name files.
    pub fn write(&self, directory: &Path, name: &str) -> Result<()> {
        std::fs::write(directory.join(format!("{name}.pem")), &self.certificate)?;
        Ok(std::fs::write(directory.join(format!("{name}.key")), &self.key)?)
    }

    fn chain(&self) -> Result<Vec<CertificateDer<'static>>> {
        Ok(vec![CertificateDer::from_pem_slice(self.certificate.as_bytes())?])
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>> {
        Ok(PrivateKeyDer::from_pem_slice(self.key.as_bytes())?)
    }
}

/// A client that trusts this authority, given as PEM.
pub fn client_of(root: &str, protocols: &[&str], identity: Option<&Identity>) -> Result<ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root.as_bytes())?)?;
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let mut config = match identity {
        Some(identity) => builder.with_client_auth_cert(identity.chain()?, identity.private_key()?)?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Ok(config)
}

/// A TLS connection from `place` to `address`, asking for `name`; the handshake's refusal is the error.
pub async fn connect(
    place: &Place,
    address: SocketAddr,
    name: &str,
    config: ClientConfig,
) -> Result<TlsStream<TcpStream>> {
    let stream = place.connect(address)?;
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(name.to_owned())?;
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, TcpStream::from_std(stream)?);
    Ok(wait::within("the TLS handshake", client::LIMIT, connecting).await??)
}

/// The protocol the server chose by ALPN.
pub fn chosen_protocol(stream: &TlsStream<TcpStream>) -> Option<String> {
    let protocol = stream.get_ref().1.alpn_protocol()?;
    Some(String::from_utf8_lossy(protocol).into_owned())
}
