"""From texts to batches of token ids: hide numbers, assemble, pack, pad.

    find_numbers, hide_numbers   texts -> numbers of the texts; each text with one number hidden
    Assembler                    pieces, and which pieces make which text -> token ids
    pack                         lengths, token budget -> micro-batches (best-fit decreasing)
    packed, padded               prompts and completions -> one run of tokens; one row of tokens per sequence

Every function runs in C++ where the extension is built (`extension`). A plain Python twin (`packing`,
`assembly`, `numbers`) defines the result, serves where the extension is not built, and is what the tests
compare the extension with. The number of threads never changes a result.

Shape letters: S sequences, N tokens of all sequences, T tokens of the longest sequence, P pieces, K places of
pieces in sequences.
"""

from dupo.text.assembler import CACHE_BYTES, Assembler, Counts
from dupo.text.batching import Packed, Padded, pack, packed, padded
from dupo.text.hiding import MOST_HIDDEN, find_numbers, hide_numbers
from dupo.text.ids import Ids
from dupo.text.numbers import REASONS, ROLES, Hidden, Number

__all__ = [
    "CACHE_BYTES",
    "MOST_HIDDEN",
    "REASONS",
    "ROLES",
    "Assembler",
    "Counts",
    "Hidden",
    "Ids",
    "Number",
    "Packed",
    "Padded",
    "find_numbers",
    "hide_numbers",
    "pack",
    "packed",
    "padded",
]
