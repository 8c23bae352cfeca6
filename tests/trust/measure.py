"""What the trust boundary costs: the same call with and without it. `python -m tests.trust.measure [calls]`.

Prints, in milliseconds, the median and 95th percentile of each way of calling, and the median of the processor time
in it: the wall time of a busy machine says little. The ways are interleaved, so that it troubles all alike.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import orjson

from cds_service import create_app
from cds_service.hooks import request as hook_request
from cds_service.hooks.app import load_content
from cds_service.logs import configure
from cds_service.sandbox.mock_ehr import Signer
from cds_service.settings import Settings
from tests.trust.support import BASE, SERVICE, body_for, client_entry, clients_file


def main(calls: int) -> None:
    configure("ERROR")
    content = load_content()
    folder = Path(tempfile.mkdtemp(prefix="measure-"))
    signer = Signer("https://ehr.example")
    file = clients_file(folder, client_entry(signer))
    app = create_app(Settings(data_dir=folder, public_url=BASE, clients=file), content=content)
    http = app.test_client()
    keep = hook_request.check
    small = orjson.dumps(body_for(app))
    large: dict[str, Any] = orjson.loads(small)
    bundle = large["prefetch"]["conditions"]
    subject = {"reference": "Patient/low-magnesium"}
    filler = {"resourceType": "Condition", "subject": subject, "code": {"text": "x" * 200}}
    bundle["entry"] = [*bundle.get("entry", []), *({"resource": filler | {"id": f"f{n}"}} for n in range(300))]
    bundle["total"] = len(bundle["entry"])
    for name, body in (("small", small), ("large", orjson.dumps(large))):
        told: dict[str, list[tuple[float, float]]] = {"bare": [], "input": [], "signature": [], "everything": []}
        use_token = app.extensions["advisor"].store.use_token
        for _ in range(calls):
            for way, times in told.items():
                hook_request.check = keep if way in ("input", "everything") else lambda _: None
                remember = use_token if way == "everything" else lambda *_: True
                app.extensions["advisor"].store.use_token = remember
                headers = {"Authorization": f"Bearer {signer.token(BASE + SERVICE)}"} if way[0] in "se" else {}
                start, used = time.perf_counter(), time.process_time()
                answer = http.post(SERVICE, data=body, content_type="application/json", headers=headers)
                times.append(((time.perf_counter() - start) * 1000, (time.process_time() - used) * 1000))
                assert answer.status_code == 200, answer.text
        print(f"{name} ({len(body) / 1024:.0f} KiB):")
        for way, times in told.items():
            wall = sorted(one for one, _ in times)
            cpu = statistics.median(one for _, one in times)
            p95 = wall[int(len(wall) * 0.95)]
            print(f"  {way:12} {statistics.median(wall):7.2f}   p95 {p95:7.2f}   cpu {cpu:6.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
