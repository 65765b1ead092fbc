"""Labels on generated text."""

import json

import pytest

from gateway import keys
from gateway.labels import Labels, implicit
from gateway.settings import Settings, SettingsInvalid, load
from tests.fakes import WORDS
from tests.gateway.conftest import MODEL, SECRET, Running, ring_document

ASK = {"model": MODEL, "messages": [{"role": "user", "content": "你好"}]}


async def test_each_key_has_its_label(gateway: Running) -> None:
    """`suffix` ends the text with it, whole and streamed; the others add nothing."""
    text = "".join(WORDS)
    label = Labels().text
    for kind, expected in (("interface", text), ("suffix", text + label), ("none", text)):
        gateway.services.take_keys(ring_document(content_label=kind))
        async with gateway.client() as client:
            whole = (await client.post("/v1/chat/completions", json=ASK)).json()
            streamed = (await client.post("/v1/chat/completions", json={**ASK, "stream": True})).text
        assert expected == whole["choices"][0]["message"]["content"]
        assert (label in streamed) == (kind == "suffix")
    assert keys.digest(SECRET) in ring_document()


@pytest.mark.parametrize(
    "form", [{"response_format": {"type": "json_object"}}, {"guided_json": {}}, {"grammar": "root ::= [a-z]"}]
)
async def test_an_answer_that_a_program_reads_has_no_suffix(gateway: Running, form: dict[str, object]) -> None:
    """Words after JSON would break it."""
    gateway.services.take_keys(ring_document(content_label="suffix"))
    async with gateway.client() as client:
        for stream in (False, True):
            answer = await client.post("/v1/chat/completions", json={**ASK, **form, "stream": stream})
            assert Labels().text not in answer.text
            assert answer.status_code == 200


async def test_the_implicit_label_is_a_header(gateway: Running) -> None:
    """One block of strings with the content id, where a producer is configured and the header is wanted."""
    gateway.set_stages(labels=Labels(producer="91110000XX", header=True))
    async with gateway.client() as client:
        for stream in (False, True):
            answer = await client.post("/v1/chat/completions", json={**ASK, "stream": stream})
            block = json.loads(answer.headers["x-aigc"])["AIGC"]
            assert ("1", "91110000XX", answer.headers["x-content-id"]) == (
                block["Label"],
                block["ContentProducer"],
                block["ProduceID"],
            )
            assert all(isinstance(value, str) for value in block.values())


def test_the_block_has_every_field() -> None:
    """Those of the standard, in its order."""
    names = [
        "Label",
        "ContentProducer",
        "ProduceID",
        "ReservedCode1",
        "ContentPropagator",
        "PropagateID",
        "ReservedCode2",
    ]
    assert names == list(implicit("a", "b")["AIGC"])


def test_no_producer_is_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its code there is no implicit label, and asking for one says so."""
    assert [] == Labels().headers("id")
    monkeypatch.setenv("GATEWAY_LABELS__HEADER", "true")
    with pytest.raises(SettingsInvalid, match=r"labels\.header"):
        load()
    monkeypatch.setenv("GATEWAY_LABELS__PRODUCER", "91110000XX")
    assert isinstance(load(), Settings)
