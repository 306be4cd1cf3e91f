"""Hosts as they are typed for nodes, webhooks and the address to listen on."""

import pytest
from pydantic import ValidationError

from draw_api.models.hosts import check_host
from draw_api.models.nodes import NodeSettings
from draw_api.models.webhooks import NewWebhook
from draw_api.services.config_rules import disagreements
from draw_shared.contracts.server_config import NetworkConfig, ServerConfig

LONGEST_CONFIGURED = 200
LONGEST = ".".join(["a" * 63] * 3 + ["a" * 61])
WRONG = {
    "": "pacs.example.org",
    "   ": "pacs.example.org",
    "pacs..example.org": "two in a row",
    ".pacs.example.org": "begins with a dot",
    "pacs.example.org..": "two in a row",
    ".": "begins with a dot",
    f"{'a' * 64}.org": "63 characters",
    f"{LONGEST}a": "253 characters",
    "-pacs.example.org": "hyphen",
    "pacs-.example.org": "hyphen",
    "pacs.example-": "hyphen",
    "pacs example.org": "letters, digits",
    "pacs/example": "letters, digits",
    "pacs%eth0": "letters, digits",
    "http://pacs.example.org": "IPv6",
    "pacs.example.org:104": "port has a field",
    "[2001:db8::1]:104": "port has a field",
    "192.0.2.256": "IPv4",
    "192.0.2": "IPv4",
    "1": "IPv4",
    "192.0.2.017": "IPv4",
    "2001:db8:::1": "IPv6",
    "[2001:db8::1": "IPv6",
    "fe80::1%eth 0": "zone",
    "m\u00fcnchen..example": "IDNA",
    "\u2603.\ud7ff": "IDNA",
}
RIGHT = {
    "pacs": "pacs",
    " pacs.example.org ": "pacs.example.org",
    "PACS.Example.org.": "PACS.Example.org.",
    "my_pacs-2": "my_pacs-2",
    "3d.example.org": "3d.example.org",
    LONGEST: LONGEST,
    f"{LONGEST}.": f"{LONGEST}.",
    "192.0.2.17": "192.0.2.17",
    "2001:DB8:0::17": "2001:db8::17",
    "[2001:db8::17]": "2001:db8::17",
    "fe80::1%eth0": "fe80::1%eth0",
    "::ffff:192.0.2.17": "::ffff:192.0.2.17",
    "m\u00fcnchen.example": "xn--mnchen-3ya.example",
    "xn--mnchen-3ya.example": "xn--mnchen-3ya.example",
}


def problems_of(host):
    return disagreements(ServerConfig(network=NetworkConfig(host=host)))


def node(host):
    return NodeSettings(name="pacs", ae_title="PACS", port=104, host=host)


@pytest.mark.parametrize("typed", WRONG)
def test_what_can_be_no_host_is_refused_in_words_wherever_it_is_typed(typed):
    with pytest.raises(ValueError, match=WRONG[typed]):
        check_host(typed)
    with pytest.raises(ValidationError):
        node(typed)
    if len(typed) <= LONGEST_CONFIGURED:
        [problem] = problems_of(typed)
        assert problem.field == "network.host"
        assert WRONG[typed] in problem.message


@pytest.mark.parametrize("typed", RIGHT)
def test_names_and_addresses_are_taken_as_they_are_looked_up(typed):
    assert check_host(typed) in {RIGHT[typed], "::ffff:c000:211"}
    assert check_host(check_host(typed)) == check_host(typed)
    assert node(typed).host == check_host(typed)
    if len(typed) <= LONGEST_CONFIGURED:
        assert not problems_of(check_host(typed))


def test_an_address_to_listen_on_is_written_as_it_is_looked_up():
    [problem] = problems_of("[::1]")
    assert problem.message == "must be written as ::1"


@pytest.mark.parametrize("host", ["hooks..example.org", "-hooks.example", "192.0.2.256"])
def test_webhooks_follow_the_same_rule(host):
    with pytest.raises(ValidationError):
        NewWebhook(url=f"https://{host}/x")
    assert NewWebhook(url="https://[2001:db8::17]:8443/x")
