"""Decoding in slots: a fixed batch in which a row that has ended makes room for the next completion.

    queue     completions that wait, those of a prompt one after another; a prompt is read once
    slot      a row of the batch and of a static cache (`dupo.engines.slot_cache`)
    step      one token for every slot, with fixed shapes and addresses; nothing in it waits for the device
    flags     read once in `FLAG_EVERY` steps: who has ended leaves, the queue fills the slots

A slot starts before the last token of its prompt: its first step reads that token and draws the next one. So
a step is the same for every row, and a CUDA graph can hold it. No GPU has run the graphs yet.

Once fewer completions are left than half of the slots, they move to the front, and a step has half as many
rows: a long tail does not drag an idle batch along. Prompts may come while others are under way; the rows of
a step double again for them.

Shape letters: S slots, B of them that decode, T time, V vocabulary, K measures of a token.
"""

import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from transformers import DynamicCache

from dupo.engines.base import Sampling
from dupo.engines.choice import check_finite_logits, choose
from dupo.engines.draws import draw_by_chunks, row_keys, uniform
from dupo.engines.reading import Reader
from dupo.engines.slot_cache import free_bytes, most_slots, slot_cache, token_bytes, width_for
from dupo.engines.slot_state import FLAG_EVERY, Ended, SlotOptions, SlotRoom, SlotState, Waiting
from dupo.engines.waits import Watch
from dupo.errors import in_one_line
from dupo.models.load import Model

ALIGNED = 16  # columns
READ_AT_ONCE = 16_384  # tokens of prompts that are read in one pass


class SlotDecoding:
    """Decodes completions of prompts, which `add` takes before `run` and while it runs.

    Attributes:
        columns: tokens of the longest prompt and its completion that a slot holds.
        replays: by number of rows and width, what makes one step of that shape.
    """

    @torch.no_grad()
    def __init__(self, model: Model, options: SlotOptions, room: SlotRoom) -> None:
        device = model.device
        self.model, self.options, self.room = model, options, room
        self.eos_ids = torch.tensor(sorted(options.eos_ids), device=device)
        # Kernels of attention copy a mask whose rows are not aligned.
        self.columns = -(-room.tokens // ALIGNED) * ALIGNED
        token = Reader(model, DynamicCache())
        vocabulary = token.read([[options.pad_id]], options.pad_id).logits_BV.shape[-1]
        slots = min(options.most_rows, room.rows)
        if (free := free_bytes(device)) is not None:
            slots = min(slots, most_slots(free, self.columns, token_bytes(token.cache), vocabulary))
        measures = 3 if options.measure_distributions else 1
        self.state = SlotState.empty(slots, room.max_tokens, measures, device)
        cache = slot_cache(token.cache, self.state.positions_S, self.columns)
        self.layers: list[Any] = cache.layers
        self.reader = Reader(model, cache)
        self.all_seen = torch.ones(1, 1, dtype=torch.bool, device=device)
        self.turn_1 = torch.zeros(1, dtype=torch.int64, device=device)  # column of `uniform_ST`
        self.queue = deque[Waiting]()
        self.num_prompts = 0
        # What the host knows of each slot: its completion, the position of its next token, and how many
        # tokens it may still draw.
        self.owners: list[tuple[int, int] | None] = [None] * slots
        self.positions, self.left = [0] * slots, [0] * slots
        self.rows = slots
        self.replays: dict[tuple[int, int], Callable[[], None]] = {}
        self.pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None

    def fits(self, ids: list[int], sampling: Sampling) -> bool:
        """Whether a slot holds a prompt and its longest completion."""
        return len(ids) + sampling.max_tokens <= self.columns

    @torch.no_grad()
    def add(
        self, prompts: Sequence[list[int]], prompt_keys: Sequence[int], n: int, sampling: Sampling
    ) -> None:
        """Puts prompts at the end of the queue; they have the next numbers.

        Args:
            prompts: token ids of each prompt, all of which `fits`.
            prompt_keys: of `dupo.seeds.prompt_keys`, one for each prompt.
            n: completions of each prompt.
        """
        assert sampling.max_tokens <= self.room.max_tokens
        assert self.room.temperature in (None, sampling.temperature)
        assert all(self.fits(ids, sampling) for ids in prompts)
        keys_PN = row_keys(prompt_keys, n, self.model.device).unflatten(0, (-1, n))
        for ids, keys_N in zip(prompts, keys_PN, strict=True):
            self.queue.append(Waiting(self.num_prompts, ids, keys_N, sampling))
            self.num_prompts += 1

    @torch.no_grad()
    def run(self) -> Iterator[Ended]:
        """Decodes until the queue is empty and every row has ended.

        Raises:
            FloatingPointError: the logits of a row are not finite.
        """
        while steps := self._begin():
            self._advance(steps)
            # The only wait for the device: one copy for all that the host wants to know.
            flags = [self.state.running_S, self.state.counts_S, self.state.finite_S]
            running, counts, finite = torch.stack([flag.long() for flag in flags]).tolist()
            taken = [slot for slot, owner in enumerate(self.owners) if owner is not None]
            check_finite_logits(torch.tensor([finite[slot] for slot in taken]))
            # Of a row that has ended the host forgets both at once.
            for slot in taken:
                self.positions[slot] += steps
                self.left[slot] -= steps
            yield from self._leave([slot for slot in taken if not running[slot]], counts)

    def _begin(self) -> int:
        """Fills free slots from the queue; the number of steps that follow, 0 where nothing is left."""
        running = [slot for slot, owner in enumerate(self.owners) if owner is not None]
        # More rows than before, where prompts have come: what the further slots held before has ended.
        rows = self._rows_for(len(running) + sum(waiting.left for waiting in self.queue))
        if rows < self.rows:
            self._move_up([slot for slot in running if slot >= rows], rows)
        self.rows = rows
        free = [slot for slot, owner in enumerate(self.owners[:rows]) if owner is None]
        self._fill(free)
        # Drawn ahead: a dozen small operations for each token alone would take as long as a small model.
        state = self.state.front(self.rows)
        state.uniform_ST.copy_(uniform(state.keys_S, state.counts_S[:, None], FLAG_EVERY))
        self.turn_1.zero_()
        return min(FLAG_EVERY, max(self.left))

    def _rows_for(self, count: int) -> int:
        """Rows of a step for as many completions: one of few numbers, as each has a CUDA graph of its own."""
        rows = len(self.owners)
        # Halves of one number come again when prompts follow; exact counts would each be captured anew.
        while rows > 1 and count <= rows // 2:
            rows //= 2
        return rows

    def _fill(self, free: list[int]) -> None:
        """Starts completions of the queue until no slot is free."""
        while free and self.queue:
            waiting = self.queue[0]
            if waiting.states is None:
                self._read(len(free))
            slots = [free.pop(0) for _ in range(min(len(free), waiting.left))]
            self._start(waiting, slots)
            waiting.begun += len(slots)
            if not waiting.left:
                self.queue.popleft()

    def _read(self, most: int) -> None:
        """Reads the next prompts of the queue, all but their last token, in one pass.

        Args:
            most: completions that begin now.
        """
        reading: list[Waiting] = []
        longest = 0
        for waiting in self.queue:
            longest = max(longest, len(waiting.ids))
            if reading and (most <= 0 or longest * (len(reading) + 1) > READ_AT_ONCE):
                break
            reading.append(waiting)
            most -= waiting.left
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

    def _start(self, waiting: Waiting, slots: list[int]) -> None:
        """Puts the next completions of a prompt into slots."""
        assert waiting.states is not None
        index = torch.tensor(slots, device=self.model.device)
        for layer, (keys, values) in zip(self.layers, waiting.states, strict=True):
            layer.fill(index, keys, values)
        self.state.begin(index, waiting)
        for sample, slot in enumerate(slots, start=waiting.begun):
            self.owners[slot] = (waiting.number, sample)
            self.positions[slot] = len(waiting.ids) - 1
            self.left[slot] = waiting.sampling.max_tokens

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
            self.owners[slot], self.positions[slot], self.left[slot] = None, 0, 0
            yield Ended(*owner, ids_BT[row, :length].clone(), measures_BKT[row, :, :length].clone())

    def _move_up(self, old: list[int], rows: int) -> None:
        """Moves rows into the first free slots.

        Args:
            old: their slots.
            rows: slots that decode from now on.
        """
        if not old:
            return
        new = [slot for slot in range(rows) if self.owners[slot] is None][: len(old)]
        for source, target in zip(old, new, strict=True):
            self.owners[target], self.owners[source] = self.owners[source], None
            self.positions[target], self.positions[source] = self.positions[source], 0
            self.left[target], self.left[source] = self.left[source], 0
        # Copied in place: graphs hold the addresses, and there may be no memory for a second cache.
        source, target = (torch.tensor(slots, device=self.model.device) for slots in (old, new))
        self.state.move(source, target)
        for layer in self.layers:
            layer.move(source, target)

    def _advance(self, steps: int) -> None:
        """Makes steps; the first one of a shape is not replayed, as it allocates and tunes."""
        # Narrow views: attention reads every column of a view, and most rows are far from the limit.
        width = width_for(max(self.positions[: self.rows], default=0) + steps, self.columns)
        for layer in self.layers:
            layer.rows, layer.width = self.rows, width
        shape = (self.rows, width)
        if shape not in self.replays:
            self.replays[shape] = self._step if self.pool is None else self._first_step()
            steps -= self.pool is not None
        for _ in range(steps):
            self.replays[shape]()

    def _first_step(self) -> Callable[[], None]:
        """Makes a step on a GPU; returns what makes the next ones: a graph, or a step that has to wait."""
        # Not run yet: no GPU was at hand.
        with Watch() as watch:
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
        state, room = self.state.front(self.rows), self.room
        # Models that have no use for a mask may still take the number of columns from it.
        mask_BT = self.all_seen.expand(self.rows, self.layers[0].width)
        logits_BV = self.reader.next_logits(state.ids_S1, state.positions_S[:, None], mask_BT)
        numbers_B1 = state.uniform_ST.index_select(1, self.turn_1)
        ids_B, measures_BK, finite_B = choose(
            logits_BV,
            state.temperatures_S1 if room.temperature is None else room.temperature,
            partial(draw_by_chunks, uniform_B1=numbers_B1),
            measure_distributions=self.options.measure_distributions,
        )
        # All rows write: a choice of rows would have a shape of its own. Ended rows write where nobody reads.
        column_B1 = state.counts_S.where(state.running_S, room.max_tokens)[:, None]
        state.drawn_ST.scatter_(1, column_B1, ids_B[:, None])
        column_BK1 = column_B1[..., None].expand(-1, measures_BK.shape[1], 1)
        state.measures_SKT.scatter_(2, column_BK1, measures_BK[..., None])
        state.finite_S.logical_and_(finite_B | ~state.running_S)
        state.counts_S.add_(state.running_S)
        state.positions_S.add_(state.running_S)
        state.ids_S1.copy_(ids_B[:, None])
        # Compared with each end token: torch.isin may sort, and waits then.
        is_end_B = (ids_B[:, None] == self.eos_ids).any(-1)
        state.running_S.logical_and_(~is_end_B & (state.counts_S < state.limits_S))
        self.turn_1.add_(1)
