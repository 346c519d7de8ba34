"""Boards: what memory they have, and how fast they ran models where somebody measured it.

SRAM is all the on-chip RAM that the vendor states for data, flash is what the board has for program
and model. Not all of either is free: a runtime, a stack and the program itself need their part.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from irprune.ir.errors import UsageError
from irprune.ir.types import Bytes, Macs

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class Measurement:
    """One model that was measured on a board.

    Attributes:
        model: what ran.
        macs: the least and the most operations the model may have had; the source names the
            network but not which of its pruned variants ran.
        latency_ms: mean time of an inference.
        energy_mj: mean energy of an inference.
    """

    model: str
    macs: tuple[Macs, Macs]
    latency_ms: float
    energy_mj: float


@dataclass(frozen=True, slots=True)
class Device:
    """A microcontroller board.

    Attributes:
        name: how to ask for it.
        chip: its microcontroller and core.
        sram: bytes of RAM.
        flash: bytes of program storage.
        clock_mhz: the highest clock of the core.
        source: where the figures are from.
        measurements: models measured on it, from Liberis & Lane, Table 4.
    """

    name: str
    chip: str
    sram: Bytes
    flash: Bytes
    clock_mhz: int
    source: str
    measurements: tuple[Measurement, ...] = ()


@dataclass(frozen=True, slots=True)
class Estimate:
    """A range that scales a board's measurements by MACs: (least, most)."""

    latency_ms: tuple[float, float]
    energy_mj: tuple[float, float]


# Table 3 of the paper lists two pruned MobileNet-v2 for 50x50 inputs and three pruned VGG-16.
_MOBILENET = (Macs(2_528_000), Macs(3_342_000))
_VGG = (Macs(15_280_000), Macs(22_380_000))


def _table4(mobilenet: tuple[float, float], vgg: tuple[float, float]) -> tuple[Measurement, ...]:
    return (
        Measurement("MobileNet-v2 for VWW, pruned", _MOBILENET, *mobilenet),
        Measurement("VGG-16 for CIFAR-10, pruned", _VGG, *vgg),
    )


DEVICES: tuple[Device, ...] = (
    Device(
        "nucleo-h743zi2",
        "STM32H743ZI, Cortex-M7",
        Bytes(1 * MIB),
        Bytes(2 * MIB),
        480,
        "ST DS12110; Liberis & Lane, Table 4",
        _table4((38.72, 45.6), (152.22, 169.7)),
    ),
    Device(
        "nucleo-f767zi",
        "STM32F767ZI, Cortex-M7",
        Bytes(512 * KIB),
        Bytes(2 * MIB),
        216,
        "ST DS11532; Liberis & Lane, Tables 1 and 4",
        _table4((83.99, 75.8), (324.02, 287.5)),
    ),
    Device(
        "nucleo-f746zg",
        "STM32F746ZG, Cortex-M7",
        Bytes(320 * KIB),
        Bytes(1 * MIB),
        216,
        "ST DS10916",
    ),
    Device(
        "nucleo-f446re",
        "STM32F446RE, Cortex-M4",
        Bytes(128 * KIB),
        Bytes(512 * KIB),
        180,
        "ST DS10693; Liberis & Lane, Table 1",
    ),
    Device(
        "nano-33-ble",
        "nRF52840, Cortex-M4",
        Bytes(256 * KIB),
        Bytes(1 * MIB),
        64,
        "Nordic nRF52840 product specification",
    ),
    Device(
        "microbit-v2",
        "nRF52833, Cortex-M4",
        Bytes(128 * KIB),
        Bytes(512 * KIB),
        64,
        "Nordic nRF52833 product specification",
    ),
    Device(
        "microbit",
        "nRF51822, Cortex-M0",
        Bytes(16 * KIB),
        Bytes(256 * KIB),
        16,
        "Nordic nRF51822 product specification; SpArSe, Table 1",
    ),
    Device(
        "rp2040",
        "RP2040 (Raspberry Pi Pico), Cortex-M0+",
        Bytes(264 * KIB),
        Bytes(2 * MIB),
        133,
        "Raspberry Pi RP2040 and Pico datasheets",
    ),
    Device(
        "esp32-s3",
        "ESP32-S3 (DevKitC-1 N8), Xtensa LX7",
        Bytes(512 * KIB),
        Bytes(8 * MIB),
        240,
        "Espressif ESP32-S3 datasheet",
    ),
    Device(
        "arduino-uno",
        "ATmega328P, AVR",
        Bytes(2 * KIB),
        Bytes(32 * KIB),
        16,
        "Microchip ATmega328P datasheet; SpArSe, Table 1",
    ),
)


def device(name: str) -> Device:
    """The board of this name; UsageError with the nearest names where there is none."""
    wanted = name.lower().replace("_", "-").replace(" ", "-")
    for board in DEVICES:
        if board.name == wanted:
            return board
    near = difflib.get_close_matches(wanted, [board.name for board in DEVICES], n=3, cutoff=0.4)
    hint = f"perhaps {' or '.join(near)}; " if near else ""
    raise UsageError(f"no device '{name}'", hint=f"{hint}'irprune devices' lists them all")


def estimate(board: Device, macs: Macs) -> Estimate | None:
    """Latency and energy of a model with this many MACs; None where the board was not measured.

    On a microcontroller both grow in proportion to MACs (Liberis & Lane, §3.1), but the factor
    depends on the kinds of layers: the range spans the measured models and their possible sizes.
    """
    if not board.measurements:
        return None
    latency = [m.latency_ms / size for m in board.measurements for size in m.macs]
    energy = [m.energy_mj / size for m in board.measurements for size in m.macs]
    return Estimate(
        (macs * min(latency), macs * max(latency)), (macs * min(energy), macs * max(energy))
    )
