#!/usr/bin/env python3
"""The smallest worker: an "engine" that repeats the prompt. Copy it to write your own.

    lem worker check -- python3 workers/echo.py

docs/worker-protocol.md explains every line. It does all that a worker must; what it may do
beside that (cancel, score, profile) workers/transformers.py shows.
"""

import json
import sys
import time

sys.stdout.reconfigure(line_buffering=True)


def send(id, **message):
    print(json.dumps({"id": id, **message}))


def generate(id, asked):
    for request in asked["requests"]:
        number, prompt, length = request["id"], request["tokens"], request["max_output_tokens"]
        send(id, event="started", request=number, at_ns=time.monotonic_ns())
        send(id, event="phase", phase="prefill", at_ns=time.monotonic_ns())
        time.sleep(0.0001 * len(prompt))  # where a model would read the prompt
        for step in range(length):
            if step:
                time.sleep(0.001)  # where a model would take a step
            token = prompt[step % len(prompt)]
            send(id, event="tokens", tokens=[[number, token]], at_ns=time.monotonic_ns())
            if step == 0:
                send(id, event="phase", phase="decode", at_ns=time.monotonic_ns())
        send(id, event="phase", phase=None, at_ns=time.monotonic_ns())
        send(id, event="finished", request=number, reason="length", at_ns=time.monotonic_ns())
    return {}


answers = {
    "hello": lambda id, asked: {"protocol": 1, "name": "echo", "version": "1"},
    "ping": lambda id, asked: {"at_ns": time.monotonic_ns()},
    "load": lambda id, asked: {"can": {"true_token_times": True, "phase_boundaries": True, "encode": True}},
    "describe": lambda id, asked: {"vocabulary": 256, "device": "cpu"},
    "encode": lambda id, asked: {"tokens": list(asked["text"].encode())},
    "decode": lambda id, asked: {"text": bytes(asked["tokens"]).decode(errors="replace")},
    "generate": generate,
    "unload": lambda id, asked: {},
}

for line in sys.stdin:
    asked = json.loads(line)
    verb, id = asked["do"], asked["id"]
    if verb not in answers:
        send(id, error={"what": f"{verb!r} is not known here", "remedy": "Ask something else"})
        continue
    send(id, ok=answers[verb](id, asked))
    if verb == "unload":
        break
