"""PromQL as the panels say it."""

RUN = 'instance=~"$instance"'
GPU = RUN + ', hw_id=~"$gpu"'


def series(metric: str, *labels: str, run: str = RUN) -> str:
    """A metric of the chosen runs, as it changes."""
    return f"{metric}{{{', '.join([run, *labels])}}}"


# A number of one cycle has the label lem_cycle, that of the whole run has not.
WHOLE = 'lem_cycle=""'
CYCLES = 'lem_cycle!=""'


def last(metric: str, *labels: str, run: str = RUN) -> str:
    """The whole run's value, the last in the time range: a run that has ended shows no present value."""
    return f"last_over_time({series(metric, WHOLE, *labels, run=run)}[$__range])"


def cycles(metric: str, label: str) -> str:
    """Of each cycle, by a label; the new label `cycle` says which of which run."""
    values = f"max by (instance, lem_cycle, {label}) (last_over_time({series(metric, CYCLES)}[$__range]))"
    return f'label_join({values}, "cycle", " ", "instance", "lem_cycle")'


def info(*labels: str) -> str:
    """What each run was. Once a run: what is known of it grows while it goes on."""
    return f"max by (instance, {', '.join(labels)}) (topk by (instance) (1, {last('lem_run_info')}))"


def rate(metric: str, *labels: str, run: str = RUN) -> str:
    return f"rate({series(metric, *labels, run=run)}[$__rate_interval])"


def by_run(expression: str, function: str = "max") -> str:
    """One series a run: what else tells them apart (how it was obtained) is dropped."""
    return f"{function} by (instance) ({expression})"


def quantile(q: float, histogram: str) -> str:
    """Of a whole run: its histogram counts from nothing, so that the last value has every request."""
    return f"histogram_quantile({q}, sum by (instance, le) ({last(histogram + '_bucket')}))"
