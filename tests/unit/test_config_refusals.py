"""The configuration: what it refuses, and in which words."""

from collections.abc import Callable
from pathlib import Path

import pytest

from berth.config import ConfigError, load

Write = Callable[[str], Path]


def problems(path: Path | None, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as refusal:
        load(path, environ or {})
    return str(refusal.value).splitlines()


KEY = "name: a, tenant: a, value: sk-bf-1"
BAD_SECRET_KEY = "store.secret_key: must be 32 bytes in hexadecimal or Base64, such as from 'openssl rand -hex 32'"
NAMES = ", with letters, digits and -._ in names, and nothing else"
FOLDER_OR_BUCKET = "must be file:///PATH, the absolute path of a folder, or a bucket such as s3://BUCKET/PREFIX"
BAD_STORE = "must be sqlite:///PATH, the path of a file, or postgresql://USER:PASSWORD@HOST/DATABASE"
BAD_SERVER = "must be a URL such as postgresql://USER:PASSWORD@HOST:5432/DATABASE"
REFUSED = [
    ("lisen: {}", "unknown setting 'lisen'; did you mean 'listen'?"),
    ("listen: {grcp: x}", "unknown setting 'listen.grcp'; did you mean 'listen.grpc'?"),
    ("zzz: 1", "unknown setting 'zzz'"),
    ("listen.rest: '127.0.0.1:80'", "unknown setting 'listen.rest'; did you mean 'listen: {rest: …}'?"),
    (
        "providers.ollama.backend: hosted",
        "unknown setting 'providers.ollama.backend'; did you mean 'providers: {ollama: {backend: …}}'?",
    ),
    ("exec: {egress.max_bytes: 1}", "unknown setting 'exec.egress.max_bytes'; did you mean 'egress: {max_bytes: …}'?"),
    ("exec_driver: off", "unknown setting 'exec_driver'; did you mean 'exec.driver'?"),
    ("zzz.yyy: 1", "unknown setting 'zzz.yyy'"),
    (
        "providers: {ollama: {backend: hosted, base_ulr: x}}",
        "unknown setting 'providers.ollama.base_ulr'; did you mean 'providers.ollama.base_url'?",
    ),
    ("listen: 5", "listen: must be a map"),
    ("listen: {rest: '8080'}", "listen.rest: must be an IP address and a port, such as 127.0.0.1:8080, not '8080'"),
    ("listen: {rest: ':80'}", "listen.rest: must be an IP address and a port, such as 127.0.0.1:8080, not ':80'"),
    (
        "listen: {rest: '0.0.0.0:65536'}",
        "listen.rest: must be an IP address and a port, such as 127.0.0.1:8080, not '0.0.0.0:65536'",
    ),
    (
        "listen: {grpc: 'example.com:80'}",
        "listen.grpc: must be an IP address and a port, such as 127.0.0.1:8080, not 'example.com:80'",
    ),
    ("listen: {grpc: 'localhost:8080'}", "listen.rest: must not be the address of listen.grpc"),
    ("data_dir: 5", "data_dir: must be a path"),
    *(
        (f"store: {{url: '{url}'}}", f"store.url: {BAD_STORE}")
        for url in ("berth.db", "sqlite:///:memory:", "mysql:///")
    ),
    *(
        (f"store: {{url: 'postgresql://{rest}'}}", f"store.url: {BAD_SERVER}")
        for rest in ("u:pw@/d", "u:pw@h", "h:x/d")
    ),
    ("store: {connections: 0}", "store.connections: must be at least 1"),
    (
        "tls: {certificate: a, key: b, client_crl: c}",
        "tls.client_crl: needs client_ca, the authorities that have issued the list",
    ),
    ("telemetry: {headers: {a: b}}", "telemetry.headers: needs telemetry.endpoint, the collector that it is for"),
    ("telemetry: {ca_file: a}", "telemetry.ca_file: needs telemetry.endpoint, the collector that it is for"),
    (
        "telemetry: {metrics_seconds: 10}",
        "telemetry.metrics_seconds: needs telemetry.endpoint, the collector that it is for",
    ),
    ("telemetry: {metrics_seconds: -1}", "telemetry.metrics_seconds: must be at least 0.0"),
    (
        "telemetry: {endpoint: 'a:1'}",
        "telemetry.endpoint: must be an http:// or https:// URL without user, query and fragment",
    ),
    ("telemetry: {sampling_ratio: 2}", "telemetry.sampling_ratio: must be at most 1.0"),
    (
        "telemetry: {endpoint: 'http://a', headers: {'a b': c}}",
        "telemetry.headers.a b: 'a b' cannot be the name of a header",
    ),
    (
        "telemetry: {endpoint: 'http://a', headers: {a: 'c '}}",
        "telemetry.headers.a: has characters that are not allowed in an HTTP header",
    ),
    ("store: {secret_key: 'abc'}", BAD_SECRET_KEY),
    ("store: {secret_key: 'zz'}", BAD_SECRET_KEY),
    (f"store: {{secret_key: '{'g' * 64}'}}", BAD_SECRET_KEY),
    (f"store: {{secret_key: '{'ab' * 31}'}}", BAD_SECRET_KEY),
    ("store: {secret_key: 'é'}", BAD_SECRET_KEY),
    ("store: {secret_key: ''}", "store.secret_key: is empty"),
    ("store: {secret_key: 'env:NONE'}", "store.secret_key: the environment variable NONE is not set"),
    ("hosted: {tombstone_days: 0}", "hosted.tombstone_days: must be at least 1"),
    ("blobs: {url: 's3://'}", f"blobs.url: must be s3://BUCKET/PREFIX{NAMES}"),
    ("blobs: {url: 's3://key:secret@bucket'}", f"blobs.url: must be s3://BUCKET/PREFIX{NAMES}"),
    ("blobs: {url: 'gs://bucket/a/../b'}", f"blobs.url: must be gs://BUCKET/PREFIX{NAMES}"),
    ("blobs: {url: 'az://bucket/a?sig=secret'}", f"blobs.url: must be az://BUCKET/PREFIX{NAMES}"),
    ("blobs: {url: 'file://blobs'}", f"blobs.url: {FOLDER_OR_BUCKET}"),
    ("blobs: {url: 'ftp://bucket'}", f"blobs.url: {FOLDER_OR_BUCKET}"),
    ("blobs: {region: eu-west-1}", "blobs.region: needs a blobs.url with s3://"),
    ("blobs: {url: 'gs://b', endpoint: 'http://h'}", "blobs.endpoint: needs a blobs.url with s3:// or az://"),
    ("blobs: {url: 's3://b', account: a}", "blobs.account: needs a blobs.url with az://"),
    ("blobs: {url: 's3://b', kms_key: k}", "blobs.kms_key: needs encryption 'aws:kms' or 'aws:kms:dsse'"),
    ("default_provider: opnai", "default_provider: unknown provider 'opnai'; did you mean 'openai'?"),
    ("providers: {olama: {backend: hosted}}", "providers.olama: unknown provider 'olama'; did you mean 'ollama'?"),
    ("providers: [ollama]", "providers: must be a map"),
    ("providers: {groq: }", "providers.groq: must be a map"),
    ("providers: {groq: {}}", "providers.groq.backend: is missing"),
    (
        "providers: {groq: {backend: host}}",
        "providers.groq.backend: must be 'hosted', 'unsupported', 'azure', 'azure_dated', 'berth', 'oci' or 'openai'",
    ),
    (
        "providers: {openai: {backend: openai}}",
        "providers.openai.keys: at least one is needed by backend 'openai', such as {name: main, value: 'env:NAME'}",
    ),
    (
        "providers: {openai: {backend: openai, keys: []}}",
        "providers.openai.keys: at least one is needed by backend 'openai', such as {name: main, value: 'env:NAME'}",
    ),
    (
        "providers: {azure: {backend: azure, keys: [{name: a, value: b}]}}",
        "providers.azure.base_url: is needed by backend 'azure', such as https://NAME.openai.azure.com",
    ),
    (
        "providers: {groq: {backend: openai, keys: [{name: a, value: b}]}}",
        "providers: groq needs a base_url with backend 'openai'; the default is OpenAI's own",
    ),
    (
        "providers: {openai: {backend: openai, base_url: 'api.openai.com', keys: [{name: a, value: b}]}}",
        "providers.openai.base_url: must be an http:// or https:// URL without user, query and fragment",
    ),
    (
        "providers: {openai: {backend: openai, keys: [{name: a, value: b}, {name: a, value: c}]}}",
        "providers.openai.keys: the name 'a' is used twice",
    ),
    (
        "providers: {openai: {backend: openai, keys: [{name: direct, value: b}]}}",
        "providers.openai.keys: the name 'direct' means callers' own keys; choose another one",
    ),
    (
        "providers: {ollama: {backend: hosted, base_url: 'http://h'}}",
        "providers.ollama.base_url: cannot be set with backend 'hosted', which calls no provider",
    ),
    ("exec: {driver: gvisor}", "exec.runsc: must be set, since exec.driver is gvisor"),
    ("exec: {cgroup: berth}", "exec.cgroup: must be auto, off or an absolute path, not 'berth'"),
    (
        "providers: {ollama: {backend: hosted, timeout_seconds: 30}}",
        "providers.ollama.timeout_seconds: cannot be set with backend 'hosted', which calls no provider",
    ),
    (
        "providers: {ollama: {backend: unsupported, keys: [{name: a, value: b}]}}",
        "providers.ollama.keys: cannot be set with backend 'unsupported', which calls no provider",
    ),
    (
        "providers: {openai: {backend: openai, keys: [{name: a, value: 'env:NOT_SET'}]}}",
        "providers.openai.keys[0].value: the environment variable NOT_SET is not set",
    ),
    (
        "providers: {openai: {backend: openai, timeout_seconds: 0, keys: [{name: a, value: b}]}}",
        "providers.openai.timeout_seconds: must be more than 0",
    ),
    ("auth: {mode: open}", "auth.mode: must be 'keys' or 'none'"),
    ("auth: {allow_direct_keys: perhaps}", "auth.allow_direct_keys: must be true or false"),
    ("auth: {virtual_keys: sk-bf-1}", "auth.virtual_keys: must be a list"),
    ("auth: {virtual_keys: [{name: a, value: sk-bf-1}]}", "auth.virtual_keys[0].tenant: is missing"),
    ("auth: {virtual_keys: [{name: 7, tenant: a, value: sk-bf-1}]}", "auth.virtual_keys[0].name: must be text"),
    ("auth: {virtual_keys: [{name: '', tenant: a, value: sk-bf-1}]}", "auth.virtual_keys[0].name: is empty"),
    ("auth: {virtual_keys: [{name: a, tenant: a, value: x}]}", "auth.virtual_keys[0].value: must begin with 'sk-bf-'"),
    ("auth: {virtual_keys: [{name: a, tenant: a, value: ''}]}", "auth.virtual_keys[0].value: is empty"),
    (
        "auth: {virtual_keys: [{name: a, tenant: a, value: sk-bf-}]}",
        "auth.virtual_keys[0].value: is only the prefix 'sk-bf-' and may be cut",
    ),
    (
        f"auth: {{virtual_keys: [{{name: a, tenant: a, value: sk-bf-{'0a' * 23}f}}]}}",
        (
            "auth.virtual_keys[0].value: has 47 hexadecimal digits after 'sk-bf-' and may be cut; "
            "a key of hexadecimal digits needs at least 48"
        ),
    ),
    (
        "auth: {virtual_keys: [{name: a, tenant: a, value: 'sk-bf-é'}]}",
        "auth.virtual_keys[0].value: has characters that are not allowed in an HTTP header",
    ),
    (
        "auth: {virtual_keys: [{name: a, tenant: a, value: 'file:/no/such'}]}",
        "auth.virtual_keys[0].value: cannot read the file /no/such: No such file or directory",
    ),
    (f"auth: {{virtual_keys: [{{{KEY}}}, {{{KEY}}}]}}", "auth.virtual_keys: the name 'a' is used twice"),
    (
        f"auth: {{virtual_keys: [{{{KEY}}}, {{name: b, tenant: b, value: sk-bf-1}}]}}",
        "auth.virtual_keys: 'a' and 'b' have the same value",
    ),
    (
        f"auth: {{virtual_keys: [{{{KEY}, providers: [gemni]}}]}}",
        "auth.virtual_keys[0].providers[0]: unknown provider 'gemni'; did you mean 'gemini'?",
    ),
    (
        f"auth: {{virtual_keys: [{{{KEY}, requests_per_minute: 0}}]}}",
        "auth.virtual_keys[0].requests_per_minute: must be at least 1",
    ),
    (
        "auth: {basic_users: [{name: 'a:b', tenant: a, password: p}]}",
        "auth.basic_users[0].name: must not contain ':', which ends the name in a Basic credential",
    ),
    ("auth: {basic_users: [{name: a, tenant: a, password: ''}]}", "auth.basic_users[0].password: is empty"),
    (
        "auth: {basic_users: [{name: a, tenant: a, password: p}, {name: a, tenant: b, password: q}]}",
        "auth.basic_users: the name 'a' is used twice",
    ),
    ("hosted: {default_minutes: 0}", "hosted.default_minutes: must be at least 1"),
    ("hosted: {default_minutes: 2.5}", "hosted.default_minutes: must be a whole number"),
    ("hosted: {default_minutes: many}", "hosted.default_minutes: must be a whole number"),
    ("hosted: {default_minutes: true}", "hosted.default_minutes: must be a number"),
    (
        "hosted: {max_minutes: 020}",
        "hosted.max_minutes: must be a number without a leading zero, not '020', which may be octal",
    ),
    (
        "hosted: {max_minutes: 1:30}",
        "hosted.max_minutes: must be a decimal number, not '1:30', which may be sexagesimal",
    ),
    (
        "providers: {openai: {backend: openai, timeout_seconds: 1:30.5, keys: [{name: a, value: b, weight: 01}]}}",
        (
            "providers.openai.keys[0].weight: must be a number without a leading zero, not '01', which may be octal\n"
            "providers.openai.timeout_seconds: must be a decimal number, not '1:30.5', which may be sexagesimal"
        ),
    ),
    (
        "data_dir: ~no-such-user/berth",
        "data_dir: the home folder ~no-such-user is unknown; write ./~ for a name with ~",
    ),
    ("hosted: {max_minutes: 10}", "hosted.default_minutes: must be at most 10, which is hosted.max_minutes"),
    ("hosted: {max_minutes: 2147483648}", "hosted.max_minutes: must be at most 2147483647"),
    (
        "hosted: {max_file_bytes: 4294967296}",
        "hosted.max_file_bytes: must be at most 4294967295: JSON carries sizes as 32-bit numbers",
    ),
    ("hosted: {max_container_bytes: 0}", "hosted.max_container_bytes: must be at least 1"),
    (
        "cors: {origins: ['https://app.example.com/']}",
        "cors.origins[0]: must be '*' or an origin such as https://app.example.com, not 'https://app.example.com/'",
    ),
]


@pytest.mark.parametrize(("text", "problem"), REFUSED, ids=[text for text, _ in REFUSED])
def test_a_wrong_setting_is_refused_by_name(write: Write, text: str, problem: str) -> None:
    """What cannot be stops the start with one line that names the setting as people write it."""
    assert problems(write(text)) == problem.splitlines()


@pytest.mark.parametrize(
    ("variable", "text", "problem"),
    [
        ("BERTH_LISEN__REST", "x", "unknown setting 'lisen' (from BERTH_LISEN__REST); did you mean 'listen'?"),
        (
            "BERTH_LISTEN__RST",
            "x",
            "unknown setting 'listen.rst' (from BERTH_LISTEN__RST); did you mean 'listen.rest'?",
        ),
        (
            "BERTH_LISTEN_REST",
            "x",
            "unknown setting 'listen_rest' (from BERTH_LISTEN_REST); did you mean BERTH_LISTEN__REST?",
        ),
        (
            "BERTH_EXEC__EGRESS_PORTS",
            "x",
            (
                "unknown setting 'exec.egress_ports' (from BERTH_EXEC__EGRESS_PORTS); "
                "did you mean BERTH_EXEC__EGRESS__PORTS?"
            ),
        ),
        ("BERTH_REST_PORT", "80", "unknown setting 'rest_port' (from BERTH_REST_PORT); did you mean 'rest'?"),
        ("BERTH_", "x", "unknown setting '' (from BERTH_)"),
        (
            "BERTH_HOSTED__MAX_MINUTES",
            "soon",
            "hosted.max_minutes (from BERTH_HOSTED__MAX_MINUTES): must be a whole number",
        ),
        (
            "BERTH_HOSTED__MAX_MINUTES",
            "020",
            (
                "hosted.max_minutes (from BERTH_HOSTED__MAX_MINUTES): "
                "must be a number without a leading zero, not '020', which may be octal"
            ),
        ),
        (
            "BERTH_PROVIDERS",
            '{"groq": {"backend": "hosted", "backend": "unsupported"}}',
            "providers (from BERTH_PROVIDERS): the setting 'backend' is given twice",
        ),
        ("BERTH_PROVIDERS", '{"\\ud800": {}}', "the name of a setting is not text: it has half of a surrogate pair"),
        ("BERTH_CORS__ORIGINS", "[" * 3000, "cors.origins (from BERTH_CORS__ORIGINS): is nested deeper than 32 levels"),
        (
            "BERTH_" + "__".join("A" * 33),
            "x",
            f"{'.'.join('a' * 33)} (from BERTH_{'__'.join('A' * 33)}): is nested deeper than 32 levels",
        ),
        ("BERTH_CORS__ORIGINS", "[oops", "cors.origins (from BERTH_CORS__ORIGINS): must be a list"),
        ("BERTH_PROVIDERS__OLAMA__BACKEND", "hosted", None),
    ],
)
def test_a_wrong_variable_is_refused_by_its_name_too(variable: str, text: str, problem: str | None) -> None:
    """Whoever set a variable finds its name in the message, unknown ones included."""
    expected = problem or f"providers.olama (from {variable}): unknown provider 'olama'; did you mean 'ollama'?"
    assert problems(None, {variable: text}) == [expected]


def test_all_problems_are_told_at_once(write: Write) -> None:
    """A start that fails is not a guessing game: one line for each problem."""
    path = write("lisen: {}\nhosted: {max_minutes: 0}\nauth: {mode: open}")
    assert len(problems(path, {"BERTH_STORE__URL": "x"})) == 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [", "is not YAML: while parsing a flow node"),
        (b"\xff\xfe\xfa", "is not YAML"),
        (b"- a\n- b\n", "is not a map of settings"),
        (b"just text", "is not a map of settings"),
        (b"auth: {mode: none}\nauth: {}", "is not YAML: the setting 'auth' is given twice"),
        (b"a: " + b"[" * 3000, "is not YAML: it is nested deeper than 32 levels"),
        (b"a: " + b"[" * 31 + b"]" * 31, "unknown setting 'a'"),
        (b"a: " + b"[" * 32 + b"]" * 32, "is not YAML: it is nested deeper than 32 levels"),
        (b"a: 2030-13-01", "is not YAML: a value does not have the form of its type"),
        (b"a: !!bool perhaps", "is not YAML: a value does not have the form of its type"),
        (b"a: &again [*again]", "unknown setting 'a'"),
        (b"#" * 4_194_305, "it has more than 4194304 bytes"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    """What is no YAML map is refused in one line that names the file."""
    path = tmp_path / "berth.yaml"
    path.write_bytes(content)
    (problem,) = problems(path)
    assert str(path) in problem or problem == message
    assert message in problem


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """A file that was named must be there."""
    path = tmp_path / "none.yaml"
    assert problems(path) == [f"cannot read the configuration file {path}: No such file or directory"]


def test_secrets_are_not_shown_in_refusals(write: Write) -> None:
    """A message about a key names the setting, never the key."""
    text = "auth: {virtual_keys: [{name: a, value: sesame, tenant: a}, {name: b, value: 'two words', tenant: b}]}"
    message = "\n".join(problems(write(text)))
    assert "auth.virtual_keys[0].value" in message
    assert "sesame" not in message
    assert "two words" not in message


@pytest.mark.parametrize(
    "text",
    ["value: sk-hush: x: y", "value: *sk-hush", "value: !sk-hush x", "value: 'sk-hush", "%TAG !a! sk-hush\na: !b!sk"],
)
def test_text_of_the_file_is_not_shown_in_refusals(write: Write, text: str) -> None:
    """A message about what is no YAML has the place of the mistake, and no text from there: it may be a secret."""
    (problem,) = problems(write(f"{text}\n"))
    assert "is not YAML: " in problem
    assert "line " in problem
    assert "sk-hush" not in problem
