"""The unpruned models of Liberis & Lane, Table 3: model size, peak SRAM and MACs, to the byte."""

from __future__ import annotations

from pathlib import Path

import pytest

import irprune
from irprune import zoo
from tests.exporting import exported, make_distinct

TABLE_3 = [
    ("mobilenet_v2?classes=2&input=3x50x50", 2_321_288, 76_224, 22_578_344),
    ("efficientnet_b0?classes=2&input=3x160x160", 3_663_512, 768_000, 187_551_040),
    ("vgg16?classes=10&input=3x32x32", 14_732_520, 131_072, 313_326_592),
    ("resnet18?classes=10&input=3x32x32", 11_183_592, 196_608, 555_676_672),
    (f"ds_cnn?widths={'-'.join(['276'] * 8)}", 581_580, 169_740, 74_274_912),
    (f"ds_cnn?widths={'-'.join(['276'] * 6)}", 419_844, 169_740, 54_609_912),
    ("ds_cnn?widths=84-112-84-84-84-196", 63_552, 51_660, 8_351_252),
    ("res15", 240_438, 66_150, 116_446_590),
    ("res8", 111_603, 23_670, 4_161_510),
    ("etinynet?width=0.75&input=3x112x112", 660_256, 150_528, 63_349_392),
]


def figures(graph: irprune.Graph) -> tuple[int, int, int]:
    costs = irprune.analyze(graph).costs
    return costs.model_size, costs.peak_sram, costs.macs


@pytest.mark.parametrize(("spec", "size", "peak", "macs"), TABLE_3)
def test_table_3(spec: str, size: int, peak: int, macs: int, tmp_path: Path) -> None:
    assert figures(irprune.load(f"zoo:{spec}")) == (size, peak, macs)
    name, parameters = zoo.parse_spec(spec)
    module, inputs = zoo.build(name, **parameters)
    make_distinct(module)
    assert figures(irprune.load(exported(module, inputs, tmp_path / "model.onnx"))) == (
        size,
        peak,
        macs,
    )


def test_models_of_the_shared_folder(shared: Path) -> None:
    peaks = {
        path.stem: irprune.analyze(irprune.load(path)).costs.peak_sram
        for path in sorted((shared / "models").glob("*.tflite"))
    }
    assert len(peaks) == 6
    int8 = ("pretrainedResnet_quant", "vww_96_int8", "kws_ref_model", "ad01_int8")
    assert [peaks[name] for name in int8] == [49_152, 55_296, 16_000, 768]
