"""Prints every run of an experiment, read with MLflow's official client, as JSON.

    sweep_runs.py TRACKING_URI EXPERIMENT
"""

import json
import sys

from mlflow import MlflowClient

client = MlflowClient(tracking_uri=sys.argv[1])
experiment = client.get_experiment_by_name(sys.argv[2])
runs = client.search_runs([experiment.experiment_id], max_results=1000)
json.dump(
    [
        {
            "id": run.info.run_id,
            "status": run.info.status,
            "tags": run.data.tags,
            "metrics": run.data.metrics,
            "steps": sorted(
                point.step
                for point in client.get_metric_history(
                    run.info.run_id, "energy/total_joules"
                )
            ),
        }
        for run in runs
    ],
    sys.stdout,
)
