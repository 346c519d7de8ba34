"""Sparsity learned by two processes that train one model; run as a module, once for each.

python -m tests.sparse_ranks FOLDER RANK
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import distributed
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from irprune.ir.graph import Graph
from irprune.ir.types import Bytes
from irprune.passes.analysis.deployment import weights
from irprune.training.sparsity import SparsityLearner
from irprune.training.sparsity_options import SparsityOptions
from irprune.training.sparsity_terms import BoundedBytes
from tests.sparse_nets import IMAGE, net
from tests.stripes import batches


def main(folder: Path, rank: int) -> None:
    """Train on images of its own by a check of its own, and write what has come of it."""
    store = (folder / "store").as_uri()
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=2)

    def taken(graph: Graph) -> float:
        kept = sum(int(np.count_nonzero(graph.constants[v])) for v in weights(graph))
        return (0.8, 1.2)[rank] * kept

    model, options = net(), SparsityOptions(rate=0.02, every=3)
    learner = SparsityLearner(
        model, IMAGE, [BoundedBytes(Bytes(900))], options=options, check=taken
    )
    together = DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    for x, y in batches(8, seed=rank):
        torch.autograd.backward(F.cross_entropy(together(x), y) + learner.loss())
        optimizer.step()
        optimizer.zero_grad()
        learner.step()
    learned = learner.sparsities
    learner.freeze()
    masks = {name: mask.stays.tolist() for name, mask in learner.plan.masks.items()}
    found = {"learned": learned, "bytes": learner.coded_bytes, "masks": masks}
    (folder / f"{rank}.json").write_text(json.dumps(found))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
