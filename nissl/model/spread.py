"""Models over several devices, and quantised ones: what other packages do, if they are there."""

from __future__ import annotations

import importlib.util
from typing import Any

from nissl.errors import SettingError, did_you_mean

__all__ = ["check_spread", "spread_options"]

QUANTIZED = ("8bit", "4bit")


def check_spread(device_map: Any, quantize: str | None, random_init: bool) -> None:
    """Refuse what cannot be: an unknown quantisation, a package that is not there."""
    if quantize is not None and quantize not in QUANTIZED:
        raise SettingError(
            f'quantize is one of {", ".join(QUANTIZED)}, not "{quantize}".'
            f"{did_you_mean(str(quantize), QUANTIZED)}"
        )
    if quantize is None and device_map is None:
        return
    what = "quantize" if quantize is not None else "device_map"
    if random_init:
        raise SettingError(f"random weights are built on one device in full; leave {what} out")
    needed = ["accelerate"] if quantize is None else ["accelerate", "bitsandbytes"]
    absent = [package for package in needed if importlib.util.find_spec(package) is None]
    if absent:
        raise SettingError(
            f"{what} needs the package {' and '.join(absent)}: pip install {' '.join(absent)}"
        )


def spread_options(device_map: Any, quantize: str | None, place: Any, dtype: Any) -> dict[str, Any]:
    """Return what tells transformers to spread or to quantise a model."""
    if quantize is None:
        return {} if device_map is None else {"device_map": device_map}
    from transformers import BitsAndBytesConfig

    how = (
        BitsAndBytesConfig(load_in_8bit=True)
        if quantize == "8bit"
        else BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
        )
    )
    return {"device_map": device_map or {"": place}, "quantization_config": how}
