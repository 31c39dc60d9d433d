"""The configuration: from which files it and its secrets are read, and what a reload does not take."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any, get_args

import pytest
from pydantic import BaseModel, TypeAdapter

from berth.config import Config, ConfigError, Purpose, load

Write = Callable[[str], Path]
USER = "auth: {basic_users: [{name: ops, tenant: a, password: 'SOURCE'}]}\n"


def password(path: Path, environ: dict[str, str] | None = None) -> str:
    (user,) = load(path, environ or {}).auth.basic_users
    return user.password.get_secret_value()


def refusal(path: Path, purpose: Purpose) -> str:
    with pytest.raises(ConfigError) as refused:
        load(path, {}, purpose=purpose)
    return str(refused.value)


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        ("two words", "two words"),
        ("two words\n", "two words"),
        ("two words\r\n", "two words"),
        ("two words\n\n", "two words\n"),
        (" two words \n", " two words "),
    ],
)
def test_one_newline_is_removed_from_every_secret(write: Write, tmp_path: Path, content: str, secret: str) -> None:
    """`env:` and `file:` remove exactly one newline at the end, from passwords too, and nothing else."""
    (tmp_path / "password").write_bytes(content.encode())
    assert password(write(USER.replace("SOURCE", f"file:{tmp_path}/password"))) == secret
    assert password(write(USER.replace("SOURCE", "env:PASSWORD")), {"PASSWORD": content}) == secret


@pytest.mark.parametrize(
    "setting", ["auth: {direct_key_secret: 'SOURCE'}", "limits: {url: 'SOURCE'}", "cache: {url: 'SOURCE'}"]
)
def test_other_secrets_follow_the_same_rule(write: Write, tmp_path: Path, setting: str) -> None:
    """The secret of direct keys and the URL of Valkey, which has a password, are read like every secret."""
    (tmp_path / "secret").write_text("valkey://u:p w@h:1/0\n")
    loaded = [
        load(write(setting.replace("SOURCE", source)), {"SECRET": "valkey://u:p w@h:1/0\n"})
        for source in ("env:SECRET", f"file:{tmp_path}/secret", "valkey://u:p w@h:1/0")
    ]
    assert loaded[0] == loaded[1] == loaded[2]


def test_a_variable_that_is_no_text_is_refused(write: Write) -> None:
    """Bytes that are not UTF-8 are no secret that anybody could send."""
    path = write(USER.replace("SOURCE", "env:PASSWORD"))
    with pytest.raises(ConfigError, match="the environment variable PASSWORD is not text"):
        load(path, {"PASSWORD": os.fsdecode(b"\xff")})


def test_a_large_secret_is_refused(write: Write, tmp_path: Path) -> None:
    """A file of 65536 bytes is a secret, and one of 65537 is not."""
    path = write(USER.replace("SOURCE", f"file:{tmp_path}/password"))
    (tmp_path / "password").write_text("p" * 65_536)
    assert len(password(path)) == 65_536
    (tmp_path / "password").write_text("p" * 65_537)
    assert "cannot read the file" in refusal(path, "start")
    assert "it has more than 65536 bytes" in refusal(path, "start")


@pytest.mark.parametrize("is_secret", [False, True])
def test_a_pipe_is_read_at_the_start_alone(write: Write, tmp_path: Path, is_secret: bool) -> None:  # noqa: FBT001 - a parameter
    """A configuration or a secret from a pipe is read at the start, once; a reload refuses it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    path = write(USER.replace("SOURCE", f"file:{pipe}")) if is_secret else pipe
    text = "swordfish\n" if is_secret else USER.replace("SOURCE", "swordfish")
    writer = Thread(target=pipe.write_text, args=(text,))
    writer.start()
    (user,) = load(path, {}, rest_port=0).auth.basic_users
    writer.join()
    assert user.password.get_secret_value() == "swordfish"
    assert "it is not a regular file, so it can be read only at the start" in refusal(path, "reload")


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/tty", "/"])
def test_no_device_and_no_folder_is_read_by_a_reload(name: str) -> None:
    """Nothing but a regular file is read, or waited for."""
    assert refusal(Path(name), "reload").startswith(f"cannot read the configuration file {name}: ")


HEAD = "auth:\n  virtual_keys:\n  - name: a\n    tenant: a\n    value: sk-bf-team-a"


@pytest.mark.parametrize("purpose", ["check", "reload"])
@pytest.mark.parametrize(
    "text",
    [
        HEAD,
        f"{HEAD} ",
        f"{HEAD}\n    requests_per_minute: 6",
        f"{HEAD}\n    requests_per_minute:",
        f"{HEAD}\n    active: !!str",
        f"x: &a b\n{HEAD}\n    expires: *a",
        HEAD.replace("sk-bf-team-a", "|-\n      sk-bf-team-a"),
    ],
)
def test_a_file_that_may_be_cut_is_refused(write: Write, text: str, purpose: Purpose) -> None:
    """A check and a reload refuse a file that ends in the middle of a value: a part of a key would be a key."""
    assert "ends in the middle of a value and may be cut" in refusal(write(text), purpose)


@pytest.mark.parametrize(
    "text",
    [
        f"{HEAD}\n",
        f"{HEAD}\n    ",
        f"{HEAD} # the first",
        HEAD.replace("sk-bf-team-a", "'sk-bf-team-a'"),
        HEAD.replace("sk-bf-team-a", '"sk-bf-team-a"'),
        HEAD.replace("sk-bf-team-a", "|-\n      sk-bf-team-a\n"),
        "cors: {origins: ['*']}",
        "cors: {origins: ['*']}\n...",
        "# nothing",
        "",
    ],
)
def test_a_file_needs_no_last_newline_if_its_end_is_visible(write: Write, text: str) -> None:
    """A comment, a bracket or a quotation mark shows that the last value is complete."""
    assert load(write(text), {}, purpose="reload") == load(write(text), {})


def types_in(annotation: Any) -> Iterator[Any]:
    """Return a type and all those that it consists of."""
    yield annotation
    for part in get_args(annotation):
        yield from types_in(part)


def paths_of(model: type[BaseModel]) -> Iterator[tuple[str, Any]]:
    """Return the settings of a section, and of those in it, that are paths, each with its type."""
    for name, field in model.model_fields.items():
        types = list(types_in(field.annotation))
        if Path in types:
            yield f"{model.__name__}.{name}", field.rebuild_annotation()
        for section in types:
            if isinstance(section, type) and issubclass(section, BaseModel):
                yield from paths_of(section)


def test_every_path_may_begin_with_a_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each setting that is a path expands it, whichever section the setting is in."""
    monkeypatch.setenv("HOME", "/home/of")
    paths = dict(paths_of(Config))
    assert len(paths) >= 8
    expanded = {name: TypeAdapter(kind).validate_python("~/x") for name, kind in paths.items()}
    assert expanded == dict.fromkeys(paths, Path("/home/of/x"))


def test_a_tilde_is_the_home_folder(write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every setting that is a path, the file of a secret, and the file itself may be in the home folder."""
    home = tmp_path / "my home"
    home.mkdir()
    (home / "password").write_text("swordfish")
    monkeypatch.setenv("HOME", str(home))
    provider = "{backend: openai, ca_file: ~/ca, keys: [{name: a, value: b}]}"
    text = (
        "data_dir: ~/data\ntls: {certificate: ~/crt, key: ~/key, client_ca: ~/ca}\nstore: {url: 'sqlite:///~/db'}\n"
        f"blobs: {{url: 'file:///~/blobs'}}\nproviders: {{openai: {provider}}}\n"
        + USER.replace("SOURCE", "file:~/password")
    )
    (home / "berth.yaml").write_text(text)
    config = load(Path("~/berth.yaml"), {})
    assert config.tls is not None
    paths = [
        config.data_dir,
        config.tls.certificate,
        config.tls.key,
        config.tls.client_ca,
        config.providers["openai"].ca_file,
    ]
    assert paths == [home / name for name in ("data", "crt", "key", "ca", "ca")]
    assert config.store_url() == f"sqlite:///{home}/db"
    assert config.blobs_url() == (home / "blobs").as_uri()
    assert config.auth.basic_users[0].password.get_secret_value() == "swordfish"
    assert load(None, {}, data_dir=Path("~/data")).data_dir == home / "data"
    assert load(write("data_dir: ./~"), {}).data_dir == Path("~")
