use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::PrometheusConfig;

/// Who may read. Of the user and password only a digest is kept.
#[derive(Clone)]
pub(super) struct Auth(Option<[u8; 32]>);

impl Auth {
    pub fn of(config: &PrometheusConfig) -> Self {
        let asked = config.username.as_deref().zip(config.password.as_ref());
        Self(
            asked.map(|(user, password)| {
                Sha256::digest(format!("{user}:{}", password.expose())).into()
            }),
        )
    }

    /// Takes as long for a wrong answer that is nearly right as for any other.
    pub fn admits(&self, authorization: Option<&str>) -> bool {
        let Some(expected) = &self.0 else {
            return true;
        };
        let given = authorization.and_then(|header| {
            let (scheme, value) = header.split_once(' ')?;
            let basic = scheme.eq_ignore_ascii_case("basic");
            STANDARD.decode(value.trim()).ok().filter(|_| basic)
        });
        let given: [u8; 32] = Sha256::digest(given.unwrap_or_default()).into();
        given.ct_eq(expected).into()
    }
}

#[cfg(test)]
mod tests {
    use lem_record::Secret;

    use super::*;

    #[test]
    fn only_the_pair_is_admitted() {
        let config = PrometheusConfig {
            username: Some("ann".into()),
            password: Some(Secret::new("p:\u{fc}")),
            ..PrometheusConfig::default()
        };
        let auth = Auth::of(&config);
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        assert!(auth.admits(Some(&basic("ann:p:\u{fc}"))));
        assert!(auth.admits(Some(&basic("ann:p:\u{fc}").replace("Basic", "bASIC"))));
        for wrong in ["ann:p", "ann:", "bob:p:\u{fc}", ""] {
            assert!(!auth.admits(Some(&basic(wrong))), "{wrong}");
        }
        let others = [
            None,
            Some("Basic"),
            Some("Basic %%%"),
            Some("Bearer YW5uOnA6w7w="),
        ];
        assert!(others.into_iter().all(|other| !auth.admits(other)));
        assert!(Auth::of(&PrometheusConfig::default()).admits(None));
    }
}
