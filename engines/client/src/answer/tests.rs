use super::*;

fn openai(json: &str) -> Chunk<'_> {
    read(Api::Chat, json.as_bytes()).unwrap()
}

#[test]
fn a_chat_stream_object_by_object() {
    let role = openai(
        r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"prompt_token_ids":[1,2]}"#,
    );
    assert!(role.has_output && role.answer.is_none() && role.ids.is_empty());
    let token = openai(
        r#"{"choices":[{"delta":{"content":"a\n"},"token_ids":[5,6],"finish_reason":null}],"usage":{"prompt_tokens":3,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":1}}}"#,
    );
    assert_eq!(token.answer, Some((Part::Answer, "a\n".into())));
    assert_eq!(token.ids, [5, 6]);
    assert_eq!(
        token.usage,
        Some(Usage {
            prompt_tokens: Some(3),
            output_tokens: Some(2),
            cached_tokens: Some(1),
            reasoning_tokens: None
        })
    );
    for json in [
        r#"{"choices":[{"delta":{"reasoning_content":"hm","content":null}}]}"#,
        r#"{"choices":[{"delta":{"reasoning":"hm"}}]}"#,
    ] {
        let chunk = openai(json);
        assert_eq!(
            (chunk.reasoning.as_deref(), chunk.answer),
            (Some("hm"), None)
        );
    }
    let tool = openai(
        r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"a\""}}]}}]}"#,
    );
    assert_eq!(tool.answer, Some((Part::ToolCall, "{\"a\"".into())));
    let end = openai(r#"{"choices":[{"delta":{},"finish_reason":"length"}],"usage":null}"#);
    assert_eq!((end.finish.as_deref(), end.usage), (Some("length"), None));
    let usage = openai(
        r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":64.0,"reasoning_tokens":9},"metrics":{"queue_time_ms":1}}"#,
    );
    assert!(!usage.has_output && usage.timings);
    let told = usage.usage.unwrap();
    assert_eq!(
        (told.output_tokens, told.reasoning_tokens),
        (Some(64), Some(9))
    );
}

#[test]
fn content_in_parts_and_null_choices() {
    let chunk = openai(
        r#"{"choices":[{"delta":{"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}}]}"#,
    );
    assert_eq!(chunk.answer, Some((Part::Answer, "ab".into())));
    assert_eq!(
        openai(r#"{"choices":null,"usage":{"completion_tokens":"many"}}"#).usage,
        Some(Usage::default())
    );
    assert!(read(Api::Chat, b"<html>").is_err());
}

#[test]
fn errors_in_all_dresses() {
    for (json, message, code) in [
        (
            r#"{"error":{"message":"no","type":"T","code":null}}"#,
            "no",
            Some("T"),
        ),
        (
            r#"{"error":{"message":"no","code":500}}"#,
            "no",
            Some("500"),
        ),
        (r#"{"error":"no"}"#, "no", None),
        (
            r#"{"object":"error","message":"no","code":404}"#,
            "no",
            Some("404"),
        ),
    ] {
        let error = openai(json).error.unwrap();
        assert_eq!(
            (error.message.as_str(), error.code.as_deref()),
            (message, code),
            "{json}"
        );
    }
    assert_eq!(openai(r#"{"error":null,"choices":[]}"#).error, None);
    let detail = error_message(br#"{"detail":[{"msg":"field required"}]}"#).unwrap();
    assert!(detail.message.contains("field required"));
    assert_eq!(
        read(Api::Tgi, br#"{"error":"overloaded","error_type":"x"}"#)
            .unwrap()
            .error
            .unwrap()
            .message,
        "overloaded"
    );
}

#[test]
fn the_servers_own_apis() {
    let c = read(Api::LlamaCpp, br#"{"index":0,"content":" a","tokens":[7],"stop":false,"tokens_predicted":2,"tokens_evaluated":9}"#).unwrap();
    assert_eq!(
        (c.running, c.ids.as_slice(), c.last),
        (Some(2), &[7][..], false)
    );
    let c = read(Api::LlamaCpp, br#"{"content":"","tokens":[],"stop":false,"tokens_predicted":1,"prompt_progress":{"total":9}}"#).unwrap();
    assert!(!c.has_output && c.running.is_none());
    let c = read(Api::LlamaCpp, br#"{"content":"","stop":true,"stop_type":"limit","tokens_predicted":8,"tokens_evaluated":9,"timings":{"prompt_n":9,"cache_n":4}}"#).unwrap();
    assert!(c.last && c.timings);
    assert_eq!(
        (c.finish.as_deref(), c.usage.unwrap().cached_tokens),
        (Some("limit"), Some(4))
    );

    let c = read(Api::Tgi, br#"{"index":1,"token":{"id":12,"text":"a","logprob":-1.0,"special":false},"generated_text":null,"details":null}"#).unwrap();
    assert_eq!((c.ids.as_slice(), c.last), (&[12][..], false));
    let c = read(Api::Tgi, br#"{"token":{"id":2,"text":"b"},"generated_text":"ab","details":{"finish_reason":"length","generated_tokens":2,"input_length":5}}"#).unwrap();
    assert_eq!(c.answer.unwrap().1, "b");
    assert_eq!((c.last, c.usage.unwrap().output_tokens), (true, Some(2)));

    let c = read(
        Api::OllamaChat,
        br#"{"message":{"role":"assistant","content":"","thinking":"hm"},"done":false}"#,
    )
    .unwrap();
    assert_eq!(c.reasoning.as_deref(), Some("hm"));
    let c = read(Api::OllamaGenerate, br#"{"response":"","done":true,"done_reason":"stop","prompt_eval_count":5,"eval_count":7,"eval_duration":100}"#).unwrap();
    assert!(c.last && c.timings && c.answer.is_none());
    assert_eq!(c.usage.unwrap().output_tokens, Some(7));
}
