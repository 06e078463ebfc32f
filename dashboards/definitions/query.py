"""PromQL as the panels say it."""

RUN = 'instance=~"$instance"'
GPU = RUN + ', hw_id=~"$gpu"'


def series(metric: str, *labels: str, run: str = RUN) -> str:
    """A metric of the chosen runs, as it changes."""
    return f"{metric}{{{', '.join([run, *labels])}}}"


def last(metric: str, *labels: str, run: str = RUN) -> str:
    """The last value in the time range: a run that has ended shows no present value."""
    return f"last_over_time({series(metric, *labels, run=run)}[$__range])"


def rate(metric: str, *labels: str, run: str = RUN) -> str:
    return f"rate({series(metric, *labels, run=run)}[$__rate_interval])"


def by_run(expression: str, function: str = "max") -> str:
    """One series a run: what else tells them apart (how it was obtained) is dropped."""
    return f"{function} by (instance) ({expression})"


def quantile(q: float, histogram: str) -> str:
    """Of a whole run: its histogram counts from nothing, so that the last value has every request."""
    return f"histogram_quantile({q}, sum by (instance, le) ({last(histogram + '_bucket')}))"
