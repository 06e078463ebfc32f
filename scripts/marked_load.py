#!/usr/bin/env python3
"""A GPU load of known phases, which marks them: `lem exec` measures it.

    lem exec --format json -- python3 scripts/marked_load.py llama --runs 20

Modes:
  steady      one phase `steady` of --seconds at full load, for the level of power
  llama       a shape like Llama 3 8B with random weights: phases `prefill` and `decode` of
              --runs requests, batch --batch, --input and --output tokens; then `idle`
  estimators  the same between phases `bare` (no context yet) and `idle`, and then prefill alone
              (`loop`), with rests between (`rested_MS`, its rests `rest_MS`), several output lengths
              (`length_N.i`), and ten equal parts (`repeat_i`)
  check       what --result, the JSON of a run of mode estimators, says of them
  overhead    decode speed while lem samples against while lem is stopped, --runs pairs
All times are CLOCK_MONOTONIC, taken after the GPU has finished (torch.cuda.synchronize), kept in
memory, and sent after the phases, so that nothing is written while they run.
"""

import argparse
import json
import os
import time

RESTS_S = (0.1, 0.2, 0.4)


class Marks:
    def __init__(self):
        self.lines = []

    def phase(self, name, begin, end, output=0, given=0):
        self.lines.append(f"begin {name} {begin}")
        if given:
            self.lines.append(f"tokens {given} input")
        if output:
            self.lines.append(f"tokens {output} output")
        self.lines.append(f"end {name} {end}")

    def send(self):
        path = os.environ.get("LEM_PHASES")
        if path:
            with open(path, "w", buffering=1) as out:
                for line in self.lines:
                    print(line, file=out)
        self.lines.clear()


def now(torch):
    torch.cuda.synchronize()
    return time.monotonic_ns()


def burner(torch, size=8192):
    a = torch.randn(size, size, device="cuda", dtype=torch.bfloat16)
    b = torch.randn(size, size, device="cuda", dtype=torch.bfloat16)
    out = torch.empty(size, size, device="cuda", dtype=torch.bfloat16)
    return lambda: torch.mm(a, b, out=out)


def heavy_for(torch, work, seconds):
    """Keeps the GPU busy, with two products in flight at most."""
    end = time.monotonic_ns() + int(seconds * 1e9)
    events = []
    while time.monotonic_ns() < end:
        work()
        event = torch.cuda.Event()
        event.record()
        events.append(event)
        if len(events) > 2:
            events.pop(0).synchronize()


def steady(torch, args, marks):
    work = burner(torch)
    heavy_for(torch, work, 2)
    begin = now(torch)
    heavy_for(torch, work, args.seconds)
    marks.phase("steady", begin, now(torch))


def llama(torch, args, marks):
    layers, hidden, inner, heads, kv, head = 32, 4096, 14336, 32, 8, 128
    kind = {"device": "cuda", "dtype": torch.bfloat16}
    matrix = lambda rows, columns: torch.randn(rows, columns, **kind) * columns**-0.5
    weights = [
        (
            matrix((heads + 2 * kv) * head, hidden),
            matrix(hidden, heads * head),
            matrix(2 * inner, hidden),
            matrix(hidden, inner),
        )
        for _ in range(layers)
    ]
    last = matrix(128256, hidden)
    longest = args.input + args.output
    caches = torch.zeros(layers, 2, args.batch, kv, longest, head, **kind)
    functional = torch.nn.functional

    def forward(x, start, length):
        tokens = x.shape[1]
        for (qkv, out, up, down), cache in zip(weights, caches):
            y = functional.rms_norm(x, (hidden,))
            q, k, v = functional.linear(y, qkv).split([heads * head, kv * head, kv * head], -1)
            shape = lambda t, n: t.view(args.batch, tokens, n, head).transpose(1, 2)
            cache[0, :, :, start : start + tokens] = shape(k, kv)
            cache[1, :, :, start : start + tokens] = shape(v, kv)
            y = functional.scaled_dot_product_attention(
                shape(q, heads),
                cache[0, :, :, :length],
                cache[1, :, :, :length],
                is_causal=tokens > 1,
                enable_gqa=True,
            )
            x = x + functional.linear(y.transpose(1, 2).reshape(args.batch, tokens, -1), out)
            gate, value = functional.linear(functional.rms_norm(x, (hidden,)), up).chunk(2, -1)
            x = x + functional.linear(functional.silu(gate) * value, down)
        return functional.linear(x[:, -1:], last)

    prompt = torch.randn(args.batch, args.input, hidden, **kind)
    token = torch.randn(args.batch, 1, hidden, **kind)

    # One step over the whole static cache as a CUDA graph: launching from Python would be the
    # bottleneck, and its jitter would be in every number.
    with torch.no_grad():
        side = torch.cuda.Stream()
        with torch.cuda.stream(side):
            for _ in range(3):
                forward(token, longest - 1, longest)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            forward(token, longest - 1, longest)

    def steps(count):
        for _ in range(count):
            graph.replay()

    if args.mode == "overhead":
        return overhead(torch, args, lambda: steps(args.output - 1))

    def request(told):
        begin = now(torch)
        forward(prompt, 0, args.input)
        middle = now(torch)
        steps(args.output - 1)
        end = now(torch)
        if told:
            marks.phase("prefill", begin, middle, given=args.batch * args.input)
            marks.phase("decode", middle, end, output=args.batch * (args.output - 1))

    with torch.no_grad():
        for n in range(args.runs + 3):
            request(n >= 3)
        if args.mode == "estimators":
            estimators(torch, args, marks, lambda: forward(prompt, 0, args.input), steps)
    begin = now(torch)
    time.sleep(args.seconds)
    marks.phase("idle", begin, now(torch))


def estimators(torch, args, marks, prefill, steps):
    """The same two phases once more, by prefill alone, by output length, and ten times alike."""
    begin, count = now(torch), 0
    while time.monotonic_ns() - begin < 6e9:
        prefill()
        torch.cuda.synchronize()
        count += 1
    marks.phase("loop", begin, now(torch), given=count)
    # The loop runs into the limit of power, and a single prefill ends before the limit bites.
    # With rests between them it is the single prefill that repeats.
    for rest_s in RESTS_S:
        name = f"{rest_s * 1000:.0f}"
        begin, count = now(torch), 0
        while time.monotonic_ns() - begin < 8e9:
            prefill()
            rest = now(torch)
            time.sleep(rest_s)
            marks.phase(f"rest_{name}", rest, now(torch))
            count += 1
        marks.phase(f"rested_{name}", begin, now(torch), given=count)
    for times in range(3):
        for length in [args.output * eighths // 8 for eighths in (1, 3, 5, 8)]:
            # Back to back, so that one measured window is long against the sensor.
            begin, count = now(torch), 0
            while time.monotonic_ns() - begin < 3e9:
                prefill()
                steps(length - 1)
                torch.cuda.synchronize()
                count += 1
            marks.phase(f"length_{length}.{times}", begin, now(torch), given=count)
    for repeat in range(10):
        begin = now(torch)
        for _ in range(args.runs // 2):
            prefill()
            steps(args.output - 1)
            torch.cuda.synchronize()
        end = now(torch)
        marks.phase(f"repeat_{repeat}", begin, end, output=args.runs // 2 * args.batch * args.output)


def overhead(torch, args, work):
    """Tokens/s while lem (the parent) samples against while it is stopped, paired, in random order."""
    import random
    import signal

    lem = os.getppid()
    ticks = os.sysconf("SC_CLK_TCK")

    def cpu():
        fields = open(f"/proc/{lem}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / ticks

    def speed():
        begin = now(torch)
        for _ in range(4):
            work()
            torch.cuda.synchronize()
        return 4 * args.batch * (args.output - 1) / ((now(torch) - begin) / 1e9)

    pairs, used, spent = [], 0.0, 0.0
    with torch.no_grad():
        speed()
        for _ in range(args.runs):
            seen = {}
            for sampled in random.sample([True, False], 2):
                os.kill(lem, signal.SIGCONT if sampled else signal.SIGSTOP)
                time.sleep(0.05)
                before, begin = cpu(), time.monotonic()
                seen[sampled] = speed()
                if sampled:
                    used += cpu() - before
                    spent += time.monotonic() - begin
            pairs.append(seen[True] / seen[False])
        os.kill(lem, signal.SIGCONT)
    print(json.dumps({"pairs": pairs, "lem_cpu_share": used / spent, "seconds": spent}))


def line(points):
    """Slope and intercept by least squares."""
    n = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / n, sum(y for _, y in points) / n
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)
    return slope, mean_y - slope * mean_x


def check(path, args):
    """What the estimators of a run of mode `estimators` give of one prefill and one decode step."""
    result = json.load(open(path))
    rows = {row["name"]: row for row in result["marked_phases"]}
    value = lambda name, key="energy_j": rows[name][key]["value"]
    output = args.output
    prefill, decode = value("prefill", "energy_each_j"), value("decode", "energy_each_j") / (output - 1)
    loop = value("loop") / rows["loop"]["input_tokens"]
    # A round's energy against its rest: a line whose slope is the power of a rest, and whose
    # value without a rest is a prefill.
    rests = []
    for name in rows:
        if name.startswith("rested_"):
            rounds = rows[name]["input_tokens"]
            rests.append((rows["rest_" + name[7:]]["seconds"] / rounds, value(name) / rounds))
    rest_w, rested = line(rests)
    points = [
        (int(name[7:].split(".")[0]), row["energy_j"]["value"] / row["input_tokens"])
        for name, row in rows.items()
        if name.startswith("length_")
    ]
    slope, intercept = line([(length - 1, energy) for length, energy in points])
    full = value("prefill", "energy_each_j") + value("decode", "energy_each_j")
    repeats = [value(name) / row["output_tokens"] for name, row in rows.items() if name.startswith("repeat_")]
    spread = (sum((x - sum(repeats) / 10) ** 2 for x in repeats) / 9) ** 0.5 / (sum(repeats) / 10)
    told = {
        "prefill_j": {"windows": prefill, "looped": loop, "rested": rested, "slope": intercept},
        "decode_step_j": {"windows": decode, "looped": (full - loop) / (output - 1), "rested": (full - rested) / (output - 1), "slope": slope},
        "rested": {"rest_w": rest_w, "rounds": rests},
        "joules_per_token_cv": spread,
        "joules_per_token": repeats,
        "watts": {name: value(name, "power_w") for name in rows if "." not in name and "_" not in name},
    }
    for name in ("prefill_j", "decode_step_j"):
        told[name]["spread"] = max(told[name].values()) / min(told[name].values()) - 1
    print(json.dumps(told, indent=1))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mode", choices=["steady", "llama", "estimators", "overhead", "check"])
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--input", type=int, default=1024)
    parser.add_argument("--output", type=int, default=256)
    parser.add_argument("--result", help="of a run of mode estimators, for check")
    args = parser.parse_args()
    if args.mode == "check":
        return check(args.result, args)
    bare = time.monotonic_ns()
    if args.mode == "estimators":
        time.sleep(args.seconds)
    import torch

    marks = Marks()
    if args.mode == "estimators":
        marks.phase("bare", bare, bare + int(args.seconds * 1e9))
    {"steady": steady}.get(args.mode, llama)(torch, args, marks)
    marks.send()


if __name__ == "__main__":
    main()
