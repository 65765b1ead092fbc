"""Measure what rate limits cost a turn: none, one of the key, all of key and person, side by side.

python bench/limits.py [--rounds N] [--json FILE]
"""

import json

import records

MANY = 10**9
ALL = {"requests_per_minute": MANY, "tokens_per_minute": MANY * 1_000, "parallel_streams": MANY}
ENVIRONMENTS = {
    "no limit": {},
    "requests of the key": {"GATEWAY_LIMITS__KEY__REQUESTS_PER_MINUTE": str(MANY)},
    "all of key and person": {"GATEWAY_LIMITS__KEY": json.dumps(ALL), "GATEWAY_LIMITS__PERSON": json.dumps(ALL)},
}

if __name__ == "__main__":
    records.main(ENVIRONMENTS, "rate limits")
