"""The benchmarks behind scripts/bench. Prints one JSON object; every comparison is a ratio within one run."""

import json
import os
import pathlib
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

from scipy import stats

LEM = os.environ["LEM_BENCH_BIN"]
MODEL = os.environ["LEM_TEST_MODEL"]
ROOT = pathlib.Path(__file__).resolve().parent.parent


def machine():
    name = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), "unknown")
    return f"{name}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"


def interval(values, level=0.95):
    mean = statistics.fmean(values)
    if len(values) < 2:
        return {"mean": mean, "low": None, "high": None, "n": len(values)}
    half = stats.t.ppf(0.5 + level / 2, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    return {"mean": mean, "low": mean - half, "high": mean + half, "n": len(values)}


def workload(tokens, prompts, cycles):
    return [
        "--set", f"model_name={MODEL}", "--set", "prompts.type=synthetic", "--set", "prompts.input_tokens=64",
        "--set", f"prompts.output_tokens={tokens}", "--set", f"max_output_tokens={tokens}",
        "--set", f"num_input_prompts={prompts}", "--cycles", str(cycles), "--format", "json",
    ]


def config(folder):
    path = pathlib.Path(folder) / "bench.yaml"
    path.write_text(f"model_name: {MODEL}\n")
    return str(path)


class MlflowServer:
    """A real server on loopback with its own scratch database."""

    def __init__(self, folder):
        self.port = random.randint(20000, 40000)
        self.uri = f"http://127.0.0.1:{self.port}"
        command = [
            str(pathlib.Path(sys.executable).parent / "mlflow"), "server", "--host", "127.0.0.1", "--port", str(self.port),
            "--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", f"{folder}/artifacts",
        ]
        env = dict(os.environ, MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false", PATH=f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}")
        self.log = open(f"{folder}/server.log", "wb")
        self.process = subprocess.Popen(command, env=env, stdout=self.log, stderr=self.log, start_new_session=True)

    def __enter__(self):
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=1)
                return self
            except OSError:
                time.sleep(0.1)
        raise SystemExit("the MLflow server did not start")

    def __exit__(self, *_):
        os.killpg(self.process.pid, 15)
        self.process.wait()


def bench_help():
    def once(command):
        began = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        return (time.perf_counter() - began) * 1000

    runs = [(once([LEM, "--help"]), once(["/bin/true"])) for _ in range(100)]
    lem, nothing = zip(*runs)
    return {"lem_help_ms": {"median": statistics.median(lem), "p99": statistics.quantiles(lem, n=100)[98]},
            "bin_true_ms": {"median": statistics.median(nothing)}}


def bench_sampler():
    """CPU time of the thread `lem-sampler`, read from outside, over a run's measured part."""
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen([LEM, "run", config(folder), *workload(256, 16, 3), "--output", folder], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seen = {}
        while process.poll() is None:
            for task in pathlib.Path(f"/proc/{process.pid}/task").glob("*"):
                try:
                    if (task / "comm").read_text().strip() == "lem-sampler":
                        nanoseconds = int((task / "schedstat").read_text().split()[0])
                        now = time.monotonic()
                        first = seen.get(task.name, (now, nanoseconds))[:2]
                        seen[task.name] = (*first, now, nanoseconds)
                except OSError:
                    pass
            time.sleep(0.2)
        shares = [(b - a) / 1e9 / (t1 - t0) for t0, a, t1, b in seen.values() if t1 - t0 > 5]
        seconds = [t1 - t0 for t0, _, t1, _ in seen.values()]
        return {"share_of_a_core": max(shares, default=None), "observed_s": max(seconds, default=None)}


def bench_overhead(pairs, sinks=("mlflow", "files")):
    """Paired and interleaved, in random order within a pair; ratio of decode tokens/s with sinks over without."""
    def run(folder, *flags):
        out = subprocess.run([LEM, "run", config(folder), *workload(96, 2, 9), "--output", f"{folder}/runs", *flags], capture_output=True, text=True, env=environment)
        if out.returncode:
            raise SystemExit(out.stderr)
        result = json.loads(out.stdout)
        return [cycle["decode_tokens_per_sec"] for cycle in result["cycles"]], result["exports"]

    # nobody listens on port 9 (discard): these two are down for the whole run
    down = "http://127.0.0.1:9"
    environment = dict(os.environ, WANDB_API_KEY="0" * 40, WANDB_BASE_URL=down, WANDB_MODE="online", OTEL_EXPORTER_OTLP_ENDPOINT=down)
    ratios, names = [], []
    with tempfile.TemporaryDirectory() as folder, MlflowServer(folder) as server:
        known = {
            "mlflow": ["--mlflow", "--set", f"integrations.mlflow.tracking_uri={server.uri}"],
            "files": ["--set", "integrations.files.enabled=true", "--set", f"integrations.files.path={folder}/copies"],
            "prometheus": ["--prometheus=127.0.0.1:0", "--linger=0"],
            "wandb": ["--wandb"],
            "otlp": ["--otlp"],
        }
        flags = [flag for sink in sinks for flag in known[sink]] + ["--set", "integrations.deadline_s=2"]
        for _ in range(pairs):
            order = [("with", flags), ("without", [])]
            random.shuffle(order)
            speed = {}
            for name, extra in order:
                cycles, exports = run(folder, *extra)
                # the median of a run's cycles: a neighbour's burst on a shared machine hits one of them
                speed[name] = statistics.median(cycles)
                if name == "with":
                    names = [f"{e['sink']}: {e['state']}" for e in exports]
            ratios.append(speed["with"] / speed["without"])
            print(f"pair {len(ratios)}: {ratios[-1]:.4f}", file=sys.stderr)
    return {"ratio_with_over_without": interval(ratios), "ratios": ratios, "sinks": names}


def bench_mlflow(points):
    example = pathlib.Path(LEM).parent / "examples" / "million"
    subprocess.run(["cargo", "build", "--release", "--quiet", "-p", "lem-mlflow", "--example", "million"], cwd=ROOT, check=True)
    with tempfile.TemporaryDirectory() as folder, MlflowServer(folder) as server:
        out = subprocess.run([str(example), server.uri, str(points)], capture_output=True, text=True)
        if out.returncode:
            raise SystemExit(out.stderr)
        ours = json.loads(out.stdout)
        import mlflow
        from mlflow.entities import Metric

        client = mlflow.MlflowClient(server.uri)
        experiment = client.create_experiment("official")
        run = client.create_run(experiment).info.run_id
        keys = [f"sample/gpu{i}_power_watts" for i in range(10)]
        began, cpu = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        now = int(time.time() * 1000)
        for start in range(0, points, 1000):
            batch = [Metric(keys[i % 10], 300.0 + i % 97, now + i // 10, i // 10) for i in range(start, min(start + 1000, points))]
            client.log_batch(run, metrics=batch)
        used = resource.getrusage(resource.RUSAGE_SELF)
        theirs = {"points": points, "wall_s": time.perf_counter() - began,
                  "cpu_s": used.ru_utime + used.ru_stime - cpu.ru_utime - cpu.ru_stime, "max_rss_mib": used.ru_maxrss / 1024}
    return {"lem": ours, "official_client": theirs, "cpu_ratio": ours["cpu_s"] / theirs["cpu_s"]}


OFFICIAL_WANDB = """
import json, os, pathlib, sys, time
import wandb

TICK = os.sysconf("SC_CLK_TCK")

def cpu():
    '''Of this process and of those that it started, which do the SDK's writing.'''
    seconds, mine = 0.0, {os.getpid()}
    stats = []
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, rest = path.read_text().split(" (", 1)
        except OSError:
            continue
        stats.append((int(pid), rest.rsplit(") ", 1)[1].split()))
    for pid, fields in sorted(stats):
        if pid in mine or int(fields[1]) in mine:
            mine.add(pid)
            seconds += sum(map(int, fields[11:15])) / TICK
    return seconds

rows, keys = int(sys.argv[1]), [f"sample/gpu{i}_power_watts" for i in range(10)]
run = wandb.init(project="rows", settings=wandb.Settings(x_disable_stats=True, console="off"))
run.define_metric("t_s")
run.define_metric("sample/*", step_metric="t_s")
began, before = time.perf_counter(), cpu()
for row in range(rows):
    values = {key: 100.0 + ((row * 7919 + gpu * 104729) % 100003) / 1000 for gpu, key in enumerate(keys)}
    run.log({"t_s": row / 1000, **values})
run.finish()
used, wall = cpu() - before, time.perf_counter() - began
data = next(pathlib.Path(os.environ["WANDB_DIR"]).glob("wandb/offline-run-*/*.wandb"))
print(json.dumps({"rows": rows, "keys": len(keys), "wall_s": wall, "cpu_s": used, "file_bytes": data.stat().st_size}))
"""


def bench_monitor(seconds):
    """lem monitor, read and scraped once a second: processor time, memory, time of a scrape."""
    url = f"127.0.0.1:{random.randint(20000, 40000)}"
    monitor = subprocess.Popen([LEM, "monitor", f"--prometheus={url}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(3)

        def cpu():
            fields = open(f"/proc/{monitor.pid}/stat").read().rsplit(")", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

        def resident():
            return next(int(l.split()[1]) for l in open(f"/proc/{monitor.pid}/status") if l.startswith("VmRSS"))

        before, began, memory, scrapes = cpu(), time.monotonic(), resident(), []
        while time.monotonic() - began < seconds:
            asked = time.perf_counter()
            urllib.request.urlopen(f"http://{url}/metrics", timeout=5).read()
            scrapes.append((time.perf_counter() - asked) * 1e3)
            time.sleep(1)
        used = (cpu() - before) / (time.monotonic() - began)
        return {
            "cpu_s_an_hour": used * 3600, "seconds": seconds, "rss_kib": [memory, resident()],
            "scrape_ms": {"median": statistics.median(scrapes), "p99": sorted(scrapes)[int(len(scrapes) * 0.99)], "longest": max(scrapes)},
        }
    finally:
        monitor.terminate()
        monitor.wait()


def bench_wandb(rows):
    """The same rows into an offline folder, by lem and by the official SDK without its system monitor."""
    example = pathlib.Path(LEM).parent / "examples" / "offline_rows"
    subprocess.run(["cargo", "build", "--release", "--quiet", "-p", "lem-wandb", "--example", "offline_rows"], cwd=ROOT, check=True)
    with tempfile.TemporaryDirectory() as folder:
        def run(*command):
            out = subprocess.run([*command, str(rows)], capture_output=True, text=True, env=environment)
            if out.returncode:
                raise SystemExit(out.stderr)
            return json.loads(out.stdout.splitlines()[-1])

        clean = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
        environment = dict(clean, HOME=folder, WANDB_DIR=folder, WANDB_MODE="offline", WANDB_SILENT="true", WANDB_ERROR_REPORTING="false")
        ours = run(str(example), f"{folder}/ours")
        theirs = run(sys.executable, "-c", OFFICIAL_WANDB)
    return {"lem": ours, "official_client": theirs, "cpu_ratio": ours["cpu_s"] / theirs["cpu_s"]}


def main():
    name, *rest = sys.argv[1:] or ["help"]
    number = int(rest[0]) if rest else None
    result = {
        "help": bench_help,
        "sampler": bench_sampler,
        "overhead": lambda: bench_overhead(number or 10),
        "monitor": lambda: bench_monitor(number or 60),
        "sinks": lambda: bench_overhead(number or 10, ("mlflow", "prometheus", "wandb", "otlp")),
        "mlflow": lambda: bench_mlflow(number or 1_000_000),
        "wandb": lambda: bench_wandb(number or 100_000),
    }[name]()
    print(json.dumps({"benchmark": name, "machine": machine(), **result}, indent=2))


main()
