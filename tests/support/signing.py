"""The request signature `SDK-HMAC-SHA256`, written from its description and not from the vendor's client, so that a
test with it and a test with the vendor's client are two witnesses."""

import hashlib
import hmac
from datetime import datetime, timezone
from urllib.parse import parse_qsl, quote, unquote, urlsplit

ALGORITHM = "SDK-HMAC-SHA256"


def _encode(text):
    return quote(text, safe="-_.~")


def canonical_request(method, url, headers, signed, body):
    """The six parts of the request that are signed."""
    parts = urlsplit(url)
    path = "/".join(_encode(unquote(segment)) for segment in parts.path.split("/"))
    if not path.endswith("/"):
        path += "/"
    query = "&".join(
        f"{_encode(name)}={_encode(value)}" for name, value in sorted(parse_qsl(parts.query, keep_blank_values=True))
    )
    lower = {name.lower(): value.strip() for name, value in headers.items()}
    lines = "".join(f"{name}:{lower[name]}\n" for name in signed)
    return "\n".join([method, path, query, lines, ";".join(signed), hashlib.sha256(body).hexdigest()])


def sign(method, url, access_key, secret_key, headers=None, body=b"", now=None):
    """The headers of a signed request: those given, the date, the host and the signature."""
    headers = dict(headers or {})
    now = now or datetime.now(timezone.utc)
    headers["X-Sdk-Date"] = now.strftime("%Y%m%dT%H%M%SZ")
    headers.setdefault("Host", urlsplit(url).netloc)
    signed = sorted(name.lower() for name in headers)
    canonical = canonical_request(method, url, headers, signed, body)
    text = "\n".join([ALGORITHM, headers["X-Sdk-Date"], hashlib.sha256(canonical.encode()).hexdigest()])
    signature = hmac.new(secret_key.encode(), text.encode(), hashlib.sha256).hexdigest()
    headers["Authorization"] = (
        f"{ALGORITHM} Access={access_key}, SignedHeaders={';'.join(signed)}, Signature={signature}"
    )
    return headers
