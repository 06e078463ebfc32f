//! Bodies of requests.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use crate::exchange::Kept;
use crate::{Api, ExactLength, Job, Message, Prompt, Target, TargetError};

/// Fields that a job or a target sets itself.
const RESERVED: [&str; 7] = [
    "prompt",
    "messages",
    "inputs",
    "stream",
    "max_tokens",
    "max_completion_tokens",
    "n_predict",
];

/// All that was said before a request and in it, in the form that the API takes.
#[derive(Clone, Debug, PartialEq)]
pub enum Conversation {
    Text(String),
    Tokens(Vec<u32>),
    Messages(Vec<Message>),
}

impl Conversation {
    pub fn start(api: Api, prompt: &Prompt) -> Self {
        match prompt {
            Prompt::Text(text) if api.is_chat() => {
                Self::Messages(vec![Message::new("user", text.as_ref())])
            }
            Prompt::Text(text) => Self::Text(text.as_ref().to_owned()),
            Prompt::Tokens(ids) => Self::Tokens(ids.to_vec()),
            Prompt::Messages(messages) => Self::Messages(messages.to_vec()),
        }
    }

    /// The answer, and then what is asked next.
    pub fn answered(&mut self, answer: &Kept) {
        match self {
            Self::Text(text) => text.push_str(&answer.text),
            Self::Tokens(ids) => ids.extend_from_slice(&answer.ids),
            Self::Messages(messages) => {
                messages.push(Message::new("assistant", answer.text.as_str()));
            }
        }
    }

    pub fn ask(&mut self, api: Api, prompt: &Prompt) {
        match (self, Self::start(api, prompt)) {
            (Self::Text(all), Self::Text(more)) => all.push_str(&more),
            (Self::Tokens(all), Self::Tokens(more)) => all.extend(more),
            (Self::Messages(all), Self::Messages(more)) => all.extend(more),
            // Plans that mix them are refused beforehand.
            _ => {}
        }
    }

    fn value(&self) -> Value {
        match self {
            Self::Text(text) => Value::from(text.as_str()),
            Self::Tokens(ids) => Value::from(ids.as_slice()),
            Self::Messages(messages) => messages
                .iter()
                .map(|m| json!({"role": m.role, "content": m.content}))
                .collect(),
        }
    }
}

/// Whether two prompts may stand in one conversation.
pub fn same_kind(api: Api, a: &Prompt, b: &Prompt) -> bool {
    let kind = |p: &Prompt| match p {
        Prompt::Tokens(_) => 0,
        Prompt::Text(_) if !api.is_chat() => 1,
        Prompt::Text(_) | Prompt::Messages(_) => 2,
    };
    kind(a) == kind(b)
}

pub fn check_extra(extra: &Map<String, Value>) -> Result<(), TargetError> {
    if let Some(field) = RESERVED.iter().find(|f| extra.contains_key(**f)) {
        return Err(TargetError::new(
            format!("`{field}` is given as an extra field of the request"),
            "Leave it out: it is set from the prompt, the lengths and the target",
        ));
    }
    for field in ["n", "best_of"] {
        if extra.get(field).is_some_and(|n| n.as_f64() != Some(1.0)) {
            return Err(TargetError::new(
                format!("`{field}` asks for several answers to one request"),
                "Send more requests instead: times belong to one answer",
            ));
        }
    }
    Ok(())
}

/// The body of one request.
pub fn encode(target: &Target, job: &Job, conversation: &Conversation) -> Vec<u8> {
    let mut extra = Cow::Borrowed(&target.extra_body);
    if let Some(own) = &job.extra_body {
        let extra = extra.to_mut();
        for (key, value) in own.iter() {
            extra.insert(key.clone(), value.clone());
        }
    }
    let prompt = conversation.value();
    let body = match target.api {
        Api::Chat | Api::Completions => openai(target, job, prompt, &extra),
        Api::LlamaCpp => llama_cpp(target, job, prompt, &extra),
        Api::Tgi => tgi(job, prompt, &extra),
        Api::OllamaGenerate | Api::OllamaChat => ollama(target, job, prompt, &extra),
    };
    Value::Object(body).to_string().into_bytes()
}

fn openai(
    target: &Target,
    job: &Job,
    prompt: Value,
    extra: &Map<String, Value>,
) -> Map<String, Value> {
    let features = &target.features;
    let mut body = Map::new();
    set(&mut body, "model", target.model.as_deref().map(Value::from));
    let name = if target.api.is_chat() {
        "messages"
    } else {
        "prompt"
    };
    set(&mut body, name, Some(prompt));
    let length = if features.max_completion_tokens {
        "max_completion_tokens"
    } else {
        "max_tokens"
    };
    set(&mut body, length, Some(job.max_tokens.into()));
    exact_length(&mut body, features.exact_length, job);
    set(&mut body, "stream", Some(target.stream.into()));
    if target.stream && (features.include_usage || features.continuous_usage) {
        let mut options = Map::new();
        set(&mut options, "include_usage", Some(true.into()));
        let each = features.continuous_usage.then(|| true.into());
        set(&mut options, "continuous_usage_stats", each);
        set(&mut body, "stream_options", Some(options.into()));
    }
    let ids = features.token_ids.then(|| true.into());
    set(&mut body, "return_token_ids", ids);
    let times = features.timings_per_token.then(|| true.into());
    set(&mut body, "timings_per_token", times);
    body.extend(extra.clone());
    body
}

fn exact_length(body: &mut Map<String, Value>, way: ExactLength, job: &Job) {
    if job.min_tokens == 0 {
        return;
    }
    let eos = matches!(
        way,
        ExactLength::IgnoreEos | ExactLength::IgnoreEosAndMinTokens
    );
    let min = matches!(
        way,
        ExactLength::MinTokens | ExactLength::IgnoreEosAndMinTokens
    );
    let exact = job.min_tokens >= job.max_tokens;
    set(body, "ignore_eos", (eos && exact).then(|| true.into()));
    set(body, "min_tokens", min.then(|| job.min_tokens.into()));
}

fn llama_cpp(
    target: &Target,
    job: &Job,
    prompt: Value,
    extra: &Map<String, Value>,
) -> Map<String, Value> {
    let mut body = Map::new();
    set(&mut body, "prompt", Some(prompt));
    set(&mut body, "n_predict", Some(job.max_tokens.into()));
    exact_length(&mut body, target.features.exact_length, job);
    set(&mut body, "stream", Some(target.stream.into()));
    let ids = target.features.token_ids.then(|| true.into());
    set(&mut body, "return_tokens", ids);
    body.extend(extra.clone());
    body
}

/// All but the prompt are parameters; whether it streams is in the path.
fn tgi(job: &Job, prompt: Value, extra: &Map<String, Value>) -> Map<String, Value> {
    let mut parameters = Map::new();
    set(
        &mut parameters,
        "max_new_tokens",
        Some(job.max_tokens.into()),
    );
    set(&mut parameters, "details", Some(true.into()));
    parameters.extend(extra.clone());
    let mut body = Map::new();
    set(&mut body, "inputs", Some(prompt));
    set(&mut body, "parameters", Some(parameters.into()));
    body
}

fn ollama(
    target: &Target,
    job: &Job,
    prompt: Value,
    extra: &Map<String, Value>,
) -> Map<String, Value> {
    let mut body = Map::new();
    set(&mut body, "model", target.model.as_deref().map(Value::from));
    let name = if target.api.is_chat() {
        "messages"
    } else {
        "prompt"
    };
    set(&mut body, name, Some(prompt));
    set(&mut body, "stream", Some(target.stream.into()));
    body.extend(extra.clone());
    let options = body
        .entry("options")
        .or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(options) = options {
        set(options, "num_predict", Some(job.max_tokens.into()));
    }
    body
}

fn set(map: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    if let Some(value) = value {
        map.insert(name.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Features;

    fn body(target: &Target, job: &Job) -> Value {
        let conversation = Conversation::start(target.api, &job.prompt);
        serde_json::from_slice(&encode(target, job, &conversation)).unwrap()
    }

    #[test]
    fn each_api_in_its_words() {
        let mut target = Target::new("http://x", Api::Chat);
        target.model = Some("m".into());
        target.features = Features::vllm();
        target.extra_body.insert("temperature".into(), json!(0.0));
        let mut job = Job::new(Prompt::Text("hi".into()), 8);
        job.min_tokens = 8;
        assert_eq!(
            body(&target, &job),
            json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 8,
                "ignore_eos": true, "min_tokens": 8, "stream": true,
                "stream_options": {"include_usage": true, "continuous_usage_stats": true},
                "return_token_ids": true, "temperature": 0.0})
        );
        target.api = Api::Completions;
        target.features = Features::openai();
        target.stream = false;
        job.prompt = Prompt::Tokens([1, 2].into());
        assert_eq!(
            body(&target, &job),
            json!({"model": "m", "prompt": [1, 2], "max_tokens": 8, "stream": false, "temperature": 0.0}),
            "nothing that a plain server could refuse"
        );
        target.api = Api::LlamaCpp;
        target.features = Features::llama_cpp();
        assert_eq!(
            body(&target, &job),
            json!({"prompt": [1, 2], "n_predict": 8, "ignore_eos": true, "stream": false, "return_tokens": true, "temperature": 0.0})
        );
        job.prompt = Prompt::Text("hi".into());
        target.api = Api::Tgi;
        assert_eq!(
            body(&target, &job),
            json!({"inputs": "hi", "parameters": {"max_new_tokens": 8, "details": true, "temperature": 0.0}})
        );
        target.api = Api::OllamaGenerate;
        target.extra_body = Map::from_iter([("options".to_owned(), json!({"seed": 1}))]);
        assert_eq!(
            body(&target, &job),
            json!({"model": "m", "prompt": "hi", "stream": false, "options": {"seed": 1, "num_predict": 8}})
        );
    }

    #[test]
    fn a_conversation_grows_in_its_own_form() {
        let answer = Kept {
            text: "yes".into(),
            ids: vec![9],
        };
        let prompt = Prompt::Text("a".into());
        let mut c = Conversation::start(Api::Chat, &prompt);
        c.answered(&answer);
        c.ask(Api::Chat, &prompt);
        let roles: Vec<_> = match &c {
            Conversation::Messages(m) => m.iter().map(|m| m.role.as_str()).collect(),
            other => panic!("{other:?}"),
        };
        assert_eq!(roles, ["user", "assistant", "user"]);
        let mut c = Conversation::start(Api::Completions, &Prompt::Tokens([1].into()));
        c.answered(&answer);
        c.ask(Api::Completions, &Prompt::Tokens([2].into()));
        assert_eq!(c, Conversation::Tokens(vec![1, 9, 2]));
    }

    #[test]
    fn fields_that_would_break_the_count_are_refused() {
        for extra in [
            json!({"stream": false}),
            json!({"n": 2}),
            json!({"best_of": 4}),
            json!({"prompt": "x"}),
        ] {
            assert!(check_extra(extra.as_object().unwrap()).is_err(), "{extra}");
        }
        assert!(check_extra(json!({"n": 1, "top_p": 0.5}).as_object().unwrap()).is_ok());
    }
}
