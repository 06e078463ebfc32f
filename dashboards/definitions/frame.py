"""What every dashboard has: datasource, variables, phase annotations, links."""

from .panels import DATASOURCE, Board

TAG = "lem"


def _variable(name: str, label: str, query: str, help: str) -> dict:
    return {
        "type": "query",
        "name": name,
        "label": label,
        "description": help,
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": f"variable-{name}", "qryType": 1},
        "regex": "",
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "options": [],
        # Runs come and go with the time range.
        "refresh": 2,
        "sort": 1,
        "hide": 0,
        "skipUrlSync": False,
    }


def variables(gpu: bool) -> list[dict]:
    model = 'gen_ai_request_model=~"$model"'
    backend = f'{model}, lem_backend=~"$backend"'
    listed = [
        {
            # As a variable it works both in an import and in provisioning; `__inputs` does not.
            "type": "datasource",
            "name": "DS_PROMETHEUS",
            "label": "Prometheus",
            "query": "prometheus",
            "options": [],
            "regex": "",
            "includeAll": False,
            "multi": False,
            "refresh": 1,
            "hide": 0,
            "skipUrlSync": False,
        },
        _variable("model", "Model", "label_values(lem_run_info, gen_ai_request_model)", "What was run."),
        _variable("backend", "Backend", f"label_values(lem_run_info{{{model}}}, lem_backend)", "What ran it."),
        _variable("instance", "Run", f"label_values(lem_run_info{{{backend}}}, instance)", "The run's id."),
    ]
    if gpu:
        query = 'label_values(hw_power_watts{instance=~"$instance", hw_type="gpu"}, hw_id)'
        listed.append(_variable("gpu", "GPU", query, "Of the panels about GPUs."))
    return listed


def _phase(name: str, color: str) -> dict:
    expression = f'lem_run_phase{{instance=~"$instance", lem_phase="{name}"}} == 1'
    return {
        "name": name,
        "datasource": DATASOURCE,
        "enable": True,
        "hide": False,
        "iconColor": color,
        "target": {"refId": "Anno", "expr": expression, "interval": "1s"},
        "titleFormat": name,
        "textFormat": "{{instance}}",
        "useValueForTime": False,
    }


def dashboard(
    uid: str, title: str, help: str, board: Board, *, since: str, refresh: str, phases: bool, gpu: bool = True
) -> dict:
    return {
        "uid": uid,
        "title": title,
        "description": help,
        "tags": [TAG],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": refresh,
        "time": {"from": since, "to": "now"},
        "timepicker": {"refresh_intervals": ["1s", "5s", "10s", "30s", "1m", "5m"]},
        "templating": {"list": variables(gpu)},
        "annotations": {
            "list": [_phase("prefill", "orange"), _phase("decode", "blue"), _phase("baseline", "green")]
            if phases
            else []
        },
        "links": [
            {
                "type": "dashboards",
                "title": "lem",
                "tags": [TAG],
                "asDropdown": True,
                "icon": "external link",
                "includeVars": True,
                "keepTime": True,
                "targetBlank": False,
                "tooltip": "",
                "url": "",
            }
        ],
        "panels": board.panels,
    }
