from dataclasses import dataclass, field
def option(default, help, *, choices=(), **b):
    return field(default=default, metadata={"help": help, "choices": choices, **b})
@dataclass(frozen=True)
class PolicyOptions:
    loss_type: str = option("dapo", "loss", choices=("grpo","bnpo","dr_grpo","dapo","cispo","sapo","luspo","vespo"))
    epsilon: float = option(0.2, "x", at_least=0)
    beta: float = option(0.0, "x", at_least=0)
    entropy_coef: float = option(0.0, "x")
    importance_sampling_level: str = option("token", "x", choices=("token","sequence"))
