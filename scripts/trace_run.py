#!/usr/bin/env python3
"""Makes a run's folder of a recorded power trace, so that lem's verbs can be tried on it.

    scripts/trace_run.py tests/data/power/h100-llama8b-phases.json /tmp/trace
    lem results plot /tmp/trace --cycle 4 --out figure.svg

The trace was recorded on an H100 by a script of its own (8 sequences, 1024 prompt tokens,
random weights in the shape of Llama-3-8B); each prefill with the decode after it becomes
half a cycle of two batches. No token times were recorded with it, so there are none here.
"""

import json
import pathlib
import sys

MONO = 1_000_000_000_000
UNIX = 1_795_000_000_000_000_000


def main(trace_path, folder):
    trace = json.loads(pathlib.Path(trace_path).read_text())
    ns = lambda t: MONO + round(t * 1e9)
    lines = []

    def record(kind, data, t):
        lines.append(json.dumps({"run": "h100-trace", "n": len(lines), "mono_ns": ns(t),
                                 "unix_ns": UNIX + round(t * 1e9), "kind": kind, "data": data}))

    device = "GPU-00000000-0000-0000-0000-000000000001"
    gpu = {"component": "gpu", "name": "NVIDIA H100 80GB HBM3", "meter": "nvml",
           "how": "measured", "device": device}
    sources = [
        gpu | {"id": "gpu0", "method": "NVML sample ring (total power)",
               "columns": [{"metric": "sample.power"}],
               "sensor": {"update_s": 0.02, "window_s": 0.02, "lag_s": 0.015, "gain_relative": 0.05}},
        gpu | {"id": "gpu0_counter", "method": "NVML energy counter",
               "columns": [{"metric": "sample.energy"}],
               "sensor": {"update_s": 0.1, "gain_relative": 0.05}},
    ]
    config = {"model_name": "Llama-3-8B shape, random weights", "backend": "torch",
              "num_cycles": 1, "measurement": {"interval_ms": 20}, "carbon": {"pue": 1.0}}
    start = min(s["t0"] for s in trace["spans"]) - 0.1
    record("run_started", {"format": 1, "producer": "scripts/trace_run.py", "name": "h100 trace",
                           "config": config, "provenance": {}, "environment": {}, "tags": {},
                           "boot_id": None, "pid": 1, "sinks": {}, "sources": sources,
                           "model": None}, start)
    for source, metric, points in [("gpu0", "sample.power", trace["samples"]),
                                   ("gpu0_counter", "sample.energy", trace["ticks"])]:
        points = sorted(points)
        record("samples", {"source": source, "t_ns": [ns(t) for t, _ in points],
                           "columns": [{"metric": metric, "how": "measured",
                                        "values": [v for _, v in points]}]}, points[-1][0])
    last = max(s["t1"] for s in trace["spans"])
    record("clock", {"pairs": [[ns(start), UNIX + round(start * 1e9)]]}, last)
    names = {"B0": "bare", "B1": "loaded", "B1after": "after"}
    span = lambda kind, name, cycle, t0, t1: record(
        "span", {"span": kind, "name": name, "cycle": cycle, "start_ns": ns(t0), "end_ns": ns(t1)}, last)
    for s in trace["spans"]:
        if s["name"] in names:
            span("baseline", names[s["name"]], None, s["t0"], s["t1"])
    phases = [s for s in trace["spans"] if s["name"] in ("prefill", "decode")]
    batches = [phases[i:i + 4] for i in range(0, len(phases), 4)]
    for cycle, batch in enumerate(batches):
        t0, t1 = batch[0]["t0"] - 0.02, batch[-1]["t1"] + 0.02
        for s in batch:
            span("phase", s["name"], cycle, s["t0"], s["t1"])
        span("cycle", f"cycle-{cycle}", cycle, t0, t1)
        record("cycle_finished", {"cycle": cycle, "start_ns": ns(t0), "end_ns": ns(t1), "requests": 0,
                                  "failed": 0, "samples_missed": 0}, last)
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "records.jsonl").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
