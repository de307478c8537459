// The table of events: only the rows in sight are in the page.

const events = (() => {
  const rows = document.getElementById("rows"), filler = document.getElementById("filler");
  const search = document.getElementById("search");
  const { at, ordinal, place, kind, words } = RUN.events;
  const marked = new Set(RUN.marked);
  const hidden = new Set();
  let listed = [], chosen = -1;

  const rowHeight = () => (innerWidth <= 640 ? 48 : 26);
  const isMarked = index => marked.has(ordinal[index]);

  function list() {
    const wanted = search.value.trim().toLowerCase();
    const fits = index =>
      !hidden.has(kind[index]) &&
      (!wanted || words[index].toLowerCase().includes(wanted) || RUN.places[place[index]].includes(wanted));
    listed = [];
    for (let index = 0; index < at.length; index++) if (fits(index)) listed.push(index);
    const all = number(at.length);
    document.getElementById("count").textContent =
      listed.length === at.length ? `${all} events` : `${number(listed.length)} of ${all} events`;
    filler.style.height = listed.length * rowHeight() + "px";
    draw();
  }

  function draw() {
    const tall = rowHeight(), from = Math.max(0, Math.floor(rows.scrollTop / tall) - 5);
    const to = Math.min(listed.length, from + Math.ceil(rows.clientHeight / tall) + 10);
    const html = [];
    for (let line = from; line < to; line++) html.push(row(listed[line], line * tall));
    filler.innerHTML = html.join("");
  }

  function row(index, top) {
    const is = [
      "row",
      isMarked(index) ? "marked" : "",
      index === chosen ? "chosen" : "",
      RUN.seldom.includes(kind[index]) ? "seldom" : "",
    ];
    return `<div class="${is.join(" ")}" style="top:${top}px" data-index="${index}" title="${escaped(words[index])}">
      <span class="at">${seconds(at[index], 1)}</span><span class="number">${ordinal[index]}</span>
      <span class="place" style="color:${placeColor(place[index])}">${escaped(RUN.places[place[index]])}</span>
      <span class="what">${escaped(words[index])}</span></div>`;
  }

  function scrollTo(line) {
    rows.scrollTop = line * rowHeight() - rows.clientHeight / 2;
    draw();
  }

  /// Marks an event here and in the timeline.
  function choose(index) {
    if (index === undefined || index < 0) return;
    chosen = index;
    let line = listed.indexOf(index);
    if (line < 0) line = lowerBound(listed.length, i => listed[i] >= index);
    scrollTo(line);
    timeline.point(at[index]);
  }

  /// The event at or after a moment, of one place if it has one near.
  function nearest(moment, wanted) {
    const first = lowerBound(at.length, i => at[i] >= moment);
    for (let index = first; index < Math.min(first + 500, at.length); index++)
      if (place[index] === wanted && !hidden.has(kind[index])) return index;
    return Math.min(first, at.length - 1);
  }

  function kindBoxes() {
    const counts = RUN.kinds.map(() => 0);
    for (const one of kind) counts[one] += 1;
    const box = (name, index) =>
      counts[index] === 0 ? "" : `<label><input type="checkbox" checked value="${index}">${escaped(name)} <small>${number(counts[index])}</small></label>`;
    const boxes = document.getElementById("kinds");
    boxes.innerHTML = RUN.kinds.map(box).join("");
    boxes.addEventListener("change", event => {
      const value = Number(event.target.value);
      if (event.target.checked) hidden.delete(value);
      else hidden.add(value);
      list();
      timeline.again();
    });
  }

  function step(by) {
    const line = listed.indexOf(chosen);
    choose(listed[Math.min(Math.max(line + by, 0), listed.length - 1)]);
  }

  function begin() {
    kindBoxes();
    list();
    search.addEventListener("input", list);
    rows.addEventListener("scroll", draw);
    rows.addEventListener("click", event => choose(Number(event.target.closest(".row")?.dataset.index ?? -1)));
    rows.addEventListener("keydown", event => {
      const by = { ArrowUp: -1, ArrowDown: 1 }[event.key];
      if (!by) return;
      event.preventDefault();
      step(by);
    });
    addEventListener("resize", list);
    const last = listed.findLastIndex(isMarked);
    scrollTo(last < 0 ? listed.length : last);
  }

  return { begin, choose, nearest, isMarked, shows: one => !hidden.has(one) };
})();
