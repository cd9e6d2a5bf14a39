"""Whatever is asked of the described addresses, no answer is a fault of ours."""

from typing import Any

import pytest

schemathesis = pytest.importorskip("schemathesis")

from hypothesis import HealthCheck, Phase, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from fewmask.workbench.guard import MASK  # noqa: E402
from tests.workbench.data import TOKEN, client, opened, write_data  # noqa: E402

SETTINGS = settings(
    max_examples=6,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def test_no_described_address_answers_with_a_fault(tmp_path) -> None:
    write_data(tmp_path / "data", 1)
    with opened(tmp_path) as bench:
        page = client(bench, dev=True)
        described = page.get("/openapi.json").json()
        # Masks have a type of their own, of which schemathesis makes none.
        described["paths"]["/api/cases/{key}/outline/{d}"]["put"].pop("requestBody")
        schema = schemathesis.openapi.from_dict(described)
        masks = st.binary(max_size=80) | st.just(bytes(72)) | st.just(bytes([1]) * 72)
        keys = st.sampled_from([*bench.cases, "nothing"])
        asked = set()
        for found in schema.get_all_operations():
            operation = found.ok()
            cases = operation.as_strategy()

            @SETTINGS
            @given(cases, keys, masks)
            def ask(case, key, mask) -> None:
                method = case.method.upper()
                path = {**(case.path_parameters or {})}
                if "key" in path:
                    path["key"] = key
                address = case.path
                for name, value in path.items():
                    address = address.replace("{" + name + "}", str(value).replace("/", "%2F"))
                sent = {"Authorization": f"Bearer {TOKEN}"}
                more: dict[str, Any] = {}
                if method == "PUT" and "outline" in address:
                    more = {"content": mask}
                    sent |= {"content-type": MASK, "if-match": '"0"'}
                elif method in ("PUT", "POST"):
                    more = {"json": case.body if isinstance(case.body, dict | list) else {}}
                query = {k: v for k, v in (case.query or {}).items() if isinstance(v, int | str)}
                answer = page.request(method, address, params=query, headers=sent, **more)
                assert answer.status_code < 500, (method, address, answer.text)
                asked.add((method, case.path))

            ask()
        assert len(asked) >= 11
