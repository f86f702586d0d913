//! The one TLS implementation.

/// Makes rustls with aws-lc-rs the TLS of this process. Call it first in `main`: clients built
/// before have no provider. A second call changes nothing.
pub fn install() {
    // An error says that a provider is there already, which is what was asked for.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
