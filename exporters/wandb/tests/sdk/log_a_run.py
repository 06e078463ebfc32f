"""A run as a user of the official SDK writes it: metrics, a table, an artifact, an exit code."""

import os
import sys

import wandb

run = wandb.init(
    project="official",
    id=sys.argv[1],
    name="a name",
    notes="some notes",
    group="a group",
    job_type="a job",
    tags=["one", "two"],
    config={"model": {"layers": 3}},
    resume="allow",
)
if run.resumed:
    run.log({"t_s": 9.0, "sample/x": 9.5})
else:
    run.define_metric("t_s")
    run.define_metric("sample/*", step_metric="t_s")
    run.log({"t_s": 1.0, "sample/x": 2.0})
    run.log({"t_s": 2.0, "sample/x": 3.5})
    run.log({"tables/t": wandb.Table(columns=["a", "b"], data=[[1, "x"], [None, "y"]])})
    artifact = wandb.Artifact("res", "result")
    with artifact.new_file("res.json") as file:
        file.write("{}\n")
    run.log_artifact(artifact)
    print("a line on the console")
    run.summary["total"] = 7
run.finish(exit_code=int(os.environ.get("EXIT", "0")))
