"""The contract, generated from proto/berth/v1: never edited."""
