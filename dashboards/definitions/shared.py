"""Panels that stand on more than one dashboard."""

from .panels import Board, RED, YELLOW, GREEN, lines, states, steps
from .query import GPU, rate, series


def power() -> dict:
    return lines(
        "Power by source",
        "watt",
        (series("hw_power_watts"), "{{instance}} {{hw_id}} {{lem_how}}"),
        (
            series("lem_baseline_power_watts", 'lem_baseline_kind="loaded"'),
            "{{instance}} {{hw_id}} idle, model loaded",
        ),
        help="What each source drew. Coloured bands are the phases, where the run was scraped while it went on. "
        "The dashed line is the idle power with the model loaded.",
        overrides=[
            {
                "matcher": {"id": "byRegexp", "options": ".* idle, model loaded"},
                "properties": [
                    {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 6]}},
                    {"id": "custom.showPoints", "value": "always"},
                ],
            }
        ],
        min=0,
    )


def power_of_counters() -> dict:
    return lines(
        "Power by the energy counters",
        "watt",
        (rate("hw_energy_joules_total"), "{{instance}} {{hw_id}}"),
        help="The rate of each source's energy counter: it loses nothing between two samples.",
        min=0,
    )


def hardware(board: Board) -> None:
    """How the GPUs were."""
    board.add(
        lines(
            "Temperature",
            "celsius",
            (series("hw_temperature_celsius", run=GPU), "{{instance}} {{hw_id}} {{hw_sensor_location}}"),
            thresholds=steps((None, GREEN), (80, YELLOW), (90, RED)),
        )
    )
    board.add(lines("Clocks", "hertz", (series("lem_gpu_clock_hertz", run=GPU), "{{instance}} {{hw_id}} {{lem_clock}}")))
    board.add(
        states(
            "Clock held down",
            (series("lem_gpu_throttled", run=GPU), "{{instance}} {{hw_id}} {{lem_throttle_reason}}"),
            on="held down",
            off="free",
            help="While a clock is held down, the run is slower than the GPU can be.",
        )
    )
    board.add(
        lines(
            "Utilisation and activity",
            "percentunit",
            (series("hw_gpu_utilization_ratio", run=GPU), "{{instance}} {{hw_id}} a kernel ran"),
            (series("lem_gpu_activity_ratio", run=GPU), "{{instance}} {{hw_id}} {{lem_gpu_unit}} active"),
            (series("lem_cpu_utilization_ratio"), "{{instance}} processor"),
            min=0,
            max=1,
        )
    )
    board.add(
        lines(
            "Memory",
            "bytes",
            (series("hw_gpu_memory_usage_bytes", run=GPU), "{{instance}} {{hw_id}} used"),
            (series("hw_gpu_memory_limit_bytes", run=GPU), "{{instance}} {{hw_id}} in all"),
            (series("process_memory_usage_bytes"), "{{instance}} engine's process"),
            min=0,
        )
    )
    board.add(
        lines(
            "Power limit",
            "watt",
            (series("lem_gpu_power_limit_watts", run=GPU), "{{instance}} {{hw_id}} limit"),
            (series("hw_power_watts", run=GPU), "{{instance}} {{hw_id}}"),
            min=0,
        )
    )
