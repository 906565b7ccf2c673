"""Write the OpenAPI documents of both services, or with --check tell whether they have drifted."""

import json
import sys
from pathlib import Path

from vin.api.routes import ROUTES
from vin.keyholder.app import ROUTES as KEYHOLDER_ROUTES
from vin.web.openapi import document

SCHEMAS = Path(__file__).parents[1] / "schemas"
DOCUMENTS = {
    "openapi.json": document(ROUTES, "VIN index"),
    "openapi-keyholder.json": document(KEYHOLDER_ROUTES, "VIN sleutelhouder"),
}


def main() -> int:
    """Write what differs; with --check only name it, and exit 1."""
    drifted = []
    for name, content in DOCUMENTS.items():
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        path = SCHEMAS / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            drifted.append(name)
            if "--check" not in sys.argv:
                path.write_text(text, encoding="utf-8")
    for name in drifted:
        print(f"schemas/{name} differs from the code")
    return 1 if drifted and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
