#!/usr/bin/env python3
"""A worker of lem for Hugging Face transformers: docs/worker-protocol.md says what it speaks.

`backend: transformers` runs it; lem carries a copy inside. It needs torch and transformers
(4.50 or later), for GGUF files also gguf and accelerate, for 4 and 8 bits bitsandbytes.

Generation is the library's own `generate`, as people run it: its caches, its samplers, any
causal or state-space architecture. What is added is a streamer that takes the time of each
step's tokens (which are on the host then, so the step is done), and a synchronisation of the
device before the first forward pass. Nothing else waits for the device.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
import traceback
from typing import Any

if __name__ == "__main__":
    # This folder: in it, `transformers` would be this file.
    del sys.path[0]

Message = dict[str, Any]
now = time.monotonic_ns


class Refused(Exception):
    """What cannot be done, and what to do about it."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.what, self.remedy = what, remedy


class Wire:
    """Messages on the standard streams. Whatever else prints goes to standard error."""

    def __init__(self) -> None:
        self.out = os.fdopen(os.dup(1), "wb", buffering=0)
        os.dup2(2, 1)
        self.lock = threading.Lock()
        self.asked: queue.Queue[Message | None] = queue.Queue()
        self.cancelled: set[int] = set()
        self.closed = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in sys.stdin.buffer:
            try:
                message = json.loads(line)
                if message["do"] == "cancel":
                    # Now, and not when the generation is through.
                    self.cancelled.add(message["of"])
                    self.send(id=message["id"], ok={})
                else:
                    self.asked.put(message)
            except (ValueError, KeyError, TypeError) as error:
                print(f"not a message: {error!r}", file=sys.stderr)
        self.closed = True
        self.asked.put(None)

    def send(self, **message: Any) -> None:
        line = json.dumps(message, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        with self.lock:
            self.out.write(line)


class Worker:
    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.model: Any = None
        self.tokenizer: Any = None
        self.quiet = False  # events are not told

    # ---- what lem asks

    def hello(self, _: Message) -> Message:
        import importlib.metadata as metadata

        versions = [f"{name} {metadata.version(name)}" for name in ("transformers", "torch")]
        version = f"{metadata.version('transformers')} ({versions[1]})"
        return {"protocol": 1, "name": "transformers", "version": version}

    def ping(self, _: Message) -> Message:
        return {"at_ns": now()}

    def load(self, asked: Message) -> Message:
        see_only(asked.get("gpus") or [])
        import torch
        import transformers

        self.torch, self.transformers = torch, transformers
        options = {**asked.get("options", {}), **asked.get("pytorch", {})}
        self.options = options
        self.device = asked.get("device") or ("cuda:0" if torch.cuda.is_available() else "cpu")
        where, how = source(asked)
        if options.get("trust_remote_code"):
            how["trust_remote_code"] = True
        dummy = asked["load_format"] == "dummy"
        try:
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(where, **how)
        except Exception:
            if not dummy:
                raise
            # Random weights need no words.
            print("no tokenizer:", traceback.format_exc(limit=1), file=sys.stderr)
        if dummy and self.tokenizer is not None and not self.tokenizer("The sky")["input_ids"]:
            self.tokenizer = None  # made of nothing, because there were no files
        self.model = self._model(asked, where, how, dummy).eval()
        self.model.requires_grad_(False)
        self.ends = self._ends()
        self.pad = next(iter(sorted(self.ends)), 0)
        # What the checkpoint recommends for sampling is not what lem was told.
        self.model.generation_config = transformers.GenerationConfig()
        compile = options.get("torch_compile")
        if compile:
            mode = compile if isinstance(compile, str) else None
            backend = options.get("torch_compile_backend") or "inductor"
            self.model.forward = torch.compile(self.model.forward, mode=mode, backend=backend)
        self._synchronise()
        can = dict.fromkeys(("true_token_times", "phase_boundaries", "score", "cancel", "profile"), True)
        return {"can": {**can, "encode": self.tokenizer is not None}}

    def describe(self, _: Message) -> Message:
        return description(self)

    def encode(self, asked: Message) -> Message:
        text = asked["text"]
        if asked.get("chat") and getattr(self.tokenizer, "chat_template", None):
            turn = [{"role": "user", "content": text}]
            text = self.tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
            return {"tokens": self.tokenizer(text, add_special_tokens=False)["input_ids"]}
        return {"tokens": self.tokenizer(text)["input_ids"]}

    def decode(self, asked: Message) -> Message:
        return {"text": self.tokenizer.decode(asked["tokens"], skip_special_tokens=True)}

    def score(self, asked: Message) -> Message:
        torch, tokens = self.torch, asked["tokens"]
        if len(tokens) < 2:
            return {"logprobs": []}
        ids = torch.tensor([tokens], device=self.device)
        with torch.inference_mode():
            logits = self.model(input_ids=ids).logits[0, :-1]
            # In parts: in float32, all of a long text's would not fit.
            parts = zip(logits.split(512), ids[0, 1:].split(512))
            chosen = [part.float().log_softmax(-1).gather(1, next[:, None])[:, 0] for part, next in parts]
        return {"logprobs": torch.cat(chosen).tolist()}

    def generate(self, asked: Message) -> Message:
        torch = self.torch
        if self.device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats()
        size = max(1, asked["batch_size"])
        requests = asked["requests"]
        for first in range(0, len(requests), size):
            batch = [request for request in requests[first : first + size] if self._fits(asked, request)]
            if batch:
                Batch(self, asked, batch).run()
        if not self.device.startswith("cuda"):
            return {}
        return {
            "memory_allocated_peak_bytes": torch.cuda.max_memory_allocated(),
            "memory_reserved_peak_bytes": torch.cuda.max_memory_reserved(),
        }

    def profile(self, asked: Message) -> Message:
        return profile(self, asked)

    # ---- how

    def _model(self, asked: Message, where: str, how: Message, dummy: bool) -> Any:
        torch, transformers, options = self.torch, self.transformers, self.options
        types = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
        dtype = types.get(asked["dtype"])
        if dtype is None:
            dtype = torch.float32 if "gguf_file" in how and not dummy else "auto"
        kwargs: Message = {}
        if options.get("attn_implementation"):
            kwargs["attn_implementation"] = options["attn_implementation"]
        if dummy:
            config = transformers.AutoConfig.from_pretrained(where, **how)
            if dtype == "auto":
                dtype = getattr(config, "dtype", None) or torch.float32
            torch.manual_seed(asked["seed"])
            with torch.device(self.device):
                return transformers.AutoModelForCausalLM.from_config(config, **{dtype_key(): dtype}, **kwargs)
        bits = [bits for bits in (4, 8) if options.get(f"load_in_{bits}bit")]
        if bits:
            kwargs["quantization_config"] = transformers.BitsAndBytesConfig(**{f"load_in_{bits[0]}bit": True})
        if self.device.startswith("cuda"):
            kwargs["device_map"] = "auto" if len(asked.get("gpus") or []) > 1 else self.device
        kwargs[dtype_key()] = dtype
        return transformers.AutoModelForCausalLM.from_pretrained(where, **how, **kwargs)

    def _ends(self) -> set[int]:
        ends = getattr(self.model.generation_config, "eos_token_id", None)
        all = list(ends) if isinstance(ends, (list, tuple)) else [ends]
        all.append(getattr(self.tokenizer, "eos_token_id", None))
        return {token for token in all if token is not None}

    def _fits(self, asked: Message, request: Message) -> bool:
        """Whether it can be answered; the others fail here, and no batch with them."""
        config = self.model.config.get_text_config()
        context = getattr(config, "max_position_embeddings", None)
        length, most = len(request["tokens"]), request["max_output_tokens"]
        wrong = None
        if not length or not most:
            wrong = "the prompt has no tokens, or no output is asked for"
        elif max(request["tokens"]) >= config.vocab_size:
            wrong = f"the prompt has a token that is not one of the model's {config.vocab_size}"
        elif context and length + most > context:
            wrong = f"{length} input and {most} output tokens exceed the model's context of {context}"
        if wrong:
            remedy = "Check the prompts, max_input_tokens and max_output_tokens"
            event = {"event": "failed", "requests": [request["id"]], "at_ns": now()}
            if not self.quiet:
                self.wire.send(id=asked["id"], what=wrong, remedy=remedy, **event)
        return wrong is None

    def _synchronise(self) -> None:
        if self.device.startswith("cuda"):
            self.torch.cuda.synchronize()


class Batch:
    """Requests that are answered together. What `generate` calls back is `put`, each step."""

    def __init__(self, worker: Worker, asked: Message, requests: list[Message]) -> None:
        self.worker, self.asked, self.requests = worker, asked, requests
        self.ids = [request["id"] for request in requests]
        self.most = [request["max_output_tokens"] for request in requests]
        self.open = [True] * len(requests)
        self.step = -1  # the first thing that comes is the prompt

    def run(self) -> None:
        if self._cancelled():
            return self._finish([i for i in range(len(self.ids))], "cancelled", now())
        worker, torch = self.worker, self.worker.torch
        lengths = [len(request["tokens"]) for request in self.requests]
        width = max(lengths)
        # On the left: the last column is every prompt's end.
        ids = [[worker.pad] * (width - len(r["tokens"])) + r["tokens"] for r in self.requests]
        mask = [[0] * (width - n) + [1] * n for n in lengths]
        ids, mask = (torch.tensor(rows, device=worker.device) for rows in (ids, mask))
        torch.manual_seed(self.asked["sampling"]["seed"] + self.ids[0])
        config, processors, criteria = self._rules(width)
        hook = worker.model.register_forward_pre_hook(self._first_forward)
        self.hook = hook
        try:
            with torch.inference_mode():
                worker.model.generate(
                    input_ids=ids,
                    attention_mask=mask,
                    generation_config=config,
                    logits_processor=processors,
                    stopping_criteria=criteria,
                    streamer=self,
                )
            self._phase(None, now())
        except torch.OutOfMemoryError as error:
            # `finally` would come too late: the next batch may fit.
            self._phase(None, now())
            left = [id for id, open in zip(self.ids, self.open) if open]
            remedy = "Lower batching.batch_size, max_input_tokens or max_output_tokens"
            self._say("failed", requests=left, at_ns=now(), what=short(error), remedy=remedy)
            torch.cuda.empty_cache()
            return
        finally:
            hook.remove()
        left = [i for i, open in enumerate(self.open) if open]
        if left:
            self._finish(left, "cancelled", now())

    def _rules(self, width: int) -> tuple[Any, Any, Any]:
        worker, torch, options = self.worker, self.worker.torch, self.worker.options
        generation = worker.transformers.generation
        drawing = self.asked["sampling"]
        how: Message = {
            "max_new_tokens": max(self.most),
            "do_sample": drawing["temperature"] > 0,
            "repetition_penalty": drawing["repetition_penalty"],
            "pad_token_id": worker.pad,
            "eos_token_id": sorted(worker.ends) or None,
            "use_cache": options.get("use_cache", True),
            "disable_compile": True,  # compiled is what was asked for, when loading
        }
        if how["do_sample"]:
            how["temperature"] = drawing["temperature"]
            how["top_k"] = drawing.get("top_k") or 0
            how["top_p"] = drawing.get("top_p") or 1.0
        if options.get("cache_implementation"):
            how["cache_implementation"] = options["cache_implementation"]
        least = torch.tensor([r["min_output_tokens"] for r in self.requests], device=worker.device)
        most = torch.tensor(self.most, device=worker.device)
        ends = torch.tensor(sorted(worker.ends), dtype=torch.long, device=worker.device)
        highest, lowest = int(least.max()), min(self.most)

        class NotBefore(generation.LogitsProcessor):
            """No end of text before the shortest length of each."""

            def __call__(self, input_ids: Any, scores: Any) -> Any:
                done = input_ids.shape[1] - width
                if done < highest and len(ends):
                    rows = (least > done)[:, None]
                    scores[:, ends] = scores[:, ends].masked_fill(rows, -float("inf"))
                return scores

        batch = self

        class AtLength(generation.StoppingCriteria):
            """The longest length of each, and cancellation."""

            def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
                done = input_ids.shape[1] - width
                if batch._cancelled():
                    return torch.ones_like(most, dtype=torch.bool)
                if done < lowest:
                    return torch.zeros_like(most, dtype=torch.bool)
                return most <= done

        processors = generation.LogitsProcessorList([NotBefore()])
        criteria = generation.StoppingCriteriaList([AtLength()])
        return worker.transformers.GenerationConfig(**how), processors, criteria

    def _first_forward(self, *_: Any) -> None:
        self.hook.remove()
        self.worker._synchronise()
        at = now()
        self._say("started", requests=self.ids, at_ns=at)
        self._phase("prefill", at)

    def put(self, value: Any) -> None:
        """The tokens of one step, on the host: their time is now."""
        at = now()
        self.step += 1
        if self.step == 0:
            return
        tokens = value.view(-1).tolist()
        rows = [i for i, open in enumerate(self.open) if open]
        self._say("tokens", tokens=[[self.ids[i], tokens[i]] for i in rows], at_ns=at)
        ended = [i for i in rows if tokens[i] in self.worker.ends]
        full = [i for i in rows if i not in ended and self.step >= self.most[i]]
        self._finish(ended, "stop", at)
        self._finish(full, "length", at)
        if self.step == 1 and any(self.open):
            self._phase("decode", at)

    def end(self) -> None:
        """Part of what a streamer is."""

    def _cancelled(self) -> bool:
        wire = self.worker.wire
        return wire.closed or self.asked["id"] in wire.cancelled

    def _finish(self, rows: list[int], reason: str, at: int) -> None:
        for row in rows:
            self.open[row] = False
        if rows:
            self._say("finished", requests=[self.ids[i] for i in rows], reason=reason, at_ns=at)

    def _phase(self, phase: str | None, at: int) -> None:
        self._say("phase", phase=phase, at_ns=at)

    def _say(self, event: str, **more: Any) -> None:
        if not self.worker.quiet:
            self.worker.wire.send(id=self.asked["id"], event=event, **more)


def see_only(gpus: list[int]) -> None:
    """Before torch is imported: the GPUs that lem was told, counted in those that are visible."""
    if not gpus:
        return
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else None
    try:
        chosen = [names[gpu].strip() if names else str(gpu) for gpu in gpus]
    except IndexError:
        raise Refused(f"gpus is {gpus}, but CUDA_VISIBLE_DEVICES is {visible}", "Correct one of them") from None
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(chosen)
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"


def source(asked: Message) -> tuple[str, Message]:
    """Where `from_pretrained` finds it, and the arguments that say the rest."""
    model, file = os.path.expanduser(asked["model"]), asked.get("file")
    how: Message = {"revision": asked["revision"]} if asked.get("revision") else {}
    if os.path.isfile(model):
        model, file = os.path.split(os.path.abspath(model))
    if file:
        if not file.endswith(".gguf"):
            raise Refused(f"{file} is no GGUF file", "Name the folder or repository of the model instead")
        how["gguf_file"] = file
    return model, how


def dtype_key() -> str:
    import transformers

    version = tuple(int(part) for part in transformers.__version__.split(".")[:2])
    return "dtype" if version >= (4, 56) else "torch_dtype"


def description(worker: Worker) -> Message:
    """What FLOPs and bytes are computed from. What is not sure is left out."""
    torch, model = worker.torch, worker.model
    config = model.config.get_text_config()
    parameters = model.num_parameters()
    tables = {id(m.weight): m.weight.numel() for m in (model.get_input_embeddings(),) if m is not None}
    head = model.get_output_embeddings()
    tied = head is not None and id(head.weight) in tables
    mixture = any(getattr(config, name, None) for name in ("num_local_experts", "num_experts", "n_routed_experts"))
    heads = getattr(config, "num_attention_heads", None)
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    hidden = getattr(config, "hidden_size", None)
    size = getattr(config, "head_dim", None) or (hidden // heads if hidden and heads else None)
    layers = getattr(config, "num_hidden_layers", None)
    types: dict[str, int] = {}
    for parameter in model.parameters():
        name = str(parameter.dtype).removeprefix("torch.")
        types[name] = types.get(name, 0) + parameter.numel()
    names = [SHORT.get(name, name) for name in sorted(types, key=lambda name: -types[name])]
    weights = names[0] if len(names) == 1 else f"mixed ({', '.join(names)})"
    compute = str(getattr(model, "dtype", torch.float32)).removeprefix("torch.")
    every = getattr(config, "layer_types", None) or ["full_attention"]
    cached = kv_heads and size and layers and all(kind == "full_attention" for kind in every)
    told = {
        "architecture": model.config.model_type,
        "parameters": parameters,
        "active_parameters": None if mixture else parameters - (0 if tied else sum(tables.values())),
        "layers": layers,
        "hidden_size": hidden,
        "intermediate_size": getattr(config, "intermediate_size", None),
        "attention_heads": heads,
        "key_value_heads": kv_heads,
        "head_size": size,
        "vocabulary": config.vocab_size,
        "context_length": getattr(config, "max_position_embeddings", None),
        "tied_embeddings": tied,
        "weight_type": weights,
        "compute_type": SHORT.get(compute, compute),
        "weight_bytes": model.get_memory_footprint(return_buffers=False),
        "kv_bytes_per_token": 2 * kv_heads * size * layers * model.dtype.itemsize if cached else None,
        "device": worker.device,
        "threads": torch.get_num_threads(),
        "source": getattr(model.config, "_commit_hash", None) and f"{model.name_or_path}@{model.config._commit_hash}",
        **{"engine": "transformers", "engine_version": worker.hello({})["version"]},
    }
    return {key: value for key, value in told.items() if isinstance(value, (int, str))}


SHORT = {"float32": "f32", "float16": "f16", "bfloat16": "bf16", "uint8": "u8", "int8": "i8"}


def profile(worker: Worker, asked: Message) -> Message:
    """The same generation under torch's profiler, and its FLOPs from torch's counter, which
    knows attention: the profiler counts 0 for it."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler
    from torch.utils.flop_counter import FlopCounterMode

    cuda = worker.device.startswith("cuda")
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if cuda else [])
    with profiler(activities=activities, record_shapes=True) as taken:
        told = worker.generate(asked)
        worker._synchronise()
    # Once more and unseen: counting is done in Python, and would be most of the profile.
    worker.quiet = True
    try:
        with FlopCounterMode(display=False) as counter:
            worker.generate(asked)
    finally:
        worker.quiet = False
    rows = [
        {
            "operator": row.key,
            "calls": row.count,
            "cpu_ns": round(row.self_cpu_time_total * 1e3),
            "device_ns": round(getattr(row, "self_device_time_total", 0) * 1e3),
        }
        for row in taken.key_averages()
    ]
    rows.sort(key=lambda row: -(row["device_ns"] or row["cpu_ns"]))
    if asked.get("trace"):
        taken.export_chrome_trace(asked["trace"])
    flops = {str(name): count for name, count in counter.get_flop_counts().get("Global", {}).items()}
    return {**told, "operators": rows[:200], "flops": flops, "flops_total": counter.get_total_flops()}


def short(error: BaseException) -> str:
    return " ".join(str(error).split())[:400] or type(error).__name__


def fault(error: Exception) -> Message:
    if isinstance(error, Refused):
        return {"what": error.what, "remedy": error.remedy}
    traceback.print_exc()
    if isinstance(error, ImportError):
        name = getattr(error, "name", None) or "what it names"
        return {"what": short(error), "remedy": f"Install {name} into {sys.executable}"}
    if type(error).__name__ == "OutOfMemoryError":
        return {"what": short(error), "remedy": "Take a smaller model, fp_precision: bf16, or fewer bits"}
    if isinstance(error, OSError):
        return {"what": short(error), "remedy": "Check model_name, and HF_TOKEN for a gated model"}
    return {"what": f"{type(error).__name__}: {short(error)}", "remedy": "Its standard error has the whole trace"}


def main() -> None:
    wire = Wire()
    worker = Worker(wire)
    known = {name: getattr(worker, name) for name in vars(Worker) if not name.startswith("_")}
    while (asked := wire.asked.get()) is not None:
        verb, id = asked.get("do"), asked.get("id")
        if verb == "unload":
            wire.send(id=id, ok={})
            break
        try:
            if verb not in known:
                raise Refused(f"there is no {verb!r} here", "Take a worker of a newer version")
            if worker.model is None and verb not in ("hello", "ping", "load"):
                raise Refused("no model is loaded", "Ask to load one first")
            wire.send(id=id, ok=known[verb](asked))
        except Exception as error:  # one question's failure is no reason to end
            wire.send(id=id, error=fault(error))
    # At once: interpreters with a GPU take their time to tidy up.
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
