"""dupo inside of trainers of others. Nothing of dupo imports an integration, which needs its trainer."""
