"""Documents as `blendin tune --json` and `blendin compare --json` print them, written by hand.

The figures are made up, in the size of the demo pair's; what a test needs otherwise, it changes in a copy.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from blendin_local.compare.result import CompareReport
from blendin_local.methods import METHODS
from blendin_local.tune.result import TuneReport
from support.plain_data import from_plain

Document = dict[str, Any]


def compare_report(document: Document, answers: Iterable[Document] = ()) -> CompareReport:
    found: CompareReport = from_plain(CompareReport, document | {"answers": list(answers)})
    return found


def tune_report(document: Document) -> TuneReport:
    found: TuneReport = from_plain(TuneReport, document)
    return found


GAMMAS = tuple(place / 10 for place in range(11))
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>`|*{{7*7}}\x1b[31m\u202e%{x}"
"""A name that tries everything: HTML, Markdown, Jinja, Plotly, terminals, direction."""


def setting(method: str, gamma: float | None, bits: float, rate: float | None, **more: Any) -> Document:
    speed = 44.0 / (1 + 0.9 * (rate or 0.0))
    return {
        "method": method,
        "gamma": gamma,
        "alpha": None,
        "prior": None,
        "bits_per_byte": round(bits, 6),
        "interval": [round(bits - 0.021, 6), round(bits + 0.021, 6)],
        "fitting_bits_per_byte": round(bits - 0.003, 6),
        "held_out_bits_per_byte": round(bits + 0.004, 6),
        "held_out_interval": [round(bits - 0.026, 6), round(bits + 0.034, 6)],
        "intervention_rate": None if rate is None else round(rate, 6),
        "intervention_rate_interval": [None, None] if rate is None else [rate * 0.9, rate * 1.1],
        "tokens_per_second": round(speed, 4),
        "tokens_per_second_interval": [round(speed - 0.6, 4), round(speed + 0.7, 4)],
        "bytes_per_second": round(speed * 4.2, 4),
        "floored": None if rate is None else 0.0123 if method == "nudge" else 0.0,
        "pareto": False,
    } | more


_DEPTH = {
    "nudge": 0.05, "blendin": 0.15, "tuned": 0.152, "compete": 0.06, "moderate": 0.12, "doubt": 0.135,
    "tiered": 0.11,
}  # fmt: skip


def _settings() -> list[Document]:
    found = [
        setting("base", None, 0.859, 0.0),
        setting("guide", None, 0.869, None, tokens_per_second=71.0, bytes_per_second=241.0),
    ]
    for method in METHODS:
        depth = _DEPTH.get(method)
        if depth is not None:
            prior = -0.25 if method == "tuned" else None
            for gamma in GAMMAS:
                bits = 0.859 - depth * math.sin(gamma * 1.8) * (1 if method != "nudge" else 1.2 - gamma)
                found.append(setting(method, gamma, bits, gamma**1.4, prior=prior))
        elif method == "fixed":
            for alpha in (0.1, 0.3, 0.5, 0.7, 0.9):
                for gamma in GAMMAS:
                    bits = 0.859 - 0.14 * math.sin(gamma * 1.7) * (1 - abs(alpha - 0.5))
                    found.append(setting(method, gamma, bits, gamma**1.4, alpha=alpha))
    found.append(setting("ensemble", None, 0.722, 1.0))
    fastest = -1.0
    for each in sorted(found, key=lambda each: each["bits_per_byte"]):
        each["pareto"] = each["bytes_per_second"] > fastest
        fastest = max(fastest, each["bytes_per_second"])
    return found


def _calibration(shift: float) -> Document:
    bins = []
    for place in range(15):
        low, high = place / 15, (place + 1) / 15
        confidence = (low + high) / 2
        bins.append(
            {
                "low": low,
                "high": high,
                "count": 20 + 11 * place if place else 0,
                "confidence": confidence if place else None,
                "accuracy": max(0.0, confidence - shift * math.sin(confidence * 3)) if place else None,
            }
        )
    curve = [place / 10 for place in range(1, 11)]
    return {
        "curve": {
            "confidences": curve,
            "reliabilities": [max(0.0, c - shift * math.sin(c * 3)) for c in curve],
        },
        "ece_raw": 0.031 + shift / 4,
        "ece_fitted": 0.026,
        "bins": bins,
        "fitted_on": 2138,
        "measured_on": 2138,
    }


def tune_document(name: str = "demo") -> Document:
    settings = _settings()
    best = next(each for each in settings if (each["method"], each["gamma"]) == ("tuned", 0.8))
    return {
        "pair": {
            "name": name,
            "base": "gemma-3-270m Q4_K_M",
            "guide": "SmolLM2-135M-Instruct Q4_1",
            "base_fingerprint": "a5fd3b62230aa5ec",
            "guide_fingerprint": "0b2d9d8a77c1e0f4",
            "same_vocabulary": False,
        },
        "references": {
            "source": "the built-in set",
            "examples": 50,
            "positions": 4276,
            "bytes": 17958,
            "skipped": 0,
            "held_out_examples": 25,
            "seed": 0,
        },
        "base": {
            "bits_per_byte": 0.859,
            "interval": [0.836, 0.883],
            "tokens_per_second": 44.0,
            "bytes_per_second": 184.8,
            "accuracy": 0.572,
        },
        "guide": {
            "bits_per_byte": 0.869,
            "interval": [0.846, 0.892],
            "tokens_per_second": 71.0,
            "bytes_per_second": 241.0,
            "accuracy": 0.579,
        },
        "settings": settings,
        "best": dict(best),
        "recommendation": {
            "setting": dict(best),
            "single": "base",
            "held_out_bits_per_byte": best["held_out_bits_per_byte"],
            "held_out_single": 0.863,
            "gain": 1 - best["held_out_bits_per_byte"] / 0.863,
            "interval": [0.148, 0.201],
            "reason": "On the fitting half the blend is clearly better than either model alone.",
        },
        "prior": {"value": -0.25, "per_gamma": [{"gamma": gamma, "value": -0.25} for gamma in GAMMAS]},
        "calibration": {"base": _calibration(0.02), "guide": _calibration(0.11)},
        "uncertain": {
            "gamma": 0.4,
            "positions": 1283,
            "share": 0.3,
            "base_right": 0.23,
            "guide_right": 0.36,
            "both_right": 0.11,
            "only_base_right": 0.12,
            "only_guide_right": 0.25,
            "neither_right": 0.52,
            "mean_divergence": 0.41,
            "guide_rank": {
                "mean": 38.4, "median": 3.0, "top_10": 0.71, "top_50": 0.88, "top_100": 0.93,
                "top_90_mass": 0.9,
            },
        },
        "hint": {
            "intervention_rate": 0.3,
            "level": 0.2,
            "above": True,
            "note": "The guide would be asked at 30% of the steps at γ 0.4; the paper warns above 20%, which "
            "its own data support only in part.",
        },
        "verdict": "These two are worth blending: on held-out answers the blend needs 17.5% fewer bits per "
        "byte than the base alone (95% interval 14.8% to 20.1%), and 18.1% fewer than the guide alone.",
        "costs": {
            "base_s": 0.0201, "guide_s": [[1, 0.0108], [4, 0.0231], [16, 0.061]], "base_only_s": 0.0012,
            "blend_s": 0.0031, "guide_only_s": 0.0009,
        },
        "seconds": {"pass": 121.4, "analysis": 0.42},
        "versions": {"blendin_local": "0.1.0", "llama_cpp_python": "0.3.36"},
    }  # fmt: skip


def tune_degenerate() -> Document:
    """One setting, and null wherever a figure may be missing."""
    nothing = [None, None]
    only = dict.fromkeys(setting("base", None, 0, 0)) | {"method": "base", "pareto": True}
    only |= {name: nothing for name in only if name.endswith("interval")}
    alone = dict.fromkeys(("bits_per_byte", "tokens_per_second", "bytes_per_second", "accuracy"))
    ranks = dict.fromkeys(("mean", "median", "top_10", "top_50", "top_100", "top_90_mass"))
    shares = ("share", "base_right", "guide_right", "both_right", "only_base_right", "only_guide_right",
              "neither_right", "mean_divergence")  # fmt: skip
    return {
        "pair": {
            "name": None, "base": "a.gguf", "guide": "b.gguf", "base_fingerprint": "",
            "guide_fingerprint": "", "same_vocabulary": True,
        },
        "references": {
            "source": "", "examples": 1, "positions": 0, "bytes": 0, "skipped": 0, "held_out_examples": 0,
            "seed": 0,
        },
        "base": alone | {"interval": nothing},
        "guide": alone | {"interval": nothing},
        "settings": [only],
        "best": dict(only),
        "recommendation": {
            "setting": dict(only), "single": "base", "held_out_bits_per_byte": None, "held_out_single": None,
            "gain": None, "interval": nothing, "reason": "Too little data.",
        },
        "prior": {"value": 0.0, "per_gamma": []},
        "calibration": {
            role: {
                "curve": {"confidences": [], "reliabilities": []},
                "ece_raw": None, "ece_fitted": None, "bins": [], "fitted_on": 0, "measured_on": 0,
            }
            for role in ("base", "guide")
        },
        "uncertain": dict.fromkeys(shares) | {"gamma": 0.4, "positions": 0, "guide_rank": ranks},
        "hint": {"intervention_rate": 0.0, "level": 0.2, "above": False, "note": ""},
        "verdict": "There is too little data to say.",
        "costs": {
            "base_s": 0.02, "guide_s": [[1, 0.01]], "base_only_s": 0.0, "blend_s": 0.0, "guide_only_s": 0.0,
        },
        "seconds": {"pass": 0.0, "analysis": 0.0},
        "versions": {},
    }  # fmt: skip


# Comparisons


def arm(name: str, kind: str, **more: Any) -> Document:
    return {
        "name": name,
        "kind": kind,
        "pair": None,
        "base": None,
        "guide": None,
        "method": kind if kind in ("base", "guide") else None,
        "settings": {},
        "files": [{
            "role": kind, "name": f"{name}.gguf", "path": f"/models/{name}.gguf", "size_bytes": 253_000_000,
            "quantization": "Q4_K_M", "fingerprint": "a5fd3b62", "format": "plain",
        }],
        "peak_memory": 412_000_000,
        "family": {"base": "gemma3", "guide": "llama", "same": False},
    } | more  # fmt: skip


def task(name: str, **more: Any) -> Document:
    rest = {"source": None, "items": 50, "metric": "accuracy", "scale": [0, 1], "chance": None}
    return {"name": name, "task": name, **rest, "max_tokens": 512} | more


def cell(arm: str, task: str, value: float | None, rate: float | None = None, **more: Any) -> Document:
    around = None if value is None else [round(value - 0.1, 4), round(value + 0.1, 4)]
    return {
        "arm": arm,
        "task": task,
        "n": 50,
        "scored": 50,
        "value": value,
        "interval": around,
        "against": {"base": None, "guide": None},
        "intervention_rate": rate,
        "changed_rate": None if rate is None else rate * 0.6,
        "guide_word_rate": None if rate is None else rate * 0.7,
        "mean_alpha": None if rate is None else 0.63,
        "loop_share": 0.08,
        "length": {"mean_tokens": 148.2, "mean_bytes": 610.0},
        "shortened": 0,
        "finish_reasons": {"stop": 31, "stop string": 12, "length": 7},
        "tokens_per_second": 41.5,
        "options": None,
        "guide_rank": None if rate is None else {
            "mean": 22.1, "median": 2.0, "top_10": 0.8, "top_50": 0.9, "top_100": 0.95, "top_90_mass": 0.91,
        },
    } | more  # fmt: skip


def against(difference: float, p: float, base: str, guide: str, over_guide: float) -> Document:
    def tested(name: str, value: float) -> Document:
        bounds = [round(value - 0.09, 4), round(value + 0.09, 4)]
        return {
            "arm": name,
            "difference": value,
            "interval": bounds,
            "p": p / 4,
            "p_holm": p,
            "test": "McNemar",
        }

    return {"base": tested(base, difference), "guide": tested(guide, over_guide)}


_PAIRS = (
    # name, base, guide, one family?, lift over the base by task, intervention rates
    (
        "demo", "gemma-3-270m Q4_K_M", "SmolLM2-135M-Instruct Q4_1", False,
        (0.14, 0.06, 0.3), (0.09, 0.17, 0.24),
    ),
    (
        "smol-q8+q2", "SmolLM2-135M-Instruct Q8_0", "SmolLM2-135M-Instruct Q2_K", True,
        (-0.02, 0.0, -0.1), (0.2, 0.24, 0.3),
    ),
    (
        "smol-q2+q8", "SmolLM2-135M-Instruct Q2_K", "SmolLM2-135M-Instruct Q8_0", True,
        (0.06, 0.05, 0.12), (0.31, 0.33, 0.35),
    ),
)  # fmt: skip
_ALONE = {
    "gemma-3-270m Q4_K_M": (0.06, 0.28, 0.4),
    "SmolLM2-135M-Instruct Q4_1": (0.1, 0.3, 0.66),
    "SmolLM2-135M-Instruct Q8_0": (0.12, 0.32, 0.7),
    "SmolLM2-135M-Instruct Q2_K": (0.04, 0.26, 0.5),
}
_TASKS = ("gsm8k", "arc_challenge", "xstest")


def compare_document() -> Document:
    arms = [arm(name, "base" if "gemma" in name else "guide", base=name) for name in _ALONE]
    tasks = [
        task("gsm8k", source="data/gsm8k.jsonl"),
        task("arc_challenge", source="data/arc.jsonl", chance=0.25),
        task("xstest", source="data/xstest.csv", metric="compliance"),
    ]
    cells = []
    for name, values in _ALONE.items():
        for each, value in zip(_TASKS, values, strict=True):
            options = (
                {
                    "value": value + 0.04,
                    "interval": [value - 0.06, value + 0.14],
                    "normalised": {"value": value, "interval": None},
                }
                if each == "arc_challenge"
                else None
            )
            cells.append(cell(name, each, value, options=options))  # fmt: skip
    gain, gaps = [], []
    for pair, base, guide, same, lifts, rates in _PAIRS:
        for method, share in (("blendin", 1.0), ("nudge", 0.5)):
            name = f"{pair} {method} γ 0.40"
            family = {"base": "a", "guide": "a" if same else "b", "same": same}
            files = [arm(each, role)["files"][0] for each, role in ((base, "base"), (guide, "guide"))]
            arms.append(arm(name, "pair", base=base, guide=guide, method=method, family=family, files=files))
            for place, each in enumerate(_TASKS):
                alone, other = _ALONE[base][place], _ALONE[guide][place]
                value = round(alone + lifts[place] * share, 4)
                over = round(value - alone, 4), round(value - other, 4)
                tested = against(over[0], 0.012 if over[0] > 0.1 else 0.7, base, guide, over[1])
                cells.append(cell(name, each, value, rates[place], against=tested))
                gain.append({"arm": name, "task": each, "over_base": over[0], "over_guide": over[1]})
                gaps.append({"arm": name, "task": each, "gap": round(other - alone, 4), "gain": over[0]})
    return {
        "arms": arms,
        "tasks": tasks,
        "cells": cells,
        "fidelity": fidelity_entries(),
        "across": {
            "pairs": 3,
            "intervention_vs_metric": [
                {"task": name, "method": "blendin", "r": r, "p": p, "n": 3}
                for name, r, p in (
                    ("gsm8k", -0.41, 0.42),
                    ("arc_challenge", 0.12, 0.82),
                    ("xstest", None, None),
                )
            ],
            "gain": gain,
            "capability_gap": gaps,
            "family": {
                "within_mean": 0.018,
                "cross_mean": 0.125,
                "cohens_d": -1.1,
                "n_within": 2,
                "n_cross": 1,
            },
        },
        "disagreements": {"gsm8k": ["q2"], "xstest": ["x1"]},
        "seed": 0,
        "limit": 50,
        "max_tokens": 512,
        "hint_level": 0.25,
        "versions": {"blendin_local": "0.1.0", "llama_cpp_python": "0.3.36"},
        "seconds": 4211.5,
    }


def fidelity_entries() -> list[Document]:
    found = []
    for name, size, kld in (("Q8_0", 145, 0.0), ("Q4_1", 98, 0.0312), ("Q2_K", 88, 0.214)):
        is_reference = name == "Q8_0"
        entry: Document = {
            "model": f"SmolLM2-135M-Instruct {name}",
            "reference": "SmolLM2-135M-Instruct Q8_0",
            "size_bytes": size * 1_000_000,
            "peak_memory": (size + 90) * 1_000_000,
            "tokens_per_second": 70.0 + 100 * kld,
            "perplexity": 21.5 * math.exp(kld),
            "perplexity_se": 0.41,
            "bits_per_byte": 1.02 + kld / 3,
            "bits_per_byte_se": 0.0042,
            "ppl_ratio": None if is_reference else math.exp(kld),
            "ppl_ratio_se": None if is_reference else 0.0031,
            "ppl_difference": None if is_reference else 21.5 * (math.exp(kld) - 1),
            "ppl_difference_se": None if is_reference else 0.0723,
            "reference_perplexity": None if is_reference else 21.5,
            "reference_perplexity_se": None if is_reference else 0.4,
            "correlation": None if is_reference else 0.987,
            "kld": None,
            "delta_p": None,
            "same_top": None,
            "same_top_se": None,
            "positions": 10200,
            "bytes": 40800,
            "chunks": 40,
            "n_ctx": 512,
        }
        if not is_reference:
            entry["kld"] = {
                "mean": kld, "mean_se": kld / 90, "median": kld / 2, "p90": kld * 2.1, "p95": kld * 3,
                "p99": kld * 7, "p999": kld * 20, "max": kld * 51, "min": -0.00001, "p01": 0.0, "p1": 0.0001,
                "p5": 0.0003, "p10": 0.0005,
            }  # fmt: skip
            entry["delta_p"] = {
                "mean": -kld / 30, "mean_se": 0.0003, "rms": 0.031 + kld / 5, "rms_se": 0.0007, "max": 0.61,
                "p99": 0.11, "p95": 0.04, "p90": 0.02, "p75": 0.004, "median": -0.0001, "p25": -0.005,
                "p10": -0.03, "p5": -0.05,
                "p1": -0.14, "min": -0.72, "p01": -0.4, "p999": 0.3,
            }  # fmt: skip
            entry["same_top"], entry["same_top_se"] = 0.951 - kld / 2, 0.0021
        found.append(entry)
    return found


def answers() -> list[Document]:
    """Answers as `blendin compare --answers` writes them."""
    found = []
    replies = {
        "q1": ("The answer is 18.", "9 + 9 = 18, so 18."),
        "q2": ("She has 3 left.", "16 − 3 − 4 = 9 eggs, and 9 · 2 = 18 dollars."),
    }
    for item, texts in replies.items():
        for place, name in enumerate(
            ("gemma-3-270m Q4_K_M", "SmolLM2-135M-Instruct Q4_1", "demo blendin γ 0.40")
        ):
            text = texts[min(place, 1)]
            found.append(
                {
                    "task": "gsm8k", "item": item, "arm": name, "prompt": f"Question {item}: how many eggs?",
                    "expected": "18", "reply": text, "value": float("18" in text), "note": "",
                    "extracted": text.split()[-1], "finish_reason": "stop",
                }
            )  # fmt: skip
    return found


def compare_degenerate() -> Document:
    """One arm, one task without a scored answer, no fidelity, nothing across pairs."""
    family = {"base": "m", "guide": None, "same": True}
    only = arm("m", "model", files=[], peak_memory=None, family=family, base="m")
    empty = dict.fromkeys(cell("m", "custom", None)) | {"arm": "m", "task": "custom", "n": 0, "scored": 0}
    empty |= {"against": {"base": None, "guide": None}, "finish_reasons": {}, "shortened": 0}
    empty |= {"length": {"mean_tokens": None, "mean_bytes": None}}
    return {
        "arms": [only],
        "tasks": [
            task("custom", items=0),
            task("never run", items=0, metric="score", scale=[1, 5]),
        ],
        "cells": [empty],
        "fidelity": [],
        "across": None,
        "disagreements": {},
        "seed": 0,
        "limit": None,
        "max_tokens": None,
        "hint_level": 0.2,
        "versions": {},
        "seconds": 0.0,
    }  # fmt: skip


def compare_nothing() -> Document:
    return compare_degenerate() | {"arms": [], "tasks": [], "cells": []}


TUNE_DOCUMENTS = {"whole": tune_document, "degenerate": tune_degenerate}
COMPARE_DOCUMENTS = {"whole": compare_document, "degenerate": compare_degenerate, "nothing": compare_nothing}
