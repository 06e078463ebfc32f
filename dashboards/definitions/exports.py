"""Whether the runs arrived where they were meant to go, and whether their samples are whole."""

from . import frame
from .panels import GREEN, RED, YELLOW, Board, Column, bars, lines, stat, steps, table
from .query import by_run, last, series


def dashboard() -> dict:
    board = Board()
    board.row("Delivery")
    board.add(
        stat(
            "Records owed",
            "none",
            (f"sum by (lem_sink) ({last('lem_export_owed')})", "{{lem_sink}}"),
            help="Not acknowledged when last seen. `lem export --pending` delivers them.",
            thresholds=steps((None, GREEN), (1, YELLOW)),
            color={"mode": "thresholds"},
        ),
        width=12,
        height=6,
    )
    board.add(
        stat(
            "Sends that failed",
            "none",
            (f"sum by (lem_sink) ({last('lem_export_failures_total')})", "{{lem_sink}}"),
            help="Each was tried again, unless the sink said that it would never take it.",
            thresholds=steps((None, GREEN), (1, YELLOW), (100, RED)),
            color={"mode": "thresholds"},
        ),
        width=12,
        height=6,
    )
    board.add(lines("Records owed, over time", "none", (series("lem_export_owed"), "{{instance}} {{lem_sink}}"), min=0), width=12)
    board.add(
        lines(
            "Sends that failed, over time",
            "none",
            (series("lem_export_failures_total"), "{{instance}} {{lem_sink}}"),
            min=0,
        ),
        width=12,
    )
    board.row("Runs")
    board.add(
        table(
            "Ended runs",
            f"max by (instance, lem_status) ({last('lem_run_completed_timestamp_seconds')})",
            {"lem_status": "status"},
            [
                Column("ended", f"1000 * {by_run(last('lem_run_completed_timestamp_seconds'))}", "dateTimeAsLocal"),
                Column("answered", by_run(last("lem_run_requests_total", 'lem_status="ok"'))),
                Column("failed", by_run(last("lem_run_requests_total", 'lem_status="failed"'))),
                Column("owed", by_run(last("lem_export_owed"), "sum")),
                Column("failed sends", by_run(last("lem_export_failures_total"), "sum")),
            ],
        ),
        width=24,
        height=9,
    )
    board.row("Sampling")
    samples = "lem_sampling_samples_total"
    board.add(
        bars("Samples", "none", (last(samples), "{{instance}} {{lem_status}}"), help="Taken (ok) and missed."),
    )
    board.add(
        bars(
            "Longest gap over the interval that was set",
            "none",
            (
                f"{by_run(last('lem_sampling_interval_seconds', _kind('max_gap')))}"
                f" / {by_run(last('lem_sampling_interval_seconds', _kind('set')))}",
                "{{instance}}",
            ),
            help="1 is what was asked for.",
            thresholds=steps((None, GREEN), (3, YELLOW), (10, RED)),
            color={"mode": "thresholds"},
        )
    )
    board.add(
        bars(
            "Processor time of live sinks",
            "s",
            (last("lem_export_live_cpu_seconds_total"), "{{instance}} {{lem_sink}}"),
            help="What scrapes and live batches took from the run.",
        )
    )
    return frame.dashboard(
        "lem-exports",
        "lem: export health",
        "Deliveries that are owed or failed, and whether the samples are whole.",
        board,
        since="now-24h",
        refresh="1m",
        phases=False,
        gpu=False,
    )


def _kind(kind: str) -> str:
    return f'lem_sampling_kind="{kind}"'
