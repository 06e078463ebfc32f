//! Which of a server's metrics is what: one table a kind. A name that a server does not have
//! makes its quantity absent, with the name as the reason.

use crate::config::Backend;

/// How a quantity of a cycle comes from two pages, before and after it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum From {
    /// The rise of a counter.
    Rise(Names),
    /// The rise of a histogram's sum over that of its count: the mean.
    Mean(Names),
    /// How many values a histogram took.
    Count(Names),
    /// The rise of a histogram's sum.
    Sum(Names),
    /// The rise of one counter over that of another.
    Share(Names, Names),
    /// The highest value that a gauge was seen at.
    Peak(Names),
}

/// Names that the same metric has had, the newest first, and the label that tells its parts apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Names {
    pub names: &'static [&'static str],
    pub label: Option<(&'static str, &'static str)>,
}

/// Requests that ended in the cycle: not a metric of lem's, but how it sees that the server is
/// not its alone, and that the page is up to date.
pub const REQUESTS: &str = "requests";

pub type Row = (&'static str, From);

const fn n(names: &'static [&'static str]) -> Names {
    Names { names, label: None }
}

const fn with(names: &'static [&'static str], key: &'static str, value: &'static str) -> Names {
    Names {
        names,
        label: Some((key, value)),
    }
}

#[rustfmt::skip] // one quantity a line
const VLLM: &[Row] = &[
    (REQUESTS, From::Count(n(&["vllm:e2e_request_latency_seconds"]))),
    ("engine.queue", From::Mean(n(&["vllm:request_queue_time_seconds"]))),
    ("engine.prefill", From::Mean(n(&["vllm:request_prefill_time_seconds"]))),
    ("engine.decode", From::Mean(n(&["vllm:request_decode_time_seconds"]))),
    ("engine.ttft", From::Mean(n(&["vllm:time_to_first_token_seconds"]))),
    ("engine.tpot", From::Mean(n(&["vllm:request_time_per_output_token_seconds"]))),
    ("engine.itl", From::Mean(n(&["vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds"]))),
    ("engine.e2e", From::Mean(n(&["vllm:e2e_request_latency_seconds"]))),
    ("engine.input_tokens", From::Rise(n(&["vllm:prompt_tokens_total"]))),
    ("engine.output_tokens", From::Rise(n(&["vllm:generation_tokens_total"]))),
    ("engine.cached_tokens", From::Rise(n(&["vllm:prompt_tokens_cached_total", "vllm:prefix_cache_hits_total"]))),
    ("engine.prefix_hits", From::Share(n(&["vllm:prefix_cache_hits_total"]), n(&["vllm:prefix_cache_queries_total"]))),
    ("engine.steps", From::Count(n(&["vllm:iteration_tokens_total"]))),
    ("engine.preemptions", From::Rise(n(&["vllm:num_preemptions_total"]))),
    ("engine.acceptance", From::Share(n(&["vllm:spec_decode_num_accepted_tokens_total"]), n(&["vllm:spec_decode_num_draft_tokens_total"]))),
    ("engine.kv_cache_usage", From::Peak(n(&["vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"]))),
];

#[rustfmt::skip]
const SGLANG: &[Row] = &[
    (REQUESTS, From::Count(n(&["sglang:e2e_request_latency_seconds"]))),
    ("engine.queue", From::Mean(n(&["sglang:queue_time_seconds"]))),
    ("engine.ttft", From::Mean(n(&["sglang:time_to_first_token_seconds"]))),
    ("engine.itl", From::Mean(n(&["sglang:inter_token_latency_seconds"]))),
    ("engine.e2e", From::Mean(n(&["sglang:e2e_request_latency_seconds"]))),
    ("engine.input_tokens", From::Rise(n(&["sglang:prompt_tokens_total"]))),
    ("engine.output_tokens", From::Rise(n(&["sglang:generation_tokens_total"]))),
    ("engine.cached_tokens", From::Rise(n(&["sglang:cached_tokens_total"]))),
    ("engine.prefill_busy", From::Rise(with(&["sglang:forward_execution_seconds_total"], "category", "EXTEND"))),
    ("engine.decode_busy", From::Rise(with(&["sglang:forward_execution_seconds_total"], "category", "DECODE"))),
    ("engine.mixed_busy", From::Rise(with(&["sglang:forward_execution_seconds_total"], "category", "MIXED"))),
    ("engine.kv_cache_usage", From::Peak(n(&["sglang:token_usage"]))),
];

#[rustfmt::skip]
const LLAMA_CPP: &[Row] = &[
    ("engine.prefill_busy", From::Rise(n(&["llamacpp:prompt_seconds_total"]))),
    ("engine.decode_busy", From::Rise(n(&["llamacpp:tokens_predicted_seconds_total"]))),
    ("engine.input_tokens", From::Rise(n(&["llamacpp:prompt_tokens_total"]))),
    ("engine.output_tokens", From::Rise(n(&["llamacpp:tokens_predicted_total"]))),
    ("engine.cached_tokens", From::Rise(n(&["llamacpp:prompt_tokens_cached_total"]))),
    ("engine.steps", From::Rise(n(&["llamacpp:n_decode_total"]))),
    ("engine.acceptance", From::Share(n(&["llamacpp:spec_decode_num_accepted_tokens_total"]), n(&["llamacpp:spec_decode_num_draft_tokens_total"]))),
    ("engine.kv_cache_usage", From::Peak(n(&["llamacpp:kv_cache_usage_ratio"]))),
];

#[rustfmt::skip]
const TGI: &[Row] = &[
    (REQUESTS, From::Count(n(&["tgi_request_duration"]))),
    ("engine.queue", From::Mean(n(&["tgi_request_queue_duration"]))),
    ("engine.tpot", From::Mean(n(&["tgi_request_mean_time_per_token_duration"]))),
    ("engine.e2e", From::Mean(n(&["tgi_request_duration"]))),
    ("engine.input_tokens", From::Sum(n(&["tgi_request_input_length"]))),
    ("engine.output_tokens", From::Sum(n(&["tgi_request_generated_tokens"]))),
    ("engine.prefill_busy", From::Sum(with(&["tgi_batch_forward_duration"], "method", "prefill"))),
    ("engine.decode_busy", From::Sum(with(&["tgi_batch_forward_duration"], "method", "decode"))),
];

#[rustfmt::skip]
const TENSORRT_LLM: &[Row] = &[
    (REQUESTS, From::Count(n(&["trtllm_e2e_request_latency_seconds"]))),
    ("engine.queue", From::Mean(n(&["trtllm_request_queue_time_seconds"]))),
    ("engine.prefill", From::Mean(n(&["trtllm_request_prefill_time_seconds"]))),
    ("engine.decode", From::Mean(n(&["trtllm_request_decode_time_seconds"]))),
    ("engine.ttft", From::Mean(n(&["trtllm_time_to_first_token_seconds"]))),
    ("engine.tpot", From::Mean(n(&["trtllm_time_per_output_token_seconds"]))),
    ("engine.e2e", From::Mean(n(&["trtllm_e2e_request_latency_seconds"]))),
    ("engine.kv_cache_usage", From::Peak(n(&["trtllm_kv_cache_utilization"]))),
];

/// What a kind of server tells; nothing of those that have no page.
pub const fn rows(backend: Backend) -> &'static [Row] {
    match backend {
        Backend::Vllm => VLLM,
        Backend::Sglang => SGLANG,
        Backend::LlamaCpp => LLAMA_CPP,
        Backend::Tgi => TGI,
        Backend::TensorrtLlm => TENSORRT_LLM,
        _ => &[],
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_quantity_is_in_the_catalogue() {
        for backend in [
            Backend::Vllm,
            Backend::Sglang,
            Backend::LlamaCpp,
            Backend::Tgi,
            Backend::TensorrtLlm,
        ] {
            for (id, _) in rows(backend).iter().filter(|(id, _)| *id != REQUESTS) {
                assert!(lem_record::catalogue::find(id).is_some(), "{id}");
            }
        }
    }
}
