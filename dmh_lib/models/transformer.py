"""A small causal transformer, in parallel and with a key/value cache."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dmh_lib.models.dropout import add_dropped
from dmh_lib.models.dropout import dropout as drop

MASK_SIZE = 2**24  # numbers in a mask above which it costs more than it saves


class KeyValueCache:
    """Keys and values of B sequences of up to `max_len` tokens, each row at a position of its own."""

    def __init__(
        self, layers: int, batch_size: int, heads: int, max_len: int, head_dim: int, like: Tensor
    ) -> None:
        shape = (layers, 2, batch_size, heads, max_len, head_dim)
        self.tensor = like.new_zeros(shape)
        self.positions = torch.zeros(batch_size, dtype=torch.long, device=like.device)  # (B,) tokens held

    def rows(self, rows: Tensor) -> "KeyValueCache":
        """A copy of some rows; `put` writes it back."""
        part = object.__new__(KeyValueCache)
        part.tensor, part.positions = self.tensor[:, :, rows], self.positions[rows]
        return part

    def put(self, rows: Tensor, part: "KeyValueCache") -> None:
        """Write back what `rows` took out."""
        self.tensor[:, :, rows], self.positions[rows] = part.tensor, part.positions

    def first_places(self, count: int) -> "KeyValueCache":
        """A view of the first `count` places, so that attention need not look at empty ones."""
        part = object.__new__(KeyValueCache)
        part.tensor, part.positions = self.tensor[..., :count, :], self.positions
        return part


class Block(nn.Module):
    """Pre-norm attention and a ReLU MLP of width 4·d, each with a residual."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.expand, self.contract = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def _split(self, projected: Tensor) -> Tensor:
        return projected.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, L, d) → (B, H, L, d/H)

    def _bias(self) -> Tensor:
        """That of queries and values; softmax does not see what is added to all keys alike.

        What it would be learned from is the rounding of a gradient that is zero.
        """
        query, key, value = self.query_key_value.bias.chunk(3)
        return torch.cat([query, torch.zeros_like(key), value])

    def _heads(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        projected = F.linear(self.attention_norm(hidden), self.query_key_value.weight, self._bias())
        query, key, value = projected.chunk(3, dim=-1)
        return self._split(query), self._split(key), self._split(value)

    def _rest(self, hidden: Tensor, attended: Tensor) -> Tensor:
        attended = self.project(attended.transpose(1, 2).flatten(2))  # (B, L, d)
        hidden = add_dropped(hidden, attended, self.dropout, training=self.training)
        update = self.contract(F.relu(self.expand(self.mlp_norm(hidden)), inplace=True))
        return add_dropped(hidden, update, self.dropout, training=self.training)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, L, d) → (B, L, d), each position seeing itself and what came before."""
        return self._rest(hidden, self._attend(*self._heads(hidden), seen=None))

    def read(self, hidden: Tensor, every: slice) -> Tensor:
        """`forward`, of which only some positions are wanted: (B, L, d) → (B, R, d).

        The others are keys and values and nothing else, which saves most of their work.
        """
        normed = self.attention_norm(hidden)
        weight, bias = self.query_key_value.weight, self._bias()
        width = hidden.shape[-1]
        query = self._split(F.linear(normed[:, every], weight[:width], bias[:width]))  # (B, H, R, d/H)
        key, value = F.linear(normed, weight[width:], bias[width:]).chunk(2, dim=-1)  # (B, L, d) each
        order = torch.arange(hidden.shape[1], device=hidden.device)
        seen = order <= order[every, None]  # (R, L)
        return self._rest(
            hidden[:, every], self._attend(query, self._split(key), self._split(value), seen=seen)
        )

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, seen: Tensor | None) -> Tensor:
        """softmax(q kᵀ / √d_head) v, where `seen` (R, L) says who sees whom; None for causal."""
        dropout = self.dropout if self.training else 0.0
        if dropout == 0 or query.device.type != "cpu":
            return F.scaled_dot_product_attention(
                query, key, value, attn_mask=seen, is_causal=seen is None, dropout_p=dropout
            )
        # PyTorch's fused attention on CPUs knows no dropout; windows are short enough to write weights out.
        if seen is None:
            seen = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool).tril()
        unseen = torch.zeros(seen.shape, dtype=query.dtype).masked_fill(~seen, -torch.inf)
        weights = torch.baddbmm(
            unseen, query.flatten(0, 1), key.flatten(0, 1).mT, alpha=query.shape[-1] ** -0.5
        ).softmax(-1)  # (B·H, R, L)
        weights = drop(weights, dropout, training=True)
        return torch.bmm(weights, value.flatten(0, 1)).view_as(query)

    def attention(self, hidden: Tensor) -> Tensor:
        """How much each position attends to each other, (B, L, d) → (B, H, L, L); rows sum to 1."""
        query, key, _ = self._heads(hidden)
        scores = query @ key.mT * query.shape[-1] ** -0.5  # (B, H, L, L)
        unseen = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        return scores.masked_fill(unseen, -torch.inf).softmax(-1)

    def step(self, hidden: Tensor, stored: Tensor, places: Tensor) -> Tensor:
        """M new tokens (B, M, d) at `places` (B, M); `stored` (2, B, H, max, d/H) takes keys and values."""
        query, key, value = self._heads(hidden)
        at = places[:, None, :, None].expand_as(key)  # (B, H, M, d/H)
        stored[0].scatter_(2, at, key)
        stored[1].scatter_(2, at, value)
        seen = torch.arange(stored.shape[3], device=places.device) <= places[..., None]  # (B, M, max_len)
        return self._rest(
            hidden, F.scaled_dot_product_attention(query, stored[0], stored[1], attn_mask=seen[:, None])
        )

    def extend(self, hidden: Tensor, stored: Tensor, held: int) -> Tensor:
        """M new tokens (B, M, d) where every row of `stored` holds `held`; see `CausalTransformer.extend`."""
        query, key, value = self._heads(hidden)
        count = hidden.shape[1]
        stored[0][:, :, held : held + count] = key
        stored[1][:, :, held : held + count] = value
        keys, values = stored[..., : held + count, :]  # (B, H, held + M, d/H) each
        seen = None
        if held and count > 1:  # the last token sees all, those before it not what comes after them
            seen = torch.ones(count, held + count, dtype=torch.bool, device=hidden.device).tril(held)
        return self._rest(
            hidden, F.scaled_dot_product_attention(query, keys, values, attn_mask=seen, is_causal=not held)
        )


class CausalTransformer(nn.Module):
    """Blocks and a final norm; embeddings and positions are the caller's."""

    def __init__(self, width: int, layers: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.heads = heads

    def forward(self, hidden: Tensor, every: slice = slice(None)) -> Tensor:
        """(B, L, d) → (B, R, d), causal: the outputs of the positions `every`, of all unless told."""
        *first, last = self.blocks
        for block in first:
            hidden = block(hidden)
        length = hidden.shape[1]
        wanted = len(range(*every.indices(length)))  # R
        if wanted == length or wanted * length > MASK_SIZE:
            return self.norm(last(hidden)[:, every])
        return self.norm(last.read(hidden, every))  # type: ignore[operator]

    def attention(self, hidden: Tensor) -> Tensor:
        """How much each position attends to each other in every layer, (B, L, d) → (layers, B, H, L, L)."""
        weights = []
        for block in self.blocks:
            weights.append(block.attention(hidden))  # type: ignore[operator]
            hidden = block(hidden)
        return torch.stack(weights)

    def allocate_cache(self, batch_size: int, max_len: int) -> KeyValueCache:
        """An empty cache for B sequences of up to max_len tokens."""
        width = self.norm.normalized_shape[0]
        size = (len(self.blocks), batch_size, self.heads, max_len, width // self.heads)
        return KeyValueCache(*size, like=self.norm.weight)

    def step(self, hidden: Tensor, cache: KeyValueCache) -> Tensor:
        """Append M tokens (B, M, d) to each sequence and return their outputs (B, M, d).

        Equal to the last M outputs of `forward` over the whole sequence; the cache must have room for them.
        """
        places = cache.positions[:, None] + torch.arange(hidden.shape[1], device=hidden.device)  # (B, M)
        for block, stored in zip(self.blocks, cache.tensor, strict=True):
            hidden = block.step(hidden, stored, places)  # type: ignore[operator]
        cache.positions += hidden.shape[1]
        return self.norm(hidden)

    def extend(self, hidden: Tensor, cache: KeyValueCache, held: int) -> Tensor:
        """`step` for rows that all hold `held` tokens: it reads no empty places, and one token needs no mask.

        With an empty cache this is `forward` that also remembers.
        """
        for block, stored in zip(self.blocks, cache.tensor, strict=True):
            hidden = block.extend(hidden, stored, held)  # type: ignore[operator]
        cache.positions.fill_(held + hidden.shape[1])
        return self.norm(hidden)
