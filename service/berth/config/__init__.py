"""The configuration: an immutable value, read from a file and the environment.

Only this package reads the file and the environment. Only `app` and the commands import it; other packages are given
values.
"""

from berth.config.loading import Purpose, load
from berth.config.model import Config
from berth.config.sources import ConfigError
from berth.config.values import EVERY_PROVIDER

__all__ = ["EVERY_PROVIDER", "Config", "ConfigError", "Purpose", "load"]
