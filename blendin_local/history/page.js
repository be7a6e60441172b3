"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const body = document.body, details = document.getElementById("details");
  const articles = [...document.querySelectorAll("article")];
  const empty = [...details.childNodes];

  function make(name, text, className) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  }

  // Branches: every turn remembers which of its children the path led through last.

  const children = new Map(), latest = new Map();
  data.parents.forEach((parent, turn) => children.set(parent, [...(children.get(parent) ?? []), turn]));
  data.path.forEach(turn => latest.set(data.parents[turn], turn));

  function lead(through) {
    for (let turn = through; turn !== -1; turn = data.parents[turn]) latest.set(data.parents[turn], turn);
    const path = new Set();
    for (let turn = latest.get(-1); turn !== undefined; turn = latest.get(turn) ?? children.get(turn)?.at(-1)) path.add(turn);
    articles.forEach((article, turn) => { article.hidden = !path.has(turn); });
  }

  document.addEventListener("click", event => {
    const button = event.target.closest("button[data-to]");
    if (!button) return;
    forget();
    const turn = Number(button.dataset.to);
    lead(turn);
    const buttons = [...articles[turn].querySelectorAll("button[data-to]:enabled")];
    (buttons.find(each => each.className === button.className) ?? buttons[0])?.focus({preventScroll: true});
    articles[turn].scrollIntoView({block: "nearest"});
  });

  // Views

  for (const input of document.querySelectorAll("input[name=colours]")) {
    input.addEventListener("change", () => { body.dataset.colours = input.value; });
    if (input.checked) body.dataset.colours = input.value;
  }
  const reading = document.getElementById("reading");
  const read = () => {
    forget();
    body.classList.toggle("reading", reading.checked);
    document.querySelector("fieldset").disabled = reading.checked;
  };
  reading.addEventListener("change", read);

  // Tokens: the pointer shows one, a click or a key keeps it.

  let kept = null;

  function mark(token) {
    for (const old of document.querySelectorAll(".tokens .now")) old.classList.remove("now");
    if (!token) return;
    const turn = token.closest("article").dataset.turn;
    for (const part of token.parentNode.querySelectorAll(`[data-step="${token.dataset.step}"]`)) part.classList.add("now");
    describe(data.steps[turn], Number(token.dataset.step));
    body.classList.add("inspecting");
    details.hidden = false;
  }

  function keep(token) {
    kept = token;
    mark(token);
    token.scrollIntoView({block: "nearest"});
  }

  function forget() {
    kept = null;
    mark(null);
    details.replaceChildren(...empty);
    details.hidden = !wide.matches;
    body.classList.remove("inspecting");
  }

  for (const tokens of document.querySelectorAll(".tokens")) {
    const all = [...tokens.querySelectorAll("[data-step]")];
    tokens.addEventListener("pointerover", event => {
      const token = event.target.closest("[data-step]");
      if (token && event.pointerType === "mouse" && wide.matches) mark(token);
    });
    tokens.addEventListener("pointerleave", () => { if (wide.matches) kept ? mark(kept) : forget(); });
    tokens.addEventListener("click", event => {
      const token = event.target.closest("[data-step]");
      if (token && getSelection().isCollapsed) keep(token);
    });
    tokens.addEventListener("keydown", event => {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      const place = all.indexOf(kept), last = all.length - 1;
      const to = {ArrowRight: Math.min(place + 1, last), ArrowLeft: Math.max(place - 1, 0), Home: 0, End: last}[event.key];
      if (to === undefined) return;
      event.preventDefault();
      keep(all[to]);
    });
  }
  document.addEventListener("keydown", event => { if (event.key === "Escape") forget(); });

  // Details of a step

  const decimal = parts => (parts / 10000).toFixed(2);
  const percent = parts => parts < 0 ? "" : parts === 0 ? "<0.01%" : `${(parts / 100).toFixed(parts < 100 ? 2 : 1)}%`;

  function describe(steps, place) {
    const [source, token, why, figures, base, guide, blend] = steps[place];
    const head = make("header"), close = make("button", "×");
    close.setAttribute("aria-label", "Close");
    close.addEventListener("click", forget);
    head.append(make("span", data.tokens[token], "token"), close);
    const list = make("dl");
    figures.forEach((figure, i) => {
      if (figure >= 0) list.append(make("dt", data.figures[i]), make("dd", decimal(figure)));
    });
    details.replaceChildren(head, make("p", `${data.speakers[source]} · step ${place + 1} of ${steps.length}`), list);
    if (why) details.append(make("p", why, "why"));
    const columns = [["base", base], ["guide", guide], ["blend", blend]].filter(([, flat]) => flat.length);
    if (columns.length) details.append(table(columns, token));
  }

  function table(columns, token) {
    const rows = new Map(), made = make("table"), top = make("tr");
    columns.forEach(([, flat], column) => {
      for (let i = 0; i < flat.length; i += 2) {
        if (!rows.has(flat[i])) rows.set(flat[i], columns.map(() => -1));
        rows.get(flat[i])[column] = flat[i + 1];
      }
    });
    top.append(make("th", "candidate"), ...columns.map(([name]) => make("th", name)));
    for (const cell of top.children) cell.scope = "col";
    const head = make("thead"), content = make("tbody"), by = columns.length - 1;
    head.append(top);
    for (const [each, values] of [...rows].sort(([, a], [, b]) => b[by] - a[by])) {
      const row = make("tr", undefined, each === token ? "chosen" : ""), name = make("th", (each === token ? "✓ " : "") + data.tokens[each]);
      name.scope = "row";
      name.title = data.tokens[each];
      row.append(name, ...values.map(value => make("td", percent(value))));
      content.append(row);
    }
    made.append(head, content);
    return made;
  }

  const wide = matchMedia("(min-width: 72rem)");
  wide.addEventListener("change", () => { if (!kept) forget(); });
  read();
})();
