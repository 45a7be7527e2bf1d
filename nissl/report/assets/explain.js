// Sorting and filtering of the table of neurons. The page reads well without it.
(() => {
  "use strict";
  for (const part of document.querySelectorAll("[data-script]")) part.hidden = false;
  const table = document.getElementById("neuron-table");
  if (!table || !table.tBodies.length) return;
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const heads = Array.from(table.tHead.rows[0].cells);
  const filter = document.getElementById("neuron-filter");
  const beyond = document.getElementById("neuron-beyond");
  const counter = document.getElementById("neuron-count");
  const words = rows.map((row) => row.textContent.toLowerCase());

  function show() {
    const wanted = filter.value.trim().toLowerCase();
    let shown = 0;
    rows.forEach((row, i) => {
      const fits =
        (wanted === "" || words[i].includes(wanted)) &&
        (!beyond.checked || row.hasAttribute("data-beyond"));
      row.hidden = !fits;
      if (fits) shown += 1;
    });
    counter.textContent = `${shown} of ${rows.length} neurons`;
  }

  function sort(column) {
    const head = heads[column];
    const numeric = head.classList.contains("num");
    // The largest number first, the first word first; then the other way.
    const before = head.getAttribute("aria-sort");
    const down = numeric ? before !== "descending" : before === "ascending";
    const key = (row) => {
      const text = row.cells[column].textContent.trim();
      if (!numeric) return text;
      const value = Number.parseFloat(text.replaceAll(",", ""));
      return Number.isNaN(value) ? (down ? -Infinity : Infinity) : value;
    };
    const keyed = Array.from(body.rows, (row, i) => [key(row), i, row]);
    keyed.sort((a, b) => {
      let order = 0;
      if (!numeric) order = a[0].localeCompare(b[0], undefined, { numeric: true });
      else if (a[0] !== b[0]) order = a[0] < b[0] ? -1 : 1;
      return (down ? -order : order) || a[1] - b[1];
    });
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    body.append(...keyed.map((item) => item[2]));
  }

  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.addEventListener("click", () => sort(column));
    head.replaceChildren(button);
  });
  filter.addEventListener("input", show);
  beyond.addEventListener("change", show);
  show();
})();
