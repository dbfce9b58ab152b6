"""What a run will need and take, by arithmetic over the config of its model."""
