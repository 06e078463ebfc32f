"""A load of known alternation, with phase marks for lem exec.

    lem exec --format json -- python scripts/alternation.py > run.json
    python scripts/alternation.py --check run.json

It holds a memory-bound load of level power for ten seconds (phase `steady`) and the idle
context for ten (`quiet`), then alternates both 200 times at each of several lengths (`heavy_60`,
`light_60`, …, in milliseconds). What is attributed to a phase must be the steady level times
its time. --check compares them. Needs torch with a GPU for the load, and nothing to check.
"""

import json
import os
import sys
import time

LENGTHS_MS = (60, 100, 250, 500)
PHASES = 200
STEADY_S = 10.0
ALLOWED = 0.03


def load():
    import torch

    marks = open(os.environ["LEM_PHASES"], "w", buffering=1)

    def mark(verb, name):
        marks.write(f"{verb} {name} {time.clock_gettime_ns(time.CLOCK_MONOTONIC)}\n")

    # Half a gigabyte read and written: about half a millisecond on an H100, far below its limit
    # of power, so that the level is flat from the first kernel on.
    values = torch.ones(1 << 28, dtype=torch.bfloat16, device="cuda")

    def heavy(seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            values.mul_(1.0)
            torch.cuda.synchronize()

    def phase(name, work, seconds):
        mark("begin", name)
        work(seconds)
        mark("end", name)

    heavy(3.0)
    phase("steady", heavy, STEADY_S)
    time.sleep(3.0)
    phase("quiet", time.sleep, STEADY_S)
    for length in LENGTHS_MS:
        for _ in range(PHASES):
            phase(f"heavy_{length}", heavy, length / 1e3)
            phase(f"light_{length}", time.sleep, length / 1e3)
        time.sleep(1.0)


def phases(node):
    """Every object with a name and a power, wherever the result keeps them."""
    if isinstance(node, dict):
        if isinstance(node.get("name"), str) and isinstance(node.get("power_w"), dict):
            yield node["name"], node["power_w"]
        node = node.values()
    elif not isinstance(node, list):
        return
    for child in node:
        yield from phases(child)


def check(path):
    with open(path, encoding="utf-8") as file:
        found = dict(phases(json.load(file)))
    levels = {"heavy": found["steady"]["value"], "light": found["quiet"]["value"]}
    print(f"steady {levels['heavy']:.1f} W, quiet {levels['light']:.1f} W")
    failed = 0
    for length in LENGTHS_MS:
        for kind, level in levels.items():
            power = found[f"{kind}_{length}"]
            if power["value"] is None:
                print(f"{kind} {length} ms: {power.get('reason')}")
                failed += 1
                continue
            off = power["value"] / level - 1
            failed += abs(off) > ALLOWED
            print(f"{kind} {length} ms: {power['value']:.1f} W, {off:+.2%}")
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--check":
        sys.exit(check(sys.argv[2]))
    load()
