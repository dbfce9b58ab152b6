"""What a vLLM server needs to take the weights of a training run: a class that vLLM mixes into its workers.

    VLLM_SERVER_DEV_MODE=1 vllm serve NAME --logprobs-mode processed_logprobs \\
        --worker-extension-cls dupo.engines.vllm_extension.WeightReceiver

The trainer calls the methods by the route /collective_rpc. The Python of the server must find `dupo`; it
needs nothing of what dupo depends on but torch and safetensors.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dupo.engines.weight_files import Checksum, makes_head, read_weights, without_head

# Of a model's config: weights of another shape would break the worker half way.
SHAPE = ("model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers")
SHAPE += ("num_attention_heads", "num_key_value_heads", "head_dim")


class WeightReceiver:
    """Reads weights from a folder into the model of a worker.

    Attributes:
        reload_weights, get_model: of vLLM's worker.
        model_config: of vLLM's worker.
    """

    reload_weights: Callable[..., None]
    get_model: Callable[[], Any]
    model_config: Any
    _dupo_checksum = ""

    def dupo_receive_weights(self, folder: str) -> dict[str, str]:
        """Loads the weights of a folder.

        Returns:
            "checksum" of the weights that were loaded, or "error": what went wrong. Never raises, as what a
            worker raises reaches the trainer without its reason.
        """
        # Half loaded weights are nobody's.
        self._dupo_checksum, checksum = "", Checksum()
        try:
            weights = without_head(read_weights(Path(folder), checksum), makes_head(self.get_model()))
            self.reload_weights(weights_iterator=weights)
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}"}
        self._dupo_checksum = checksum.text()
        return self.dupo_weights()

    def dupo_shape(self) -> dict[str, Any]:
        """What `shape_of` says of the model of this worker."""
        return shape_of(self.model_config.hf_config)

    def dupo_weights(self) -> dict[str, str]:
        """The checksum of the weights that this worker samples from; empty for those it started with."""
        return {"checksum": self._dupo_checksum}


def shape_of(config: Any) -> dict[str, Any]:
    """What decides the shapes of the weights, by a transformers config; nothing that is left open there."""
    text = config.get_text_config()
    values = {name: getattr(text, name, None) for name in SHAPE}
    return {name: value for name, value in values.items() if value is not None}
