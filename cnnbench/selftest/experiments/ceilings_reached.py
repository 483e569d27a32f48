"""V15: a matrix product and a copy, measured once more, as shares of the ceilings that were measured before."""

from __future__ import annotations

from cnnbench.clock import clock_for
from cnnbench.selftest import Found, NotRunHere, Setting
from cnnbench.spec import Device

# Seconds for the ceilings, as where nothing else waits, and for the second measurement. Our choice.
CEILINGS_S = 6.0
AGAIN_S = 3.0

PRODUCT = (0.9, 1.0)
COPY = (0.85, 1.0)


def shares(part: str, setting: Setting) -> Found:
    """V15: what a second measurement reaches of the ceilings of the device in `part`."""
    import torch

    from cnnbench.inspection.ceilings import measure_ceilings, measure_shares

    device: Device = "cuda" if part == "CUDA" else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise NotRunHere("it needs a CUDA device, and torch sees none here")
    torch.manual_seed(setting.seed)
    clock = clock_for(device)
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
