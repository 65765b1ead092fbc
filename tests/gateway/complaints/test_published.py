"""What the workers know of a case."""

from redis.asyncio import Redis

from gateway.complaints.published import ANSWERED, DECIDED_SECONDS, Board, Status

OPEN_CASE = Status("cmp_1", "acme", 100, 200)
DECIDED = Status("cmp_1", "acme", 100, 200, ANSWERED, "谢谢", 150)


async def test_an_open_case_never_hides_a_decision(redis: "Redis") -> None:
    """Whoever comes late with what was so before changes nothing."""
    board = Board(redis, "complaints")
    await board.publish(OPEN_CASE)
    assert await board.read("cmp_1", "acme") == OPEN_CASE
    await board.publish(DECIDED)
    await board.publish(OPEN_CASE)
    assert await board.read("cmp_1", "acme") == DECIDED
    assert 0 < await redis.ttl("gw:complaints:cmp_1") <= DECIDED_SECONDS


async def test_another_tenant_knows_nothing(redis: "Redis") -> None:
    """Nor does anybody of a case of the other kind."""
    await Board(redis, "complaints").publish(DECIDED)
    assert await Board(redis, "complaints").read("cmp_1", "other") is None
    assert await Board(redis, "appeals").read("cmp_1", "acme") is None


def test_an_open_case_has_no_answer() -> None:
    """What was not decided has no field for it."""
    assert OPEN_CASE.document() == {"id": "cmp_1", "status": "open", "received_at": 100, "due_at": 200}
    assert (DECIDED.document()["answer"], DECIDED.document()["decided_at"]) == ("谢谢", 150)
