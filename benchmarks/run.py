"""Every stage from file to answer, against its floor and against the usual way: `make bench`.

python benchmarks/run.py --only decode augment --quick
"""

from __future__ import annotations

import alignment
import augment
import backbone
import decode
import embedding
import folder
import harness
import length
import losses
import motion
import search
import startup
import training

STAGES = {
    stage.__name__: stage.cases
    for stage in (
        startup,
        decode,
        motion,
        augment,
        backbone,
        embedding,
        training,
        folder,
        losses,
        alignment,
        search,
        length,
    )
}

if __name__ == "__main__":
    harness.main(__doc__, STAGES)
