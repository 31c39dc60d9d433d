"""The configuration: what it reads, what it derives, what it refuses and in which words."""

from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest

from berth.config import Config, load
from berth.launch.address import Address

Write = Callable[[str], Path]

WHOLE_FILE = """
listen: {grpc: "127.0.0.1:50051", rest: "127.0.0.1:8080"}
data_dir: .berth
store: {url: "sqlite:///.berth/berth.db"}
blobs: {url: "file:///var/lib/berth/blobs"}
default_provider: null
providers:
  openai:
    backend: openai
    base_url: "https://api.openai.com/v1"
    keys: [{name: main, value: "env:OPENAI_API_KEY"}]
    timeout_seconds: 30
    max_retries: 2
  azure: {backend: azure, base_url: "https://NAME.openai.azure.com/", keys: [{name: main, value: upstream-azure}]}
  ollama: {backend: hosted}
  cohere: {backend: unsupported}
auth:
  allow_direct_keys: true
  virtual_keys:
    - {name: team-a, value: "env:TEAM_A_KEY", tenant: a, providers: ["*"], requests_per_minute: 600, max_in_flight: 50}
  basic_users: [{name: ops, password: "env:OPS_PASSWORD", tenant: ops, providers: [openai, ollama]}]
hosted:
  {default_minutes: 20, max_minutes: 43200, retention_hours: 24, tombstone_days: 30,
   max_file_bytes: 536870912, max_container_bytes: 4294967296, max_tenant_bytes: 2500000000000}
cors: {origins: ["https://app.example.com", "http://localhost:3000"]}
"""
SECRETS = {"OPENAI_API_KEY": "upstream-openai", "TEAM_A_KEY": "sk-bf-team-a", "OPS_PASSWORD": "swordfish ops"}


def test_without_file_and_variables_the_defaults_hold() -> None:
    """Nothing has to be configured: addresses, limits and stores have the documented defaults."""
    config = load(None, {"PATH": "/bin", "HOME": "/"})
    assert str(config.listen.grpc) == "127.0.0.1:50051"
    assert str(config.listen.rest) == "127.0.0.1:8080"
    assert config.store_url() == "sqlite:///.berth/berth.db"
    assert config.blobs_url() == f"file://{Path.cwd()}/.berth/blobs"
    assert config.auth.mode == "keys"
    assert not config.has_callers()
    assert config.hosted.model_dump() == {
        "default_minutes": 20,
        "max_minutes": 43200,
        "retention_hours": 24,
        "tombstone_days": 30,
        "max_file_bytes": 536870912,
        "max_container_bytes": 4294967296,
        "max_tenant_bytes": 2500000000000,
    }


def test_the_whole_documented_file_loads(write: Write) -> None:
    """Every documented setting is accepted and read as it is written."""
    config = load(write(WHOLE_FILE), SECRETS)
    assert (config.providers["openai"].keys or ())[0].value.get_secret_value() == "upstream-openai"
    assert config.providers["azure"].base_url == "https://NAME.openai.azure.com"
    assert config.auth.virtual_keys[0].value.get_secret_value() == "sk-bf-team-a"
    assert config.auth.basic_users[0].password.get_secret_value() == "swordfish ops"
    assert config.auth.basic_users[0].providers == ("openai", "ollama")
    assert config.store_url() == "sqlite:///.berth/berth.db"
    assert config.blobs_url() == "file:///var/lib/berth/blobs"
    assert config.cors.origins == ("https://app.example.com", "http://localhost:3000")
    assert config.has_callers()


def test_secrets_are_never_shown(write: Write) -> None:
    """A secret, however it is given, is in no repr, no text and no dump of the configuration."""
    config = load(write(WHOLE_FILE), SECRETS)
    shown = f"{config!r} {config} {config.model_dump()}"
    for secret in (*SECRETS.values(), "upstream-azure"):
        assert secret not in shown


def test_the_configuration_is_frozen() -> None:
    """Nobody changes a setting after the start."""
    with pytest.raises(ValueError, match="frozen"):
        load(None, {}).hosted.max_minutes = 1


def test_a_secret_comes_from_a_file_without_its_last_newline(write: Write, tmp_path: Path) -> None:
    """`file:PATH` gives the content of the file, as secrets are mounted."""
    (tmp_path / "key").write_text("sk-bf-mounted\n", encoding="utf-8")
    path = write(f"auth: {{virtual_keys: [{{name: a, tenant: a, value: 'file:{tmp_path}/key'}}]}}")
    assert load(path, {}).auth.virtual_keys[0].value.get_secret_value() == "sk-bf-mounted"


@pytest.mark.parametrize(
    ("variable", "text", "read"),
    [
        ("BERTH_LISTEN__REST", "0.0.0.0:0", lambda config: str(config.listen.rest) == "0.0.0.0:0"),
        ("BERTH_LISTEN__GRPC", "[::1]:7", lambda config: config.listen.grpc == Address("::1", 7)),
        ("BERTH_DATA_DIR", "/data", lambda config: config.store_url() == "sqlite:////data/berth.db"),
        ("BERTH_DEFAULT_PROVIDER", "ollama", lambda config: config.default_provider == "ollama"),
        ("BERTH_AUTH__MODE", "none", lambda config: config.auth.mode == "none"),
        ("BERTH_AUTH__ALLOW_DIRECT_KEYS", "false", lambda config: not config.auth.allow_direct_keys),
        ("BERTH_HOSTED__MAX_MINUTES", "60", lambda config: config.hosted.max_minutes == 60),
        ("BERTH_CORS__ORIGINS", '["*"]', lambda config: config.cors.origins == ("*",)),
        (
            "BERTH_PROVIDERS__COHERE__BACKEND",
            "unsupported",
            lambda config: config.backend_of("cohere") == "unsupported",
        ),
        ("BERTH_PROVIDERS", '{"xai": {"backend": "hosted"}}', lambda config: config.backend_of("xai") == "hosted"),
        ("BERTH_LISTEN__REST", "", lambda config: config.listen.rest.port == 8080),
    ],
)
def test_each_setting_is_also_a_variable(variable: str, text: str, read: Callable[[Config], bool]) -> None:
    """A variable is the path in capitals; lists and maps are JSON; an empty one counts as not set."""
    assert read(load(None, {variable: text}))


def test_the_environment_wins_over_the_file_setting_by_setting(write: Write) -> None:
    """A variable changes its own setting and leaves its neighbours in the file alone."""
    path = write("listen: {grpc: '127.0.0.1:1', rest: '127.0.0.1:2'}\nproviders: {cohere: {backend: unsupported}}")
    config = load(path, {"BERTH_LISTEN__REST": "127.0.0.1:3", "BERTH_PROVIDERS__XAI__BACKEND": "unsupported"})
    assert (config.listen.grpc.port, config.listen.rest.port) == (1, 3)
    assert set(config.providers) == {"cohere", "xai"}


def test_arguments_win_over_everything(write: Write, tmp_path: Path) -> None:
    """Ports and the folder of the command line are above file and environment; the host stays."""
    path = write("listen: {rest: '0.0.0.0:2'}\ndata_dir: elsewhere")
    config = load(path, {"BERTH_DATA_DIR": "/other"}, data_dir=tmp_path, rest_port=0, grpc_port=7)
    assert (str(config.listen.rest), str(config.listen.grpc)) == ("0.0.0.0:0", "127.0.0.1:7")
    assert config.data_dir == tmp_path


def test_the_variable_that_names_the_file_is_no_setting() -> None:
    """BERTH_CONFIG is for the command line and BERTH_ENVOY for the start of Envoy; neither is an unknown setting."""
    assert load(None, {"BERTH_CONFIG": "berth.yaml", "BERTH_ENVOY": "envoy"}) == load(None, {})


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("BERTH_SERVICE_HOST", "10.0.0.1"),
        ("BERTH_SERVICE_PORT_REST", "8080"),
        ("BERTH_PORT", "tcp://10.0.0.1:8080"),
        ("BERTH_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("BERTH_GRPC_PORT", "tcp://10.0.0.1:50051"),
    ],
)
def test_what_kubernetes_says_about_a_service_called_berth_is_no_setting(variable: str, text: str) -> None:
    """A pod beside a service of that name starts, although it finds such variables in its environment."""
    assert load(None, {variable: text}) == load(None, {})


@pytest.mark.parametrize(
    ("provider", "backend"), [("openai", None), ("azure", None), ("anthropic", "hosted"), ("fireworks", "hosted")]
)
def test_providers_that_are_not_named_are_hosted_unless_they_keep_containers_themselves(
    provider: str, backend: str | None
) -> None:
    """Nobody who names openai or azure is given a hosted container unless the configuration says so."""
    assert load(None, {}).backend_of(provider) == backend


def test_openai_has_defaults(write: Write) -> None:
    """A key is all that backend openai needs."""
    config = load(write("providers: {openai: {backend: openai, keys: [{name: a, value: b}]}}"), {})
    openai = config.providers["openai"]
    assert (openai.base_url, openai.timeout_seconds, openai.max_retries) == ("https://api.openai.com/v1", 30, 2)


def test_a_section_that_is_null_counts_as_not_set(write: Write) -> None:
    """A heading whose settings are all commented out changes nothing."""
    assert load(write("listen:\nauth:\ndefault_provider: null\n"), {}) == load(None, {})


def test_an_empty_file_is_a_configuration(write: Write) -> None:
    """Nothing said is nothing changed."""
    assert load(write("# nothing yet\n"), {}) == Config()


@pytest.mark.parametrize(
    "text", [bytes(range(32)).hex(), bytes(range(32)).hex().upper(), b64encode(bytes(range(32))).decode()]
)
def test_a_secret_key_is_hexadecimal_or_base64(write: Write, tmp_path: Path, text: str) -> None:
    """The key for secrets at rest is 32 bytes in either notation, as such, in a variable or in a file."""
    (tmp_path / "key").write_text(f"{text}\n")
    for value in (text, "env:KEY", f"file:{tmp_path}/key"):
        config = load(write(f"store: {{secret_key: '{value}'}}"), {"KEY": text})
        assert config.store.secret_key_bytes() == bytes(range(32))
        assert text not in repr(config)


@pytest.mark.parametrize(("hours", "seconds"), [(24, 2 * 86_400), (72, 72 * 3600)])
def test_deleted_rows_outlive_idempotency_keys(write: Write, hours: int, seconds: int) -> None:
    """A row stays as long as the key of the request that created it, so that nothing is created twice."""
    config = load(write(f"hosted: {{tombstone_days: 2}}\nidempotency: {{hours: {hours}}}"), {})
    assert config.tombstone_seconds() == seconds
