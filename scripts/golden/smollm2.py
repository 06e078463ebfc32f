"""Makes tests/data/smollm2-golden.json with PyTorch and transformers.

    python -m venv venv && venv/bin/pip install torch transformers gguf accelerate
    venv/bin/python scripts/golden/smollm2.py MODEL.gguf > tests/data/smollm2-golden.json

transformers unpacks the GGUF's weights to float32 and computes in float32, with
code that shares nothing with lem: its log-probabilities and token ids are what
the embedded engine is held against.
"""

import hashlib
import json
import os
import sys

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

TEXT = (
    "The energy that a computer uses to answer a question depends on the size of the model, "
    "on the length of the answer, and on the hardware. In 2019 the average carbon intensity of "
    "electricity was 475 grams per kilowatt-hour. A careful measurement reports its own error: "
    "without it, a number is only an opinion.\n\n    def joules(power, seconds):\n        return "
    "power * seconds\n"
)

CHAT = "What is the capital of France?"

STRINGS = [
    "",
    " ",
    "   ",
    "a",
    "Hello, world!",
    " leading and trailing ",
    "tabs\tand\ttabs\t\t",
    "line\nbreaks\n\n\nand\r\nmore\r\n",
    "    indented code:\n        x = [1, 2, 3]\n",
    "1234567890",
    "3.14159 and 2,718.28",
    "12 345 6 7890 v2.0.1",
    # No space before a digit outside ASCII: transformers' GGUF reader drops the splitting of
    # digits that this tokenizer was trained with, and joins the two.
    "²³½x٣٤٥百二十",
    "it's they're we'll I'd you've can't IT'S",
    "CamelCaseAndSCREAMING_SNAKE_CASE",
    "naïve café façade Ångström",
    "e\u0301 decomposed and \u00e9 composed",
    "日本語のテキスト",
    "Здравствуй, мир",
    "مرحبا بالعالم",
    "שלום עולם",
    "ภาษาไทย",
    "🙂🙃 👩‍👩‍👧‍👦 🏳️‍🌈",
    "zero\u200bwidth\u200djoiner\ufeff",
    "non\u00a0breaking\u2003em\u3000ideographic",
    "!!!???...---===+++###$$$%%%",
    "<|im_start|>user\nhi<|im_end|>\n",
    "<|endoftext|>",
    "<|not_special|> < | im_start | >",
    "https://example.org/path?x=1&y=%20#frag",
    "\\u0041 \\n \"quoted\" 'single' `tick`",
    "\x00\x01\x7f control",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "supercalifragilisticexpialidocious antidisestablishmentarianism",
]


def main():
    path = sys.argv[1]
    folder, file = os.path.split(os.path.abspath(path))
    with open(path, "rb") as handle:
        sha256 = hashlib.sha256(handle.read()).hexdigest()
    torch.manual_seed(0)
    torch.set_num_threads(2)
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32)
    model.eval()

    def ids(text):
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    tokens = ids(TEXT)
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0].double()
    logprobs = torch.log_softmax(logits, dim=-1)
    last = logits[-1]
    top = torch.topk(last, 10)
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": CHAT}], add_generation_prompt=True, tokenize=False
    )
    json.dump(
        {
            "made_by": f"scripts/golden/smollm2.py, torch {torch.__version__}, "
            f"transformers {transformers.__version__}, float32",
            "model_sha256": sha256,
            "text": TEXT,
            "tokens": tokens,
            "logprobs": [round(logprobs[i, t].item(), 6) for i, t in enumerate(tokens[1:])],
            "top1": logits.argmax(dim=-1).tolist(),
            "top1_margin": [
                round((v[0] - v[1]).item(), 5) for v in torch.topk(logits, 2, dim=-1).values
            ],
            "last_top": {
                "tokens": top.indices.tolist(),
                "logits": [round(v, 5) for v in top.values.tolist()],
            },
            "chat": {"user": CHAT, "text": chat, "tokens": ids(chat)},
            "strings": [{"text": s, "tokens": ids(s)} for s in STRINGS],
        },
        sys.stdout,
        ensure_ascii=True,
        indent=1,
    )


main()
