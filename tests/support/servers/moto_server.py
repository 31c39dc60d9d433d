"""Serves moto's S3 on a free port of 127.0.0.1 and prints the port; a program of its own, started by `s3`."""

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

if __name__ == "__main__":
    server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True)
    print(server.port, flush=True)  # noqa: T201 - for the program that has started it
    server.serve_forever()
