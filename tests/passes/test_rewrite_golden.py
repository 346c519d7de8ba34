"""Each rewrite on graphs written by hand, their constants computed by hand."""

import pytest

from irprune.ir.parser import parse
from irprune.ir.printer import show
from irprune.passes.pipeline import Pass
from irprune.passes.rewrite.drop_dead import drop_dead
from irprune.passes.rewrite.drop_identities import drop_identities
from irprune.passes.rewrite.fold_batchnorm import fold_batchnorm
from irprune.passes.rewrite.fold_constants import fold_constants, fold_dequantized
from irprune.passes.rewrite.fuse_activations import fuse_activations
from irprune.passes.rewrite.fuse_quantization import fuse_quantization
from irprune.passes.rewrite.recognize_activations import recognize_activations
from tests.rewrites import GOLDEN, Case, assert_keeps, golden

ONE_ROUNDING = 1e-6
EXACT = 0.0

REWRITES: dict[str, tuple[Pass, float]] = {
    "drop_dead": (drop_dead, EXACT),
    "drop_identities": (drop_identities, EXACT),
    "fold_batchnorm": (fold_batchnorm, ONE_ROUNDING),
    "fold_constants": (fold_constants, EXACT),
    "fold_dequantized": (fold_dequantized, EXACT),
    "fuse_activations": (fuse_activations, EXACT),
    "fuse_quantization": (lambda graph: drop_dead(fuse_quantization(graph)), ONE_ROUNDING),
    "recognize_activations": (recognize_activations, ONE_ROUNDING),
}

CASES = [
    pytest.param(name, case, id=f"{name}: {case.name}")
    for name in REWRITES
    for case in golden(name)
]


def test_every_golden_file_is_read_and_each_has_cases() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(REWRITES)
    assert all(len(list(golden(name))) >= 2 for name in REWRITES)


@pytest.mark.parametrize(("name", "case"), CASES)
def test_golden(name: str, case: Case) -> None:
    rewrite, tolerance = REWRITES[name]
    before = parse(case.before)
    after = assert_keeps(rewrite, before, tolerance)
    if case.after:
        assert show(after).strip() == case.after
    else:
        assert after is before
