"""Reads a run back with MLflow's official client and prints it as JSON.

    read_back.py TRACKING_URI EXPERIMENT LEM_RUN_ID [--expect FILE]

With --expect, compares it with the facts in FILE (each must be there, as it is
there; what FILE does not mention may be anything) and fails with the differences.
"""

import argparse
import hashlib
import json
import pathlib
import sys
import tempfile

from mlflow import MlflowClient
from mlflow.entities import ViewType


def artifacts(client, run_id, path=None):
    for item in client.list_artifacts(run_id, path):
        if item.is_dir:
            yield from artifacts(client, run_id, item.path)
        else:
            yield item.path


def read(uri, experiment, lem_run_id):
    client = MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        sys.exit(f"there is no experiment {experiment}")
    runs = client.search_runs(
        [found.experiment_id],
        filter_string=f"tags.`lem.run_id` = '{lem_run_id}'",
        run_view_type=ViewType.ACTIVE_ONLY,
    )
    if len(runs) != 1:
        sys.exit(f"there are {len(runs)} runs with lem.run_id = {lem_run_id}")
    run = client.get_run(runs[0].info.run_id)
    run_id = run.info.run_id
    files = {}
    with tempfile.TemporaryDirectory() as folder:
        for path in artifacts(client, run_id):
            local = client.download_artifacts(run_id, path, folder)
            files[path] = hashlib.sha256(pathlib.Path(local).read_bytes()).hexdigest()
    return {
        "info": {
            "run_id": run_id,
            "name": run.info.run_name,
            "status": run.info.status,
            "start_time": run.info.start_time,
            "end_time": run.info.end_time,
            "lifecycle_stage": run.info.lifecycle_stage,
        },
        "params": run.data.params,
        "tags": run.data.tags,
        "latest": run.data.metrics,
        "history": {
            key: sorted(
                [point.step, point.timestamp, point.value]
                for point in client.get_metric_history(run_id, key)
            )
            for key in run.data.metrics
        },
        "datasets": [
            {
                "name": given.dataset.name,
                "digest": given.dataset.digest,
                "source_type": given.dataset.source_type,
                "source": given.dataset.source,
                "schema": given.dataset.schema,
                "profile": given.dataset.profile,
                "tags": {tag.key: tag.value for tag in given.tags},
            }
            for given in run.inputs.dataset_inputs
        ],
        "artifacts": files,
    }


def differences(expected, found, at=""):
    if isinstance(expected, dict) and isinstance(found, dict):
        for key, value in expected.items():
            if key not in found:
                yield f"{at}/{key} is missing"
            else:
                yield from differences(value, found[key], f"{at}/{key}")
    elif expected != found:
        yield f"{at}: expected {expected!r}, found {found!r}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("uri")
    parser.add_argument("experiment")
    parser.add_argument("lem_run_id")
    parser.add_argument("--expect", type=pathlib.Path)
    given = parser.parse_args()
    found = read(given.uri, given.experiment, given.lem_run_id)
    json.dump(found, sys.stdout)
    if given.expect:
        wrong = list(differences(json.loads(given.expect.read_text()), found))
        if wrong:
            sys.exit("\n".join(wrong[:20]))


main()
