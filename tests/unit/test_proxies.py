"""Which proxy of the environment a request to a provider takes."""

import pytest

from berth.config import ConfigError, load
from berth.config.proxies import proxy_for

PROXY = "http://proxy.example:3128"
EVERY = {"HTTP_PROXY": "http://for-http:1", "HTTPS_PROXY": "http://for-https:2"}
PROVIDER = '{"backend": "openai", "base_url": "https://groq.example/v1", "keys": [{"name": "a", "value": "b"}]}'


@pytest.mark.parametrize(
    ("environ", "url", "proxy"),
    [
        ({}, "https://api.example", None),
        (EVERY, "https://api.example", "http://for-https:2"),
        (EVERY, "http://api.example", "http://for-http:1"),
        ({"ALL_PROXY": PROXY}, "https://api.example", PROXY),
        ({"ALL_PROXY": "http://other", "HTTPS_PROXY": PROXY}, "https://api.example", PROXY),
        ({"https_proxy": PROXY, "HTTPS_PROXY": "http://other"}, "https://api.example", PROXY),
        ({"https_proxy": "", "HTTPS_PROXY": PROXY}, "https://api.example", PROXY),
        ({"HTTPS_PROXY": "proxy.example:3128"}, "https://api.example", PROXY),
        (EVERY, "http://127.0.0.1:8080/v1", None),
        (EVERY, "http://127.1.2.3", None),
        (EVERY, "http://[::1]:8080", None),
        (EVERY, "https://localhost:8443", None),
        (EVERY, "https://berth.localhost", None),
    ],
)
def test_a_scheme_has_its_proxy(environ: dict[str, str], url: str, proxy: str | None) -> None:
    """The variable of the scheme comes before ALL_PROXY, lower case before upper case; this machine needs none."""
    found = proxy_for(url, environ)
    assert (found.url if found else None) == proxy


@pytest.mark.parametrize(
    ("no_proxy", "url", "is_direct"),
    [
        ("*", "https://api.example", True),
        ("api.example", "https://api.example", True),
        ("API.Example", "https://api.example:8443", True),
        ("other, api.example", "https://api.example", True),
        ("example", "https://api.example", True),
        (".example", "https://api.example", True),
        ("*.example", "https://api.example", True),
        ("pi.example", "https://api.example", False),
        ("api.example:443", "https://api.example", True),
        ("api.example:80", "https://api.example", False),
        ("10.1.2.3", "https://10.1.2.3", True),
        ("10.0.0.0/8", "https://10.1.2.3", True),
        ("10.1.2.3:8443", "https://10.1.2.3:8443", True),
        ("10.1.2.3:8443", "https://10.1.2.3", False),
        ("192.168.0.0/16", "https://10.1.2.3", False),
        ("fd00::/8", "https://[fd00::1]:8443", True),
        ("[fd00::1]:8443", "https://[fd00::1]:8443", True),
        ("3", "https://10.1.2.3", False),
        ("", "https://api.example", False),
    ],
)
def test_hosts_in_no_proxy_are_called_directly(no_proxy: str, url: str, *, is_direct: bool) -> None:
    """An entry is a host, a domain, an address or a network, with or without a port."""
    assert (proxy_for(url, {**EVERY, "NO_PROXY": no_proxy}) is None) == is_direct


def test_the_setting_of_a_provider_comes_first() -> None:
    """A configured proxy replaces the one of the environment."""
    environ = {"HTTPS_PROXY": PROXY, "BERTH_PROVIDERS__GROQ": PROVIDER}
    assert load(None, environ).proxy_of("groq") == PROXY
    own = PROVIDER.replace("{", '{"proxy": "http://own:1", ', 1)
    assert load(None, {**environ, "BERTH_PROVIDERS__GROQ": own}).proxy_of("groq") == "http://own:1"


def test_a_proxy_of_another_kind_is_refused_for_a_configured_provider() -> None:
    """The message names the variable and two ways out; a Berth that calls no provider starts."""
    environ = {"ALL_PROXY": "socks5://user:hidden@proxy.example:1080"}
    assert load(None, environ).proxy_of("openai") is None
    with pytest.raises(ConfigError) as refusal:
        load(None, {**environ, "BERTH_PROVIDERS__GROQ": PROVIDER})
    message = str(refusal.value)
    assert "ALL_PROXY must be an http:// or https:// URL to reach groq; add the provider to NO_PROXY" in message
    assert "hidden" not in message


def test_passwords_of_proxies_are_not_shown() -> None:
    """Neither the configuration nor the proxy shows the URL."""
    environ = {"HTTPS_PROXY": "http://user:hidden@proxy.example"}
    assert "hidden" not in repr(load(None, environ))
    assert "hidden" not in repr(proxy_for("https://api.example", environ))
