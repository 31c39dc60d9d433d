"""What Berth needs to start on a machine: addresses, data folder, secrets, certificates, Envoy's process, banner."""
