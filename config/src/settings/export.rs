//! `[metrics]` and `[pflow]`: where counters can be had, and where records of connections go.

use std::net::SocketAddr;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::DeValue;

use super::reader::{Reader, is_path};

/// `[metrics]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Metrics {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// `[pflow]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pflow {
    /// `collector`: where flow records are sent (IPFIX over UDP), if anywhere.
    pub collector: Option<SocketAddr>,
    /// `domain`: the observation domain that they name (RFC 7011, 3.1).
    pub domain: u32,
}

impl Reader<'_> {
    /// `[metrics]` and `[pflow]`.
    pub(super) fn export(&mut self, name: &str, value: &Spanned<DeValue<'_>>) {
        match name {
            "listen" => {
                let Some(text) = self.string(name, value) else { return };
                match (text, text.strip_prefix("unix:")) {
                    ("none", _) => self.settings.metrics = None,
                    (_, Some(path)) if is_path(path) => {
                        self.settings.metrics = Some(Metrics::Unix(path.into()));
                    }
                    _ => match text.parse() {
                        Ok(address) => self.settings.metrics = Some(Metrics::Tcp(address)),
                        Err(_) => self.error(
                            &value.span(),
                            "`listen` must be \"none\", an address and port, as in \
                             \"127.0.0.1:9787\", or \"unix:/...\""
                                .into(),
                        ),
                    },
                }
            }
            "collector" => {
                let Some(text) = self.string(name, value) else { return };
                match text.parse() {
                    _ if text == "none" => self.settings.pflow.collector = None,
                    Ok(address) => self.settings.pflow.collector = Some(address),
                    Err(_) => self.error(
                        &value.span(),
                        "`collector` must be \"none\" or an address and port, as in \
                         \"192.0.2.1:4739\""
                            .into(),
                    ),
                }
            }
            _ => {
                if let Some(domain) = self.integer(name, value, 0, u32::MAX) {
                    self.settings.pflow.domain = domain;
                }
            }
        }
    }
}
