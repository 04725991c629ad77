"""What genai-prices reads out of responses.

A line of JSON in, with the extractor's name and a response's documents; a line of JSON out, with the counts of the last
document that has any.
"""

import json
import sys

from genai_prices.data import providers

EXTRACTORS = {(provider.id, e.api_flavor): e for provider in providers for e in provider.extractors or []}
FIELDS = ["input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "output_reasoning_tokens"]

for line in sys.stdin:
    asked = json.loads(line)
    extractor = EXTRACTORS[asked["provider"], asked["flavor"]]
    counts = None
    for document in asked["documents"]:
        try:
            _, usage = extractor.extract(document)
        except ValueError:
            continue
        counts = [usage.__dict__.get(field) for field in FIELDS]
    print(json.dumps({"id": asked["id"], "counts": counts}))
