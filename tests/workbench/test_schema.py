"""Whatever is asked of the described addresses, no answer is a fault of ours."""

import pytest

schemathesis = pytest.importorskip("schemathesis")

from hypothesis import HealthCheck, Phase, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from fewmask.workbench.guard import MASK  # noqa: E402
from tests.workbench.data import TOKEN, client, opened, write_data  # noqa: E402

SETTINGS = settings(
    max_examples=12,
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
        schema = schemathesis.openapi.from_dict(page.get("/openapi.json").json())
        keys = st.sampled_from([*bench.cases, "nothing"])
        asked = set()
        for found in schema.get_all_operations():
            operation = found.ok()
            cases = operation.as_strategy()

            @SETTINGS
            @given(cases, keys)
            def ask(case, key) -> None:
                method = case.method.upper()
                path = {**(case.path_parameters or {})}
                if "key" in path:
                    path["key"] = key
                address = case.path
                for name, value in path.items():
                    address = address.replace("{" + name + "}", str(value).replace("/", "%2F"))
                sent = {"Authorization": f"Bearer {TOKEN}"}
                body = case.body
                if isinstance(body, bytes):
                    more = {"content": body}
                    sent["content-type"] = MASK
                elif method in ("PUT", "POST") and not callable(body):
                    more = {"json": body if isinstance(body, dict | list) else {}}
                else:
                    more = {}
                if "outline" in address and method == "PUT":
                    sent["if-match"] = '"0"'
                query = {k: v for k, v in (case.query or {}).items() if isinstance(v, int | str)}
                answer = page.request(method, address, params=query, headers=sent, **more)
                assert answer.status_code < 500, (method, address, answer.text)
                asked.add((method, case.path))

            ask()
        assert len(asked) >= 11
