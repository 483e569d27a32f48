"""Write down the figures that a tutorial prints, inside a model's spec.

These names of printed quantities come in addition to those of the quantity table. The suffix `_244` means that the
page shows the figure for an input of 244x244, not for the spec's own size.

| quantity | meaning |
|---|---|
| `params`, `trainable_params`, `non_trainable_params` | numbers of parameters |
| `mult_adds_m`, `mult_adds_g` | torchinfo's multiply-adds in millions, in billions |
| `input_mb`, `forward_mb`, `params_mb`, `total_mb` | torchinfo's sizes in units of 10^6 bytes |
| `layer_params` | parameters of each layer that has any, in call order |
| `layer_shapes` | output shapes without the batch, in one sequence, of the layer types that the note names |
| `block_params`, `block_shapes` | the same for each child of `features` and for the classifier |
| `train_loss`, `val_loss`, `train_top1`, `val_top1`, `test_top1` | one value per epoch, accuracies as fractions of 1 |
| `train_top1_by_step`, `train_loss_by_step` | values within an epoch; the note names the minibatches |
| `..._unfrozen` | the same after fine-tuning with all layers trainable |
| `train_top1_first`, ... | from a first call, which is not part of the run over all epochs |
| `predicted_class` | index of the class with the highest score |
"""

from __future__ import annotations

from cnnbench.spec import Published


def printed(note: str = "", **figures: float | tuple[float, ...]) -> tuple[Published, ...]:
    """Return one `Published` for each figure, all with the same note."""
    return tuple(
        Published(quantity=name, values=value if isinstance(value, tuple) else (value,), note=note)
        for name, value in figures.items()
    )
