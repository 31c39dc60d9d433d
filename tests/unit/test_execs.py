"""Commands in hosted containers: their results, their files, and what happens at the same time.

They run with a fake sandbox: what isolates them is for the tests of the drivers.
"""

import asyncio
from typing import Any

import pytest

from berth.core.errors import (
    ContainerBusyError,
    ContainerExpiredError,
    ExecUnsupportedError,
    InvalidRequestError,
    NotFoundError,
    RateLimitError,
    StoppingError,
)
from berth.core.exec.hosted import GIBIBYTE
from berth.v1.container_exec_service_pb2 import (
    CancelContainerExecRequest,
    CreateContainerExecRequest,
    ExecCode,
    ListContainerExecsRequest,
    RetrieveContainerExecRequest,
    StreamContainerExecRequest,
)
from berth.v1.container_pb2 import NetworkPolicyType
from berth.v1.container_service_pb2 import (
    DeleteContainerRequest,
    DomainSecret,
    NetworkPolicyParam,
)
from berth.v1.provider_pb2 import Provider
from support.servers.execs import (
    OURS,
    THEIRS,
    ExecWorld,
    box,
    box_of,
    events,
    exec_world,
    has_output,
    of,
    paths,
    shell,
    upload,
)
from support.servers.hosted import Kept
from support.servers.service import eventually


async def test_a_failing_command_is_a_result(kept: Kept, world: ExecWorld) -> None:
    """A command has its output and its exit code in its result, also if it fails."""
    result = await world.run(OURS, shell(await box(kept), "echo out; echo err >&2; exit 3"))
    assert (result.status, result.stdout, result.stderr, result.truncated) == ("completed", "out\n", "err\n", False)
    assert (result.outcome.type, result.outcome.exit_code) == ("exit", 3)
    assert result.object == "container.exec"
    assert result.id.startswith("exec_")
    assert result.extra_fields.provider == Provider.PROVIDER_OLLAMA
    assert world.outcomes == ["exit"]


async def test_a_command_gets_what_it_was_given(kept: Kept, world: ExecWorld) -> None:
    """Code, arguments, variables, input and the folder reach the command; nothing else of Berth's does."""
    container_id = await box(kept)
    await upload(kept, container_id, "sub/a", b"1")
    code = ExecCode(
        language="python", source="import sys, os; print(sys.stdin.read(), os.getcwd()[-4:], os.environ['A'])"
    )
    request = CreateContainerExecRequest(container_id=container_id, code=code, cwd="sub", env={"A": "b=c"}, stdin="in")
    assert (await world.run(OURS, request)).stdout == "in /sub b=c\n"
    request = CreateContainerExecRequest(container_id=container_id, argv=["printf", "%s|", "a b", "$HOME", ""])
    assert (await world.run(OURS, request)).stdout == "a b|$HOME||"
    limits = world.sandbox.commands[-1].limits
    assert (limits.memory_bytes, limits.seconds, limits.output_bytes) == (GIBIBYTE, 60.0, 1_048_576)


async def test_binary_output_is_text(kept: Kept, world: ExecWorld) -> None:
    """Invalid UTF-8 is replaced, and a character that arrives in two parts is whole."""
    command = r"printf '\377a\303'; sleep 0.2; printf '\251\000'"
    assert (await world.run(OURS, shell(await box(kept), command))).stdout == "\N{REPLACEMENT CHARACTER}aé\0"


async def test_long_output_is_cut_off(kept: Kept, world: ExecWorld) -> None:
    """No more than the limit is kept, and the command goes on to its end."""
    command = "head -c 3000000 /dev/zero | tr '\\0' x; exit 7"
    result = await world.run(OURS, shell(await box(kept), command, max_output_length=1000))
    assert (len(result.stdout), result.truncated, result.outcome.exit_code) == (1000, True, 7)
    result = await world.run(OURS, shell(await box(kept), command))
    assert (len(result.stdout), result.truncated) == (1_048_576, True)


async def test_output_that_is_no_text_is_cut_off_as_text(kept: Kept, world: ExecWorld) -> None:
    """The limit counts the bytes of the text that is returned, in which U+FFFD has three, and cuts no character."""
    container_id = await box(kept)
    command = "head -c 1000 /dev/zero | tr '\\0' '\\377'; sleep 0.2; echo b >&2"
    result = await world.run(OURS, shell(container_id, command, max_output_length=1100))
    assert (result.stdout, result.stderr) == ("\N{REPLACEMENT CHARACTER}" * 366, "")
    assert (result.truncated, result.outcome.exit_code) == (True, 0)
    whole = await world.run(OURS, shell(container_id, command, max_output_length=3002))
    assert (len(whole.stdout), whole.stderr, whole.truncated) == (1000, "b\n", False)


async def test_a_timeout_is_an_outcome(kept: Kept, world: ExecWorld) -> None:
    """A command that takes too long is ended, and what it wrote and changed is kept."""
    container_id = await box(kept)
    result = await world.run(OURS, shell(container_id, "echo a; touch b; sleep 60", timeout_ms=1500))
    assert (result.outcome.type, result.outcome.HasField("exit_code"), result.stdout) == ("timeout", False, "a\n")
    assert set(await paths(kept, container_id)) == {"b"}


async def test_one_command_at_a_time(kept: Kept, world: ExecWorld) -> None:
    """While a command runs in a container no other one starts there, and one starts elsewhere."""
    container_id = await box(kept)
    started = await world.execs.create_container_exec(OURS, shell(container_id, "sleep 60"))
    assert started.status == "running"
    with pytest.raises(ContainerBusyError):
        await world.execs.create_container_exec(OURS, shell(container_id, "echo"))
    assert (await world.run(OURS, shell(await box(kept), "echo 1"))).stdout == "1\n"
    cancelled = CancelContainerExecRequest(container_id=container_id, exec_id=started.id)
    await world.execs.cancel_container_exec(OURS, cancelled)
    result = await world.execs.retrieve_container_exec(OURS, of(started), is_awaited=True)
    assert result.outcome.type == "cancelled"
    assert (await world.run(OURS, shell(container_id, "echo 2"))).stdout == "2\n"
    await world.execs.cancel_container_exec(OURS, cancelled)


async def test_a_deleted_container_ends_its_command(kept: Kept, world: ExecWorld) -> None:
    """When a container is deleted its command is ended, and nothing of it is left; who follows it sees how it ended."""
    container_id = await box(kept)
    started = await world.execs.create_container_exec(OURS, shell(container_id, "touch a; sleep 60"))
    following = asyncio.create_task(events(world, started))
    await eventually(lambda: any(world.folder.rglob("a")))
    await kept.backend.delete_container(OURS, DeleteContainerRequest(container_id=container_id))
    await eventually(lambda: world.outcomes == ["lost"])
    last = (await following)[-1].exec
    assert (last.outcome.type, last.duration_ms > 0) == ("lost", True)
    with pytest.raises(NotFoundError):
        await world.execs.retrieve_container_exec(OURS, of(started))
    assert kept.left().blobs == 0


async def test_another_process_sees_the_same(kept: Kept, world: ExecWorld) -> None:
    """A process that does not run a command can follow, await and end it, and finds it lost if its lease is over."""
    container_id, other = await box(kept), exec_world(kept, process="other")
    started = await world.execs.create_container_exec(OURS, shell(container_id, "echo a; sleep 60"))
    following = asyncio.create_task(events(other, started))
    waiting = asyncio.create_task(other.execs.retrieve_container_exec(OURS, of(started), is_awaited=True))
    await has_output(other, started)
    with pytest.raises(ContainerBusyError):
        await other.execs.create_container_exec(OURS, shell(container_id, "echo"))
    await other.execs.cancel_container_exec(
        OURS, CancelContainerExecRequest(container_id=container_id, exec_id=started.id)
    )
    seen, result = await following, await waiting
    assert [(event.sequence, event.type, event.stdout) for event in seen] == [
        (1, "started", ""),
        (2, "output", "a\n"),
        (3, "ended", ""),
    ]
    assert seen[-1].exec.outcome.type == result.outcome.type == "cancelled"


async def test_a_stream_of_another_process_ends_with_the_container(kept: Kept, world: ExecWorld) -> None:
    """The stream from a process that does not run the command says that it is lost, too."""
    container_id, other = await box(kept), exec_world(kept, process="other")
    started = await world.execs.create_container_exec(OURS, shell(container_id, "echo a; sleep 60"))
    streams = [asyncio.create_task(events(one, started)) for one in (world, other)]
    await has_output(other, started)
    await kept.backend.delete_container(OURS, DeleteContainerRequest(container_id=container_id))
    for seen in await asyncio.gather(*streams):
        assert (seen[0].type, seen[-1].type, seen[-1].exec.outcome.type) == ("started", "ended", "lost")
        assert (seen[-1].sequence, seen[-1].exec.status) == (seen[-2].sequence + 1, "completed")


async def test_events_can_be_followed_from_a_number(kept: Kept, world: ExecWorld) -> None:
    """Whoever follows late gets the same events, after the one that is named, and the end in any case."""
    started = await world.execs.create_container_exec(OURS, shell(await box(kept), "echo a; sleep 0.2; echo b >&2"))
    live = await events(world, started)
    assert [(event.sequence, event.type) for event in live] == [
        (1, "started"),
        (2, "output"),
        (3, "output"),
        (4, "ended"),
    ]
    assert (live[1].stdout, live[2].stderr) == ("a\n", "b\n")
    assert (live[0].exec.status, live[-1].exec.outcome.exit_code) == ("running", 0)
    assert not live[-1].exec.HasField("stdout")
    for after in range(6):
        assert await events(world, started, after) == [*live[after:-1], live[-1]]


async def test_execs_are_listed_without_their_output(kept: Kept, world: ExecWorld) -> None:
    """A page has the execs of the container, newest first."""
    container_id = await box(kept)
    results = [await world.run(OURS, shell(container_id, f"echo {number}")) for number in range(2)]
    page = await world.execs.list_container_execs(OURS, ListContainerExecsRequest(container_id=container_id))
    assert [one.id for one in page.data] == [results[1].id, results[0].id]
    assert not page.data[0].HasField("stdout")
    assert (page.first_id, page.has_more) == (results[1].id, False)


async def test_another_tenant_sees_nothing(kept: Kept, world: ExecWorld) -> None:
    """Neither a container nor an exec of another tenant is there."""
    container_id = await box(kept)
    result = await world.run(OURS, shell(container_id, "echo"))
    for call in (
        world.execs.create_container_exec(THEIRS, shell(container_id, "echo")),
        world.execs.retrieve_container_exec(THEIRS, of(result)),
        world.execs.list_container_execs(THEIRS, ListContainerExecsRequest(container_id=container_id)),
        world.execs.retrieve_container_exec(OURS, RetrieveContainerExecRequest(container_id=container_id, exec_id="x")),
    ):
        with pytest.raises(NotFoundError):
            await call


async def test_an_exec_is_in_its_own_container_alone(kept: Kept, world: ExecWorld) -> None:
    """The exec of one container is not there in another one of the same tenant, while it runs and afterwards."""
    started = await world.execs.create_container_exec(OURS, shell(await box(kept), "echo a; sleep 60"))
    await has_output(world, started)
    elsewhere = {"container_id": await box(kept), "exec_id": started.id}
    for call in (
        world.execs.retrieve_container_exec(OURS, RetrieveContainerExecRequest(**elsewhere), is_awaited=True),
        world.execs.cancel_container_exec(OURS, CancelContainerExecRequest(**elsewhere)),
    ):
        with pytest.raises(NotFoundError):
            await asyncio.wait_for(call, 10)
    assert (await world.execs.retrieve_container_exec(OURS, of(started))).status == "running"
    await world.execs.cancel_container_exec(
        OURS, CancelContainerExecRequest(container_id=started.container_id, exec_id=started.id)
    )
    ended = await world.execs.retrieve_container_exec(OURS, of(started), is_awaited=True)
    assert (ended.outcome.type, ended.stdout) == ("cancelled", "a\n")
    assert ended == await world.execs.retrieve_container_exec(OURS, of(started))


@pytest.mark.parametrize(("how", "is_awaited"), [("at once", True), ("in the background", False), ("stream", False)])
async def test_a_start_that_is_known_is_kept(
    kept: Kept, world: ExecWorld, monkeypatch: pytest.MonkeyPatch, *, how: str, is_awaited: bool
) -> None:
    """The store is told whether the caller knows of a command before it has ended."""
    told: list[bool] = []
    start = world.store.start

    async def noted(*values: Any, **named: Any) -> Any:
        told.append(named["is_awaited"])
        return await start(*values, **named)

    monkeypatch.setattr(world.store, "start", noted)
    request = shell(await box(kept), "echo")
    if how == "stream":
        started = await world.execs.stream_container_exec(
            OURS, StreamContainerExecRequest(container_id=request.container_id, command=request.command)
        )
    else:
        request.background = not is_awaited
        started = await world.execs.create_container_exec(OURS, request)
    await world.execs.retrieve_container_exec(OURS, of(started), is_awaited=True)
    assert told == [is_awaited]


async def test_an_expired_container_runs_nothing(kept: Kept, world: ExecWorld) -> None:
    """In an expired container no command starts."""
    container_id = await box(kept)
    kept.clock.advance(3600)
    with pytest.raises(ContainerExpiredError):
        await world.execs.create_container_exec(OURS, shell(container_id, "echo"))


async def test_memory_is_shared_out(kept: Kept, world: ExecWorld) -> None:
    """Commands whose limits exceed the memory wait for a short time and are refused; one that never fits, at once."""
    for _ in range(2):
        await world.execs.create_container_exec(OURS, shell(await box(kept), "sleep 60"))
    with pytest.raises(RateLimitError) as caught:
        await world.execs.create_container_exec(OURS, shell(await box(kept), "echo"))
    assert (caught.value.code, caught.value.retry_after_seconds) == ("exec_capacity", 5)
    with pytest.raises(InvalidRequestError) as refused:
        await world.execs.create_container_exec(OURS, shell(await box(kept, memory_limit="4g"), "echo"))
    assert refused.value.param == "memory_limit"
    await world.execs.drain(0)
    assert world.outcomes == ["lost", "lost"]


async def test_a_tenant_cannot_take_the_memory_of_all(kept: Kept) -> None:
    """What a tenant may have is bounded; those that exceed it are refused at once, and other tenants get the rest."""
    world = exec_world(kept, capacity_bytes=4 * GIBIBYTE, tenant_bytes=2 * GIBIBYTE)
    started = [await world.execs.create_container_exec(OURS, shell(await box(kept), "sleep 60")) for _ in range(2)]
    with pytest.raises(RateLimitError):
        await world.execs.create_container_exec(OURS, shell(await box(kept), "echo"))
    assert (await world.run(THEIRS, shell(await box_of(THEIRS, kept), "echo 1"))).stdout == "1\n"
    await world.execs.cancel_container_exec(
        OURS, CancelContainerExecRequest(container_id=started[0].container_id, exec_id=started[0].id)
    )
    await eventually(lambda: world.outcomes == ["exit", "cancelled"])
    assert (await world.run(OURS, shell(await box(kept), "echo 2"))).stdout == "2\n"
    with pytest.raises(InvalidRequestError):
        await world.execs.create_container_exec(OURS, shell(await box(kept, memory_limit="4g"), "echo"))
    await world.execs.drain(0)


async def test_commands_that_do_not_end_are_lost(kept: Kept, world: ExecWorld) -> None:
    """What still runs when the service stops is ended and lost, nothing of it is stored, and nothing new starts."""
    container_id = await box(kept)
    started = await world.execs.create_container_exec(OURS, shell(container_id, "echo a; touch b; sleep 60"))
    await eventually(lambda: any(world.folder.rglob("b")))
    await world.execs.drain(0.1)
    result = await world.execs.retrieve_container_exec(OURS, of(started))
    assert (result.status, result.outcome.type, result.stdout) == ("completed", "lost", "a\n")
    assert await paths(kept, container_id) == {}
    with pytest.raises(StoppingError):
        await world.execs.create_container_exec(OURS, shell(container_id, "echo"))


async def test_a_caller_may_disconnect(kept: Kept, world: ExecWorld) -> None:
    """A command goes on if its caller is cancelled, also while it is being started."""
    container_id = await box(kept)
    call = asyncio.create_task(world.run(OURS, shell(container_id, "sleep 0.2; touch a")))
    await asyncio.sleep(0)
    call.cancel()
    await eventually(lambda: world.outcomes == ["exit"])
    assert set(await paths(kept, container_id)) == {"a"}


async def test_the_trail_has_the_hash_of_a_command(kept: Kept, world: ExecWorld) -> None:
    """The audit trail says who ran what, by its hash and never its text, and how it ended."""
    result = await world.run(OURS, shell(await box(kept), "echo secret; exit 1"))
    (started, first), (ended, last) = world.audit
    assert (started, ended) == ("exec.started", "exec.ended")
    assert first["id"] == last["id"] == result.id
    assert (first["tenant"], first["caller"], len(str(first["command_sha256"]))) == ("ours", "first", 64)
    assert (last["outcome"], last["exit_code"]) == ("exit", 1)
    assert "secret" not in repr(world.audit)


async def many_tenants() -> int:
    return 2


@pytest.mark.parametrize(
    "options",
    [{"reason": "no sandbox works here"}, {"tenants": many_tenants}, {"is_public": True}],
    ids=["no sandbox", "several tenants", "public"],
)
async def test_without_a_safe_sandbox_nothing_runs(kept: Kept, options: Any) -> None:
    """Without a sandbox, or with one that shares the kernel among tenants or with strangers, nothing is run."""
    world = exec_world(kept, **options)
    with pytest.raises(ExecUnsupportedError):
        await world.execs.create_container_exec(OURS, shell(await box(kept), "echo"))
    assert world.sandbox.commands == []


async def test_a_shared_kernel_can_be_accepted(kept: Kept) -> None:
    """If the operator accepts a shared kernel, several tenants and strangers may run commands."""
    world = exec_world(kept, tenants=many_tenants, is_public=True, is_accepted=True)
    assert (await world.run(OURS, shell(await box(kept), "echo 1"))).stdout == "1\n"


async def test_what_cannot_be_enforced_is_refused(kept: Kept, world: ExecWorld) -> None:
    """A container with secrets for domains runs nothing."""
    secrets = NetworkPolicyParam(
        type=NetworkPolicyType.NETWORK_POLICY_TYPE_ALLOWLIST,
        allowed_domains=["a.example"],
        domain_secrets=[DomainSecret(domain="a.example", name="a", value="b")],
    )
    with pytest.raises(ExecUnsupportedError):
        await world.execs.create_container_exec(OURS, shell(await box(kept, network_policy=secrets), "echo"))


async def test_a_network_is_only_there_for_an_allowlist(kept: Kept, world: ExecWorld) -> None:
    """With an allowlist there is a proxy, and what it refused is in the result; otherwise there is no network."""
    allowlist = NetworkPolicyParam(type=NetworkPolicyType.NETWORK_POLICY_TYPE_ALLOWLIST, allowed_domains=["a.example"])
    disabled = NetworkPolicyParam(type=NetworkPolicyType.NETWORK_POLICY_TYPE_DISABLED)
    result = await world.run(OURS, shell(await box(kept, network_policy=allowlist), "echo 1"))
    assert (result.stdout, list(result.network_refusals)) == ("1\n", ["a.example:443"])
    assert world.audit[-1][1]["network_refusals"] == ["a.example:443"]
    for policy in ({"network_policy": disabled}, {}):
        result = await world.run(OURS, shell(await box(kept, **policy), "echo 1"))
        assert (result.stdout, list(result.network_refusals)) == ("1\n", [])
    assert [command.proxy is None for command in world.sandbox.commands] == [False, True, True]


async def test_a_command_that_cannot_start_is_lost(kept: Kept) -> None:
    """If the sandbox fails the result is lost, the failure is reported, and the container is free again."""
    world = exec_world(kept)
    container_id = await box(kept)
    result = await world.run(OURS, CreateContainerExecRequest(container_id=container_id, argv=["/no/such/program"]))
    assert (result.outcome.type, len(world.failures)) == ("lost", 1)
    assert (await world.run(OURS, shell(container_id, "echo 1"))).stdout == "1\n"
