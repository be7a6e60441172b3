"""Blend two quantized GGUF models token by token, and see which one to trust.

Importing the package loads neither llama.cpp nor Textual. As a library:

    from blendin_local.models.catalogue import load_catalogue
    from blendin_local.models.loading import load_pair, locate_pair, name_pair, start_conversation
    from blendin_local.settings import ModelOptions

    catalogue = load_catalogue()
    files = locate_pair(catalogue, name_pair(catalogue, "demo"))
    conversation = start_conversation(files, load_pair(files, ModelOptions()))
    reply = conversation.send("What is the capital of France?")
    for step in reply:
        print(step.text, step.source, step.c_b, step.alpha)
    conversation.keep(reply)
"""

__version__ = "0.1.0"
