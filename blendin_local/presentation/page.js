"use strict";
(() => {
    const figures = JSON.parse(document.getElementById("figures").textContent);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const touch = matchMedia("(hover: none), (pointer: coarse)").matches;
    const plots = [...document.querySelectorAll("[data-plot]")];

    // A plot takes the colours of the page, which are those of the reader's theme.
    function themed(figure) {
        const style = getComputedStyle(document.documentElement);
        const colour = (name) => style.getPropertyValue(name).trim();
        const layout = structuredClone(figure.layout);
        layout.paper_bgcolor = layout.plot_bgcolor = "rgba(0,0,0,0)";
        layout.font = { color: colour("--ink"), family: getComputedStyle(document.body).fontFamily, size: 13 };
        layout.hoverlabel = {
            align: "left", bgcolor: colour("--raised"), bordercolor: colour("--line"),
            font: { ...layout.font },
        };
        for (const name of Object.keys(layout)) {
            if (/^[xy]axis/.test(name)) {
                const own = { gridcolor: colour("--line"), zerolinecolor: colour("--muted"), linecolor: colour("--line") };
                layout[name] = { ...own, ...layout[name] };
                if (layout[name].title) layout[name].title = { ...layout[name].title, standoff: 8, font: { size: 13 } };
            }
        }
        // Under a narrow plot, which is less high, a legend needs a larger part of its height.
        if (layout.legend && layout.legend.y < 0 && innerWidth < 500) layout.legend.y *= 1.4;
        // On a touch screen a drag scrolls the page.
        if (touch) layout.dragmode = false;
        return layout;
    }

    // Plotly would offer to share a plot on its makers' server: nothing leaves this page.
    const config = {
        responsive: true, displaylogo: false, displayModeBar: touch ? false : "hover", plotlyServerURL: "",
        modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
    };

    function draw() {
        for (const place of plots) {
            const figure = figures[place.dataset.plot];
            Plotly.react(place, figure.data, themed(figure), config);
        }
    }

    draw();
    dark.addEventListener("change", draw);
    matchMedia("print").addEventListener("change", draw);

    for (const box of document.querySelectorAll("[data-intervals]")) {
        const figure = figures[box.dataset.intervals];
        const first = figure.data.map((trace) => trace.error_y ? trace.error_y.visible : undefined);
        box.addEventListener("change", () => {
            figure.data.forEach((trace, place) => {
                if (trace.error_y) trace.error_y = { ...trace.error_y, visible: box.checked || first[place] };
            });
            draw();
        });
    }

    // Tables are sorted by a click on a column's title.
    const number = (text) => {
        const found = text.replaceAll("−", "-").replaceAll(",", "").match(/^[<+]?(-?\d+(\.\d+)?)/);
        return found ? parseFloat(found[1]) : null;
    };
    for (const table of document.querySelectorAll("main table")) {
        const body = table.tBodies[0];
        if (body.rows.length < 3) continue;
        [...table.tHead.rows[0].cells].forEach((head, place) => {
            const button = document.createElement("button");
            button.textContent = head.textContent;
            head.replaceChildren(button);
            button.addEventListener("click", () => {
                const up = head.getAttribute("aria-sort") !== "ascending";
                for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
                head.setAttribute("aria-sort", up ? "ascending" : "descending");
                const value = (row) => row.cells[place].firstChild?.textContent.trim() ?? "";
                const rows = [...body.rows].sort((one, other) => {
                    const [a, b] = [number(value(one)), number(value(other))];
                    if (a === null && b === null) return value(one).localeCompare(value(other)) * (up ? 1 : -1);
                    // What was not measured stays at the end.
                    if (a === null || b === null) return a === null ? 1 : -1;
                    return (a - b) * (up ? 1 : -1);
                });
                body.append(...rows);
            });
        });
    }
{% if answers %}
{% include "answers.js" %}
{% endif %}
})();
