"""What the controllers of each plant compute in one scan: pure functions of their tags and inputs."""
