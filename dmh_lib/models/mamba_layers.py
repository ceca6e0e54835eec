"""Mamba blocks one after another, over whole sequences and token by token."""

from torch import Tensor, nn

from dmh_lib.mamba import Mamba

MambaCache = list[tuple[Tensor, Tensor]]  # per layer: conv state (B, E, d_conv), scan state (B, E, N)


class MambaLayers(nn.Module):
    """Blocks, each behind an RMS norm and beside a residual; a subclass makes them with `make_layers`."""

    norms: nn.ModuleList
    blocks: nn.ModuleList

    def make_layers(self, width: int, layers: int, d_state: int, d_conv: int, expand: int) -> None:
        """Make the norms and blocks."""
        self.norms = nn.ModuleList(nn.RMSNorm(width) for _ in range(layers))
        self.blocks = nn.ModuleList(
            Mamba(width, d_state=d_state, d_conv=d_conv, expand=expand, layer_idx=layer)
            for layer in range(layers)
        )

    def read(self, hidden: Tensor) -> Tensor:
        """Whole sequences (B, L, d) → (B, L, d)."""
        for norm, block in zip(self.norms, self.blocks, strict=True):
            hidden = hidden + block(norm(hidden))
        return hidden

    def advance(self, hidden: Tensor, cache: MambaCache) -> Tensor:
        """One token (B, d) → (B, d); `cache` changes in place."""
        hidden = hidden[:, None]  # (B, 1, d)
        for norm, block, (conv_state, scan_state) in zip(self.norms, self.blocks, cache, strict=True):
            hidden = hidden + block.step(norm(hidden), conv_state, scan_state)[0]  # type: ignore[operator]
        return hidden[:, 0]

    def allocate_cache(self, batch_size: int) -> MambaCache:
        """Empty recurrent state for B sequences; its size does not depend on how much is read."""
        return [block.allocate_inference_cache(batch_size, 1) for block in self.blocks]  # type: ignore[operator]


class MambaStack(MambaLayers):
    """Layers and a final norm; embeddings are the caller's."""

    def __init__(self, width: int, layers: int, d_state: int, d_conv: int, expand: int) -> None:
        super().__init__()
        self.make_layers(width, layers, d_state, d_conv, expand)
        self.norm = nn.RMSNorm(width)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, L, d) → (B, L, d), causal."""
        return self.norm(self.read(hidden))

    def step(self, hidden: Tensor, cache: MambaCache) -> Tensor:
        """Append one token (B, d) to each sequence and return its output (B, d)."""
        return self.norm(self.advance(hidden, cache))
