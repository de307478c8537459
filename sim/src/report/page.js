"use strict";
// The run as data, and the small things that both parts of the page need.

const RUN = JSON.parse(document.getElementById("data").textContent);

const number = value => String(value).replace(/\B(?=(\d{3})+(?!\d))/g, "\u2009");
const escaped = words => String(words).replace(/[&<>"]/g, sign => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[sign]);

/// As many digits as a step of so many microseconds needs.
function seconds(at, step) {
  const digits = Math.min(6, Math.max(0, Math.ceil(6 - Math.log10(Math.max(step, 1)) - 1e-9)));
  return `${(at / 1e6).toFixed(digits)} s`;
}

/// The first of `len` indices for which `holds`, which holds for all after it.
function lowerBound(len, holds) {
  let low = 0, high = len;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (holds(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}

// Colours are those of the style sheet, in the scheme of the moment.

const palette = new Map();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => palette.clear());

function color(name) {
  if (!palette.has(name))
    palette.set(name, getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim());
  return palette.get(name);
}

const font = () => getComputedStyle(document.body).fontFamily;
const hue = turn => `oklch(${color("fault-light")} ${color("fault-chroma")} ${Math.round(turn)})`;
/// Red is left to the violation.
const classColor = index => hue(55 + index / RUN.classes.length * 300);
const placeColor = index => (RUN.places[index].startsWith("broker") ? color("ink") : hue(75 + index * 47));
const kindColor = kind => color(["ink", "bad", "high-watermark", "start", "read", "other"][kind] ?? "other");

// Head, legend and plan.

function fill(id, html) {
  document.getElementById(id).innerHTML = html;
}

function head() {
  document.body.classList.add(RUN.sound ? "sound" : "failed");
  fill("over", RUN.over.map(([name, value]) => `${escaped(name)} <code>${escaped(value)}</code>`).join(" &middot; "));
  fill("title", escaped(RUN.title));
  fill("sentence", escaped(RUN.sentence));
  const evidence = document.getElementById("evidence");
  evidence.hidden = !RUN.evidence;
  evidence.textContent = RUN.evidence;
  fill("facts", RUN.facts.map(([name, value]) => `<div><dt>${escaped(name)}</dt><dd>${escaped(value)}</dd></div>`).join(""));
  fill("summary", RUN.summary.map(line => `<p>${escaped(line)}</p>`).join(""));
  const command = ([name, text]) =>
    `<div class="command"><span>${escaped(name)}</span><code>${escaped(text)}</code><button>Copy</button></div>`;
  fill("commands", RUN.commands.map(command).join(""));
  document.getElementById("commands").addEventListener("click", async event => {
    if (event.target.tagName !== "BUTTON") return;
    const code = event.target.previousElementSibling;
    try {
      await navigator.clipboard.writeText(code.textContent);
      event.target.textContent = "Copied";
      setTimeout(() => (event.target.textContent = "Copy"), 1500);
    } catch {
      getSelection().selectAllChildren(code);
    }
  });
}

function legend() {
  const key = (style, words, line) =>
    `<span class="key"><i class="${line ? "line" : ""}" style="${line ? "border-color" : "background"}:${style}"></i>${escaped(words)}</span>`;
  const group = (name, keys) => (keys.length ? `<span class="group"><b>${name}</b>${keys.join("")}</span>` : "");
  const faults = RUN.classes.flatMap((one, index) => (one.count ? [key(classColor(index), one.name)] : []));
  const lines = ["log end", "durable", "high watermark"];
  const kinds = RUN.kinds.flatMap((name, kind) => (RUN.events.kind.includes(kind) ? [key(kindColor(kind), name)] : []));
  const hatched = `repeating-linear-gradient(135deg, ${color("pause")} 0 1px, transparent 1px 3px)`;
  fill("legend", [
    group("Process", [key(color("life"), "runs"), key(hatched, "paused"), `<span class="key">&#9662; recovers</span>`]),
    group("Faults", faults),
    group("Log", lines.map(name => key(color(name.replaceAll(" ", "-")), name, true))),
    group("Clients", RUN.operations.map(name => key(color(name), RUN.operation_words[name]))),
    group("Events", kinds),
  ].join(""));
}

function plan() {
  const cells = row => row.map((cell, index) => `<td class="${index && /^[\d.,\u2009]+$/.test(cell) ? "number" : ""}">${escaped(cell)}</td>`).join("");
  const table = (names, rows) =>
    `<table><tr>${names.map(name => `<th>${name}</th>`).join("")}</tr>${rows.map(row => `<tr>${cells(row)}</tr>`).join("")}</table>`;
  fill("options", table(["Node", "Option", "Value"], RUN.options));
  fill("planned", RUN.planned.length ? table(["At", "Class", "Fault"], RUN.planned) : "None.");
  fill("coverage", RUN.coverage.length ? table(["What", "Times"], RUN.coverage) : "Nothing was counted.");
  document.getElementById("plan").textContent = JSON.stringify(RUN.plan, null, 1);
  fill("capped", RUN.capped.map(escaped).join(" "));
}
