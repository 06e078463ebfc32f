"""`scripts/bench client`: the streaming client against a server of known schedule, on this machine.

Our own client is measured by `client_bench` (an example of the crate lem-client), the others here. The
table's errors are against the server's own log of when each token went to the kernel, where the client
tells token times; a client that only tells a request's TTFT and mean ITL is held against the schedule.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

FOLDER = pathlib.Path(os.environ["LEM_BENCH_CLIENT"])
HERE = pathlib.Path(__file__).resolve().parent
TTFT_MS, GAP_MS, TOKENS = 50.0, 10.0, 64


def ours(*args):
    done = subprocess.run([FOLDER / "client_bench", *map(str, args)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"client_bench {' '.join(map(str, args))} failed: {done.stderr.strip()}")
    return json.loads(done.stdout)


def quantile(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, max(0, -(-int(q * 1000) * len(values) // 1000) - 1))] if values else None


def errors(values):
    return {"p50": quantile(values, 0.5), "p99": quantile(values, 0.99)}


class Server:
    def __init__(self, *args):
        self.process = subprocess.Popen([FOLDER / "scheduled_server", *map(str, args)], stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().split()[-1])

    def log(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/log") as answer:
            lines = [line.split() for line in answer.read().decode().splitlines()]
        return [(line[0], [int(t) for t in line[1:]]) for line in lines if line[0] != "cpu_ns"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def gaps(times):
    return [(b - a) / 1e6 for a, b in zip(times, times[1:])]


def server_gap(log):
    return quantile([gap for _, times in log for gap in gaps(times[1:])], 0.99)


def aiohttp_script(python, streams, requests):
    with Server() as server:
        out = subprocess.run([python, HERE / "bench_client_aiohttp.py", *map(str, (server.port, streams, TOKENS, requests))],
                             capture_output=True, text=True, check=True).stdout
        log = server.log()
    told, by_user = json.loads(out), dict(log)
    ttft, itl = [], []
    for user, sent, times in told["requests"]:
        received, *true = by_user[str(user)]
        ttft.append(abs((times[0] - sent) - (true[0] - received)) / 1e6)
        itl += [abs(a - b) for a, b in zip(gaps(times), gaps(true))]
    return {"ttft": errors(ttft), "itl": errors(itl), "cpu": told["cpu_ns"] / 1e3 / (requests * TOKENS), "server_gap_p99": server_gap(log)}


def children_cpu():
    times = os.times()
    return times.children_user + times.children_system


def peer(name, command, read, streams, requests):
    """A client with a command line of its own; its processor time includes its start."""
    with Server() as server, tempfile.TemporaryDirectory() as folder:
        env = dict(os.environ, NO_COLOR="1")
        before = children_cpu()
        done = subprocess.run(command(server.port, streams, requests, folder), capture_output=True, text=True, env=env, cwd=folder, timeout=600)
        cpu = children_cpu() - before
        log = server.log()
        try:
            ttft, itl = read(pathlib.Path(folder))
        except Exception as why:  # a peer may change what it writes: say so and go on
            return {"failed": f"{name}: {why!r}; {(done.stderr or done.stdout)[-300:]}"}
    return {"ttft": errors([abs(t - TTFT_MS) for t in ttft]), "itl": errors([abs(t - GAP_MS) for t in itl]),
            "cpu": cpu * 1e6 / (requests * TOKENS), "server_gap_p99": server_gap(log), "requests": len(ttft)}


TOKENIZER = """
import sys
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
words = ["<unk>", "<s>", "</s>", "word", "."] + [f"w{i}" for i in range(2000)]
tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
fast.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
fast.save_pretrained(sys.argv[1])
"""


def make_tokenizer(python, folder):
    """One token a word: the server's chunks are words, so that those who count with a tokenizer of their own are right.

    Laid down as a hub's cache, which all of them read without a network.
    """
    model = pathlib.Path(folder) / "hub" / "models--lem--words"
    snapshot = model / "snapshots" / ("0" * 40)
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text("0" * 40)
    subprocess.run([python, "-c", TOKENIZER, snapshot], check=True, capture_output=True)
    (snapshot / "config.json").write_text('{"model_type": "llama", "vocab_size": 2005}')
    os.environ.update(HF_HOME=str(folder), HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
    return "lem/words"


def guidellm(bin, tokenizer):
    def command(port, streams, requests, folder):
        return [bin / "guidellm", "run", "--backend", f"kind=openai_http,target=http://127.0.0.1:{port},model=m",
                "--profile", f"kind=concurrent,streams={streams}", "--constraint", f"kind=max_requests,count={requests}",
                "--tokenizer", f"kind=hf_auto,model={tokenizer}", "--data", f"kind=synthetic_text,prompt_tokens=8,output_tokens={TOKENS}",
                "--output", f"kind=json,path={folder}/out.json", "--disable-console"]

    def read(folder):
        report = json.loads((folder / "out.json").read_text())
        rows = report["benchmarks"][0]["requests"]["successful"]
        return [r["time_to_first_token_ms"] for r in rows], [r["inter_token_latency_ms"] for r in rows]

    return command, read


def aiperf(bin, tokenizer):
    def command(port, streams, requests, folder):
        return [bin / "aiperf", "profile", "--model", "m", "--url", f"http://127.0.0.1:{port}", "--endpoint-type", "chat", "--streaming",
                "--tokenizer", tokenizer, "--concurrency", str(streams), "--request-count", str(requests), "--ui", "none",
                "--synthetic-input-tokens-mean", "8", "--output-tokens-mean", str(TOKENS), "--artifact-dir", folder]

    def read(folder):
        ttft, itl = [], []
        for file in folder.rglob("profile_export*.jsonl"):
            for line in file.read_text().splitlines():
                metrics = json.loads(line).get("metrics", {})
                if "time_to_first_token" in metrics:
                    ttft.append(metrics["time_to_first_token"]["value"])
                    itl.append(metrics["inter_token_latency"]["value"])
        if not ttft:
            raise ValueError("no record of a request")
        return ttft, itl

    return command, read


def median(runs, *path):
    def get(run):
        for key in path:
            run = run[key]
        return run

    return statistics.median(get(run) for run in runs)


def row(name, result):
    if "failed" in result:
        return f"{name:28} {result['failed']}"
    cells = [f"{result['ttft']['p50']:.3f} / {result['ttft']['p99']:.3f}", f"{result['itl']['p50']:.4f} / {result['itl']['p99']:.4f}"]
    return f"{name:28} {cells[0]:>18} {cells[1]:>20} {result['cpu']:>10.1f} {result['server_gap_p99']:>14.2f}"


def table(title, results):
    print(f"\n{title}\n{'':28} {'TTFT error, ms':>18} {'ITL error, ms':>20} {'CPU s per':>10} {'server gap':>14}")
    print(f"{'':28} {'p50 / p99':>18} {'p50 / p99':>20} {'M tokens':>10} {'p99, ms':>14}")
    for name, result in results.items():
        print(row(name, result))


def main(scratch):
    peers = "peers" in sys.argv[1:]
    repeats = int(os.environ.get("LEM_BENCH_REPEATS", "3"))
    if peers:
        bin = pathlib.Path(os.environ["LEM_BENCH_PEERS"])
        tokenizer = make_tokenizer(bin / "python", scratch)
    out = {"load_average": os.getloadavg(), "cores": os.cpu_count(), "paced": {}}
    for streams in (64, 256):
        requests = streams * 5
        results = {}
        paced, bare = [], []
        for _ in range(repeats):
            paced.append(ours("paced", streams, TOKENS, requests))
            bare.append(ours("bare", streams, TOKENS, requests))
        results["lem"] = {
            "ttft": {q: median(paced, "ttft_error_ms", q) for q in ("p50", "p99")},
            "itl": {q: median(paced, "itl_error_ms", q) for q in ("p50", "p99")},
            "cpu": median(paced, "client_cpu_s_per_million"), "server_gap_p99": median(paced, "server_gap_ms", "p99"),
            "lost": sum(run["lost"] for run in paced), "read_delay_p99_ms": median(paced, "report", "read_delay_p99_ms"),
        }
        floor = {"cpu": median(bare, "client_cpu_s_per_million"), "server_gap_p99": median(bare, "server_gap_ms", "p99")}
        if peers:
            results["aiohttp, 50 lines"] = aiohttp_script(bin / "python", streams, requests)
            results["lem, measured as the next"] = {
                "ttft": {q: median(paced, "ttft_off_schedule_ms", q) for q in ("p50", "p99")},
                "itl": {q: median(paced, "mean_itl_off_schedule_ms", q) for q in ("p50", "p99")},
                "cpu": results["lem"]["cpu"], "server_gap_p99": results["lem"]["server_gap_p99"],
            }
            for name, client in (("GuideLLM", guidellm), ("AIPerf", aiperf)):
                if not (bin / name.lower()).exists():
                    results[name] = {"failed": "is not installed"}
                else:
                    results[name] = peer(name, *client(bin, tokenizer), streams, requests)
        table(f"{streams} streams, true TTFT {TTFT_MS:.0f} ms, gap {GAP_MS:.0f} ms, {TOKENS} tokens", results)
        print(f"{'read and thrown away':28} {'':18} {'':20} {floor['cpu']:>10.1f} {floor['server_gap_p99']:>14.2f}")
        out["paced"][streams] = dict(results, floor=floor)
    if peers:
        print("\nGuideLLM and AIPerf tell a request's TTFT and mean ITL: these are held against the schedule, which the server\n"
              "itself misses when it is disturbed; their processor time includes their start.")
    unpaced = [ours("unpaced", 64, 20000, 16) for _ in range(repeats)]
    out["unpaced_tokens_per_s"] = max(run["tokens_per_s"] for run in unpaced)
    many = ours("open", 10000, 2000, 10)
    out["open"] = {key: many[key] for key in ("streams", "tokens", "lost", "short", "failures", "stamp_late_ms")}
    print(f"\nunpaced: {out['unpaced_tokens_per_s']:,.0f} tokens/s; 10,000 streams at once: {many['tokens']:,} tokens, {many['lost']} lost")
    print(f"load average at the start {out['load_average'][0]:.1f} on {out['cores']} cores; took until {time.strftime('%H:%M:%S')}\n")
    print(json.dumps(out))


with tempfile.TemporaryDirectory() as scratch:
    main(scratch)
