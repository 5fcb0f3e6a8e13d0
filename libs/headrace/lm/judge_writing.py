"""Texts that one model writes side by side: each prompt is read by itself, then all are continued together, word by word.

No token of padding is read, a word costs no copy of the words before it, and a text that has ended leaves the others: the cost
is that of the tokens, whatever the lengths are.
"""

from collections.abc import Callable, Sequence

import torch
from transformers import Cache, DynamicCache, DynamicLayer, PreTrainedModel

Draw = Callable[[torch.Tensor, Sequence[int]], Sequence[int]]
"""The next word of some texts, of the logits behind them (shape: texts, words) and their numbers."""

_ROOM_TOKENS = 256


def write_side_by_side(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    draw: Draw,
    goes_on: Callable[[int, int], bool],
    words_max: int,
) -> None:
    """Continues each prompt (token ids, at least one) by at most `words_max` words (above 0).

    `goes_on` is told the number of a text and its next word, and says whether the text wants another.
    """
    logits, cache = _read(model, prompts)
    numbers = list(range(len(prompts)))
    longest = max(map(len, prompts))
    places = torch.arange(longest, device=model.device).expand(len(prompts), -1)
    ends = torch.tensor([[len(prompt)] for prompt in prompts], device=model.device)
    seen = (places >= longest - ends).long()
    for written in range(1, words_max + 1):
        words = draw(logits, numbers)
        left = [row for row, number in enumerate(numbers) if goes_on(number, words[row])]
        if not left or written == words_max:
            return
        if len(left) < len(numbers):
            kept = torch.tensor(left, device=model.device)
            cache.batch_select_indices(kept)
            seen, ends, numbers = seen[kept], ends[kept], [numbers[row] for row in left]
        seen = torch.cat((seen, torch.ones_like(ends)), dim=1)
        logits = model(
            input_ids=torch.tensor([[words[row]] for row in left], device=model.device),
            attention_mask=seen,
            position_ids=ends + (written - 1),
            past_key_values=cache,
            use_cache=True,
        ).logits[:, -1]


def _read(model: PreTrainedModel, prompts: Sequence[Sequence[int]]) -> tuple[torch.Tensor, Cache]:
    """The logits behind each prompt, and what they leave behind for the words to come, ends below each other."""
    logits, caches = [], []
    for prompt in prompts:
        cache = DynamicCache()
        ids = torch.tensor([prompt], device=model.device)
        logits.append(model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1])
        caches.append(cache)
    layers = [
        GrowingLayer([layer.keys for layer in same], [layer.values for layer in same])
        for same in zip(*(cache.layers for cache in caches), strict=True)
    ]
    return torch.cat(logits), Cache(layers=layers)


class GrowingLayer(DynamicLayer):
    """Keys and values of texts of several lengths, ends below each other, with room for `room` words behind them.

    A word is written into the room; where there is none left, everything is copied once to make more.
    """

    def __init__(self, keys: Sequence[torch.Tensor], values: Sequence[torch.Tensor], *, room: int = _ROOM_TOKENS) -> None:
        super().__init__()
        self._room = room
        self._end = max(one.shape[-2] for one in keys)
        self._held = [self._below_each_other(some) for some in (keys, values)]
        self.dtype, self.device = self._held[0].dtype, self._held[0].device
        self.is_initialized = True
        self._show()

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Puts these behind the others; all of them."""
        begin, self._end = self._end, self._end + key_states.shape[-2]
        if self._end > self._held[0].shape[-2]:
            more = (0, 0, 0, self._end - begin + self._room)
            self._held = [torch.nn.functional.pad(held, more) for held in self._held]
        for held, new in zip(self._held, (key_states, value_states), strict=True):
            held[:, :, begin : self._end] = new
        return self._show()

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Only these texts go on."""
        self._held = [held[indices] for held in self._held]
        self._show()

    def _below_each_other(self, texts: Sequence[torch.Tensor]) -> torch.Tensor:
        _, heads, _, size = texts[0].shape
        held = texts[0].new_zeros(len(texts), heads, self._end + self._room, size)
        for row, text in zip(held, texts, strict=True):
            row[:, self._end - text.shape[-2] : self._end] = text[0]
        return held

    def _show(self) -> tuple[torch.Tensor, torch.Tensor]:
        self.keys, self.values = (held[:, :, : self._end] for held in self._held)
        return self.keys, self.values
