"""A worker that breaks the protocol in one way, named by its first argument.

It answers everything rightly up to the middle of a generation: two tokens of request 0.
"""

import json
import os
import subprocess
import sys
import time

fault = sys.argv[1]
now = time.monotonic_ns
if len(sys.argv) > 2:
    # What a worker starts itself: it must not outlive the engine.
    child = subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    with open(sys.argv[2], "w") as file:
        file.write(f"{os.getpid()} {child.pid}")


def write(data):
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def send(id, **message):
    write(json.dumps({"id": id, **message}).encode() + b"\n")


def token(id, request, at_ns=None, count=1):
    send(id, event="tokens", tokens=[[request, 7]] * count, at_ns=at_ns or now())


def generate(id, asked):
    if fault == "refuses all":
        for request in asked["requests"]:
            send(id, event="failed", request=request["id"], what="too long", remedy="Cut it", at_ns=now())
        return {}
    first = asked["requests"][0]
    most = first["max_output_tokens"]
    send(id, event="started", requests=[request["id"] for request in asked["requests"]], at_ns=now())
    send(id, event="phase", phase="prefill", at_ns=now())
    token(id, 0)
    send(id, event="phase", phase="decode", at_ns=now())
    if most > 1:
        token(id, 0)
    if fault == "hangs":
        time.sleep(600)
    elif fault == "dies":
        print("RuntimeError: out of luck", file=sys.stderr)
        os._exit(3)
    elif fault == "is killed":
        os.kill(os.getpid(), 9)
    elif fault == "closes its output":
        os.close(1)
        time.sleep(600)
    elif fault == "tells the future":
        token(id, 0, now() + 10**9)
    elif fault == "tells the past":
        token(id, 0, now() - 10**9)
    elif fault == "tells no time":
        send(id, event="tokens", tokens=[[0, 7]])
    elif fault == "prints rubbish":
        write(b"Loading weights: 100%\n" * 30)
    elif fault == "prints a little":
        write(b"Hello!\n[1, 2]\n\n")
    elif fault == "is no UTF-8":
        write(b"\xff\xfe{}\n" * 30)
    elif fault == "is no JSON":
        write(b'{"id": %d, "event": "tokens", "tokens": [[0, NaN]]}\n' % id * 30)
    elif fault == "writes a huge line":
        for _ in range(20):
            write(b"x" * (1 << 20))
        time.sleep(600)
    elif fault == "answers another question":
        send(id + 1000, ok={})
    elif fault == "knows another request":
        token(id, 99)
    elif fault == "starts twice":
        send(id, event="started", request=0, at_ns=now())
    elif fault == "counts too many":
        token(id, 0, count=most)
    elif fault == "counts one by one too many":
        for _ in range(most):
            token(id, 0)
    elif fault == "claims the length":
        send(id, event="finished", request=0, reason="length", at_ns=now())
    elif fault == "stops too early":
        send(id, event="finished", request=0, reason="stop", at_ns=now())
    elif fault == "goes on after the end":
        token(id, 0, count=most - 2)
        send(id, event="finished", request=0, reason="length", at_ns=now())
        token(id, 0)
    elif fault == "finishes for no reason":
        send(id, event="finished", request=0, reason="bored", at_ns=now())
    elif fault == "leaves the phases":
        send(id, event="phase", phase=None, at_ns=now())
        token(id, 0)
    elif fault == "knows another phase":
        send(id, event="phase", phase="thinking", at_ns=now())
    elif fault == "ends too early":
        return {}
    elif fault == "gives up":
        send(id, error={"what": "the GPU fell off the bus", "remedy": "Push it back"})
        return None
    elif fault == "ignores cancel":
        while True:
            send(id, event="busy")
            time.sleep(0.02)
    elif fault == "fails a request":
        send(id, event="failed", request=1, what="too long", remedy="Cut it", at_ns=now())
    for request in asked["requests"]:
        if request["id"] == 1 and fault == "fails a request":
            continue
        done = min(2, most) if request["id"] == 0 else 0
        token(id, request["id"], count=request["max_output_tokens"] - done)
        send(id, event="finished", request=request["id"], reason="length", at_ns=now())
    send(id, event="told", request=0, values={"queue_s": 0.25})
    return {"peak_bytes": 17}


def answer(verb, id, asked):
    if verb == "hello":
        return {"protocol": 9 if fault == "is of another version" else 1, "name": "faulty"}
    if verb == "ping":
        return {"at_ns": time.time_ns() if fault == "has another clock" else now()}
    if verb == "load":
        if fault == "does not load":
            time.sleep(600)
        if fault == "refuses to load":
            return send(id, error={"what": "no such model", "remedy": "Name another"})
        names = ("true_token_times", "phase_boundaries", "score", "cancel")
        return {"can": dict.fromkeys(names, True), "new": 1}
    if verb == "describe":
        return {"vocabulary": 100, "new": {}}
    if verb == "score":
        more = fault == "scores too many"
        return {"logprobs": [0.5 if fault == "scores above one" else -1.0] * (len(asked["tokens"]) - 1 + more)}
    if verb == "generate":
        return generate(id, asked)
    if verb in ("unload", "cancel"):
        return {}
    return send(id, error={"what": "what?", "remedy": "ask otherwise"})


for line in sys.stdin:
    asked = json.loads(line)
    said = answer(asked["do"], asked["id"], asked)
    if said is not None:
        send(asked["id"], ok=said)
    if asked["do"] == "unload" and fault != "stays":
        break
while fault == "stays":
    time.sleep(1)
