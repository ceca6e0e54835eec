"""A small causal transformer, in parallel and with a key/value cache."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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

    def _heads(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, H, L, d/H)
            for part in self.query_key_value(self.attention_norm(hidden)).chunk(3, dim=-1)
        )
        return query, key, value

    def _rest(self, hidden: Tensor, attended: Tensor) -> Tensor:
        attended = self.project(attended.transpose(1, 2).flatten(2))  # (B, L, d)
        hidden = hidden + F.dropout(attended, self.dropout, self.training)
        update = self.contract(F.relu(self.expand(self.mlp_norm(hidden))))
        return hidden + F.dropout(update, self.dropout, self.training)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, L, d) → (B, L, d), each position seeing itself and what came before."""
        query, key, value = self._heads(hidden)
        dropout = self.dropout if self.training else 0.0
        return self._rest(
            hidden, F.scaled_dot_product_attention(query, key, value, is_causal=True, dropout_p=dropout)
        )

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

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, L, d) → (B, L, d), causal."""
        for block in self.blocks:
            hidden = block(hidden)
        return self.norm(hidden)

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
