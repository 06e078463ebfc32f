"""Makes tests/data/torch-golden.json with PyTorch and transformers.

    venv/bin/python scripts/golden/tiny_torch.py > tests/data/torch-golden.json

Greedy answers to three prompts for each model of scripts/golden/tiny.py, and a fourth
model, Qwen 3, which normalises each head, with all that tiny.py tells of the others.
"""

import json
import pathlib
import sys

# The folder has a statistics.py, which torch would take for Python's.
here = sys.path.pop(0)

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

exec(compile((pathlib.Path(here) / "tiny.py").read_text(), "tiny.py", "exec"), tiny := {"__name__": "tiny"})

QWEN3 = tiny["BASE"] | {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "tie_word_embeddings": True,
    "head_dim": 32,
    "rope_theta": 1000000.0,
    "attention_bias": False,
}
LENGTHS = [5, 20, 50]
OUTPUTS = 24


def main():
    tokens = [int(t) for t in (tiny["values"](99, 150) + 0.5) * 300]
    out = {
        "made_by": f"scripts/golden/tiny_torch.py, torch {torch.__version__}, transformers {transformers.__version__}, float32",
        "lengths": LENGTHS,
        "greedy": {},
    }
    for name, config in (tiny["VARIANTS"] | {"qwen3": QWEN3}).items():
        arguments = {k: v for k, v in config.items() if k not in ("architectures", "model_type")}
        parsed = AutoConfig.for_model(config["model_type"], **arguments)
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(parsed, dtype=torch.float32)
        model.eval()
        with torch.no_grad():
            shapes = tiny["fill"](model, config["tie_word_embeddings"])
            answers = []
            for length in LENGTHS:
                answer = tokens[:length]
                for _ in range(OUTPUTS):
                    answer.append(model(torch.tensor([answer])).logits[0, -1].argmax().item())
                answers.append(answer[length:])
            out["greedy"][name] = answers
            if name == "qwen3":
                logits = model(torch.tensor([tokens])).logits[0].double()
                logprobs = torch.log_softmax(logits, dim=-1)
                out[name] = {
                    "config": config,
                    "shapes": shapes,
                    "logprobs": [round(logprobs[i, t].item(), 6) for i, t in enumerate(tokens[1:])],
                    "next": logits[-1].argmax().item(),
                }
    json.dump(out, sys.stdout, indent=1)


main()
