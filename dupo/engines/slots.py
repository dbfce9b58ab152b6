"""Decoding in slots: a fixed batch in which a row that has ended makes room for the next completion.

    queue     completions that wait, those of a prompt one after another; a prompt is read once
    slot      a row of the batch and of a static cache (`dupo.engines.slot_cache`)
    step      one token for every slot, with fixed shapes and addresses; nothing in it waits for the device
    flags     read once in `FLAG_EVERY` steps: who has ended leaves, the queue fills the slots

A slot starts before the last token of its prompt: its first step reads that token and draws the next one. So
a step is the same for every row, and a CUDA graph can hold it. No GPU has run the graphs yet.

Once the queue is empty and half of the slots have ended, the others move to the front, and a step has fewer
rows: a long tail does not drag an idle batch along.

Shape letters: S slots, B of them that decode, T time, V vocabulary, K measures of a token.
"""

import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import DynamicCache

from dupo.engines.base import Sampling
from dupo.engines.choice import check_finite_logits, choose
from dupo.engines.draws import draw_by_chunks, row_keys, uniform
from dupo.engines.reading import Reader
from dupo.engines.slot_cache import free_bytes, most_slots, slot_cache, token_bytes, width_for
from dupo.errors import in_one_line
from dupo.models.load import Model

ALIGNED = 16  # columns
FLAG_EVERY = 16  # tokens: a row that has ended decodes on for less than that
READ_AT_ONCE = 16_384  # tokens of prompts that are read in one pass
# What waits for the device, or has a shape that only the device knows. A graph can hold none of them.
WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_consecutive", "unique_dim"}
WAITING |= {"equal", "bincount", "repeat_interleave"}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}
COPYING = {"_to_copy": 0, "copy_": 1}  # number of the argument that is copied; it may be on another device


class SlotOptions(NamedTuple):
    """What decoding in slots needs to know beside the model.

    Attributes:
        eos_ids: end tokens.
        pad_id: stands before shorter prompts.
        most_rows: `--max_concurrent_sequences`.
        measure_distributions: as in `BuiltinEngine`.
    """

    eos_ids: Sequence[int]
    pad_id: int
    most_rows: int
    measure_distributions: bool


class Ended(NamedTuple):
    """A completion that has ended.

    Attributes:
        prompt, sample: its numbers.
        ids: (T,) int64, on the CPU.
        measures_KT: fp32, on the CPU; see `dupo.engines.choice`.
    """

    prompt: int
    sample: int
    ids: Tensor
    measures_KT: Tensor


@dataclass
class _Waiting:
    """A prompt with completions that have not begun.

    Attributes:
        begun: number of completions that have.
        states: keys and values (H, T - 1, D) of each layer, once the prompt is read.
    """

    number: int
    ids: list[int]
    keys_N: Tensor
    begun: int = 0
    states: list[tuple[Tensor, Tensor]] | None = None


class _State(NamedTuple):
    """What a slot is at; every tensor has S rows and keeps its address.

    Attributes:
        ids_S1: the token to be read next.
        positions_S: of that token.
        keys_S: of the random numbers of the row.
        uniform_ST: random numbers (S, FLAG_EVERY) of the next tokens.
        counts_S: tokens that were drawn.
        running_S: bool, has not ended.
        finite_S: bool, no logit of the row was NaN.
        drawn_ST: ids (S, max_tokens + 1); what an ended row draws goes into the last column.
        measures_SKT: fp32, of the ids.
    """

    ids_S1: Tensor
    positions_S: Tensor
    keys_S: Tensor
    uniform_ST: Tensor
    counts_S: Tensor
    running_S: Tensor
    finite_S: Tensor
    drawn_ST: Tensor
    measures_SKT: Tensor

    @classmethod
    def empty(cls, slots: int, max_tokens: int, measures: int, device: torch.device) -> "_State":
        """The state of slots in which nothing runs."""

        def zeros(*shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
            return torch.zeros((slots, *shape), dtype=dtype, device=device)

        return cls(
            zeros(1),
            zeros(),
            zeros(),
            zeros(FLAG_EVERY, dtype=torch.float64),
            zeros(),
            zeros(dtype=torch.bool),
            zeros(dtype=torch.bool),
            zeros(max_tokens + 1),
            zeros(measures, max_tokens + 1, dtype=torch.float32),
        )

    def front(self, rows: int) -> "_State":
        """The first rows of all tensors, at the same addresses."""
        return _State(*(values[:rows] for values in self))


class SlotDecoding:
    """Decodes `n` completions of every prompt.

    Args:
        prompts: token ids of each prompt; the queue has their order.
        prompt_keys: of `dupo.seeds.prompt_keys`, one for each prompt.

    Attributes:
        replays: by number of rows and width, what makes one step of that shape.
    """

    @torch.no_grad()
    def __init__(
        self,
        model: Model,
        prompts: Sequence[list[int]],
        prompt_keys: Sequence[int],
        n: int,
        sampling: Sampling,
        options: SlotOptions,
    ) -> None:
        device = model.device
        self.model, self.n, self.sampling, self.options = model, n, sampling, options
        self.eos_ids = torch.tensor(sorted(options.eos_ids), device=device)
        columns = max(map(len, prompts)) + sampling.max_tokens
        # Kernels of attention copy a mask whose rows are not aligned.
        self.columns = -(-columns // ALIGNED) * ALIGNED
        token = Reader(model, DynamicCache())
        vocabulary = token.read([[options.pad_id]], options.pad_id).logits_BV.shape[-1]
        slots = min(options.most_rows, n * len(prompts))
        if (free := free_bytes(device)) is not None:
            slots = min(slots, most_slots(free, self.columns, token_bytes(token.cache), vocabulary))
        measures = 3 if options.measure_distributions else 1
        self.state = _State.empty(slots, sampling.max_tokens, measures, device)
        cache = slot_cache(token.cache, self.state.positions_S, self.columns)
        self.layers: list[Any] = cache.layers
        self.reader = Reader(model, cache)
        self.all_seen = torch.ones(1, 1, dtype=torch.bool, device=device)
        self.turn_1 = torch.zeros(1, dtype=torch.int64, device=device)  # column of `uniform_ST`
        keys_PN = row_keys(prompt_keys, n, device).unflatten(0, (-1, n))
        self.queue = deque(_Waiting(p, ids, keys_PN[p]) for p, ids in enumerate(prompts))
        # What the host knows: the completion in each slot, and the position of the next token of each slot.
        self.owners: list[tuple[int, int] | None] = [None] * slots
        self.positions = [0] * slots
        self.rows = slots
        self.replays: dict[tuple[int, int], Callable[[], None]] = {}
        self.pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None

    @torch.no_grad()
    def run(self) -> Iterator[Ended]:
        """Decodes until the queue is empty and every row has ended.

        Raises:
            FloatingPointError: the logits of a row are not finite.
        """
        steps = self._begin(FLAG_EVERY)
        while steps:
            self._advance(steps)
            # The only wait for the device: one copy for all that the host wants to know.
            flags = [self.state.running_S, self.state.counts_S, self.state.finite_S]
            running, counts, finite = torch.stack([flag.long() for flag in flags]).tolist()
            taken = [slot for slot, owner in enumerate(self.owners) if owner is not None]
            check_finite_logits(torch.tensor([finite[slot] for slot in taken]))
            self.positions = [
                position + (steps if running[slot] else 0) for slot, position in enumerate(self.positions)
            ]
            yield from self._leave([slot for slot in taken if not running[slot]], counts)
            staying = [slot for slot in taken if running[slot]]
            left = max((self.sampling.max_tokens - counts[slot] for slot in staying), default=0)
            steps = self._begin(left)

    def _begin(self, left: int) -> int:
        """Fills free slots from the queue, or lets the others move up; the number of steps that follow.

        Args:
            left: most tokens that a running row may still draw.
        """
        free = [slot for slot, owner in enumerate(self.owners[: self.rows]) if owner is None]
        if free and self.queue:
            left = self.sampling.max_tokens
            self._fill(free)
        elif len(free) * 2 >= self.rows:
            self._move_up(free)
        # Drawn ahead: a dozen small operations for each token alone would take as long as a small model.
        state = self.state.front(self.rows)
        state.uniform_ST.copy_(uniform(state.keys_S, state.counts_S[:, None], FLAG_EVERY))
        self.turn_1.zero_()
        return min(FLAG_EVERY, left)

    def _fill(self, free: list[int]) -> None:
        """Starts completions of the queue until no slot is free."""
        while free and self.queue:
            waiting = self.queue[0]
            if waiting.states is None:
                self._read(-(-len(free) // self.n))
            slots = [free.pop(0) for _ in range(min(len(free), self.n - waiting.begun))]
            self._start(waiting, slots)
            waiting.begun += len(slots)
            if waiting.begun == self.n:
                self.queue.popleft()

    def _read(self, most: int) -> None:
        """Reads the next prompts of the queue, all but their last token, in one pass.

        Args:
            most: prompts that begin now.
        """
        reading: list[_Waiting] = []
        longest = 0
        for waiting in list(self.queue)[:most]:
            longest = max(longest, len(waiting.ids))
            if reading and longest * (len(reading) + 1) > READ_AT_ONCE:
                break
            reading.append(waiting)
        # A prompt of one token is read by the first step; here it has a row of padding that nobody sees.
        starts = [waiting.ids[:-1] or waiting.ids for waiting in reading]
        # Without a config the cache keeps what lies before a window: its columns are still positions then.
        reader = Reader(self.model, DynamicCache())
        reader.read(starts, self.options.pad_id)
        for row, waiting in enumerate(reading):
            first = max(map(len, starts)) - (len(waiting.ids) - 1)
            waiting.states = [
                (layer.keys[row, :, first:], layer.values[row, :, first:]) for layer in reader.cache.layers
            ]

    def _start(self, waiting: _Waiting, slots: list[int]) -> None:
        """Puts the next completions of a prompt into slots."""
        assert waiting.states is not None
        index = torch.tensor(slots, device=self.model.device)
        for layer, (keys, values) in zip(self.layers, waiting.states, strict=True):
            layer.fill(index, keys, values)
        samples = range(waiting.begun, waiting.begun + len(slots))
        self.state.ids_S1[index] = waiting.ids[-1]
        self.state.positions_S[index] = len(waiting.ids) - 1
        self.state.keys_S[index] = waiting.keys_N[samples.start : samples.stop]
        self.state.counts_S[index] = 0
        self.state.running_S[index] = True
        self.state.finite_S[index] = True
        for slot, sample in zip(slots, samples, strict=True):
            self.owners[slot] = (waiting.number, sample)
            self.positions[slot] = len(waiting.ids) - 1

    def _leave(self, slots: list[int], counts: list[int]) -> Iterator[Ended]:
        """The completions of slots whose rows have ended; the slots are free then."""
        if not slots:
            return
        index = torch.tensor(slots, device=self.model.device)
        longest = max(counts[slot] for slot in slots)
        ids_BT = self.state.drawn_ST[index, :longest].cpu()
        measures_BKT = self.state.measures_SKT[index, :, :longest].cpu()
        # A row that has ended goes on where it costs least.
        self.state.positions_S[index] = 0
        for row, slot in enumerate(slots):
            owner, length = self.owners[slot], counts[slot]
            assert owner is not None
            self.owners[slot], self.positions[slot] = None, 0
            yield Ended(*owner, ids_BT[row, :length].clone(), measures_BKT[row, :, :length].clone())

    def _move_up(self, free: list[int]) -> None:
        """Moves the rows that run to the front, into slots that are free."""
        rows = self.rows - len(free)
        old = [slot for slot in range(rows, self.rows) if self.owners[slot] is not None]
        new = [slot for slot in free if slot < rows]
        self.rows = rows
        if not old:
            return
        for source, target in zip(old, new, strict=True):
            self.owners[target], self.owners[source] = self.owners[source], None
            self.positions[target], self.positions[source] = self.positions[source], 0
        # Copied in place: graphs hold the addresses, and there may be no memory for a second cache.
        source, target = (torch.tensor(slots, device=self.model.device) for slots in (old, new))
        for values in self.state:
            values[target] = values[source]
        for layer in self.layers:
            layer.move(source, target)

    def _advance(self, steps: int) -> None:
        """Makes steps; the first one of a shape is not replayed, as it allocates and tunes."""
        # Narrow views: attention reads every column of a view, and most rows are far from the limit.
        width = width_for(max(self.positions[: self.rows], default=0) + steps, self.columns)
        for layer in self.layers:
            layer.rows, layer.width = self.rows, width
        shape = (self.rows, width)
        if self.rows and shape not in self.replays:
            self.replays[shape] = self._step if self.pool is None else self._first_step()
            steps -= self.pool is not None
        for _ in range(steps if self.rows else 0):
            self.replays[shape]()

    def _first_step(self) -> Callable[[], None]:
        """Makes a step on a GPU; returns what makes the next ones: a graph, or a step that has to wait."""
        # Not run yet: no GPU was at hand.
        with _Watch() as watch:
            self._step()
        reason = ", ".join(sorted(watch.waits))
        if not reason:
            graph = torch.cuda.CUDAGraph()
            try:
                with torch.cuda.graph(graph, pool=self.pool, capture_error_mode="thread_local"):
                    self._step()
                return graph.replay
            except RuntimeError as error:  # nothing of a step that is only captured is computed
                reason = in_one_line(error)
        name = type(self.model).__name__
        warnings.warn(f"{name} decodes without a CUDA graph, as its step waits: {reason}", stacklevel=2)
        return self._step

    def _step(self) -> None:
        """One token for every row: reads the last one, draws the next one, and marks who has ended."""
        state, limit = self.state.front(self.rows), self.sampling.max_tokens
        # Models that have no use for a mask may still take the number of columns from it.
        mask_BT = self.all_seen.expand(self.rows, self.layers[0].width)
        logits_BV = self.reader.next_logits(state.ids_S1, state.positions_S[:, None], mask_BT)
        numbers_B1 = state.uniform_ST.index_select(1, self.turn_1)
        ids_B, measures_BK, finite_B = choose(
            logits_BV,
            self.sampling.temperature,
            partial(draw_by_chunks, uniform_B1=numbers_B1),
            measure_distributions=self.options.measure_distributions,
        )
        # All rows write: a choice of rows would have a shape of its own. Ended rows write where nobody reads.
        column_B1 = state.counts_S.where(state.running_S, limit)[:, None]
        state.drawn_ST.scatter_(1, column_B1, ids_B[:, None])
        column_BK1 = column_B1[..., None].expand(-1, measures_BK.shape[1], 1)
        state.measures_SKT.scatter_(2, column_BK1, measures_BK[..., None])
        state.finite_S.logical_and_(finite_B | ~state.running_S)
        state.counts_S.add_(state.running_S)
        state.positions_S.add_(state.running_S)
        state.ids_S1.copy_(ids_B[:, None])
        # Compared with each end token: torch.isin may sort, and waits then.
        is_end_B = (ids_B[:, None] == self.eos_ids).any(-1)
        state.running_S.logical_and_(~is_end_B & (state.counts_S < limit))
        self.turn_1.add_(1)


class _Watch(TorchDispatchMode):
    """Notes which operations wait for the device."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        result = func(*args, **(kwargs or {}))
        # A mask as an index is turned into numbers within the operation.
        indices = args[1] if name in INDEXING else []
        is_mask = any(index is not None and index.dtype == torch.bool for index in indices)
        is_copy = name in COPYING and result.device.type != args[COPYING[name]].device.type
        if name in WAITING or is_mask or is_copy:
            self.waits.add(name)
        return result
