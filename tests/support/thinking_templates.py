"""Chat templates in the manner of each family of models that think, without their tools."""

from __future__ import annotations

_TURNS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content.split('</think>')[-1].lstrip('\n') }}"
    "<|im_end|>\n{% endfor %}"
)

QWEN = (
    _TURNS + "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
    "{% endif %}"
)
"""Thinks, and begins its thinking itself, unless `enable_thinking` is false."""

OPENING = _TURNS + "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
"""Thinks always; the template begins it (distilled DeepSeek R1, OLMo 3 Think)."""

GRANITE = (
    "{% if thinking %}<|im_start|>system\nWrite your thoughts between <think></think>.<|im_end|>\n{% endif %}"
    + _TURNS + "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)  # fmt: skip
"""Thinks only where `thinking` is true."""

DEEPSEEK = (
    "{% if not thinking is defined %}{% set thinking = false %}{% endif %}"
    + _TURNS + "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if thinking %}<think>{% else %}</think>{% endif %}{% endif %}"
)  # fmt: skip
"""Thinks where `thinking` is true; a closing mark alone ends what did not begin (DeepSeek V3.1)."""

MISTRAL = (
    "{{ bos_token }}[SYSTEM_PROMPT]Draft your thoughts first: [THINK]thoughts[/THINK][/SYSTEM_PROMPT]"
    "{% for m in messages %}{% if m.role == 'assistant' %}{{ m.content }}{{ eos_token }}"
    "{% else %}[INST]{{ m.content }}[/INST]{% endif %}{% endfor %}"
)
"""Thinks always, between control tokens."""

GEMMA = (
    "{% if enable_thinking is defined and enable_thinking %}<|turn>system\n<|think|><turn|>\n{% endif %}"
    "{% for m in messages %}<|turn>{{ m.role }}\n"
    "{{ m.content.split('<channel|>')[-1] }}<turn|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|turn>model\n"
    "{% if not enable_thinking | default(false) %}<|channel>thought\n<channel|>{% endif %}{% endif %}"
)
"""Thinks in a channel where `enable_thinking` is true (Gemma 4)."""

HARMONY = (
    "<|start|>system<|message|>Reasoning: {{ reasoning_effort | default('medium') }}\n"
    "Valid channels: analysis, final.<|end|>{% for m in messages %}"
    "{% if m.role == 'assistant' %}<|start|>assistant<|channel|>final<|message|>{{ m.content }}<|end|>"
    "{% else %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)
"""Thinks always, in the channel analysis (gpt-oss)."""

PLAIN = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Cannot think."""

FAMILIES = {
    "qwen": QWEN,
    "opening": OPENING,
    "granite": GRANITE,
    "deepseek": DEEPSEEK,
    "mistral": MISTRAL,
    "gemma": GEMMA,
    "harmony": HARMONY,
}
