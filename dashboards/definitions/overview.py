"""One run, or a few: what it cost, where the energy went, how sure that is."""

from . import frame, shared
from .panels import GREEN, RED, YELLOW, Board, bars, stacked, stat, steps
from .query import GPU, by_run, cycles, last, quantile

HOW = "{{instance}} {{lem_how}}"


def dashboard() -> dict:
    board = Board()
    _headline(board)
    board.row("Power")
    board.add(shared.power(), width=16, height=10)
    board.add(shared.power_of_counters(), height=10)
    _energy(board)
    _latency(board)
    board.row("GPU and memory")
    shared.hardware(board)
    _compute(board)
    _trust(board)
    return frame.dashboard(
        "lem-run",
        "lem: one run",
        "Energy, time, latency and quality of an inference run, with how each number was obtained.",
        board,
        since="now-6h",
        refresh="30s",
        phases=True,
    )


def _headline(board: Board) -> None:
    board.row("What it cost")
    per_token = by_run(last("lem_run_energy_per_output_token_joules"))
    share = (
        f"{by_run(last('lem_run_energy_corrected_joules'))} / {by_run(last('lem_run_energy_joules'))}"
    )
    board.add(
        stat(
            "Energy per output token",
            "joule",
            (last("lem_run_energy_per_output_token_joules"), HOW),
            help="Gross: everything that the components drew, over the output tokens.",
            decimals=3,
        ),
        width=4,
        height=5,
    )
    board.add(
        stat(
            "… above idle",
            "joule",
            (f"{per_token} * ({share})", "{{instance}}"),
            help="Corrected: gross minus the idle power with the model loaded. Needs a baseline.",
            decimals=3,
        ),
        width=4,
        height=5,
    )
    board.add(
        stat("Output tokens per second", "none", (last("lem_run_throughput_tokens_per_second"), HOW), decimals=1),
        width=4,
        height=5,
    )
    board.add(
        stat("Perplexity", "none", (last("lem_quality_perplexity"), "{{instance}} {{lem_quality_source}}"), decimals=2),
        width=4,
        height=5,
    )
    board.add(
        stat(
            "Energy of a cycle",
            "joule",
            (last("lem_run_energy_joules"), HOW),
            (last("lem_run_energy_uncertainty_joules"), "{{instance}} ± (U, k = 2)"),
            help="The mean over the cycles, and its expanded uncertainty.",
        ),
        width=4,
        height=5,
    )
    board.add(
        stat("CO2e of a cycle", "massg", (last("lem_carbon_emissions_grams"), HOW), decimals=3), width=2, height=5
    )
    board.add(
        stat("Cost of a million output tokens", "currencyUSD", (last("lem_cost_usd_per_million_tokens"), "{{instance}}")),
        width=2,
        height=5,
    )


def _energy(board: Board) -> None:
    board.row("Where the energy went")
    board.add(
        stacked(
            "Energy of each cycle by phase",
            "joule",
            cycles("lem_phase_energy_joules", "lem_phase"),
            by="lem_phase",
            help="Gross. The three phases sum to the cycle.",
        )
    )
    board.add(
        bars(
            "Energy by phase, gross and above idle",
            "joule",
            (last("lem_phase_energy_joules"), "{{instance}} {{lem_phase}}"),
            (last("lem_phase_energy_corrected_joules"), "{{instance}} {{lem_phase}} above idle"),
        )
    )
    board.add(
        stacked(
            "Energy of each cycle by component",
            "joule",
            cycles("lem_component_energy_joules", "hw_type"),
            by="hw_type",
        )
    )
    board.add(bars("Time by phase", "s", (last("lem_phase_duration_seconds"), "{{instance}} {{lem_phase}}")))
    board.add(bars("Mean power by phase", "watt", (last("lem_phase_power_watts"), "{{instance}} {{lem_phase}} {{lem_how}}")))
    board.add(
        bars(
            "Throughput by phase",
            "none",
            (last("lem_phase_throughput_tokens_per_second"), "{{instance}} {{lem_phase}} tokens/s"),
        )
    )


def _latency(board: Board) -> None:
    board.row("Latency")
    histograms = [
        ("Time to first token", "gen_ai_server_time_to_first_token_seconds", ""),
        ("Between two tokens", "lem_inter_token_latency_seconds", "Each gap between two output tokens."),
        ("Whole request", "gen_ai_client_operation_duration_seconds", "From sending to the last token."),
        (
            "Time per output token",
            "gen_ai_server_time_per_output_token_seconds",
            "A request's mean over its tokens after the first.",
        ),
    ]
    for title, metric, help in histograms:
        queries = [(quantile(q, metric), f"{{{{instance}}}} p{q * 100:.0f}") for q in (0.5, 0.9, 0.99)]
        board.add(bars(title, "s", *queries, help=help, min=0), width=6)


def _compute(board: Board) -> None:
    board.row("Compute")
    board.add(
        bars(
            "Utilisation of the peak",
            "percentunit",
            (last("lem_flops_mfu_ratio"), "{{instance}} FLOPs (MFU)"),
            (last("lem_flops_mbu_ratio"), "{{instance}} bandwidth (MBU)"),
            min=0,
            max=1,
        )
    )
    board.add(
        bars(
            "FLOPs of a cycle",
            "sci",
            (last("lem_flops_estimated"), "{{instance}} estimated"),
            (last("lem_flops_measured"), "{{instance}} measured"),
        )
    )
    board.add(
        stat(
            "FLOPs per joule", "sci", (last("lem_efficiency_flops_per_joule"), "{{instance}} {{lem_flops_source}}")
        )
    )


def _trust(board: Board) -> None:
    board.row("How far to trust it")
    board.add(
        stat(
            "Integral of power over the energy counter",
            "percentunit",
            (last("lem_run_energy_closure_ratio"), "{{instance}} {{hw_id}}"),
            help="100 % is agreement of the two ways to measure the same energy.",
            decimals=1,
        ),
        width=6,
    )
    samples = "lem_sampling_samples_total"
    missed = by_run(last(samples, 'lem_status="missed"'), "sum")
    board.add(
        stat(
            "Samples missed",
            "percentunit",
            (f"{missed} / {by_run(last(samples), 'sum')}", "{{instance}}"),
            thresholds=steps((None, GREEN), (0.01, YELLOW), (0.05, RED)),
            color={"mode": "thresholds"},
            decimals=2,
        ),
        width=6,
    )
    board.add(
        bars(
            "Sampling interval",
            "s",
            (last("lem_sampling_interval_seconds"), "{{instance}} {{lem_sampling_kind}}"),
            help="As set, and the longest gap between two samples of a measured cycle.",
        ),
        width=6,
    )
    board.add(
        bars(
            "Time for which clocks were held down",
            "s",
            (last("lem_gpu_throttle_duration_seconds_total", run=GPU), "{{instance}} {{hw_id}} {{lem_throttle_reason}}"),
        ),
        width=6,
    )
    board.add(
        bars(
            "Idle power",
            "watt",
            (last("lem_baseline_power_watts"), "{{instance}} {{hw_id}} {{lem_baseline_kind}}"),
            help="Bare: before the engine. Loaded: with the model in memory. After: loaded, after the run.",
        ),
        width=12,
    )
    board.add(
        stat(
            "Requests",
            "none",
            (last("lem_run_requests_total"), "{{instance}} {{lem_status}}"),
            help="Answered, and failed or cancelled.",
        ),
        width=6,
    )
    board.add(
        stat("Records that a sink is owed", "none", (last("lem_export_owed"), "{{instance}} {{lem_sink}}")), width=6
    )
