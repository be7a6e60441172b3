"""Two language models, one reply: prompts, blending, sampling and the decode loop. No llama.cpp in here."""
