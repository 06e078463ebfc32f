//! Chat templates: Jinja, with the habits of Python that their authors rely on.

use minijinja::{Environment, ErrorKind, Value, context};

use crate::engine::EngineError;

/// Instructions after which a template counts as endless. The longest real ones take thousands.
const FUEL: u64 = 5_000_000;
const NAME: &str = "chat_template";

#[derive(Debug)]
pub struct Template {
    /// Or why the template cannot be read, which matters only to who uses it.
    environment: Result<Environment<'static>, String>,
    bos: String,
    eos: String,
}

impl Template {
    /// `bos` and `eos` are the texts of the special tokens, which templates write out.
    pub fn new(source: String, bos: String, eos: String) -> Self {
        let mut environment = Environment::new();
        environment.set_fuel(Some(FUEL));
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> Result<Value, _> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_function("strftime_now", |format: &str| {
            jiff::Zoned::now().strftime(format).to_string()
        });
        let added = environment.add_template_owned(NAME, source);
        Self {
            environment: added.map(|()| environment).map_err(|e| e.to_string()),
            bos,
            eos,
        }
    }

    /// A conversation of one user turn, up to where the model's answer begins.
    pub fn user_turn(&self, text: &str) -> Result<String, EngineError> {
        let environment = self.environment.as_ref().map_err(refused)?;
        environment
            .get_template(NAME)
            .and_then(|template| {
                template.render(context! {
                    messages => [context! { role => "user", content => text }],
                    add_generation_prompt => true,
                    bos_token => self.bos,
                    eos_token => self.eos,
                })
            })
            .map_err(|error| refused(&error.to_string()))
    }
}

fn refused(error: &String) -> EngineError {
    EngineError::new(
        format!("the model's chat template failed: {error}"),
        "Set prompts.chat_template to false, or correct the template in the model",
    )
}
