"""How much a pair repeats itself under several sampling settings: why its recommended ones are what they are.

    python docs/measure_sampling.py [PAIR]

Writes one reply of up to 160 tokens to each prompt under each setting and prints, per setting, the mean and
the worst share of repeated 4-grams, the mean length in words, the intervention rate, and how many replies
were cut off at the limit.
"""

from __future__ import annotations

import sys
from statistics import mean

from blendin_local.models.catalogue import load_catalogue
from blendin_local.models.loading import load_pair, locate_pair, name_pair, start_conversation
from blendin_local.settings import GenerationSettings, ModelOptions, SamplingSettings

PROMPTS = (
    "Tell me how a sailing ship finds its way across the open sea at night.",
    "Write a short letter to a friend about a walk in the mountains.",
    "Why do leaves change their colour in autumn?",
    "Give me three tips for sleeping better.",
    "Explain what a database index is.",
    "Write a poem about the sea.",
    "How do I make pancakes?",
    "What should I know before I adopt a dog?",
)


def repeated_4grams(text: str) -> float:
    """Share of a text's runs of four words that occurred before in it."""
    words = text.split()
    runs = [tuple(words[i : i + 4]) for i in range(len(words) - 3)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def main() -> None:
    catalogue = load_catalogue()
    files = locate_pair(catalogue, name_pair(catalogue, sys.argv[1] if len(sys.argv) > 1 else "demo"))
    settings = {
        "greedy": SamplingSettings(),
        "greedy, repetition penalty 1.1": SamplingSettings(repetition_penalty=1.1),
        "greedy, DRY 0.8": SamplingSettings(dry_multiplier=0.8),
        "temperature 0.7, no protection": SamplingSettings(temperature=0.7, min_p=0.05),
        "recommended": files.entry.sampling,
    }
    pair = load_pair(files, ModelOptions(n_ctx=1024))
    print("setting | repeated 4-grams | worst | words | interventions | cut off")
    for name, sampling in settings.items():
        replies = []
        for seed, prompt in enumerate(PROMPTS):
            generation = GenerationSettings(files.entry.blend, sampling, max_tokens=160, seed=seed)
            reply = start_conversation(files, pair, generation).send(prompt)
            list(reply)
            replies.append(reply)
        repeats = [repeated_4grams(reply.text) for reply in replies]
        print(
            f"{name} | {mean(repeats):.3f} | {max(repeats):.3f} | "
            f"{mean(len(reply.text.split()) for reply in replies):.0f} | "
            f"{mean(reply.summary.intervention_rate for reply in replies):.0%} | "
            f"{sum(reply.finish_reason == 'length' for reply in replies)} of {len(replies)}",
            flush=True,
        )
    pair.close()


if __name__ == "__main__":
    main()
