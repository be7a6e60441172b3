"""The chat in a terminal, built with Textual. `tui.app.ChatApp` shows a `tui.chat.session.ChatSession`.

These modules know no Textual:

- the models' thread: `worker`, `loading`, `pulling`, `phase`, `about`;
- what is typed: `commands`, `completions`, `mentions`, `editable`, `prompt_history`, `setting_fields`;
- what is shown: `entry`, `tagged_text`, `markdown_lines`, `reply_text`, `token_text`, `bars`, `metrics`;
- the chat: `chat.session`, `chat.interfaces`, `chat.reply_controller`.
"""
