#!/usr/bin/env python3
"""A GPU load of known phases, which marks them: `lem exec` measures it.

    lem exec --format json -- python3 scripts/marked_load.py alternate --heavy-ms 100 --light-ms 100

Modes:
  steady      one phase `steady` of --seconds at full load, for the level of power
  alternate   phases `heavy` (matrix products) and `light` (the GPU waits), --phases of each
  llama       a shape like Llama 3 8B with random weights: phases `prefill` and `decode` of
              --runs requests, batch --batch, --input and --output tokens; then `idle`
All times are CLOCK_MONOTONIC, taken after the GPU has finished (torch.cuda.synchronize), kept in
memory, and sent after the phases, so that nothing is written while they run.
"""

import argparse
import os
import time


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


def alternate(torch, args, marks):
    work = burner(torch)
    heavy_for(torch, work, 2)
    # The levels between which it alternates: without them nothing could be compared.
    begin = now(torch)
    heavy_for(torch, work, 5)
    middle = now(torch)
    marks.phase("level_heavy", begin, middle)
    time.sleep(1)
    begin = now(torch)
    time.sleep(4)
    marks.phase("level_light", begin, now(torch))
    edge = now(torch)
    for _ in range(args.phases):
        heavy_for(torch, work, args.heavy_ms / 1e3)
        middle = now(torch)
        time.sleep(args.light_ms / 1e3)
        end = now(torch)
        marks.phase("heavy", edge, middle)
        marks.phase("light", middle, end)
        edge = end


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

    def request(told):
        begin = now(torch)
        forward(prompt, 0, args.input)
        middle = now(torch)
        for step in range(args.output - 1):
            forward(token, args.input + step, args.input + step + 1)
        end = now(torch)
        if told:
            marks.phase("prefill", begin, middle, given=args.batch * args.input)
            marks.phase("decode", middle, end, output=args.batch * (args.output - 1))

    with torch.no_grad():
        for n in range(args.runs + 3):
            request(n >= 3)
    begin = now(torch)
    time.sleep(args.seconds)
    marks.phase("idle", begin, now(torch))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mode", choices=["steady", "alternate", "llama"])
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--heavy-ms", type=float, default=100)
    parser.add_argument("--light-ms", type=float, default=100)
    parser.add_argument("--phases", type=int, default=200)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--input", type=int, default=1024)
    parser.add_argument("--output", type=int, default=64)
    args = parser.parse_args()
    import torch

    marks = Marks()
    {"steady": steady, "alternate": alternate, "llama": llama}[args.mode](torch, args, marks)
    marks.send()


if __name__ == "__main__":
    main()
