"""Runs every case against both brokers and compares the transcripts."""

import pytest

import cases_admin
import cases_connection
import cases_fetch
import cases_metadata
import cases_produce
from compare import differences
from peer import Peer

CASES = {
    name: case
    for module in (cases_connection, cases_metadata, cases_produce, cases_fetch, cases_admin)
    for name, case in vars(module).items()
    if callable(case) and getattr(case, "__module__", "") == module.__name__ and not name.startswith("_")
}


@pytest.mark.parametrize("name", CASES)
def test_agrees(name, pair, accepted):
    transcripts = []
    for broker in pair:
        peer = Peer(broker, name)
        try:
            CASES[name](peer)
        finally:
            peer.disconnect()
        transcripts.append(peer.transcript)
    assert transcripts[1], "the case asked nothing"
    found = [d for d in differences(*transcripts) if not accepted.covers(name, d[0])]
    report = "\n".join(
        f"  {path}\n      kafka {str(kafka)[:300]}\n      {pair[0].kind} {str(ours)[:300]}"
        for path, kafka, ours in found[:40]
    )
    assert not found, f"{len(found)} fields differ\n{report}"


def test_every_accepted_difference_is_still_one(request, accepted):
    """Runs last. A row of docs/differences.md that nothing needs is out of date."""
    ran = {item.callspec.params["name"] for item in request.session.items if item.name.startswith("test_agrees")}
    if ran != set(CASES) or request.config.getoption("--broker") != "ottla":
        return
    assert accepted.unused() == []
