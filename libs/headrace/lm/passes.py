"""One pass of the model's body over conversations, or over samples with questions behind them, laid end to end."""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from headrace.lm.attention import Branch


def hidden_states(
    model: PreTrainedModel, ids: torch.Tensor, positions: Sequence[int], borders: Sequence[int], branches: Sequence[Branch] = ()
) -> torch.Tensor:
    """The last hidden states (behind the final norm) of one row of tokens, shape (tokens, size).

    `borders` are the offsets at which conversations begin, and where the last one ends; what lies behind belongs to `branches`.
    """
    on_gpu = model.device.type == "cuda" and model.dtype is not torch.float32  # flash attention's condition
    hidden: torch.Tensor = model.base_model(
        input_ids=ids[None],
        position_ids=torch.tensor(positions, device=model.device)[None],
        borders=borders,
        cu_seqlens=torch.tensor(borders, dtype=torch.int32, device=model.device) if on_gpu else None,
        branches=branches,
        use_cache=False,
    ).last_hidden_state[0]
    return hidden
