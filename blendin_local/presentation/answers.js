
    // Answers side by side: whatever a model wrote is set as text, never as markup.
    const data = JSON.parse(document.getElementById("answers-data").textContent);
    const STEP = 20;
    const control = (name) => document.getElementById(name);
    const [task, arm, disagree, contains, list, more, found] =
        ["task", "arm", "disagree", "contains", "answers", "more", "found"].map(control);
    let shown = STEP;

    function element(name, text, className) {
        const made = document.createElement(name);
        made.textContent = text;
        if (className) made.className = className;
        if (name === "p" || name === "h4") made.dir = "auto";
        return made;
    }

    function options(select, first, names) {
        select.append(new Option(first, ""), ...names.map((name, place) => new Option(name, place)));
    }

    function reply(each) {
        const box = element("div", "", "reply");
        box.append(element("h4", data.arms[each.arm]));
        const said = element("div", "", "said");
        const value = each.value === null ? "not scored" : `score ${each.value}`;
        const best = each.value !== null && each.value >= each.high;
        said.append(element("span", value, "score " + (best ? "full" : each.value === each.low ? "none" : "")));
        const facts = [each.extracted && `read as “${each.extracted}”`, each.note, each.ended && `ended by ${each.ended}`];
        said.append(...facts.filter(Boolean).map((fact) => ` · ${fact}`));
        box.append(said, element("p", each.reply || "(nothing)"));
        return box;
    }

    function question(each) {
        const box = element("article", "", "question");
        const head = element("header", "");
        head.append(element("div", `${data.tasks[each.task]} · ${each.item}${each.disagree ? " · scores differ" : ""}`, "quiet"));
        head.append(element("p", each.prompt));
        if (each.expected) head.append(element("div", `expected: ${each.expected}`, "quiet"));
        const replies = element("div", "", "replies");
        replies.append(...each.replies.filter((one) => arm.value === "" || one.arm === Number(arm.value)).map(reply));
        box.append(head, replies);
        return box;
    }

    function matches(each) {
        if (task.value !== "" && each.task !== Number(task.value)) return false;
        if (disagree.checked && !each.disagree) return false;
        const wanted = contains.value.trim().toLowerCase();
        if (!wanted) return true;
        const read = each.replies.filter((one) => arm.value === "" || one.arm === Number(arm.value));
        return [each.item, each.prompt, each.expected, ...read.map((one) => one.reply)].some((text) => text.toLowerCase().includes(wanted));
    }

    function show() {
        const wanted = data.questions.filter(matches);
        list.replaceChildren(...wanted.slice(0, shown).map(question));
        more.hidden = wanted.length <= shown;
        const differ = wanted.filter((each) => each.disagree).length;
        found.textContent = `${wanted.length} of ${data.questions.length} questions; on ${differ} of them scores differ.`;
    }

    options(task, "every task", data.tasks);
    options(arm, "every arm", data.arms);
    for (const each of [task, arm, disagree, contains]) {
        each.addEventListener("input", () => { shown = STEP; show(); });
    }
    more.addEventListener("click", () => { shown += STEP; show(); });
    show();
