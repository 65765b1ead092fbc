"""What a scrape tells of replicas."""

from tests.gateway.fleet.conftest import Machine


async def test_a_scrape_shows_each_replica(machine: Machine) -> None:
    """In one state at a time; one that is gone is in none."""

    def state(name: str, model: str = "m") -> float | None:
        labels = {"model": model, "replica": f"{model}#0", "state": name}
        return machine.fleet.metrics.registry.get_sample_value("gateway_replica_state", labels)

    machine.fleet.apply([machine.deployment()])
    await machine.ready()
    assert (1, 0, 0) == (state("ready"), state("draining"), state("failed"))
    labels = {"model": "m", "replica": "m#0"}
    value = machine.fleet.metrics.registry.get_sample_value
    assert (value("gateway_replica_load_seconds", labels) or 0) > 0
    assert (value("gateway_replica_ready_timestamp_seconds", labels) or 0) > 1_700_000_000
    assert value("gateway_replica_restarts_total", labels) == 0
    machine.fleet.apply([machine.deployment("n")])
    await machine.ready("n")
    await machine.fleet.publish()
    while machine.members("m"):
        await machine.settled()
    await machine.fleet.publish()
    assert (0, 0, 1) == (state("ready"), state("stopped"), state("ready", "n"))
