#!/bin/sh
# The points of a sweep as the jobs of a Slurm array, one job a point.
#
#   lem sweep plan my.yaml --vary batching.batch_size=1,2,4,8 --mlflow --id my-sweep --out plan.json
#   sbatch --array=0-3 configs/cluster/slurm.sh plan.json /shared/lem-runs
#   lem results aggregate --sweep my-sweep --runs /shared/lem-runs     when all have ended: gathers
#
# `lem sweep plan` says how many points there are. Add %N to --array to run N at a time. The
# folder must be one that all nodes see. A point that is finished is not measured again, and one
# that was killed goes on where it was, on the node where it was begun: cycles of two machines are no
# repetitions of one another. Elsewhere the job says so, ends with exit code 2, and changes nothing.

#SBATCH --job-name=lem-sweep
#SBATCH --output=lem-sweep-%A-%a.log
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
# One GPU for each point, and nobody else on the node: another's energy would be counted.
#SBATCH --gres=gpu:1
#SBATCH --exclusive
#SBATCH --requeue
# Ctrl-C for lem two minutes before the time is up: what is finished is kept and delivered.
#SBATCH --signal=B:INT@120
#SBATCH --time=04:00:00

plan=${1:?the plan that lem sweep plan wrote}
output=${2:?the folder of runs, on a file system that all nodes see}
index=${SLURM_ARRAY_TASK_ID:?start this with sbatch --array}

# Secrets are in no plan: MLFLOW_TRACKING_URI, MLFLOW_TRACKING_TOKEN and the like come from here.
if [ -f "$HOME/.config/lem/env" ]; then
  set -a # KEY=VALUE lines, for lem to see
  . "$HOME/.config/lem/env"
  set +a
fi

# exec: the signals are for lem.
exec lem sweep run "$plan" --index "$index" --output "$output"
