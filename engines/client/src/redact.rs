//! Keeps a target's secrets out of what a server echoes.

use crate::Failure;

#[derive(Clone, Debug, Default)]
pub struct Redactor(Vec<crate::Secret>);

impl Redactor {
    /// Secrets too short to be one are left out: they would eat ordinary text.
    pub fn new(secrets: impl IntoIterator<Item = crate::Secret>) -> Self {
        Self(
            secrets
                .into_iter()
                .filter(|s| s.expose().len() >= 6)
                .collect(),
        )
    }

    pub fn text(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| {
            text.replace(secret.expose(), "[secret]")
        })
    }

    pub fn failure(&self, mut failure: Failure) -> Failure {
        if self.0.is_empty() {
            return failure;
        }
        match &mut failure {
            Failure::Http {
                message, location, ..
            } => {
                *message = self.text(message);
                *location = location.as_ref().map(|l| self.text(l));
            }
            Failure::InStream { message, code } => {
                *message = self.text(message);
                *code = code.as_ref().map(|c| self.text(c));
            }
            Failure::Garbage { what } => *what = self.text(what),
            _ => {}
        }
        failure
    }
}
