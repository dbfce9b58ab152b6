"""Uniform random numbers for many rows at once, each from the key of its row alone.

    row key    = mix(prompt key + (sample + 1) G)
    u_t        = mix(row key + (t + 1) G) / 2**64       in [0, 1)

`mix` is the finaliser of SplitMix64 (Steele, Lea and Flood 2014, doi 10.1145/2660193.2660195), G its odd
constant. A generator with a state would give a row other numbers when another row leaves the batch.

Metal has no float64: there the numbers and the draws are made on the CPU.

Shape letters: B rows, P prompts, V vocabulary, C chunks of the vocabulary, L tokens of a chunk.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dupo.models.devices import float64


def _signed(number: int) -> int:
    """The int64 that has the bits of a 64-bit number without sign; products of int64 wrap around in torch."""
    return number - 2**64 if number >= 2**63 else number


_G = _signed(0x9E3779B97F4A7C15)
_M1, _M2 = _signed(0xBF58476D1CE4E5B9), _signed(0x94D049BB133111EB)
_MANTISSA_BITS = 53  # of a float64
CHUNK = 512  # tokens of a chunk: a vocabulary of 150,000 has then 300 chunks


def _shift(bits: Tensor, count: int) -> Tensor:
    """Shifts to the right without sign."""
    return (bits >> count) & ((1 << (64 - count)) - 1)


def _mix(bits: Tensor) -> Tensor:
    bits = (bits ^ _shift(bits, 30)) * _M1
    bits = (bits ^ _shift(bits, 27)) * _M2
    return bits ^ _shift(bits, 31)


def row_keys(prompt_keys: Sequence[int], n: int, device: torch.device) -> Tensor:
    """Keys (B,) int64 of B = P x n rows, the samples of a prompt one after another.

    Args:
        prompt_keys: P keys of `dupo.seeds.prompt_keys`.
        n: samples of each prompt.
        device: of the model.
    """
    if device.type == "mps":
        device = torch.device("cpu")
    keys_P = torch.tensor(prompt_keys, dtype=torch.int64, device=device)
    # Consecutive multiples of G are the states of SplitMix64, which the mixer was made for.
    samples = torch.arange(1, n + 1, device=device)
    return _mix(keys_P[:, None] + samples * _G).flatten()


def uniform(keys_B: Tensor, start: int | Tensor, count: int) -> Tensor:
    """Uniform numbers (B, count) float64 in [0, 1), for the tokens from `start` on of each row.

    Args:
        start: number of the first token, from 0; of all rows, or of each row as (B, 1) int64.
    """
    tokens = torch.arange(1, 1 + count, device=keys_B.device) + start
    bits = _mix(keys_B[:, None] + tokens * _G)
    return _shift(bits, 64 - _MANTISSA_BITS).double() * 2.0**-_MANTISSA_BITS


def draw(logprobs_BV: Tensor, uniform_B1: Tensor) -> Tensor:
    """Ids (B,) int64: the first token whose cumulative probability is above the uniform number of its row."""
    # Inverse CDF: one random number a row, where torch.multinomial draws one per vocabulary entry.
    # float64: in float32 the sum of 150,000 terms misses tokens of small probability.
    cdf_BV = float64(logprobs_BV).exp().cumsum(-1)
    target_B1 = uniform_B1 * cdf_BV[:, -1:]
    ids_B = torch.searchsorted(cdf_BV, target_B1, right=True)[:, 0]
    # Rounding can put the target on the total itself, behind the last token.
    return ids_B.clamp(max=cdf_BV.shape[-1] - 1).to(logprobs_BV.device)


def draw_by_chunks(logprobs_BV: Tensor, uniform_B1: Tensor, chunk: int = CHUNK) -> Tensor:
    """As `draw`, with two small sums in float64 in the place of one over the whole vocabulary.

        total_c = sum of the probabilities of chunk c               float32, as exact as its terms: 6e-8
        c       = first chunk with  total_0 + ... + total_c > u total                           float64
        id      = first token of chunk c whose sum within the chunk is above what is left of u   float64

    A probability is off by 1e-7 of itself at most, so an id differs from that of `draw` once in some millions
    of tokens. A token of probability 0 is never drawn.

    Args:
        chunk: tokens of a chunk, L.
    """
    # Padding has probability 0.
    padded_BV = F.pad(logprobs_BV, (0, -logprobs_BV.shape[-1] % chunk), value=-torch.inf)
    p_BCL = padded_BV.exp().unflatten(-1, (-1, chunk))
    chunk_B1, rest_B1 = _place(p_BCL.sum(-1), uniform_B1)
    index_B1L = chunk_B1[..., None].expand(-1, 1, chunk)
    place_B1, _ = _place(p_BCL.gather(1, index_B1L)[:, 0], rest_B1)
    # Of NaN an id means nothing, but it is one of the vocabulary.
    return (chunk_B1 * chunk + place_B1)[:, 0].clamp(max=logprobs_BV.shape[-1] - 1)


def _place(weights_BN: Tensor, uniform_B1: Tensor) -> tuple[Tensor, Tensor]:
    """Where u falls among weights (B, 1), and how far into that weight it falls, in [0, 1] (B, 1) float64."""
    cdf_BN = weights_BN.double().cumsum(-1)
    total_B1 = cdf_BN[:, -1:].contiguous()
    target_B1 = uniform_B1 * total_B1
    # Rounding can put the target on the total: the last weight above 0 is where the total is reached.
    last_B1 = torch.searchsorted(cdf_BN, total_B1)
    place_B1 = torch.searchsorted(cdf_BN, target_B1, right=True).minimum(last_B1)
    # A sum that is NaN leads behind the last weight.
    place_B1 = place_B1.clamp(max=weights_BN.shape[-1] - 1)
    weight_B1 = weights_BN.gather(-1, place_B1).double()
    before_B1 = cdf_BN.gather(-1, place_B1) - weight_B1
    return place_B1, ((target_B1 - before_B1) / weight_B1).clamp(0, 1)
