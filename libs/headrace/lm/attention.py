"""Attention over conversations laid end to end: each attends to itself alone, and no token is padding."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

PACKED = "headrace_packed"
"""The name under which `packed_attention` is known to transformers."""

_UNSUPPORTED = ("softcap", "s_aux", "position_bias")


@dataclass(frozen=True, slots=True)
class Branch:
    """Tokens [begin, end) of a row that attend to tokens [seen_from, seen_to) of it as well: questions behind one sample.

    `mask` has a row for each of them and a column for each token seen, their own behind the others: True where they look.
    """

    begin: int
    end: int
    seen_from: int
    seen_to: int
    mask: torch.Tensor


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    borders: Sequence[int],
    cu_seqlens: torch.Tensor | None = None,
    branches: Sequence[Branch] = (),
    scaling: float | None = None,
    **options: object,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each conversation of one packed row, and from each branch to what it sees.

    `borders` are the offsets at which conversations begin, and where the last one ends; `cu_seqlens` the same on the device.
    Query has the shape (1, heads, tokens, size), the output (1, tokens, heads, size).

    Raises:
        ValueError: the model asks for a kind of attention that is not computed here.
    """
    asked = [name for name in _UNSUPPORTED if options.get(name) is not None]
    if asked or attention_mask is not None:
        raise ValueError(f"{type(module).__name__} asks for attention that packing does not know: {asked or 'a mask'}")
    if cu_seqlens is not None and not branches:
        return _on_device(query, key, value, borders, cu_seqlens, scaling), None
    output = query.new_empty(query.shape[0], query.shape[2], query.shape[1], value.shape[3])
    if cu_seqlens is not None:
        rows = (tensor[:, :, : borders[-1]] for tensor in (query, key, value))
        output[:, : borders[-1]] = _on_device(*rows, borders, cu_seqlens, scaling)
    else:
        for begin, end in pairwise(borders):
            part = (tensor[:, :, begin:end] for tensor in (query, key, value))
            attended = scaled_dot_product_attention(*part, is_causal=True, scale=scaling, enable_gqa=True)
            output[:, begin:end] = attended.transpose(1, 2)
    for branch in branches:
        seen = (_seen(tensor, branch) for tensor in (key, value))
        asked = query[:, :, branch.begin : branch.end]
        attended = scaled_dot_product_attention(asked, *seen, attn_mask=branch.mask, scale=scaling, enable_gqa=True)
        output[:, branch.begin : branch.end] = attended.transpose(1, 2)
    return output, None


def _seen(tensor: torch.Tensor, branch: Branch) -> torch.Tensor:
    parts = (tensor[:, :, branch.seen_from : branch.seen_to], tensor[:, :, branch.begin : branch.end])
    return torch.cat(parts, dim=2)


def _on_device(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    borders: Sequence[int],
    cu_seqlens: torch.Tensor,
    scaling: float | None,
) -> torch.Tensor:
    from torch.nn.attention.varlen import varlen_attn  # noqa: PLC0415 - needs CUDA; a machine without never gets here

    longest = max(end - begin for begin, end in pairwise(borders))
    rows = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    output = varlen_attn(*rows, cu_seqlens, cu_seqlens, longest, longest, scale=scaling, window_size=(-1, 0), enable_gqa=True)
    assert isinstance(output, torch.Tensor)  # noqa: S101 - only with return_aux is it a tuple
    return output.unsqueeze(0)


AttentionInterface.register(PACKED, packed_attention)
