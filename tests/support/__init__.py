"""What tests share: fakes, providers, servers, forms, clients, certificates, measurements."""
