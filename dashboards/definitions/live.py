"""A run while it goes on, as `lem run --prometheus` shows it."""

from . import frame, shared
from .panels import Board, lines, stat, states
from .query import by_run, last, rate, series

# A module's sensor covers the others again.
OWN_POWER = ('hw_type!="module"',)


def dashboard() -> dict:
    board = Board()
    board.row("Now")
    tokens = by_run(rate("lem_run_output_tokens_total"), "sum")
    power = by_run(series("hw_power_watts", *OWN_POWER), "sum")
    board.add(
        stat(
            "Progress",
            "percentunit",
            (last("lem_run_progress_ratio"), "{{instance}}"),
            help="Answered requests of all measured cycles, over those planned.",
            min=0,
            max=1,
        ),
        width=4,
        height=5,
    )
    board.add(stat("Cycle", "none", (last("lem_run_cycle"), "{{instance}}"), help="From 0."), width=4, height=5)
    board.add(
        stat("Output tokens", "none", (last("lem_run_output_tokens_total"), "{{instance}}"), help="Warm-up included."),
        width=4,
        height=5,
    )
    board.add(
        states(
            "Phase",
            (series("lem_run_phase"), "{{instance}} {{lem_phase}}"),
            on="now",
            off="",
            help="What the run is doing.",
        ),
        width=12,
        height=5,
    )
    board.row("Power and tokens")
    board.add(shared.power(), width=12, height=10)
    board.add(
        lines("Output tokens per second", "none", (tokens, "{{instance}}"), min=0), width=6, height=10
    )
    board.add(
        lines(
            "Joules per output token",
            "joule",
            (f"{power} / ({tokens} > 0)", "{{instance}}"),
            help="Power of all sources now, over the tokens per second now. An indication: the run's result is "
            "integrated over the measured cycles and has an uncertainty.",
            min=0,
        ),
        width=6,
        height=10,
    )
    board.add(lines("Power of all sources", "watt", (power, "{{instance}}"), min=0))
    board.add(shared.power_of_counters())
    board.add(
        lines(
            "Energy since the run began",
            "joule",
            (series("hw_energy_joules_total"), "{{instance}} {{hw_id}}"),
            help="Where the source has an energy counter.",
        )
    )
    board.row("GPU and memory")
    shared.hardware(board)
    board.row("What watching costs")
    board.add(
        lines(
            "Scrapes and live batches",
            "none",
            (series("lem_export_live_requests_total"), "{{instance}} {{lem_sink}}"),
            help="Answered while the run was measured.",
        ),
        width=12,
    )
    board.add(
        lines(
            "Processor time of live sinks",
            "s",
            (series("lem_export_live_cpu_seconds_total"), "{{instance}} {{lem_sink}}"),
        ),
        width=12,
    )
    return frame.dashboard(
        "lem-live",
        "lem: live power and phases",
        "A run while it goes on: power, phase, tokens, progress.",
        board,
        since="now-5m",
        refresh="5s",
        phases=True,
    )
