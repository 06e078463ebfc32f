"""A small run log, and what numpy and scipy make of it: an independent computation.

    pip install numpy scipy
    python scripts/golden/run_log.py tests/data/analysis

writes run.jsonl and run-expected.json. One GPU with power every 20 ms (15 ms late) and a
counter that is read apart; modelled processor and memory; three cycles of two batches of
two requests; three baselines. The truth is a signal of plateaus; the samples have noise.
"""

import json
import pathlib
import sys

import numpy as np
from scipy import stats

rng = np.random.default_rng(42)
MS = 1_000_000
RUN = "golden-run"
T0 = 5_000_000_000_000
UNIX0 = 1_767_225_600_000_000_000  # 2026-01-01T00:00:00Z
LAG = 15 * MS
GAIN, CPU_GAIN = 0.05, 0.5
GPU = "GPU-00000000-0000-0000-0000-000000000001"

lines = []


def put(kind, data, t):
    lines.append({"run": RUN, "n": len(lines), "mono_ns": int(t), "unix_ns": int(UNIX0 + t - T0), "kind": kind, "data": data})


# The truth: power by time, as plateaus (start, watts), in order.
truth = []


def plateau(start, watts):
    truth.append((start, watts))


def power(t):
    starts = [s for s, _ in truth]
    i = np.searchsorted(starts, t, side="right") - 1
    return truth[max(i, 0)][1]


windows = []  # (name, start, end), in ns
phases = {}  # cycle -> [(name, start, end)]
requests = {}  # cycle -> list
plateau(0, 75.0)
t = T0 + 1_000 * MS
windows.append(("bare", t, t + 3_000 * MS))
t += 4_000 * MS
plateau(t, 124.0)
windows.append(("loaded", t + 500 * MS, t + 3_500 * MS))
t += 4_000 * MS
for cycle in range(3):
    start = t
    phases[cycle], requests[cycle] = [], []
    t += 30 * MS
    for batch in range(2):
        prefill = int(rng.integers(228, 240)) * MS
        plateau(t, 660.0)
        phases[cycle].append(("prefill", t, t + prefill))
        began, first = t, t + prefill
        t = first
        plateau(t, 410.0)
        n = 24
        gaps = rng.normal(25.0, 1.0, n - 1).clip(20.0)
        tokens = [first] + [int(first + g) for g in np.cumsum(gaps) * MS]
        end = tokens[-1] + 200_000
        phases[cycle].append(("decode", t, end))
        for k in range(2):
            out = n - 4 * k
            requests[cycle].append({
                "id": 10 * cycle + 2 * batch + k, "start": began, "end": tokens[out - 1] + 100_000,
                "input": 512 + 64 * k, "tokens": tokens[:out],
            })
        t = end
        plateau(t, 130.0)
        t += 25 * MS
    windows.append((f"cycle-{cycle}", start, t))
    t += 300 * MS
plateau(t, 126.0)
windows.append(("after", t + 500 * MS, t + 3_500 * MS))


def exact(a, b):
    """The truth's own energy, joules."""
    cuts = [a] + [s for s, _ in truth if a < s < b] + [b]
    return sum(power((x + y) / 2) * (y - x) / 1e9 for x, y in zip(cuts, cuts[1:]))


def gpu_times(a, b):
    inner = np.arange(a + 3 * MS, b, 20 * MS)
    return np.unique(np.concatenate([inner, [b + MS, b + 21 * MS]])).astype(np.int64)


samples = {}
for name, a, b in windows:
    ts = gpu_times(a, b)
    watts = np.array([power(t - LAG) for t in ts]) + rng.normal(0, 1.5, len(ts))
    edge = np.array([a + MS, *range(a + 1_000 * MS, b, 1_000 * MS), b + MS], dtype=np.int64)
    counter = np.array([round(exact(T0, int(e)), 3) for e in edge])
    slow = np.array([a + 2 * MS, *range(a + 100 * MS, b, 100 * MS), b + 2 * MS], dtype=np.int64)
    cpu = 20.0 + rng.normal(0, 0.5, len(slow))
    samples[name] = {
        "gpu": (ts, watts.round(3)), "counter": (edge, counter), "cpu": (slow, cpu.round(3)),
        "memory": (slow, np.full(len(slow), 10.0)),
    }

sources = [
    {"id": "gpu0", "component": "gpu", "name": "NVIDIA H100 80GB HBM3", "meter": "nvml", "how": "measured",
     "method": "NVML power samples", "device": GPU,
     "columns": [{"metric": "sample.power"}, {"metric": "sample.gpu_utilization"}, {"metric": "sample.gpu_memory_used"}],
     "sensor": {"window_s": 0.02, "update_s": 0.02, "lag_s": 0.015, "gain_relative": GAIN}},
    {"id": "gpu0_counter", "component": "gpu", "name": "NVIDIA H100 80GB HBM3", "meter": "nvml", "how": "measured",
     "method": "NVML energy counter", "device": GPU, "columns": [{"metric": "sample.energy"}],
     "sensor": {"update_s": 0.1, "gain_relative": GAIN, "resolution_j": 0.001}},
    {"id": "cpu0", "component": "cpu", "name": "Some CPU", "meter": "modelled", "how": "modelled",
     "method": "TDP·(0.1+0.9·u³), TDP 120 W", "columns": [{"metric": "sample.power"}],
     "sensor": {"gain_relative": CPU_GAIN}},
    {"id": "memory0", "component": "memory", "name": "memory", "meter": "modelled", "how": "modelled",
     "method": "5 W a module, 2 modules", "columns": [{"metric": "sample.power"}],
     "sensor": {"gain_relative": CPU_GAIN}},
    {"id": "process", "component": "state", "name": "lem", "meter": "process", "how": "measured",
     "method": "/proc/self/statm", "columns": [{"metric": "sample.process_memory"}]},
]
model = {
    "name": "hf:example/llama", "architecture": "llama", "parameters": 8_030_261_248,
    "active_parameters": 7_504_924_672, "layers": 32, "hidden_size": 4096, "attention_heads": 32,
    "key_value_heads": 8, "head_size": 128, "weight_type": "bf16", "compute_type": "bf16",
    "weight_bytes": 16_060_522_496, "kv_bytes_per_token": 131_072, "engine": "torch",
    "engine_version": "2.11.0", "device": "cuda:0", "random_weights": False,
}
config = {
    "config_name": "golden", "model_name": "hf:example/llama", "backend": "torch", "max_output_tokens": 24,
    "num_cycles": 3, "measurement": {"interval_ms": 100}, "prompts": {"chat_template": False},
    "carbon": {"intensity_g_per_kwh": None, "source": None, "pue": 1.2},
    "cost": {"usd_per_kwh": 0.25, "usd_per_gpu_hour": 2.5}, "quality": {"enabled": False},
}
put("run_started", {
    "format": 1, "producer": "lem 0.1.0", "name": "golden", "config": config,
    "provenance": {"backend": {"source": "file", "detail": "golden.yaml:3"}},
    "environment": {"cpu": {"model": "Some CPU"}}, "tags": {}, "boot_id": "b", "pid": 7, "sinks": {},
    "varying": ["hw.id"], "sources": sources, "model": model,
}, T0)


def column(metric, how, values):
    return {"metric": metric, "how": how, "values": [None if v is None else float(v) for v in values]}


for name, a, b in windows:
    s = samples[name]
    ts, watts = s["gpu"]
    put("samples", {"source": "gpu0", "t_ns": ts.tolist(), "columns": [
        column("sample.power", "measured", watts),
        column("sample.gpu_utilization", "measured", [0.9] * len(ts)),
        column("sample.gpu_memory_used", "measured", [20e9 + i * 1e6 for i in range(len(ts))])]}, b)
    put("samples", {"source": "gpu0_counter", "t_ns": s["counter"][0].tolist(),
                    "columns": [column("sample.energy", "measured", s["counter"][1])]}, b)
    for source in ("cpu", "memory"):
        put("samples", {"source": source + "0", "t_ns": s[source][0].tolist(),
                        "columns": [column("sample.power", "modelled", s[source][1])]}, b)
    put("samples", {"source": "process", "t_ns": s["cpu"][0].tolist(),
                    "columns": [column("sample.process_memory", "measured", [3e9 + i for i in range(len(s["cpu"][0]))])]}, b)
    put("clock", {"pairs": [[int(a), int(UNIX0 + a - T0)]]}, b)
    if not name.startswith("cycle"):
        put("span", {"span": "baseline", "name": name, "start_ns": a, "end_ns": b}, b)
        continue
    c = int(name[-1])
    for phase, x, y in phases[c]:
        put("span", {"span": "phase", "name": phase, "cycle": c, "start_ns": x, "end_ns": y}, b)
    for r in requests[c]:
        put("span", {"span": "request", "name": f"request-{r['id']}", "cycle": c, "start_ns": r["start"], "end_ns": r["end"],
                     "request": {"id": r["id"], "input_tokens": r["input"], "output_tokens": len(r["tokens"]),
                                 "token_ns": r["tokens"], "true_token_times": True, "finish": "length"}}, b)
    put("span", {"span": "cycle", "name": name, "cycle": c, "start_ns": a, "end_ns": b}, b)
    put("cycle_finished", {"cycle": c, "start_ns": a, "end_ns": b, "requests": len(requests[c]), "failed": 0, "samples_missed": 1}, b)


# What it comes to, by numpy: the integral of the interpolated samples on their own knots.
def all_points(source):
    ts = np.concatenate([samples[n][source][0] for n, _, _ in windows])
    vs = np.concatenate([samples[n][source][1] for n, _, _ in windows])
    return ts, vs


def trapezoid(source, a, b):
    ts, vs = all_points(source)
    knots = np.unique(np.concatenate([[a, b], ts[(ts > a) & (ts < b)]])).astype(float)
    return float(np.trapezoid(np.interp(knots - T0, (ts - T0).astype(float), vs), (knots - T0) / 1e9))


def with_edges(c, a, b):
    """Joules of the phases with what interpolation and the sensor's average carried over their
    edges given back: half the mean absolute deviation of the smear, times the step."""
    ts, vs = all_points("gpu")
    window = update = 0.02
    gaps = np.diff(ts[(ts >= a + LAG) & (ts <= b + LAG)]) / 1e9
    around = float((gaps**2).sum() / gaps.sum())
    carried = 0.41 * np.sqrt(window**2 / 12 + around**2 / 6)
    before, after, near = 0.6 * window * 1e9, window * 1e9, 1.5 * update * 1e9
    inner = sorted((x, y, n) for n, x, y in phases[c])
    tiles, t = [], a
    for x, y, n in inner:
        if x > t:
            tiles.append((t, x, "other"))
        tiles.append((x, y, n))
        t = y
    if t < b:
        tiles.append((t, b, "other"))

    def level(x, y):
        inside = vs[(ts >= int(x)) & (ts <= int(y))]
        middle = int(x) + (int(y) - int(x)) // 2
        return float(inside.mean()) if len(inside) else float(np.interp(float(middle - T0), (ts - T0).astype(float), vs))

    def clear(tile, x, y):
        middle = int(tile[0]) + LAG + (int(tile[1]) - int(tile[0])) // 2
        return level(x, y) if x <= y else level(middle, middle)

    steps = []
    for i in range(len(tiles) + 1):
        at = (tiles[i][0] if i < len(tiles) else tiles[-1][1]) + LAG
        to, start = at - before, at + after
        if i == 0:
            left = level(to - near, to)
        else:
            left = clear(tiles[i - 1], max(to - near, tiles[i - 1][0] + LAG + after), to)
        if i == len(tiles):
            right = level(start, start + near)
        else:
            right = clear(tiles[i], start, min(start + near, tiles[i][1] + LAG - before))
        steps.append(right - left)
    plain = [trapezoid("gpu", x + LAG, y + LAG) for x, y, _ in tiles]
    given = [p + (steps[i] - steps[i + 1]) * carried for i, p in enumerate(plain)]
    scale = sum(plain) / sum(given)
    return {n: scale * sum(g for g, tile in zip(given, tiles) if tile[2] == n) for n in ("prefill", "decode")}


def counted(a, b):
    ts, vs = all_points("counter")
    x = (ts - T0).astype(float)

    def at(t):
        # Before the first reading the power of the first interval holds.
        if t < ts[0]:
            return vs[0] + (vs[1] - vs[0]) / (x[1] - x[0]) * (t - T0 - x[0])
        return np.interp(float(t - T0), x, vs)

    return float(at(b) - at(a))


def span(name):
    return next((a, b) for n, a, b in windows if n == name)


def t95(values):
    v = np.array(values, dtype=float)
    low, high = stats.t.interval(0.95, len(v) - 1, loc=v.mean(), scale=stats.sem(v))
    return [float(low), float(high)]


N, A = model["active_parameters"], 32 * 32 * 128
b1, b1_after, b0 = (counted(*span(k)) / ((span(k)[1] - span(k)[0]) / 1e9) for k in ("loaded", "after", "bare"))
mid = {k: sum(span(k)) / 2 for k in ("loaded", "after")}
cycles = []
for c in range(3):
    a, b = span(f"cycle-{c}")
    seconds = (b - a) / 1e9
    whole = trapezoid("gpu", a + LAG, b + LAG)
    # 1.5 s is under 20 updates of the counter (0.1 s or more): power samples count.
    one = {"seconds": seconds, "integral": whole, "counter": counted(a, b), "true": exact(a, b)}
    given = with_edges(c, a, b)
    for phase in ("prefill", "decode"):
        spans = [(x, y) for n, x, y in phases[c] if n == phase]
        one[phase + "_s"] = sum(y - x for x, y in spans) / 1e9
        one[phase + "_plain_j"] = sum(trapezoid("gpu", x + LAG, y + LAG) for x, y in spans)
        one[phase + "_j"] = given[phase]
        one[phase + "_true"] = sum(exact(x, y) for x, y in spans)
    share = ((a + b) / 2 - mid["loaded"]) / (mid["after"] - mid["loaded"])
    one["idle_w"] = b1 + (b1_after - b1) * share
    one["corrected"] = whole - one["idle_w"] * seconds
    one["above_bare"] = whole - b0 * seconds
    one["cpu"] = trapezoid("cpu", a, b)
    one["memory"] = trapezoid("memory", a, b)
    one["input"] = sum(r["input"] for r in requests[c])
    one["output"] = sum(len(r["tokens"]) for r in requests[c])
    flops = 0
    for r in requests[c]:
        s, n = r["input"], len(r["tokens"])
        flops += 2 * N * s + 2 * A * s * s
        flops += sum(2 * N + 4 * A * (s + k) for k in range(1, n))
    one["flops"] = float(flops)
    cycles.append(one)

ttft = [r["tokens"][0] - r["start"] for rs in requests.values() for r in rs]
e2e = [r["tokens"][-1] - r["start"] for rs in requests.values() for r in rs]
tpot = [(r["tokens"][-1] - r["tokens"][0]) / (len(r["tokens"]) - 1) for rs in requests.values() for r in rs]
itl = np.concatenate([np.diff(r["tokens"]) for rs in requests.values() for r in rs])


def quantiles(ns):
    v = np.array(ns) / 1e9
    return {"mean": float(v.mean()), "p50": float(np.quantile(v, 0.5)), "p90": float(np.quantile(v, 0.9)),
            "p99": float(np.quantile(v, 0.99)), "n": len(v)}


total = [c["integral"] for c in cycles]
expected = {
    "cycles": cycles,
    "total": float(np.mean(total)), "total_interval": t95(total),
    "total_gain_u": float(GAIN * np.mean(total) / np.sqrt(3)),
    "total_se": float(stats.sem(total)),
    "prefill_s_interval": t95([c["prefill_s"] for c in cycles]),
    "per_output_token": sum(total) / sum(c["output"] for c in cycles),
    "decode_rate": sum(c["output"] - 4 for c in cycles) / sum(c["decode_s"] for c in cycles),
    "prefill_rate": sum(c["input"] for c in cycles) / sum(c["prefill_s"] for c in cycles),
    "carbon_g": float(np.mean(total)) / 3.6e6 * 1.2 * 475,
    "cost_usd": float(np.mean([e / 3.6e6 * 1.2 * 0.25 + c["seconds"] / 3600 * 2.5 for e, c in zip(total, cycles)])),
    "baseline": {"bare": b0, "loaded": b1, "after": b1_after},
    "latency": {"ttft": quantiles(ttft), "e2e": quantiles(e2e), "tpot": quantiles(tpot), "itl": quantiles(itl)},
    "mfu": float(np.mean([c["flops"] / c["seconds"] for c in cycles]) / 989.4e12),
}
folder = pathlib.Path(sys.argv[1])
(folder / "run.jsonl").write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
(folder / "run-expected.json").write_text(json.dumps(expected, indent=1) + "\n")
