// Sorting of every table and the filter of the first page; pages read the same without it.
"use strict";

function valueOf(row, column, isNumber) {
  const cell = row.cells[column];
  if (column === 0) return cell.textContent.trim();
  if (cell.dataset.sort === undefined) return null;
  return isNumber ? Number(cell.dataset.sort) : cell.dataset.sort;
}

function compare(a, b, direction) {
  if (a === null || b === null) return (a === null) - (b === null); // without a value: last
  const order = typeof a === "number" ? a - b : a.localeCompare(b, "en");
  return direction * order;
}

function sortBy(table, head, button) {
  const isNumber = "number" in button.dataset;
  const before = head.getAttribute("aria-sort");
  const first = isNumber ? "descending" : "ascending";
  const other = isNumber ? "ascending" : "descending";
  const now = before === first ? other : first;
  for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", now);
  const body = table.querySelector("tbody.lines");
  const rows = Array.from(body.rows, (row) => [valueOf(row, head.cellIndex, isNumber), row]);
  rows.sort(([a], [b]) => compare(a, b, now === "ascending" ? 1 : -1));
  body.append(...rows.map(([, row]) => row));
}

function filterRows(form) {
  const wanted = form.elements.words.value.toLowerCase().split(/\s+/).filter(Boolean);
  const supervision = form.elements.supervision.value;
  let shown = 0;
  let total = 0;
  for (const table of document.querySelectorAll("table[data-filtered]")) {
    let here = 0;
    const rows = table.querySelectorAll("tbody.lines tr");
    for (const row of rows) {
      const isShown = wanted.every((word) => row.dataset.words.includes(word)) &&
        (supervision === "" || row.dataset.supervision === supervision);
      row.hidden = !isShown;
      here += isShown;
    }
    table.closest("section").querySelector(".nothing").hidden = here > 0 || rows.length === 0;
    shown += here;
    total += rows.length;
  }
  document.getElementById("count").textContent = `${shown} of ${total} rows`;
}

for (const table of document.querySelectorAll("table.sortable")) {
  for (const head of table.tHead.rows[0].cells) {
    const button = head.querySelector("button");
    button.addEventListener("click", () => sortBy(table, head, button));
  }
}

const form = document.getElementById("filter");
if (form) {
  form.hidden = false;
  form.addEventListener("input", () => filterRows(form));
  form.addEventListener("reset", () => setTimeout(() => filterRows(form)));
  form.addEventListener("submit", (event) => event.preventDefault());
  filterRows(form);
}

document.addEventListener("play", (event) => { // one sound at a time
  for (const audio of document.querySelectorAll("audio")) {
    if (audio !== event.target) audio.pause();
  }
}, true);
