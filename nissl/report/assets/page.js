// Sorting, filtering and shading. The page reads well without it; text is only ever set as text.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("data").textContent);
  const find = (id) => document.getElementById(id);
  const BATCH = 40; // sentences added to the page at a time
  const FULL = 3; // z-score at which a colour is full

  for (const part of document.querySelectorAll("[data-script]")) part.hidden = false;

  function make(tag, text, className) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  }

  function signed(z) {
    return z === null ? "–" : (z < 0 ? "−" : "+") + Math.abs(z).toFixed(2);
  }

  // Table of neurons -------------------------------------------------------------------------

  const table = find("neuron-table");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const heads = Array.from(table.tHead.rows[0].cells);
  const property = find("neuron-property");
  const filter = find("neuron-filter");

  function showRows() {
    const wanted = filter.value.trim().toLowerCase();
    let shown = 0;
    for (const row of rows) {
      const fits =
        (property.value === "" || row.dataset.property === property.value) &&
        (wanted === "" || row.textContent.toLowerCase().includes(wanted));
      row.hidden = !fits;
      if (fits) shown += 1;
    }
    table.classList.toggle("one", property.value !== "");
    find("neuron-count").textContent = `${shown} of ${rows.length} rows`;
  }

  function sortRows(column) {
    const head = heads[column];
    const numeric = head.hasAttribute("data-number");
    const down = head.getAttribute("aria-sort") === "ascending";
    const key = (row) => {
      const text = row.cells[column].textContent;
      return numeric ? Number.parseFloat(text) : text.toLowerCase();
    };
    const keyed = rows.map((row, i) => [key(row), i, row]);
    keyed.sort((a, b) => {
      const order = numeric ? a[0] - b[0] : a[0].localeCompare(b[0], undefined, { numeric: true });
      return (down ? -order : order) || a[1] - b[1];
    });
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    body.append(...keyed.map((item) => item[2]));
  }

  heads.forEach((head, column) => {
    const button = make("button", head.textContent);
    button.type = "button";
    button.addEventListener("click", () => sortRows(column));
    head.replaceChildren(button);
  });
  for (const mark of body.querySelectorAll(".neuron")) {
    const button = make("button", mark.textContent, "neuron");
    button.type = "button";
    button.dataset.neuron = mark.dataset.neuron;
    mark.replaceWith(button);
  }
  body.addEventListener("click", (event) => {
    const button = event.target.closest("button.neuron");
    if (button) choose(button.dataset.neuron, button.closest("tr"));
  });
  property.addEventListener("change", showRows);
  filter.addEventListener("input", showRows);
  showRows();

  // One neuron -------------------------------------------------------------------------------

  function side(view, sign, title) {
    const out = make("div");
    out.append(make("h4", title));
    const words = make("p", undefined, "chips");
    for (const [where, word, z, count] of view.words) {
      if (where !== sign) continue;
      const chip = make("bdi", word);
      chip.title = `mean z ${signed(z)}, seen ${count} times`;
      words.append(chip, " ");
    }
    const list = make("ol");
    for (const [where, z, left, word, right] of view.contexts) {
      if (where !== sign) continue;
      const item = make("li");
      const line = make("bdi");
      line.append(left, " ", make("b", word), " ", right);
      item.append(make("span", signed(z), "num"), line);
      list.append(item);
    }
    out.append(words, list);
    return out;
  }

  function showDetail(neuron) {
    const panel = find("neuron-detail");
    const view = data.views[neuron];
    const title = make("h3");
    title.append(make("span", neuron, "neuron"));
    const places = data.properties
      .map((item) => [item.name, item.best.indexOf(neuron) + 1])
      .filter((item) => item[1] > 0)
      .map(([name, rank]) => `number ${rank} for ${name}`);
    panel.replaceChildren(title, make("p", places.join(", "), "note"));
    if (view) {
      const sides = make("div", undefined, "sides");
      sides.append(side(view, "+", "High on"), side(view, "-", "Low on"));
      panel.append(sides);
    } else {
      panel.append(make("p", "Its words and contexts were not part of this study.", "note"));
    }
    panel.hidden = false;
  }

  function choose(neuron, row) {
    for (const other of rows) other.removeAttribute("aria-selected");
    if (row) row.setAttribute("aria-selected", "true");
    showDetail(neuron);
    selectInText(neuron, row ? Number(row.dataset.property) : undefined);
  }

  // Text -------------------------------------------------------------------------------------

  const corpusSelect = find("text-corpus");
  const neuronSelect = find("text-neuron");
  const reader = find("text-view");
  const more = find("text-more");
  let spans = [];
  let sentences = 0;

  function text() {
    return data.texts[Number(corpusSelect.value)];
  }

  function labelsOf(view, token) {
    return Object.entries(view.labels)
      .filter(([, column]) => column.codes[token] >= 0)
      .map(([name, column]) => `${name}: ${column.names[column.codes[token]]}`);
  }

  function shade(from) {
    const view = text();
    const values = view.hundredths[view.neurons.indexOf(neuronSelect.value)];
    const root = getComputedStyle(document.documentElement);
    const high = root.getPropertyValue("--high");
    const low = root.getPropertyValue("--low");
    for (let token = from; token < spans.length; token += 1) {
      const z = values && values[token] !== null ? values[token] / 100 : null;
      const alpha = z === null ? 0 : (Math.min(Math.abs(z) / FULL, 1) * 0.8).toFixed(3);
      spans[token].style.backgroundColor = `rgba(${z > 0 ? high : low}, ${alpha})`;
      spans[token].title = [`z = ${signed(z)}`, ...labelsOf(view, token)].join("\n");
    }
  }

  function addSentences() {
    const view = text();
    const from = spans.length;
    const last = Math.min(sentences + BATCH, view.starts.length);
    for (; sentences < last; sentences += 1) {
      const line = make("p");
      line.dir = "auto";
      const stop = view.starts[sentences + 1] ?? view.forms.length;
      for (let token = view.starts[sentences]; token < stop; token += 1) {
        const word = make("span", view.forms[token]);
        spans.push(word);
        line.append(word, " ");
      }
      reader.append(line);
    }
    more.hidden = sentences >= view.starts.length;
    const cut = view.total > view.starts.length ? ` (of ${view.total} in the study)` : "";
    find("text-about").textContent =
      `${sentences} of ${view.starts.length} sentences${cut} of ${view.corpus}.`;
    shade(from);
  }

  function fillNeurons(preferred) {
    const view = text();
    const groups = [];
    const placed = new Set();
    for (const item of data.properties) {
      if (item.corpus !== view.corpus) continue;
      const names = item.best.filter((name) => view.neurons.includes(name) && !placed.has(name));
      names.forEach((name) => placed.add(name));
      if (names.length) groups.push([item.name, names]);
    }
    const rest = view.neurons.filter((name) => !placed.has(name));
    if (rest.length) groups.push(["other neurons", rest]);
    neuronSelect.replaceChildren(
      ...groups.map(([name, names]) => {
        const group = make("optgroup");
        group.label = `best for ${name}`.replace("best for other", "other");
        group.append(...names.map((neuron) => {
          const option = make("option", neuron);
          option.value = neuron;
          return option;
        }));
        return group;
      }),
    );
    if (view.neurons.includes(preferred)) neuronSelect.value = preferred;
  }

  function showText(preferred) {
    reader.replaceChildren();
    spans = [];
    sentences = 0;
    fillNeurons(preferred);
    addSentences();
  }

  function selectInText(neuron, index) {
    if (!corpusSelect) return;
    const wanted = index === undefined ? text().corpus : data.properties[index].corpus;
    const place = data.texts.findIndex((view) => view.corpus === wanted);
    const about = find("text-about");
    if (place >= 0 && String(place) !== corpusSelect.value) {
      corpusSelect.value = String(place);
      showText(neuron);
    }
    if (text().neurons.includes(neuron)) {
      neuronSelect.value = neuron;
      shade(0);
    } else {
      about.textContent = `${neuron} has no values in the text view; it shows ${neuronSelect.value}.`;
    }
  }

  if (corpusSelect && data.texts.length) {
    const first = data.properties[0];
    const place = first ? data.texts.findIndex((view) => view.corpus === first.corpus) : 0;
    corpusSelect.value = String(Math.max(place, 0));
    corpusSelect.addEventListener("change", () => showText(neuronSelect.value));
    neuronSelect.addEventListener("change", () => {
      shade(0);
      if (data.views[neuronSelect.value]) showDetail(neuronSelect.value);
    });
    more.addEventListener("click", addSentences);
    const dark = window.matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", () => shade(0));
    showText(first ? first.best[0] : undefined);
  }

  // Where in the page the reader is ----------------------------------------------------------

  const links = new Map();
  for (const link of document.querySelectorAll("nav li a")) links.set(link.hash.slice(1), link);
  const seen = new Set();
  const watcher = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        if (entry.isIntersecting) seen.add(entry.target.id);
        else seen.delete(entry.target.id);
      }
      let current = false;
      for (const [id, link] of links) {
        const here = !current && seen.has(id);
        if (here) link.setAttribute("aria-current", "true");
        else link.removeAttribute("aria-current");
        current = current || here;
      }
    },
    { rootMargin: "-10% 0px -75% 0px" },
  );
  for (const id of links.keys()) watcher.observe(find(id));
})();
