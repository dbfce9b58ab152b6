"""TRL's GRPOTrainer learns sums from duals, without labels, on a CPU in about a minute.

pip install trl && python examples/trl_duals.py
"""

from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from dupo.api import train
from dupo.integrations.duals import load_duals
from dupo.integrations.trl import dual_rollout, install

install()  # dupo's loss head under TRL's trainers
start = train(max_steps=1, learning_rate=1e-12, eval_size=0, output_dir="runs/start")  # a model that half can
duals = load_duals(task="arithmetic")
rollout_func, reward_func = dual_rollout(duals, judge="frozen")
settings = GRPOConfig(
    output_dir="runs/trl", use_cpu=True, bf16=False, max_steps=60, learning_rate=3e-4,
    per_device_train_batch_size=512, num_generations=4, max_completion_length=6, logging_steps=10,
)  # fmt: skip
prompts = Dataset.from_list([{"prompt": prompt} for prompt in duals.prompts])
trainer = GRPOTrainer(str(start.checkpoint), reward_func, settings, prompts, rollout_func=rollout_func)
trainer.train()
