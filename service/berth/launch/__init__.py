"""What starting on a machine takes: addresses, the data folder and its first key, Envoy's process, words for people."""
