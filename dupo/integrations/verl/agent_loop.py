"""An agent loop of verl that asks the policy its duals: a completion is sampled, its duals follow, and both
make its reward. The duals are not trained on.

    - name: dupo_dual                                     agent_loop_config_path names a YAML file with this
      _target_: dupo.integrations.verl.agent_loop.DualAgentLoop
      options: {task: word_problems, dataset: /data/problems.jsonl}
"""

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

# Nobody but verl imports this module, so verl is there.
from verl.experimental.agent_loop.agent_loop import (  # pyright: ignore[reportMissingImports]
    AgentLoopOutput,
)
from verl.experimental.agent_loop.single_turn_agent_loop import (  # pyright: ignore[reportMissingImports]
    SingleTurnAgentLoop,
)

from dupo.integrations.duals import behind_thought, sampling_temperature
from dupo.integrations.verl.scores import key_of, shared_duals


class DualAgentLoop(SingleTurnAgentLoop):
    """A single turn, rewarded by its duals. verl makes one for every sample."""

    def __init__(
        self,
        *args: Any,
        options: Mapping[str, Any],
        samples: int = 1,
        temperature: float | None = None,
        **kwargs: Any,
    ) -> None:
        """Takes what verl gives every agent loop, and what the YAML file says.

        Args:
            options: see `dupo.integrations.duals.load_duals`.
            samples: of each dual.
            temperature: of the duals; None: 0, which is greedy, or 1 for several samples.

        Raises:
            UserError: as `load_duals` and `sampling_temperature`.
        """
        super().__init__(*args, **kwargs)
        # The data are read once in a process, and not for every sample.
        self.duals = shared_duals(key_of(options))
        self.samples, self.temperature = samples, sampling_temperature(samples, temperature)

    async def run(self, sampling_params: dict[str, Any], priority: int = 0, **kwargs: Any) -> AgentLoopOutput:
        """The output of the single turn, with its reward."""
        output = await super().run(sampling_params, priority=priority, **kwargs)
        # verl has filled a default in place, which its export would leave out.
        output.extra_fields = dict(output.extra_fields)
        dual_params = dict(sampling_params) | {"temperature": self.temperature, "logprobs": False}
        # verl would take the length of a long dual prompt from that of its reply.
        dual_params["max_tokens"] = self.response_length

        async def ask(prompt: str) -> list[str]:
            return await asyncio.gather(*(self._reply(prompt, dual_params) for _ in range(self.samples)))

        # No label is read, and no length: a completion that was cut holds an answer or none.
        text = self._text(output.prompt_ids, output.response_ids)
        reward = await self.duals.judged(kwargs["raw_prompt"], text, ask)
        # Where a reward is set, verl asks no reward function.
        output.reward_score = reward
        output.extra_fields["reward_extra_info"] = {"dual/reward": reward}
        return output

    async def _reply(self, prompt: str, sampling_params: dict[str, Any]) -> str:
        """The reply to a dual prompt, which is longer than `prompt_length` at times."""
        # verl's own method would cut such a prompt from the left, and ask something else.
        messages = [{"role": "user", "content": prompt}]
        ids = await self.loop.run_in_executor(
            None, lambda: self.continuous_token_builder.build_initial_tokens(messages)
        )
        output = await self.server_manager.generate(
            request_id=uuid4().hex, prompt_ids=ids, sampling_params=dict(sampling_params)
        )
        return self._text(ids, output.token_ids)

    def _text(self, prompt_ids: list[int], ids: list[int]) -> str:
        """The text of a completion as duals read it."""
        # The last tokens of a prompt tell whether a thought is open.
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        return behind_thought(self.tokenizer.decode(prompt_ids[-8:]), text)
