#!/usr/bin/env python3
"""A worker of lem for vLLM in its own process, without a server (AsyncLLM, vLLM 0.10 or later).

    worker: {command: [python3, workers/vllm_offline.py]}
    vllm: {max_model_len: 4096, gpu_memory_utilization: 0.9}

vLLM mixes prefill and decode in one step, so there are no phases. A token's time is that of its
arrival from the engine's own process; what the engine itself tells of each request (queueing,
prefill, decode) comes as a table beside it. `backend: vllm` measures a vLLM server instead,
and knows more of it; this is for what only the offline interface does. Written to vLLM's
documented interface; not run yet.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
import traceback
from typing import Any

if __name__ == "__main__":
    # This folder: in it, `transformers` would be another worker.
    del sys.path[0]

now = time.monotonic_ns
Message = dict[str, Any]
TYPES = {"auto": "auto", "fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
# Keys of the section `vllm` that vLLM calls the same.
PASSED = {
    "max_num_seqs", "max_num_batched_tokens", "gpu_memory_utilization", "tensor_parallel_size",
    "pipeline_parallel_size", "enable_prefix_caching", "enable_chunked_prefill", "kv_cache_dtype",
    "block_size", "max_model_len", "enforce_eager", "quantization",
}  # fmt: skip


class Worker:
    def __init__(self, out: Any) -> None:
        self.out, self.lock, self.cancelled = out, threading.Lock(), set()
        self.engine: Any = None

    def send(self, **message: Any) -> None:
        line = json.dumps(message, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        with self.lock:
            self.out.write(line)

    async def hello(self, _: Message) -> Message:
        import importlib.metadata as metadata

        return {"protocol": 1, "name": "vllm", "version": metadata.version("vllm")}

    async def ping(self, _: Message) -> Message:
        return {"at_ns": now()}

    async def load(self, asked: Message) -> Message:
        if asked.get("gpus"):
            visible = (os.environ.get("CUDA_VISIBLE_DEVICES") or "").split(",")
            chosen = [visible[gpu] if visible != [""] else str(gpu) for gpu in asked["gpus"]]
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(chosen)
        import vllm
        from vllm.v1.engine.async_llm import AsyncLLM

        self.vllm = vllm
        given = {key: value for key, value in asked["vllm"].items() if key in PASSED}
        arguments = {"max_num_seqs": asked["batch_size"], **given, **asked["options"]}
        self.engine = AsyncLLM.from_engine_args(
            vllm.AsyncEngineArgs(
                model=asked["model"],
                revision=asked.get("revision"),
                dtype=TYPES[asked["dtype"]],
                load_format=asked["load_format"],
                seed=asked["seed"],
                disable_log_stats=False,  # without it, no times of requests
                **arguments,
            )
        )
        self.tokenizer = self.engine.get_tokenizer()
        if asyncio.iscoroutine(self.tokenizer):
            self.tokenizer = await self.tokenizer
        return {"can": dict.fromkeys(("true_token_times", "encode", "score", "cancel"), True)}

    async def describe(self, _: Message) -> Message:
        model = self.engine.vllm_config.model_config
        config = model.hf_text_config
        heads = getattr(config, "num_attention_heads", None)
        told = {
            "architecture": getattr(model.hf_config, "model_type", None),
            "layers": getattr(config, "num_hidden_layers", None),
            "hidden_size": getattr(config, "hidden_size", None),
            "intermediate_size": getattr(config, "intermediate_size", None),
            "attention_heads": heads,
            "key_value_heads": getattr(config, "num_key_value_heads", heads),
            "head_size": getattr(config, "head_dim", None),
            "vocabulary": config.vocab_size,
            "context_length": model.max_model_len,
            "tied_embeddings": getattr(config, "tie_word_embeddings", None),
            "compute_type": str(model.dtype).removeprefix("torch."),
            "device": str(self.engine.vllm_config.device_config.device_type),
        }
        return {key: value for key, value in told.items() if value is not None}

    async def encode(self, asked: Message) -> Message:
        text = asked["text"]
        if asked.get("chat") and getattr(self.tokenizer, "chat_template", None):
            turn = [{"role": "user", "content": text}]
            text = self.tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
            return {"tokens": self.tokenizer.encode(text, add_special_tokens=False)}
        return {"tokens": self.tokenizer.encode(text)}

    async def decode(self, asked: Message) -> Message:
        return {"text": self.tokenizer.decode(asked["tokens"], skip_special_tokens=True)}

    async def generate(self, asked: Message) -> Message:
        # In their order, so many together; the next starts as soon as one ends.
        together = asyncio.Semaphore(asked["batch_size"])

        async def one(request: Message) -> None:
            async with together:
                await self._answer(asked, request)

        await asyncio.gather(*(one(request) for request in asked["requests"]))
        return {}

    async def _answer(self, asked: Message, request: Message) -> None:
        from vllm.sampling_params import RequestOutputKind

        id, number, drawing = asked["id"], request["id"], asked["sampling"]
        params = self.vllm.SamplingParams(
            temperature=drawing["temperature"],
            top_k=drawing.get("top_k") or 0,
            top_p=drawing.get("top_p") or 1.0,
            repetition_penalty=drawing["repetition_penalty"],
            seed=drawing["seed"],
            min_tokens=request["min_output_tokens"],
            max_tokens=request["max_output_tokens"],
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
        )
        self.send(id=id, event="started", request=number, at_ns=now())
        reason, prompt = "cancelled", {"prompt_token_ids": request["tokens"]}
        stream = self.engine.generate(prompt, params, f"lem-{id}-{number}")
        try:
            async for out in stream:
                tokens = [[number, token] for token in out.outputs[0].token_ids]
                if tokens:
                    self.send(id=id, event="tokens", tokens=tokens, at_ns=now())
                if out.finished:
                    reason = "length" if out.outputs[0].finish_reason == "length" else "stop"
                    self.send(id=id, event="told", request=number, values=times(out.metrics))
                elif id in self.cancelled:
                    await self.engine.abort(f"lem-{id}-{number}")
                    break
        except ValueError as error:  # a prompt too long, and the like: of this request only
            remedy = "Check max_input_tokens and vllm.max_model_len"
            self.send(id=id, event="failed", request=number, what=str(error), remedy=remedy, at_ns=now())
            return
        self.send(id=id, event="finished", request=number, reason=reason, at_ns=now())

    async def score(self, asked: Message) -> Message:
        params = self.vllm.SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=0, detokenize=False)
        prompt = {"prompt_token_ids": asked["tokens"]}
        scores = None
        async for out in self.engine.generate(prompt, params, f"lem-{asked['id']}"):
            scores = out.prompt_logprobs or scores
        pairs = zip(asked["tokens"][1:], scores[1:])
        return {"logprobs": [min(0.0, chosen[token].logprob) for token, chosen in pairs]}


def times(metrics: Any) -> Message:
    """What the engine's own process saw: seconds between its marks."""
    edges = {"queue_s": ("queued_ts", "scheduled_ts"), "prefill_s": ("scheduled_ts", "first_token_ts"),
             "decode_s": ("first_token_ts", "last_token_ts")}  # fmt: skip
    marks = {name: (getattr(metrics, a, 0), getattr(metrics, b, 0)) for name, (a, b) in edges.items()}
    return {name: b - a for name, (a, b) in marks.items() if a and b}


async def main() -> None:
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever prints
    worker, loop, asked_for = Worker(out), asyncio.get_running_loop(), asyncio.Queue()

    def read() -> None:
        for line in sys.stdin.buffer:
            asked = json.loads(line)
            if asked["do"] == "cancel":
                worker.cancelled.add(asked["of"])
                worker.send(id=asked["id"], ok={})
            else:
                loop.call_soon_threadsafe(asked_for.put_nowait, asked)
        loop.call_soon_threadsafe(asked_for.put_nowait, {"do": "unload", "id": None})

    threading.Thread(target=read, daemon=True).start()
    while (asked := await asked_for.get())["do"] != "unload":
        answer = None if asked["do"].startswith("_") else getattr(worker, asked["do"], None)
        try:
            if not asyncio.iscoroutinefunction(answer):
                raise LookupError(f"there is no {asked['do']!r} here")
            worker.send(id=asked["id"], ok=await answer(asked))
        except Exception as error:
            traceback.print_exc()
            what = f"{type(error).__name__}: {error}"
            worker.send(id=asked["id"], error={"what": what, "remedy": "Its standard error says more"})
    if worker.engine is not None:
        worker.engine.shutdown()
    if asked["id"] is not None:
        worker.send(id=asked["id"], ok={})


if __name__ == "__main__":
    asyncio.run(main())
