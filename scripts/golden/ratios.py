"""Golden values for src/results/compare/ratio.rs, by numpy and scipy.

    pip install numpy scipy
    python scripts/golden/ratios.py > tests/data/analysis/ratios.json

Fieller's interval is found by searching for the roots of the t-test's statistic, not by the
closed form that lem has.
"""

import json

import numpy as np
import scipy
from scipy import optimize, stats

rng = np.random.default_rng(20260203)
CASES = {
    "three": ([10.0, 10.4, 9.7], [12.1, 11.8, 12.6]),
    "two": ([1.0, 1.1], [1.3, 1.2]),
    "equal means": ([5.0, 5.5, 4.5], [4.8, 5.2, 5.0]),
    "unequal n": (rng.normal(100, 3, 20).tolist(), rng.normal(90, 9, 5).tolist()),
    "noisy": (rng.normal(10, 3, 6).tolist(), rng.normal(12, 3, 6).tolist()),
    "negative": ([-5.0, -5.2, -4.9], [3.0, 3.1, 2.8]),
    "no interval": ([0.5, -0.4, 0.3], [3.0, 3.1, 2.8]),
    "one side constant": ([7.0, 7.0, 7.0], [8.0, 8.1, 7.9]),
}


def fieller(a, b):
    a, b = np.array(a), np.array(b)
    ma, mb = a.mean(), b.mean()
    va, vb = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    r = mb / ma
    df = (vb + r**2 * va) ** 2 / (vb**2 / (len(b) - 1) + r**4 * va**2 / (len(a) - 1))
    t = stats.t.ppf(0.975, df)
    if t**2 * va >= ma**2:
        return float(r), None

    def excess(theta):
        return (mb - theta * ma) ** 2 - t**2 * (vb + theta**2 * va)

    step = 1e-3 * abs(r)
    low, high = r - step, r + step
    while excess(low) < 0:
        low -= step
        step *= 1.5
    step = 1e-3 * abs(r)
    while excess(high) < 0:
        high += step
        step *= 1.5
    find = lambda x, y: float(optimize.brentq(excess, x, y, xtol=1e-15, rtol=1e-14))
    return float(r), [find(low, r), find(r, high)]


out = {"numpy": np.__version__, "scipy": scipy.__version__, "ratios": []}
for name, (a, b) in CASES.items():
    r, interval = fieller(a, b)
    p = float(stats.ttest_ind(b, a, equal_var=False).pvalue)
    out["ratios"].append({"name": name, "a": a, "b": b, "ratio": r, "interval": interval, "p": p})
ps = [0.001, 0.2, 0.04, 0.04, 0.9, 1.0, 0.0, 0.013, 0.5, 0.03]
out["p"] = ps
out["adjusted"] = stats.false_discovery_control(ps, method="bh").tolist()
print(json.dumps(out, indent=1))
