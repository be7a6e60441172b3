"""One sentence for every setting, for flags and preferences alike."""

from __future__ import annotations

__all__ = ["SETTING_HELP"]

SETTING_HELP = {
    # BlendSettings
    "method": "How to blend (docs/method.md).",
    "gamma": "Consult the guide where the base's confidence is less.",
    "alpha": "The guide's share under the method fixed.",
    "prior": "Shifts the paper's weight: above 0 to the guide, below 0 to the base (method tuned).",
    "compete_k": "The guide's favourite must be among so many of the base's (method compete).",
    "tau": "Below this confidence of the base the guide's share is 0.7 (method tiered).",
    "unit": "word: the guide finishes the word it began.",
    "max_intervention_rate": "The guide steps in at no more than this share of the steps; 1: no cap.",
    "capability_gap": "Guide's benchmark score minus the base's, -1 to 1: above 0 raises gamma.",
    "guide_stop": "Ask the guide when to stop.",
    # SamplingSettings
    "temperature": "0: greedy, without the pair's penalties.",
    "min_p": "Keep those with at least this share of the best.",
    "top_k": "Keep the k most probable; 0: all.",
    "top_p": "Keep the most probable that sum to p; 1: all.",
    "repetition_penalty": "Makes what was written already less probable; 1: off.",
    "presence_penalty": "The same, by subtracting once; 0: off.",
    "frequency_penalty": "The same, once for each time it was written; 0: off.",
    "dry_multiplier": "Penalty on repeated runs; 0: none.",
    "dry_base": "How fast that penalty grows with the length of the run, 1 to 10.",
    "dry_allowed_length": "Repeated runs shorter than this are free.",
    "penalty_window": "How many latest outcomes penalties look at.",
    # GenerationSettings
    "max_tokens": "Longest reply, in steps.",
    # ModelOptions
    "n_ctx": "Context length in tokens; 0: what the model was trained for.",
    "n_batch": "Most tokens in one decode.",
    "n_threads": "CPU threads; 0: the number of physical cores.",
    "n_gpu_layers": "Layers on the GPU; -1: all, where there is one.",
    "kv_type": "Number format of the KV caches.",
    "flash_attention": "Flash attention.",
    "swa_full": "Keep sliding windows whole, to rewind fast.",
    "mmap": "Map the files instead of reading them.",
    "mlock": "Forbid swapping the models out.",
}
