"""What a stack consists of, and where its parts go."""

import socket

import pytest

from headrace.local.launch import StackFailed
from headrace.local.ports import free_port, is_free
from headrace.local.services import service_names
from headrace.local.stack import EXTERNAL, NEEDED_BY, place_parts, plan, server_parts
from headrace.local.state import ProcessState, StackState


def test_everything_starts_by_default():
    """Servers first, then every service of the checkout."""
    names = [part.name for part in plan({}).parts if part.name not in NEEDED_BY]
    assert names == ["kafka", "object-store", "triton", *service_names()]


@pytest.mark.parametrize(("services", "started"), [(("gateway", "refinement"), True), (("gateway",), False)])
def test_a_chat_endpoint_starts_for_the_service_that_asks_it(services, started, monkeypatch):
    """It costs memory and time that a stack without refinement does not spend."""
    monkeypatch.setattr("headrace.local.stack.service_names", lambda: services)
    assert ("chat" in [part.name for part in plan({}).parts]) is started
    assert "chat" not in [part.name for part in plan({"HEADRACE_CHAT_URL": "http://llm.example/v1"}).parts]


def test_a_chat_endpoint_starts_where_it_is_named():
    """`headrace up --only chat` needs no service."""
    assert [part.name for part in plan({}, only=("chat",)).parts] == ["chat"]


@pytest.mark.parametrize(("part", "variable"), sorted(EXTERNAL.items()))
def test_a_setting_replaces_a_server(part, variable):
    """A server of the user's own is not started here, and is named as such."""
    planned = plan({variable: "db.example:1"}, services=False)
    assert part not in [each.name for each in planned.parts]
    assert planned.external == {part: "db.example:1"}


def test_an_empty_setting_replaces_nothing():
    """HEADRACE_KAFKA= is not a broker."""
    assert "kafka" in [each.name for each in plan({"HEADRACE_KAFKA": ""}, services=False).parts]


def test_only_what_is_named_starts():
    """A subset needs no more than itself; services wait for the servers that do start."""
    service = service_names()[0]
    parts = plan({}, only=("kafka", service)).parts
    assert [(part.name, part.needs) for part in parts] == [("kafka", ()), (service, ("kafka",))]


def test_a_name_that_is_no_part_is_refused():
    """The error lists what there is."""
    with pytest.raises(StackFailed, match=r"postgres.*kafka, object-store, triton"):
        plan({}, only=("postgres",))


def test_ports_differ_and_lie_outside_the_ephemeral_range(tmp_path):
    """No outgoing connection can take a port while its server restarts."""
    places = place_parts(server_parts(), tmp_path, StackState())
    ports = [port for place in places.values() for port in place.ports.values()]
    assert len(set(ports)) == len(ports)
    assert all(1024 < port < 32_768 for port in ports)


def test_ports_of_the_last_time_are_used_again(tmp_path):
    """State survives down and up, addresses included."""
    first = place_parts(server_parts(), tmp_path, StackState())
    earlier = StackState(processes={name: ProcessState(ports=dict(place.ports)) for name, place in first.items()})
    assert place_parts(server_parts(), tmp_path, earlier) == first


def test_a_port_that_was_taken_meanwhile_is_replaced(tmp_path):
    """Somebody else's server keeps it."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", free_port(set())))
        other.listen()
        taken = other.getsockname()[1]
        assert not is_free(taken)
        earlier = StackState(processes={"kafka": ProcessState(ports={"broker": taken, "controller": free_port({taken})})})
        place = place_parts(server_parts()[:1], tmp_path, earlier)["kafka"]
    assert place.ports["broker"] != taken
    assert place.ports["controller"] == earlier.processes["kafka"].ports["controller"]
