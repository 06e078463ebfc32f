"""Many runs side by side."""

from . import frame
from .panels import Board, Column, bars, lines, table
from .query import WHOLE, by_run, info, last, quantile, series

LABELS = {
    "lem_run_name": "name",
    "gen_ai_request_model": "model",
    "lem_backend": "backend",
    "lem_precision": "precision",
    "lem_version": "lem",
}


def _column(title: str, metric: str, unit: str = "none", decimals: int | None = None, labels: tuple = ()) -> Column:
    return Column(title, by_run(last(metric, *labels)), unit, decimals)


def dashboard() -> dict:
    board = Board()
    board.row("Runs")
    board.add(
        table(
            "Runs",
            info(*LABELS),
            LABELS,
            [
                _column("J/token", "lem_run_energy_per_output_token_joules", "joule", 3),
                _column("J/token from", "lem_run_energy_per_output_token_ci_low_joules", "joule", 3),
                _column("J/token to", "lem_run_energy_per_output_token_ci_high_joules", "joule", 3),
                _column("J a cycle", "lem_run_energy_joules", "joule", 1),
                _column("± U", "lem_run_energy_uncertainty_joules", "joule", 1),
                _column("J above idle", "lem_run_energy_corrected_joules", "joule", 1),
                _column("tokens/s", "lem_run_throughput_tokens_per_second", "none", 1),
                Column("TTFT p50", quantile(0.5, "gen_ai_server_time_to_first_token_seconds"), "s", 3),
                Column("TTFT p99", quantile(0.99, "gen_ai_server_time_to_first_token_seconds"), "s", 3),
                Column("ITL p99", quantile(0.99, "lem_inter_token_latency_seconds"), "s", 4),
                _column("perplexity", "lem_quality_perplexity", "none", 2),
                _column("g CO2e", "lem_carbon_emissions_grams", "massg", 3),
                _column("cycles", "lem_run_cycles"),
            ],
            help="A run's name leads to its own dashboard. What was not measured is empty.",
        ),
        width=24,
        height=12,
    )
    board.row("Side by side")
    board.add(bars("Energy per output token", "joule", (_with_labels("lem_run_energy_per_output_token_joules"), _LEGEND)))
    board.add(bars("Output tokens per second", "none", (_with_labels("lem_run_throughput_tokens_per_second"), _LEGEND)))
    board.add(
        bars("Output tokens per joule", "none", (_with_labels("lem_efficiency_tokens_per_joule"), _LEGEND))
    )
    board.add(
        bars(
            "Energy by phase",
            "joule",
            (
                f"max by (instance, lem_phase) ({last('lem_phase_energy_joules')})",
                "{{instance}} {{lem_phase}}",
            ),
        )
    )
    board.add(bars("Perplexity", "none", (_with_labels("lem_quality_perplexity"), _LEGEND), help="Lower is better."))
    board.add(bars("Energy times time", "none", (_with_labels("lem_run_energy_delay_J_s"), _LEGEND), help="J·s"))
    board.row("Over time")
    board.add(
        lines(
            "Energy per output token, run by run",
            "joule",
            (series("lem_run_energy_per_output_token_joules", WHOLE), "{{instance}} {{lem_how}}"),
            points=True,
        ),
        width=12,
    )
    board.add(
        lines(
            "Output tokens per second, run by run",
            "none",
            (series("lem_run_throughput_tokens_per_second", WHOLE), "{{instance}}"),
            points=True,
        ),
        width=12,
    )
    return frame.dashboard(
        "lem-compare",
        "lem: comparison of runs",
        "Models, backends and precisions against one another.",
        board,
        since="now-7d",
        refresh="",
        phases=False,
        gpu=False,
    )


_LEGEND = "{{instance}} {{gen_ai_request_model}} {{lem_backend}} {{lem_precision}}"


def _with_labels(metric: str) -> str:
    """A run's number with what was run beside it."""
    labels = ("gen_ai_request_model", "lem_backend", "lem_precision")
    return f"{by_run(last(metric))} * on (instance) group_left ({', '.join(labels)}) {info(*labels)}"
