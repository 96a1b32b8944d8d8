"""How soon the command line answers.

python benchmarks/startup.py
"""

from __future__ import annotations

import harness
from marey.bench.speed_answers import startup as cases

if __name__ == "__main__":
    harness.main(__doc__, {"startup": cases})
