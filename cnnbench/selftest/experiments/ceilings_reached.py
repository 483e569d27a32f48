"""Measure a matrix product and a copy again, as shares of the ceilings that were measured before (V15)."""

from __future__ import annotations

from cnnbench.clock import clock_for
from cnnbench.selftest import Found, NotRunHere, Setting
from cnnbench.spec import Device

# Seconds for the ceilings, as much as if nothing else waited for them, and for the second measurement.
CEILINGS_S = 6.0
AGAIN_S = 3.0

# Smallest and largest share of the ceiling.
PRODUCT = (0.9, 1.0)
COPY = (0.85, 1.0)


def shares(part: str, setting: Setting) -> Found:
    """Measure what share of the ceilings a second measurement reaches, on the device in `part` (V15)."""
    import torch

    from cnnbench.inspection.ceilings import measure_ceilings, measure_shares

    device: Device = "cuda" if part == "CUDA" else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise NotRunHere("it needs a CUDA device, but torch sees none here")

    torch.manual_seed(setting.seed)
    clock = clock_for(device)

    # The product is in fp32, so a ceiling for bf16 is not needed.
    setting.on_progress("ceilings", 0.0)
    ceilings = measure_ceilings(device, clock, seconds=CEILINGS_S, native_bf16=False)
    setting.on_progress("once more", CEILINGS_S / (CEILINGS_S + AGAIN_S))
    again = measure_shares(ceilings, device, clock, seconds=AGAIN_S)

    return Found(
        measured="a 2048 x 2048 matrix product (fp32) and a copy, measured again, of the ceilings (medians)",
        values=(again.product, again.copy),
        shown=f"{again.product:.3f}, {again.copy:.3f}",
        bound=f"{PRODUCT[0]:g} to {PRODUCT[1]:g}, {COPY[0]:g} to {COPY[1]:g}",
        holds=PRODUCT[0] <= again.product <= PRODUCT[1] and COPY[0] <= again.copy <= COPY[1],
    )
