"""Golden values for src/analysis/statistics.rs, by numpy and scipy.

    pip install numpy scipy
    python scripts/golden/statistics.py > tests/data/analysis/statistics.json
"""

import json

import numpy as np
import scipy
from scipy import stats

rng = np.random.default_rng(20260101)
SETS = {
    "three": [10.0, 10.4, 9.7],
    "two": [1.0, 2.0],
    "one": [3.5],
    "constant": [2.0] * 5,
    "negative": [-3.0, -1.0, 0.0, 4.0, -2.5],
    "normal20": rng.normal(100.0, 3.0, 20).tolist(),
    "lognormal30": rng.lognormal(0.0, 0.8, 30).tolist(),
    "uniform101": rng.uniform(0.0, 1.0, 101).tolist(),
}
QS = [0.0, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0]


def acceleration(values):
    n = len(values)
    jack = np.array([np.mean(np.delete(values, i)) for i in range(n)])
    d = jack.mean() - jack
    scale = 6.0 * (d**2).sum() ** 1.5
    return float((d**3).sum() / scale) if scale > 0 else 0.0


out = {"numpy": np.__version__, "scipy": scipy.__version__, "sets": {}}
for name, values in SETS.items():
    v = np.array(values)
    n = len(v)
    one = {
        "values": values,
        "mean": float(v.mean()),
        "percentiles": [[q, float(np.quantile(v, q))] for q in QS],
        "acceleration": acceleration(v) if n > 1 else 0.0,
    }
    if n > 1:
        one["sd"] = float(v.std(ddof=1))
        one["se"] = float(stats.sem(v))
        if v.std() > 0:
            low, high = stats.t.interval(0.95, n - 1, loc=v.mean(), scale=stats.sem(v))
            one["t"] = [float(low), float(high)]
            one["cv"] = float(stats.variation(v, ddof=1)) if v.mean() > 0 else None
    if n >= 15:
        done = stats.bootstrap(
            (v,), np.mean, n_resamples=400_000, batch=10_000, method="BCa",
            confidence_level=0.95, rng=np.random.default_rng(7),
        )
        ci = done.confidence_interval
        one["bca"] = [float(ci.low), float(ci.high)]
        # Few resamples, kept: from these the interval follows without any drawing.
        few = stats.bootstrap(
            (v,), np.mean, n_resamples=499, method="BCa", confidence_level=0.95,
            rng=np.random.default_rng(8),
        )
        ci = few.confidence_interval
        one["bca_of"] = {
            "estimates": sorted(few.bootstrap_distribution.tolist()),
            "interval": [float(ci.low), float(ci.high)],
        }
    out["sets"][name] = one

print(json.dumps(out, indent=1))
