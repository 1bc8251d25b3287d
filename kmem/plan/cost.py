"""Memory³'s App. A: floating-point operations of writing one reference into parameters, memory or text, and of reading it once.

A multiplication and an addition are two operations; causal attention is counted by half. The letters are the paper's: L layers, L_mem
the memory layers, d the width, W the MLP's, l_ref, l_chunk, l_mem and l_train in tokens. Where kmem is more general (budgets per head,
d ≠ Q·D) the formula falls back on the paper's for the paper's profile.
"""

from dataclasses import dataclass

from kmem.plan.lengths import Lengths
from kmem.plan.shape import Shape
from kmem.profile import Profile

FORWARD, TRAINING = 2, 6
"""Operations a weight and token: forward alone, and with the backward pass of twice the work."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """FLOP of writing a reference once, and of each use: one reference read by one chunk."""

    write: float
    read: float

    def total(self, uses: float) -> float:
        """Memory³ Eq. 1: cost_write + n·cost_read, in FLOP, after n uses."""
        return self.write + uses * self.read


def parameters(shape: Shape, lengths: Lengths) -> Cost:
    """Knowledge in parameters, trained in once (App. A); reading it costs at least nothing.

    write = 6[L(l_ref(2d² + 2dDH + 3dW) + 2·l_ref·(l_train/2)·d) + l_ref·n_vocab·d]
    """
    weights = lengths.reference * (shape.attention_weights + shape.mlp_weights)
    attention = 2 * lengths.reference * (lengths.training / 2) * shape.attention_width
    logits = lengths.reference * shape.vocabulary * shape.width
    return Cost(write=TRAINING * (shape.layers * (weights + attention) + logits), read=0.0)


def memory(shape: Shape, profile: Profile, lengths: Lengths) -> Cost:
    """An explicit memory (App. A.2): encoded by the layers up to the last with a budget, read by attention to the tokens kept.

    write = 2[L_mem(l_ref(2d² + 2dDH) + 2(l_ref²/2)d) + (L_mem − 1)·l_ref·3dW + L_mem·l_ref²·d], the last term being the scores that
    choose tokens, of all query heads of a head that keeps some; read = 2·L_mem·2·l_chunk·l_mem·d, where L_mem·l_mem·d are the tokens
    kept, S, times the query heads that read each, Q/H, times D.
    """
    layers, reader = profile.last_layer + 1, shape.group * shape.head_dim
    attention = lengths.reference * shape.attention_weights + 2 * (lengths.reference**2 / 2) * shape.attention_width
    mlps = (layers - 1) * lengths.reference * shape.mlp_weights
    keeping = sum(tokens > 0 for row in profile.budget for tokens in row)
    scores = keeping * reader * lengths.reference**2
    return Cost(write=FORWARD * (layers * attention + mlps + scores), read=FORWARD * 2 * lengths.chunk * profile.slots * reader)


def text(shape: Shape, lengths: Lengths) -> Cost:
    """Text retrieved into the context (App. A), encoded from scratch at each use; writing it costs nothing.

    read = 2[L(l_ref(2d² + 2dDH) + 2·l_ref(l_ref/2 + l_chunk)d) + (L − 1)·l_ref·3dW]
    """
    weights = lengths.reference * shape.attention_weights
    attention = 2 * lengths.reference * (lengths.reference / 2 + lengths.chunk) * shape.attention_width
    mlps = (shape.layers - 1) * lengths.reference * shape.mlp_weights
    return Cost(write=0.0, read=FORWARD * (shape.layers * (weights + attention) + mlps))


def forward(shape: Shape, tokens: int) -> float:
    """FLOP of reading so many tokens without memories, output embedding left out as in the paper's 1.264 TFLOP for 256.

    2·L[n(2d² + 2dDH + 3dW) + 2(n²/2)d]
    """
    weights = tokens * (shape.attention_weights + shape.mlp_weights)
    return FORWARD * shape.layers * (weights + 2 * (tokens**2 / 2) * shape.attention_width)


def read_overhead(shape: Shape, profile: Profile, lengths: Lengths) -> float:
    """FLOP of all memory reads of prompt and generated text, over the FLOP of that text without them (App. A: 0.228%)."""
    reads = lengths.chunks * lengths.top_k * memory(shape, profile, lengths).read
    return reads / forward(shape, lengths.prompt + lengths.new)
