"""Makes tests/data/tiny-golden.json with PyTorch and transformers.

    venv/bin/python scripts/golden/tiny.py > tests/data/tiny-golden.json

Three small models of the family, one for each thing in which they differ (rotary
scaling, biases, shared embeddings, head size). Their weights come from a formula that
the test repeats, so no weights are stored.
"""

import json
import sys

import numpy as np
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

BASE = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 300,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
}

VARIANTS = {
    "llama": BASE
    | {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "tie_word_embeddings": True,
        "rope_theta": 10000.0,
        "rope_scaling": {
            "rope_type": "llama3",
            "rope_theta": 10000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        },
    },
    "qwen2": BASE
    | {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "tie_word_embeddings": False,
        "rope_theta": 1000000.0,
        "use_sliding_window": False,
        "sliding_window": 32,
    },
    "mistral": BASE
    | {
        "architectures": ["MistralForCausalLM"],
        "model_type": "mistral",
        "tie_word_embeddings": False,
        "head_dim": 32,
        "rope_theta": 10000.0,
        "rope_scaling": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0},
        "sliding_window": None,
    },
}


def values(seed, count):
    """Numbers from -0.5 to 0.5: the finaliser of splitmix64 over a counter."""
    with np.errstate(over="ignore"):
        x = np.arange(count, dtype=np.uint64) + np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
    return ((x >> np.uint64(40)).astype(np.float64) / 2**24 - 0.5).astype(np.float32)


def fill(model, tied):
    state = model.state_dict()
    names = sorted(n for n in state if not (tied and n == "lm_head.weight"))
    shapes = {}
    for seed, name in enumerate(names, 1):
        tensor = state[name]
        v = torch.from_numpy(values(seed, tensor.numel())).reshape(tensor.shape)
        # Norms near 1, weights large enough that every layer matters.
        tensor.copy_(1 + 0.5 * v if "norm" in name else 0.6 * v)
        shapes[name] = list(tensor.shape)
    if tied:
        model.tie_weights()
    return shapes


def main():
    tokens = [int(t) for t in (values(99, 150) + 0.5) * 300]
    out = {
        "made_by": f"scripts/golden/tiny.py, torch {torch.__version__}, "
        f"transformers {transformers.__version__}, float32",
        "tokens": tokens,
        "variants": {},
    }
    for name, config in VARIANTS.items():
        arguments = {k: v for k, v in config.items() if k not in ("architectures", "model_type")}
        parsed = AutoConfig.for_model(config["model_type"], **arguments)
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(parsed, dtype=torch.float32)
        model.eval()
        with torch.no_grad():
            shapes = fill(model, config["tie_word_embeddings"])
            logits = model(torch.tensor([tokens])).logits[0].double()
        logprobs = torch.log_softmax(logits, dim=-1)
        out["variants"][name] = {
            "config": config,
            "shapes": shapes,
            "logprobs": [round(logprobs[i, t].item(), 6) for i, t in enumerate(tokens[1:])],
            "next": logits[-1].argmax().item(),
        }
    json.dump(out, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
