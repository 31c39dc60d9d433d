"""The configuration: one frozen value, read once at the start.

The only reader of the file and the environment, and imported by `app.py` and
`cli.py` only: everyone else is given values.
"""

from berth.config.loading import load
from berth.config.model import Config
from berth.config.sources import ConfigError
from berth.config.values import EVERY_PROVIDER

__all__ = ["EVERY_PROVIDER", "Config", "ConfigError", "load"]
