"""Which weights decay: all but those of norms and biases, as in the trainers of transformers and TRL."""

from torch import nn
from transformers.pytorch_utils import ALL_LAYERNORM_LAYERS
from transformers.trainer_pt_utils import get_parameter_names

from dupo.models.load import Model

# Those of Trainer.get_decay_parameter_names of transformers, a method that needs a whole Trainer.
NO_DECAY = [r"bias", r"layernorm", r"rmsnorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)"]


def decay_groups(model: Model) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The trained parameters that decay, and those that do not; a shared parameter is in one list, once."""
    names = set(get_parameter_names(model, ALL_LAYERNORM_LAYERS, NO_DECAY))
    trained = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    decaying = [weight for name, weight in trained if name in names]
    others = [weight for name, weight in trained if name not in names]
    return decaying, others
