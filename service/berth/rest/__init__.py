"""The REST interface: Envoy's view of the contract, and the configuration of Envoy."""
