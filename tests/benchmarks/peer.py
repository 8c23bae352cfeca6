"""The peer: HealthChain's documented path, prefetch to validated FHIR objects, then one rule. `python peer.py PORT`

Runs in an environment of its own, with nothing of ours.
"""

import sys
from datetime import UTC, datetime

import uvicorn
from healthchain.fhir import convert_prefetch_to_fhir_objects
from healthchain.gateway import CDSHooksService, HealthChainAPI
from healthchain.models import Card, CDSRequest, CDSResponse

LOINC = {"2601-3", "19123-9"}
LIMIT = 0.70
EARLIEST = datetime(1, 1, 1, tzinfo=UTC)

service = CDSHooksService()


@service.hook("patient-view", id="magnesium-patient-view")
def call(request: CDSRequest) -> CDSResponse:
    """The latest magnesium, if low, is one card."""
    sent = {key: value for key, value in (request.prefetch or {}).items() if value is not None}
    found = convert_prefetch_to_fhir_objects(sent)
    if any(isinstance(value, dict) for value in found.values()):
        raise TypeError("a Bundle was not valid and would pass unread")
    results = [
        entry.resource
        for key, value in found.items()
        if key != "patient"
        for entry in value.entry or ()
        if entry.resource.get_resource_type() == "Observation"
    ]
    magnesium = [r for r in results if any(coding.code in LOINC for coding in r.code.coding or ())]
    latest = max(magnesium, key=lambda r: r.effectiveDateTime or EARLIEST, default=None)
    if latest is None or latest.valueQuantity is None or latest.valueQuantity.value >= LIMIT:
        return CDSResponse(cards=[])
    card = Card(
        summary=f"Low magnesium {latest.valueQuantity.value} mmol/L",
        indicator="warning",
        detail="Magnesium is below 0.70 mmol/L.",
        source={"label": "Peer"},
    )
    return CDSResponse(cards=[card])


app = HealthChainAPI()
app.register_service(service)

if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), workers=1, log_level="warning", access_log=False)
