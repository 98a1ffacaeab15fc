// What the page can do beyond being read: curves that are read off, a table that is sorted and filtered. Without it, all of the
// report is there. Nothing here makes HTML of text: every text goes in as text.
"use strict";

const STEP = 100; // rows shown at a time

/** Curves: the figures at the ε nearest to the pointer, or step by step with the arrow keys. */
for (const chart of document.querySelectorAll("svg.chart")) {
  const columns = [...chart.querySelectorAll(".at:has(title):has(.guide)")]; // a plugin's own drawing may have neither
  if (!columns.length) continue;
  const texts = columns.map((column) => column.querySelector("title").textContent);
  for (const column of columns) column.querySelector("title").remove(); // the browser would show it over ours
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  chart.after(tip);

  let now = -1;
  const show = (number) => {
    columns[now]?.classList.remove("on");
    now = number;
    const column = columns[number];
    tip.hidden = !column;
    if (!column) return;
    column.classList.add("on");
    tip.replaceChildren(...texts[number].split("\n").map((line) => {
      const row = document.createElement("div");
      row.textContent = line;
      return row;
    }));
    chart.setAttribute("aria-valuenow", number);
    chart.setAttribute("aria-valuetext", texts[number].replaceAll("\n", "; "));
    const plot = tip.parentElement.getBoundingClientRect();
    const guide = column.querySelector(".guide").getBoundingClientRect();
    const right = guide.left - plot.left + 12;
    const left = guide.left - plot.left - 12 - tip.offsetWidth;
    tip.style.left = `${Math.max(0, Math.min(right + tip.offsetWidth <= plot.width ? right : left, plot.width - tip.offsetWidth))}px`;
    tip.style.top = `${chart.getBoundingClientRect().top - plot.top + 24}px`;
  };
  columns.forEach((column, number) => {
    column.addEventListener("pointerenter", () => show(number));
    column.addEventListener("pointerdown", () => show(number));
  });
  chart.addEventListener("pointerleave", () => show(-1));
  chart.addEventListener("blur", () => show(-1));
  chart.addEventListener("focus", () => show(columns.length - 1));
  chart.addEventListener("keydown", (event) => {
    const to = { ArrowRight: now + 1, ArrowUp: now + 1, ArrowLeft: now - 1, ArrowDown: now - 1, Home: 0, End: columns.length - 1 }[event.key];
    if (event.key === "Escape") show(-1);
    if (to === undefined) return;
    event.preventDefault();
    show(Math.max(0, Math.min(columns.length - 1, to)));
  });
  chart.tabIndex = 0;
  chart.setAttribute("role", "slider");
  chart.setAttribute("aria-valuemin", 0);
  chart.setAttribute("aria-valuemax", columns.length - 1);
  chart.setAttribute("aria-valuenow", columns.length - 1);
  chart.setAttribute("aria-valuetext", texts.at(-1).replaceAll("\n", "; "));
}

/** Records: sorted by any column, filtered by words and by what a column says, a hundred at a time. */
const section = document.querySelector("main > section[aria-labelledby=records]"); // ids alone may be a plugin's too
const records = section?.querySelector("#all-records");
if (records) {
  const body = records.tBodies[0];
  const rows = [...body.rows];
  const words = rows.map((row) => row.textContent.toLowerCase());
  const tools = section.querySelector("#record-tools");
  const search = tools.querySelector("input");
  const choices = [...tools.querySelectorAll("select")];
  const told = section.querySelector("#record-count");
  const more = section.querySelector("#record-more");
  let order = rows.map((_, number) => number);
  let limit = STEP;

  const draw = () => {
    const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = order.filter((number) =>
      wanted.every((word) => words[number].includes(word)) &&
      choices.every((choice) => !choice.value || rows[number].cells[choice.dataset.column].textContent === choice.value));
    body.replaceChildren(...found.slice(0, limit).map((number) => rows[number]));
    const shown = Math.min(limit, found.length);
    told.textContent = `${shown.toLocaleString("en")} of ${found.length.toLocaleString("en")} shown` +
      (found.length < rows.length ? `, of ${rows.length.toLocaleString("en")} in all` : "");
    more.hidden = found.length <= limit;
  };
  const again = () => { limit = STEP; draw(); };

  const value = (number, column) => {
    const cell = rows[number].cells[column];
    return cell.dataset.v === undefined ? cell.textContent : cell.dataset.v === "" ? null : Number(cell.dataset.v);
  };
  const compare = (one, other) => typeof one === "number" ? one - other : one.localeCompare(other, "en", { numeric: true });
  const heads = [...records.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.ariaSort === "ascending";
      for (const one of heads) one.removeAttribute("aria-sort");
      head.ariaSort = down ? "descending" : "ascending";
      const keys = rows.map((_, number) => value(number, column));
      order.sort((one, other) => {
        const [a, b] = [keys[one], keys[other]];
        if (a === null || b === null) return (a === null) - (b === null); // what has no figure stands last, either way
        return (down ? -compare(a, b) : compare(a, b)) || one - other;
      });
      again();
    });
  });
  search.addEventListener("input", again);
  for (const choice of choices) choice.addEventListener("change", again);
  more.addEventListener("click", () => { limit += STEP; draw(); });
  tools.hidden = false;
  records.parentElement.classList.add("paged");
  draw();
}
