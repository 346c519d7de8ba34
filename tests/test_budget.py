from __future__ import annotations

import pytest

from irprune.budget import Budget, parse_bytes, parse_count
from irprune.devices import DEVICES, device, estimate
from irprune.ir.errors import UsageError
from irprune.ir.types import Bytes, Macs


@pytest.mark.parametrize(
    ("text", "count"),
    [("65536", 65536), ("64KB", 64_000), ("64 kib", 65_536), ("1.5MB", 1_500_000), ("2MiB", 2**21)],
)
def test_bytes_in_their_units(text: str, count: int) -> None:
    assert parse_bytes(text) == count


@pytest.mark.parametrize(("text", "count"), [("3M", 3_000_000), ("2.5k", 2500), ("7", 7)])
def test_counts_in_their_units(text: str, count: int) -> None:
    assert parse_count(text) == count


@pytest.mark.parametrize("text", ["", "KB", "-3KB", "64 KiloBytes", "1e3", "64KB2"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no quantity"):
        parse_bytes(text)


def test_a_budget_from_text() -> None:
    assert Budget.parse("sram=64KB, macs=3M") == Budget(Bytes(64_000), None, Macs(3_000_000))


@pytest.mark.parametrize("text", ["", "ram=1KB", "sram=1KB sram=2KB", "sram=lots", "macs=3KB"])
def test_a_budget_without_sense_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Budget.parse(text)


def test_devices_are_found_as_people_write_them() -> None:
    assert device("NUCLEO_F446RE").sram == 128 * 1024
    with pytest.raises(UsageError, match=r"nucleo-f767zi"):
        device("f767zi-nucleo")


def test_an_estimate_spans_the_measurements() -> None:
    board = device("nucleo-f767zi")
    for measurement in board.measurements:
        for macs in measurement.macs:
            found = estimate(board, macs)
            assert found is not None
            low, high = found.latency_ms
            assert low <= measurement.latency_ms * (1 + 1e-9)
            assert high >= measurement.latency_ms * (1 - 1e-9)
    assert estimate(device("rp2040"), Macs(1_000_000)) is None


def test_every_device_says_where_its_figures_are_from() -> None:
    assert len({board.name for board in DEVICES}) == len(DEVICES)
    assert all(board.source and board.sram < board.flash for board in DEVICES)
