"""What Envoy counts of the memory that streams hold."""

from berth.rest.envoy.edge import EdgeSettings
from berth.rest.envoy.overload import overload_manager


def test_streams_count_from_16_kib_on() -> None:
    """Answers of 400 KB count, too, because many of them fill the heap."""
    counted = overload_manager(EdgeSettings())["buffer_factory_config"]
    assert counted == {"minimum_account_to_track_power_of_two": 14}
