//! Who may use `/v1`: whoever has a key. Only digests are kept, and they are compared in constant
//! time.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::error::ApiError;
use crate::state::ApiState;

/// The keys that open `/v1`, as SHA-256 digests. Several at once let a key be replaced without a
/// pause; none at all lets nobody in.
#[derive(Clone)]
pub struct ApiKey(Arc<[[u8; 32]]>);

impl ApiKey {
    /// Takes the keys in clear. An empty text is not a key.
    #[must_use]
    pub fn new<K: AsRef<str>>(keys: impl IntoIterator<Item = K>) -> Self {
        Self(
            keys.into_iter()
                .filter(|key| !key.as_ref().is_empty())
                .map(|key| Sha256::digest(key.as_ref()).into())
                .collect(),
        )
    }

    /// Whether `given` is one of them.
    pub(crate) fn accepts(&self, given: &[u8]) -> bool {
        let given: [u8; 32] = Sha256::digest(given).into();
        let any = self
            .0
            .iter()
            .fold(Choice::from(0), |any, key| any | key.ct_eq(&given));
        any.into()
    }
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ApiKey({} keys)", self.0.len())
    }
}

/// Lets a request pass that carries `Authorization: Bearer <key>`.
pub(crate) async fn require_key(
    State(app): State<ApiState>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let given = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(|value| bearer(value.as_bytes()));
    match given {
        Some(key) if app.api_key.accepts(key) => Ok(next.run(request).await),
        Some(_) | None => Err(ApiError::Unauthorized),
    }
}

/// The credentials of the scheme `Bearer`, whose name is not case sensitive (RFC 9110).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked("bearer ".len())?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_key_is_accepted() {
        let keys = ApiKey::new(["old", "new", ""]);
        assert!(keys.accepts(b"old") && keys.accepts(b"new"));
        for wrong in ["", "ol", "oldd", "New"] {
            assert!(!keys.accepts(wrong.as_bytes()), "{wrong:?}");
        }
        assert!(!ApiKey::new::<&str>([]).accepts(b""));
        assert_eq!(format!("{keys:?}"), "ApiKey(2 keys)");
    }

    #[test]
    fn the_scheme_is_bearer() {
        assert_eq!(bearer(b"Bearer k"), Some(&b"k"[..]));
        assert_eq!(bearer(b"bearer  k "), Some(&b"k"[..]));
        assert_eq!(bearer(b"Basic k"), None);
        assert_eq!(bearer(b"Bearer"), None);
    }
}
