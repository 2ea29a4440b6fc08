//! TLS to a log server (RFC 5425): its certificate must be signed by one that the settings name, and be
//! for the name or address there.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use weir_config::settings::Syslog;

/// A connection.
pub(super) type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// Makes connections.
pub(super) struct TlsClient {
    config: Arc<ClientConfig>,
    server: ServerName<'static>,
}

impl fmt::Debug for TlsClient {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient").field("server", &self.server).finish_non_exhaustive()
    }
}

impl TlsClient {
    /// Reads certificates and key.
    ///
    /// # Errors
    /// When they cannot be read or are none; in words.
    pub(super) fn new(settings: &Syslog, address: SocketAddr) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        if let Some(path) = &settings.ca {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| format!("{}: {error}", path.display()))?;
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots);
        let config = match &settings.identity {
            None => config.with_no_client_auth(),
            Some((certificate, key)) => {
                let private = PrivateKeyDer::from_pem_file(key)
                    .map_err(|error| format!("{}: {error}", key.display()))?;
                config
                    .with_client_auth_cert(certificates(certificate)?, private)
                    .map_err(|error| format!("{}: {error}", key.display()))?
            }
        };
        let server = match &settings.server_name {
            None => address.ip().into(),
            Some(name) => ServerName::try_from(name.clone())
                .map_err(|error| format!("server_name {name}: {error}"))?,
        };
        Ok(Self { config: Arc::new(config), server })
    }

    /// Shakes hands.
    ///
    /// # Errors
    /// When the other end is not the server, or does not want us.
    pub(super) fn connect(&self, mut stream: TcpStream) -> io::Result<TlsStream> {
        let mut connection = ClientConnection::new(Arc::clone(&self.config), self.server.clone())
            .map_err(io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        Ok(StreamOwned::new(connection, stream))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let said = |error: &dyn fmt::Display| format!("{}: {error}", path.display());
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| said(&error))?;
    if certificates.is_empty() {
        return Err(said(&"no certificate in it"));
    }
    Ok(certificates)
}
