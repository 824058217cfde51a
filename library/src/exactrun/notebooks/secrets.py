"""Tokens and keys in a text, by the patterns of those who issue or look for them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator

_NAMED = r"\W{1,12}"
"""What stands between the name of a setting and its value, as in `os.environ["NAME"] = "…"`."""

KINDS = (
    # Lengths, alphabets and the least entropy are those of gitleaks 8 (cmd/generate/config/rules).
    ("a GitHub token", ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), r"\bgh[pousr]_[A-Za-z0-9]{36,}\b"),
    ("a GitHub token", ("github_pat_",), r"\bgithub_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}\b"),
    ("a Google API key", ("AIza",), r"\bAIza[\w-]{35}(?![\w-])"),
    ("a Google access token", ("ya29.",), r"\bya29\.[\w-]{30,}"),
    ("a Google client secret", ("GOCSPX-",), r"\bGOCSPX-[\w-]{28}(?![\w-])"),
    ("a Hugging Face token", ("hf_",), r"\bhf_[A-Za-z0-9]{34,40}\b"),
    ("a Hugging Face token", ("api_org_",), r"\bapi_org_[A-Za-z]{34}\b"),
    # Each key of OpenAI holds "OpenAI" in base64; detect-secrets and gitleaks look for that.
    ("an OpenAI key", ("T3BlbkFJ",), r"\bsk-[\w-]{20,100}T3BlbkFJ[\w-]{20,}"),
    ("an Anthropic key", ("sk-ant-",), r"\bsk-ant-[a-z]{3,5}\d\d-[\w-]{80,}"),
    ("an AWS key", ("AKIA", "ASIA", "ABIA", "ACCA"), r"\bA(?:KI|SI|BI|CC)A[A-Z2-7]{16}\b"),
    (
        "an AWS secret key",
        ("aws_secret_access_key", "AWS_SECRET_ACCESS_KEY"),
        rf"(?i:aws_secret_access_key){_NAMED}([A-Za-z0-9/+]{{40}})(?![A-Za-z0-9/+=])",
    ),
    # Kaggle's: the token of 2025 on, and the key of kaggle.json, also as an escaped string.
    ("a Kaggle token", ("KGAT_",), r"\bKGAT_[0-9a-f]{32}\b"),
    ("a Kaggle key", ("KAGGLE_KEY",), rf"\bKAGGLE_KEY{_NAMED}([0-9a-f]{{32}})\b"),
    (
        "a Kaggle key",
        ("username",),
        r"\busername\W{3,9}[\w-]{1,60}\W{3,12}key\W{3,9}([0-9a-f]{32})\b",
    ),
    # The older key of Weights & Biases is 40 digits, as a commit is; so only where it is named.
    ("a Weights & Biases key", ("wandb_v1_",), r"\bwandb_v1_\w{40,}"),
    ("a Weights & Biases key", ("WANDB_API_KEY",), rf"\bWANDB_API_KEY{_NAMED}([0-9a-f]{{40}})\b"),
    (
        "a Weights & Biases key",
        ("wandb.login", "wandb login"),
        r"\bwandb(?:\.login\([^)\n]{0,40}?['\"]| login (?:--\w+ ){0,2})([0-9a-f]{40})\b",
    ),
    (
        "a private key",  # a service account's JSON holds one, with its line ends escaped
        ("PRIVATE KEY",),
        r"-----BEGIN (?:[A-Z]{2,10} ){0,2}PRIVATE KEY(?: BLOCK)?-----[\s\\nr\"',+]{1,40}"
        r"([A-Za-z0-9+/]{40,})",
    ),
)
"""What is found: its name, texts of which one must be there (to look no further in megabytes of
outputs), and its pattern, whose group, if there is one, is the secret itself."""

LEAST_ENTROPY = 2.5
"""In bits for each character: below it, as in `hf_xxxx…`, the text is a placeholder."""

PLACEHOLDER = re.compile(r"(?i)x{4}|0{6}|1234567|abcdef|example|your|placeholder|dummy")


def find_secrets(text: str) -> Iterator[tuple[str, str]]:
    """Yield each secret in a text once: what it is, and itself. The time is linear in the text."""
    seen = set()
    for kind, signs, pattern in KINDS:
        if not any(sign in text for sign in signs):
            continue
        for found in re.finditer(pattern, text):
            secret = found[found.lastindex or 0]
            if secret not in seen and _entropy(secret) >= LEAST_ENTROPY:
                seen.add(secret)
                if not PLACEHOLDER.search(secret):
                    yield kind, secret


def _entropy(text: str) -> float:
    """Return Shannon's entropy of a text's characters, in bits."""
    counts = Counter(text).values()
    return -sum(count / len(text) * math.log2(count / len(text)) for count in counts)
