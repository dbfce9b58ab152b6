"""Inside of verl: policy losses, the loss head, advantages of votes, and duals as the reward.

verl loads `dupo.integrations.verl.plugin` by itself; importing this package does nothing.
"""
