#!/usr/bin/env python3
"""A worker of lem for TensorRT-LLM in its own process (its LLM API, version 1.0 or later).

    worker: {command: [python3, workers/tensorrt_llm.py]}
    tensorrt: {tp_size: 1, max_batch_size: 8}

UNTRIED: written by TensorRT-LLM's documentation, on a machine that cannot run it.
`lem worker check` says what does not hold. The engine mixes prefill and decode in one step, so
there are no phases; `tensorrt.return_perf_metrics` gives its own times of each request.
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
    # This folder: in it, `tensorrt_llm` would be this file.
    del sys.path[0]

now = time.monotonic_ns
Message = dict[str, Any]
TYPES = {"auto": "auto", "fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
# Keys of the section `tensorrt`, and what the LLM API calls them.
PASSED = {
    "max_batch_size": "max_batch_size",
    "tp_size": "tensor_parallel_size",
    "pp_size": "pipeline_parallel_size",
    "enable_chunked_context": "enable_chunked_prefill",
}


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

        return {"protocol": 1, "name": "tensorrt-llm", "version": metadata.version("tensorrt_llm")}

    async def ping(self, _: Message) -> Message:
        return {"at_ns": now()}

    async def load(self, asked: Message) -> Message:
        if asked.get("gpus"):
            visible = (os.environ.get("CUDA_VISIBLE_DEVICES") or "").split(",")
            chosen = [visible[gpu] if visible != [""] else str(gpu) for gpu in asked["gpus"]]
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(chosen)
        import tensorrt_llm
        from tensorrt_llm.llmapi import KvCacheConfig

        self.trt, section = tensorrt_llm, asked["tensorrt"]
        arguments = {PASSED[key]: value for key, value in section.items() if key in PASSED}
        if "enable_kv_cache_reuse" in section:
            arguments["kv_cache_config"] = KvCacheConfig(enable_block_reuse=section["enable_kv_cache_reuse"])
        if asked["load_format"] == "dummy":
            arguments["load_format"] = "dummy"
        arguments.setdefault("max_batch_size", asked["batch_size"])
        self.engine = tensorrt_llm.LLM(
            model=section.get("engine_path") or asked["model"],
            revision=asked.get("revision"),
            dtype=TYPES[asked["dtype"]],
            **{**arguments, **asked["options"]},
        )
        self.tokenizer = self.engine.tokenizer
        return {"can": dict.fromkeys(("true_token_times", "encode", "cancel"), True)}

    async def describe(self, _: Message) -> Message:
        vocabulary = len(getattr(self.tokenizer, "tokenizer", self.tokenizer))
        return {"vocabulary": vocabulary, "device": "cuda"}

    async def encode(self, asked: Message) -> Message:
        text = asked["text"]
        if asked.get("chat"):
            turn = [{"role": "user", "content": text}]
            text = self.tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
            return {"tokens": self.tokenizer.encode(text, add_special_tokens=False)}
        return {"tokens": self.tokenizer.encode(text)}

    async def decode(self, asked: Message) -> Message:
        return {"text": self.tokenizer.decode(asked["tokens"], skip_special_tokens=True)}

    async def generate(self, asked: Message) -> Message:
        together = asyncio.Semaphore(asked["batch_size"])

        async def one(request: Message) -> None:
            async with together:
                await self._answer(asked, request)

        await asyncio.gather(*(one(request) for request in asked["requests"]))
        return {}

    async def _answer(self, asked: Message, request: Message) -> None:
        id, number, drawing = asked["id"], request["id"], asked["sampling"]
        params = self.trt.SamplingParams(
            temperature=drawing["temperature"] or None,
            top_k=drawing.get("top_k") if drawing["temperature"] else 1,
            top_p=drawing.get("top_p"),
            repetition_penalty=drawing["repetition_penalty"],
            seed=drawing["seed"],
            min_tokens=request["min_output_tokens"] or None,
            max_tokens=request["max_output_tokens"],
            detokenize=False,
        )
        self.send(id=id, event="started", request=number, at_ns=now())
        stream = self.engine.generate_async(request["tokens"], params, streaming=True)
        reason = "cancelled"
        async for out in stream:
            answer = out.outputs[0]
            tokens = [[number, token] for token in answer.token_ids_diff]
            if tokens:
                self.send(id=id, event="tokens", tokens=tokens, at_ns=now())
            if answer.finish_reason:
                reason = "length" if answer.finish_reason == "length" else "stop"
            elif id in self.cancelled:
                stream.abort()
                break
        self.send(id=id, event="finished", request=number, reason=reason, at_ns=now())


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
