#!/usr/bin/env python3
"""Writes the Grafana dashboards from definitions/.

    python3 dashboards/generate.py            write grafana/dashboards/*.json
    python3 dashboards/generate.py --check    fail where a file is not what would be written
"""

import json
import sys
from pathlib import Path

from definitions import compare, exports, live, overview

FOLDER = Path(__file__).parent / "grafana" / "dashboards"


def main() -> int:
    check = "--check" in sys.argv[1:]
    stale = []
    made = {
        f"{dashboard['uid']}.json": json.dumps(dashboard, indent=2, ensure_ascii=False) + "\n"
        for dashboard in (module.dashboard() for module in (overview, live, compare, exports))
    }
    for name, text in made.items():
        file = FOLDER / name
        if check:
            if not file.exists() or file.read_text(encoding="utf-8") != text:
                stale.append(name)
        else:
            FOLDER.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    for file in FOLDER.glob("*.json"):
        if file.name not in made:
            stale.append(f"{file.name} (nothing makes it)")
    if stale:
        print(f"not current: {', '.join(stale)}; run python3 dashboards/generate.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
