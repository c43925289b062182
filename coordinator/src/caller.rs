//! Who is at the other end of an HTTPS connection.

use std::net::SocketAddr;

use crate::gate::tls::Subject;

/// The other end.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Its address.
    pub address: SocketAddr,
    /// Which device it is, when it showed a certificate of the fleet CA.
    pub device: Option<Subject>,
}
