"use strict";

const status_line = document.getElementById("status");

// ---- tables: sorted by their headings, the first rows until all are asked for ----

const MORE_ROWS = 1000;
const VERDICTS = ["failed", "inconclusive", "untested", "passed"];
const by_text = new Intl.Collator("en", { numeric: true }).compare;

function key_of(text, kind) {
  if (kind === "verdict") return VERDICTS.indexOf(text);
  if (kind === "text") return text;
  if (text === "") return -Infinity;
  if (/^-?inf$/.test(text)) return text === "inf" ? Infinity : -Infinity;
  const number = parseFloat(text.replaceAll(",", ""));
  return Number.isNaN(number) ? Infinity : number; // what is no number is as bad as can be
}

function rows_of(table) {
  return Array.from(table.tBodies).flatMap((body) => Array.from(body.rows));
}

/** Put rows into a table: as many as there were where they are seen, the others where they are not. */
function put_rows(table, rows) {
  const bodies = Array.from(table.tBodies);
  const first = bodies[0].rows.length;
  // All are taken out first: to move 10 000 rows one by one takes half a minute.
  for (const body of bodies) body.replaceChildren();
  fill(bodies[0], rows.slice(0, first));
  if (bodies.length > 1) fill(bodies[1], rows.slice(first));
}

function fill(body, rows) {
  const fragment = document.createDocumentFragment();
  for (const row of rows) fragment.append(row);
  body.append(fragment);
}

function sort_table(table, heading) {
  const kind = heading.dataset.kind;
  const first = kind === "number" ? "descending" : "ascending";
  const other = first === "ascending" ? "descending" : "ascending";
  const direction = heading.getAttribute("aria-sort") === first ? other : first;
  for (const one of table.tHead.rows[0].cells) one.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", direction);
  const column = heading.cellIndex;
  const sign = direction === "ascending" ? 1 : -1;
  const compare = kind === "text" ? by_text : (a, b) => (a < b ? -1 : a > b ? 1 : 0);
  const keyed = rows_of(table).map((row) => [key_of(row.cells[column].textContent, kind), row]);
  keyed.sort((a, b) => sign * compare(a[0], b[0]));
  put_rows(table, keyed.map(([, row]) => row));
  status_line.textContent = `Sorted by ${heading.textContent}, ${direction}`;
}

function set_up_table(table) {
  for (const heading of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    button.addEventListener("click", () => sort_table(table, heading));
    heading.append(button);
  }
  if (table.tBodies.length > 1) set_up_more(table, table.tBodies[0], table.tBodies[1]);
}

function set_up_more(table, seen, rest) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "more";
  const label = () => {
    const more = rest.rows.length;
    const shown = seen.rows.length.toLocaleString("en");
    button.textContent = more > MORE_ROWS
      ? `Show ${MORE_ROWS.toLocaleString("en")} more (${shown} of ${(seen.rows.length + more).toLocaleString("en")} rows are shown)`
      : `Show all ${(seen.rows.length + more).toLocaleString("en")} rows`;
  };
  button.addEventListener("click", () => {
    const next = Array.from(rest.rows).slice(0, MORE_ROWS);
    fill(seen, next);
    next[0].cells[0].tabIndex = -1;
    next[0].cells[0].focus();
    if (rest.rows.length === 0) button.remove();
    else label();
  });
  label();
  table.after(button);
}

// ---- heat maps ----

// How ratios of error over allowed are written: heat_maps.py.
const ONE = 32768, STEPS_A_DECADE = 1600, SMALLEST = 1, LARGEST = 65534, INFINITE = 65535;
const DECADES_SHOWN = 6;
const SIDE = 384, LEAST_CELL = 3, MOST_CELL = 24; // pixels

function colours() {
  const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const painted = (name) => {
    const patch = document.createElement("span");
    patch.style.color = `var(--map-${name})`;
    document.body.append(patch);
    probe.fillStyle = getComputedStyle(patch).color;
    patch.remove();
    probe.fillRect(0, 0, 1, 1);
    return Array.from(probe.getImageData(0, 0, 1, 1).data.slice(0, 3));
  };
  return Object.fromEntries(["least", "allowed", "wrong", "worst"].map((name) => [name, painted(name)]));
}

function colour_of(code, scale) {
  const decades = (code - ONE) / STEPS_A_DECADE;
  const [from, to, part] = code > ONE
    ? [scale.wrong, scale.worst, decades / DECADES_SHOWN]
    : [scale.least, scale.allowed, 1 + decades / DECADES_SHOWN];
  const within = Math.min(1, Math.max(0, part));
  return from.map((start, k) => Math.round(start + within * (to[k] - start)));
}

function decoded(text) {
  const bytes = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return Uint16Array.from({ length: bytes.length / 2 }, (_, k) => view.getUint16(2 * k, true));
}

/** How large the error of a cell is, in words; of several entries the largest. */
function said(code, single) {
  if (code === 0) return "not judged";
  if (code === SMALLEST) return "no error";
  const error = single ? "error" : "largest error";
  if (code === INFINITE) return `${error}: infinite, or where none is allowed`;
  const ratio = 10 ** ((code - ONE) / STEPS_A_DECADE);
  const few = ratio >= 1e4 || ratio < 1e-3 ? ratio.toExponential(1) : Number(ratio.toPrecision(2));
  return `${error}: ${code === LARGEST ? "more than " : ""}${few} times what is allowed`;
}

class HeatMap {
  constructor(figure, data) {
    Object.assign(this, data);
    this.figure = figure;
    this.output = figure.querySelector("output");
    this.ratios = decoded(data.ratios);
    this.on_kink = new Set(data.kinks);
    const [rows, columns] = this.cells;
    this.upright = columns === 1 && rows > 1; // one column is shown as a row
    [this.height, this.width] = this.upright ? [columns, rows] : [rows, columns];
    this.worst = this.ratios.reduce((best, code, cell) => (code > this.ratios[best] ? cell : best), 0);
    // Where several cells are beyond the scale, the worst entry of the report tells which is worst.
    const first = data.entries.length ? this.cell_of(data.entries[0][0]) : this.worst;
    if (this.ratios[first] === this.ratios[this.worst]) this.worst = first;
    this.known = new Map();
    data.entries.forEach((entry) => {
      const cell = this.cell_of(entry[0]);
      if (!this.known.has(cell)) this.known.set(cell, entry);
    });
    this.build();
    this.draw();
    this.leave();
  }

  build() {
    this.canvas = document.createElement("canvas");
    [this.canvas.width, this.canvas.height] = [this.width, this.height];
    const pixels = (cells) => Math.round(cells * Math.min(MOST_CELL, Math.max(LEAST_CELL, SIDE / cells)));
    const wide = this.height === 1 ? Math.min(1024, MOST_CELL * this.width) : pixels(this.width);
    Object.assign(this.canvas.style, { width: `${wide}px`, height: `${pixels(this.height)}px` });
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "application");
    this.canvas.setAttribute("aria-roledescription", "heat map");
    this.canvas.setAttribute("aria-label", `Errors in ${this.name}; arrow keys move, Home goes to the worst`);
    this.pointer = document.createElement("div");
    this.pointer.className = "pointer";
    this.figure.querySelector(".canvas").replaceChildren(this.canvas, this.pointer);
    const under = (event) => this.point(this.cell_under(event));
    this.canvas.addEventListener("pointermove", under);
    this.canvas.addEventListener("pointerdown", under);
    this.canvas.addEventListener("keydown", (event) => this.move(event));
    this.canvas.addEventListener("focus", () => {
      this.output.setAttribute("aria-live", "polite");
    });
    this.canvas.addEventListener("blur", () => this.leave());
    this.canvas.addEventListener("pointerleave", () => {
      if (document.activeElement !== this.canvas) this.leave();
    });
  }

  draw() {
    const scale = colours();
    const context = this.canvas.getContext("2d");
    const image = context.createImageData(this.width, this.height);
    this.ratios.forEach((code, cell) => {
      if (code !== 0) image.data.set([...colour_of(code, scale), 255], 4 * cell);
    });
    context.putImageData(image, 0, 0);
  }

  cell_of(place) {
    const [row, column] = [Math.floor(place / this.matrix[1]), place % this.matrix[1]];
    return Math.floor(row / this.cell[0]) * this.cells[1] + Math.floor(column / this.cell[1]);
  }

  cell_under(event) {
    const box = this.canvas.getBoundingClientRect();
    const along = (at, from, size, cells) =>
      Math.min(cells - 1, Math.max(0, Math.floor(((at - from) / size) * cells)));
    return along(event.clientY, box.top, box.height, this.height) * this.width
      + along(event.clientX, box.left, box.width, this.width);
  }

  move(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const [row, column] = [Math.floor(this.at / this.width), this.at % this.width];
    const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    if (event.key in steps) {
      const [down, right] = steps[event.key];
      const held = (at, cells) => Math.min(cells - 1, Math.max(0, at));
      this.point(held(row + down, this.height) * this.width + held(column + right, this.width));
    } else if (event.key === "Home") {
      this.point(this.worst);
    } else {
      return;
    }
    event.preventDefault();
  }

  point(cell) {
    this.at = cell;
    const [row, column] = [Math.floor(cell / this.width), cell % this.width];
    Object.assign(this.pointer.style, {
      left: `${(100 * column) / this.width}%`, top: `${(100 * row) / this.height}%`,
      width: `${100 / this.width}%`, height: `${100 / this.height}%`,
    });
    this.tell(cell);
  }

  /** Without pointer and focus the worst cell is marked and told, in silence. */
  leave() {
    this.output.setAttribute("aria-live", "off");
    this.point(this.worst);
  }

  tell(cell) {
    const known = this.known.get(cell);
    const kink = this.on_kink.has(cell) ? ", on a kink" : "";
    const lines = [this.where(cell), `${said(this.ratios[cell], this.is_single())}${kink}`];
    if (known) {
      const entry = this.is_single() ? "" : `${this.name}[${this.index(known[0])}]: `;
      lines.push(`${entry}given ${known[1]}, numerical ${known[2]}`);
    }
    this.output.textContent = lines.join("\n");
  }

  is_single() {
    return this.cell[0] === 1 && this.cell[1] === 1;
  }

  /** The place of an entry in C order as an index of the array. */
  index(place) {
    const index = [];
    for (const size of this.shape.toReversed()) {
      index.unshift(place % size);
      place = Math.floor(place / size);
    }
    return index.join(", ");
  }

  /** The entries of a cell, as one writes them in Python. */
  where(cell) {
    const [rows, columns] = this.matrix;
    const top = Math.floor(cell / this.cells[1]) * this.cell[0];
    const left = (cell % this.cells[1]) * this.cell[1];
    const [bottom, right] = [Math.min(rows, top + this.cell[0]), Math.min(columns, left + this.cell[1])];
    if (this.shape.length === 0) return this.name;
    if (this.is_single()) return `${this.name}[${this.index(top * columns + left)}]`;
    const slice = (from, to) => (to - from === 1 ? `${from}` : `${from}:${to}`);
    if (this.shape.length === 1) return `${this.name}[${slice(left, right)}]`;
    if (this.shape.length === 2) return `${this.name}[${slice(top, bottom)}, ${slice(left, right)}]`;
    const last = this.index((bottom - 1) * columns + right - 1);
    return `${this.name}[${this.index(top * columns + left)}] to [${last}]`;
  }
}

function set_up_maps() {
  const section = document.querySelector("section[hidden]");
  if (section === null) return;
  section.hidden = false;
  const data = JSON.parse(document.getElementById("map-data").textContent);
  const maps = [];
  const seen = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      seen.unobserve(target);
      maps.push(new HeatMap(target, data[target.id]));
    }
  }, { rootMargin: "100% 0px" });
  for (const figure of section.querySelectorAll("figure")) seen.observe(figure);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => maps.forEach((map) => map.draw()));
}

document.querySelectorAll("table").forEach(set_up_table);
set_up_maps();
