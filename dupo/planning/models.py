"""The models of a plan, looked at without weights, each once for every precision and set of adapters."""

from typing import Any

from dupo.config.config import Config
from dupo.config.engine_options import is_address
from dupo.config.lora_options import LoraOptions
from dupo.config.options import DUAL_MODELS
from dupo.models.load import model_config
from dupo.models.outline import Outline, outline
from dupo.planning.machines import Machine
from dupo.planning.memory import precision_of


class Models:
    """The policy and the judge of a run.

    Args:
        shape: the config of the policy, as transformers reads it.
        traces: whether the costs of a token are wanted; without them only weights are counted.
    """

    def __init__(self, shape: Any, *, traces: bool = True) -> None:
        self.shape, self.traces = shape, traces
        self._outlines: dict[object, Outline] = {}

    def policy(self, config: Config, machine: Machine) -> Outline:
        """The outline of the policy.

        Raises:
            UserError: the model can have no such adapters.
        """
        # Changes of other options, which are tried by the dozen, leave the outline as it is.
        precision = precision_of(config, machine)
        key = (config.lora, precision)
        if key not in self._outlines:
            self._outlines[key] = outline(
                self.shape,
                config.lora,
                precision=precision,
                trust_remote_code=config.model.trust_remote_code,
                traces=self.traces,
                scores=config.learns_scores,
            )
        return self._outlines[key]

    def judge(self, config: Config, machine: Machine) -> Outline | None:
        """The outline of the model that `dual_model` names, if it is another one and loaded here.

        Raises:
            UserError: there is no such model.
        """
        name = config.duals.dual_model
        is_asked = config.samples and config.reward.needs("duals")
        if not is_asked or name in DUAL_MODELS or is_address(name):
            return None
        if name not in self._outlines:
            options = config.model.for_model(name)
            precision = precision_of(config, machine)
            # Another model is read from a folder or the Hub, so no tokenizer gives its shape.
            shape = model_config(options, None)
            self._outlines[name] = outline(
                shape,
                LoraOptions(),
                precision=precision,
                trust_remote_code=options.trust_remote_code,
                traces=False,
            )
        return self._outlines[name]
