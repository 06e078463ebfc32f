"""A folder of many runs: how long lem results takes, and how much memory.

    scripts/bench results [RUNS]

One real run of a tiny model is measured; the others are copies of it with ids, names, batch
sizes and energies of their own, so that nothing is shared but the shape. Every command is run
three times after indexing, and the median counts.
"""

import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

LEM = os.environ["LEM_BENCH_BIN"]
RUNS = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000


def run(folder, *args):
    """Seconds, MiB at most, standard output."""
    start = time.perf_counter()
    child = subprocess.Popen([LEM, *args], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = child.stdout.read(), child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        sys.exit(f"lem {' '.join(args)}: {err.decode()}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024, out.decode()


def model(folder):
    shape = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64,
        "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": 256, "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": True,
        "torch_dtype": "float32", "hidden_act": "silu", "bos_token_id": 1, "eos_token_id": 2,
    }
    (folder / "tiny").mkdir()
    (folder / "tiny/config.json").write_text(json.dumps(shape))
    (folder / "tiny.yaml").write_text(
        "model_name: tiny\nload_format: dummy\nnum_input_prompts: 16\nnum_cycles: 5\n"
        "max_input_tokens: 64\nmax_output_tokens: 32\n"
        "prompts: { type: synthetic, input_tokens: 16, output_tokens: 32 }\n"
        "batching: { batch_size: 2 }\nmeasurement: { interval_ms: 5 }\n"
    )


def copies(first, runs):
    """Every copy differs in its id, in a key, and in what it cost."""
    dice = random.Random(7)
    result = json.loads((first / "result.json").read_text())
    log = (first / "records.jsonl").read_text()
    # Of most logs the beginning and the end, by which a result is known to be of them.
    lines = log.splitlines(keepends=True)
    ends = lines[0] + lines[-1]
    old = result["run_id"]
    for n in range(runs - 1):
        new = f"{old}-{n:05}"
        folder = first.with_name(new)
        folder.mkdir()
        result["run_id"], result["name"] = new, f"copy {n}"
        result["config"]["batching"]["batch_size"] = dice.choice([1, 2, 4, 8, 16])
        result["energy_per_output_token_j"]["value"] = dice.uniform(0.1, 2.0)
        for cycle in result["cycles"]:
            cycle["total_energy_j"]["value"] = dice.uniform(5.0, 6.0)
        # The log is that of the first under another id; the many are never analysed.
        (folder / "records.jsonl").write_text((log if n < 4 else ends).replace(old, new))
        (folder / "result.json").write_text(json.dumps(result, indent=2))
    return old


with tempfile.TemporaryDirectory(dir=os.environ.get("LEM_BENCH_DIR")) as folder:
    folder = pathlib.Path(folder)
    model(folder)
    run(folder, "run", "tiny.yaml", "--name", "first")
    first = next(p for p in (folder / "lem-runs").iterdir() if not p.name.startswith("."))
    one = run(folder, "results", "list")[0]
    (folder / "lem-runs/.lem-index.jsonl").unlink()
    old = copies(first, RUNS)
    a, b, c = (f"{old}-{n:05}" for n in range(3))
    seconds, memory, _ = run(folder, "results", "list", "--limit", "20")
    index = folder / "lem-runs/.lem-index.jsonl"
    print(f"{RUNS} runs, result.json {(first / 'result.json').stat().st_size / 1024:.0f} KiB each; one run alone: list {one:.3f} s")
    print(f"{'index, cold':44} {seconds:8.3f} s {memory:8.0f} MiB   ({index.stat().st_size / 2**20:.1f} MiB on disk)")
    for title, args in [
        ("list --limit 20", ["list", "--limit", "20"]),
        ("list, all, by energy, two filters", ["list", "--filter", "batching.batch_size>=4", "--filter", "status=finished", "--sort", "energy.per_output_token"]),
        ("list, all, as JSON", ["list", "--format", "json"]),
        ("show by id", ["show", a]),
        ("show by name, one field", ["show", "copy 77", "--field", "energy.per_output_token"]),
        ("compare two", ["compare", a, b]),
        ("aggregate three", ["aggregate", a, b, c]),
    ]:
        tries = [run(folder, "results", *args) for _ in range(3)]
        print(f"{title:44} {statistics.median(t[0] for t in tries):8.3f} s {max(t[1] for t in tries):8.0f} MiB")
    (folder / "lem-runs" / b / "result.json").touch()
    seconds, memory, _ = run(folder, "results", "list", "--limit", "20")
    print(f"{'list, one run changed':44} {seconds:8.3f} s {memory:8.0f} MiB")
