from keywords.risks import RISKS


def test_there_are_31_risks_with_their_floors() -> None:
    """Annex A: 8 + 9 + 5 + 7 + 2; clause 8.1: 200 entries for each of A.1, 100 for each of A.2."""
    groups = [sum(risk.id.startswith(f"A{n}") for risk in RISKS.values()) for n in range(1, 6)]
    assert ([8, 9, 5, 7, 2], 31) == (groups, len(RISKS))
    assert {"A1": 200, "A2": 100, "A3": 0, "A4": 0, "A5": 0} == {risk.id[:2]: risk.floor for risk in RISKS.values()}
    assert ("A1a", "A5b") == (min(RISKS), max(RISKS))
