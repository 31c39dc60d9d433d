"""Commands of a service that stops, which balancers send calls to."""

import signal
from pathlib import Path

import grpc
import yaml
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from berth.v1.container_exec_service_pb2 import CreateContainerExecRequest
from berth.v1.container_exec_service_pb2_grpc import ContainerExecServiceStub
from berth.v1.container_service_pb2 import CreateContainerRequest
from berth.v1.container_service_pb2_grpc import ContainerServiceStub
from berth.v1.provider_pb2 import Provider
from support.clients.polling import wait_until
from support.servers.berth import KEY_A, SETTINGS
from support.servers.exec_program import PROGRAM
from support.servers.process import running_berth

KEY = (("authorization", f"Bearer {KEY_A}"),)


def health(channel: grpc.Channel) -> int:
    """Ask for the health of the service, as balancers do."""
    check = channel.unary_unary(
        "/grpc.health.v1.Health/Check", HealthCheckRequest.SerializeToString, HealthCheckResponse.FromString
    )
    answer: HealthCheckResponse = check(HealthCheckRequest())
    return answer.status


def code_of_last_call(commands: ContainerExecServiceStub, command: CreateContainerExecRequest) -> grpc.StatusCode:
    """Run a command again and again; return the status of the first call that fails."""
    while True:
        try:
            assert commands.CreateContainerExec(command, metadata=KEY, timeout=30).stdout == "a\n"
        except grpc.RpcError as error:
            return error.code()


def test_commands_run_for_as_long_as_calls_are_taken(tmp_path: Path) -> None:
    """If something checks the health, commands are run after SIGTERM, too, until calls are sent elsewhere."""
    config = tmp_path / "berth.yaml"
    config.write_text(yaml.safe_dump({**SETTINGS, "exec": {"accept_shared_kernel": True}}))
    options = ("--config", str(config))
    with running_berth("serve", tmp_path / "data", *options, show_key=False, program=PROGRAM) as berth:
        with grpc.insecure_channel(berth.ready["grpc"]) as channel:
            assert health(channel) == HealthCheckResponse.SERVING
            container = ContainerServiceStub(channel).CreateContainer(CreateContainerRequest(name="a"), metadata=KEY).id
            command = CreateContainerExecRequest(container_id=container, command="echo a")
            commands = ContainerExecServiceStub(channel)
            assert commands.CreateContainerExec(command, metadata=KEY).stdout == "a\n"
            berth.process.send_signal(signal.SIGTERM)
            assert code_of_last_call(commands, command) is grpc.StatusCode.UNAVAILABLE
        assert berth.end() == 0


def test_the_log_says_that_commands_are_waited_for(tmp_path: Path) -> None:
    """An operator who stops a service reads why that takes a while; it ends when the command has ended."""
    going = tmp_path / "go"
    with running_berth("serve", tmp_path / "data", program=PROGRAM) as berth:
        key = (("authorization", f"Bearer {berth.ready['virtual_key']}"),)
        with grpc.insecure_channel(berth.ready["grpc"]) as channel:
            new = CreateContainerRequest(name="a", provider=Provider.PROVIDER_GROQ)
            container = ContainerServiceStub(channel).CreateContainer(new, metadata=key).id
            waits = f"until [ -e {going} ]; do :; done"
            command = CreateContainerExecRequest(container_id=container, command=waits, background=True)
            ContainerExecServiceStub(channel).CreateContainerExec(command, metadata=key)
        berth.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "exec.waiting" in berth.errors)
        going.touch()
        assert berth.end() == 0
    assert '"commands":1' in berth.errors
