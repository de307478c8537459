// The timeline: lanes below each other on a canvas, an axis, the whole run in small, and the ways
// to move about in it.

const timeline = (() => {
  const [canvas, axis, map] = ["lanes", "axis", "map"].map(id => document.getElementById(id));
  const tip = document.getElementById("tip");
  const { xOf, atOf } = view;
  const axisTall = 26, mapTall = 40, shownMin = 20;
  let placed = [], height = 0, hover = null, chosen = null, queued = false;

  function layOut() {
    view.width = canvas.clientWidth;
    view.gutter = view.isNarrow() ? 0 : 132;
    let y = 0;
    placed = lanes.all().map(lane => {
      const title = view.isNarrow() && lane.name ? 18 : 0;
      const at = { ...lane, y, top: y + title + 7, height: lane.tall + title + 14 };
      y += at.height;
      return at;
    });
    height = y;
    for (const [one, tall] of [[canvas, height], [axis, axisTall], [map, mapTall]]) {
      const scale = window.devicePixelRatio || 1;
      one.style.height = tall + "px";
      one.width = Math.round(view.width * scale);
      one.height = Math.round(tall * scale);
      one.getContext("2d").setTransform(scale, 0, 0, scale, 0, 0);
    }
  }

  // Drawing.

  function draw() {
    queued = false;
    const to = canvas.getContext("2d");
    to.clearRect(0, 0, view.width, height);
    to.fillStyle = color("rule");
    for (const lane of placed) if (!lane.isMinor && lane.y > 0) to.fillRect(0, lane.y, view.width, 1);
    to.save();
    to.beginPath();
    to.rect(view.gutter, 0, view.width - view.gutter, height);
    to.clip();
    for (const lane of placed) lane.draw(to, lane);
    mark(to, RUN.calm_us, color("faint"), [2, 4]);
    mark(to, RUN.violation_us, color("bad"), []);
    mark(to, chosen, color("link"), []);
    mark(to, hover, color("faint"), []);
    to.restore();
    for (const lane of placed) label(to, lane);
    drawAxis();
    drawMap();
  }

  function redraw() {
    if (!queued) requestAnimationFrame(draw);
    queued = true;
  }

  function mark(to, at, style, dash) {
    if (at === null || !view.has(at)) return;
    to.strokeStyle = style;
    to.setLineDash(dash);
    to.beginPath();
    to.moveTo(Math.round(xOf(at)) + 0.5, 0);
    to.lineTo(Math.round(xOf(at)) + 0.5, height);
    to.stroke();
    to.setLineDash([]);
  }

  function label(to, lane) {
    const x = lane.isMinor && !view.isNarrow() ? 14 : 2, room = view.isNarrow() ? view.width : view.gutter - x - 8;
    to.font = `${lane.isMinor ? 400 : 600} 12.5px ${font()}`;
    to.fillStyle = color(lane.isMinor ? "soft" : "ink");
    to.textAlign = "left";
    to.textBaseline = "alphabetic";
    to.fillText(shortened(to, lane.name, room), x, view.isNarrow() ? lane.y + 17 : lane.top + 9);
    if (!lane.range || view.isNarrow()) return;
    to.font = `11px ${font()}`;
    to.fillStyle = color("faint");
    to.fillText(shortened(to, lane.range, room), x, lane.top + 25);
  }

  function shortened(to, words, room) {
    if (to.measureText(words).width <= room) return words;
    const fits = len => to.measureText(words.slice(0, len) + "\u2026").width <= room;
    return words.slice(0, lowerBound(words.length, len => !fits(len + 1))) + "\u2026";
  }

  function drawAxis() {
    const to = axis.getContext("2d");
    to.clearRect(0, 0, view.width, axisTall);
    const rough = view.span() / Math.max(2, view.room() / 110);
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = Math.max(1, [1, 2, 5, 10].map(times => times * power).find(step => step >= rough));
    to.font = `11.5px ${font()}`;
    to.textBaseline = "middle";
    to.textAlign = "left";
    for (let at = Math.ceil(view.from / step) * step; at <= view.to; at += step) {
      const x = xOf(at), words = seconds(at, step), wide = to.measureText(words).width;
      to.fillStyle = color("faint");
      to.fillRect(Math.round(x), 20, 1, 6);
      to.fillStyle = color("soft");
      to.fillText(words, Math.min(Math.max(x - wide / 2, view.gutter), view.width - wide), 11);
    }
    const isFar = RUN.violation_us === null || Math.abs(xOf(RUN.violation_us) - xOf(RUN.calm_us)) > 60;
    if (isFar) flag(to, RUN.calm_us, "healed", color("faint"));
    flag(to, RUN.violation_us, RUN.flag, color("bad"));
    flag(to, hover, hover === null ? "" : seconds(hover, view.span() / 2000), color("soft"));
    to.fillStyle = color("rule");
    to.fillRect(0, axisTall - 1, view.width, 1);
  }

  function flag(to, at, words, style) {
    if (at === null || !view.has(at)) return;
    const wide = to.measureText(words).width + 12;
    const x = Math.min(Math.max(xOf(at) - wide / 2, view.gutter), view.width - wide);
    to.fillStyle = style;
    to.beginPath();
    to.roundRect(x, 2, wide, 18, 4);
    to.fill();
    to.fillStyle = color("paper");
    to.fillText(words, x + 6, 11.5);
  }

  const mapX = at => view.gutter + at / RUN.end_us * view.room();

  function drawMap() {
    const to = map.getContext("2d");
    to.clearRect(0, 0, view.width, mapTall);
    to.fillStyle = color("wash");
    to.fillRect(view.gutter, 4, view.room(), 32);
    const counts = new Uint32Array(Math.ceil(view.width) + 2);
    for (const at of RUN.events.at) counts[Math.round(mapX(at))] += 1;
    const most = Math.log2(1 + Math.max(...counts));
    to.fillStyle = color("life");
    counts.forEach((count, x) => {
      const tall = count ? 2 + Math.log2(1 + count) / most * 20 : 0;
      to.fillRect(x, 36 - tall, 1, tall);
    });
    for (const { faults } of RUN.nodes)
      for (const [from, until, kind] of faults) {
        to.fillStyle = classColor(kind);
        to.fillRect(mapX(from), 6, Math.max(1.5, mapX(until) - mapX(from)), 4);
      }
    if (RUN.violation_us !== null) {
      to.fillStyle = color("bad");
      to.fillRect(mapX(RUN.violation_us) - 1, 4, 2, 32);
    }
    const [from, until] = [mapX(view.from), mapX(view.to)];
    to.fillStyle = color("paper");
    to.globalAlpha = 0.62;
    to.fillRect(view.gutter, 4, from - view.gutter, 32);
    to.fillRect(until, 4, view.width - 8 - until, 32);
    to.globalAlpha = 1;
    to.strokeStyle = color("link");
    to.strokeRect(from + 0.5, 4.5, Math.max(until - from - 1, 2), 31);
  }

  // The pointer.

  function pointAt(event) {
    const box = canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const lane = placed.find(lane => lane.y <= y && y < lane.y + lane.height), at = atOf(x);
    return { at, lane, found: lane && x >= view.gutter ? lane.hit(lane, at, y) : null };
  }

  function showTip(event) {
    const { at, found } = pointAt(event);
    hover = view.has(at) ? at : null;
    tip.hidden = !found || hover === null;
    redraw();
    if (tip.hidden) return;
    const when = seconds(found.at ?? at, view.span() / 2000);
    const title = found.title ? `<b>${escaped(found.title)}</b>` : "";
    tip.innerHTML = `<span class="when">${when}</span> ${title}<div>${escaped(found.words)}</div>`;
    const { offsetWidth, offsetHeight } = tip;
    const below = event.clientY + 18, isBelow = below + offsetHeight <= innerHeight;
    tip.style.left = Math.max(8, Math.min(event.clientX + 14, innerWidth - offsetWidth - 12)) + "px";
    tip.style.top = (isBelow ? below : event.clientY - offsetHeight - 12) + "px";
  }

  function choose(event) {
    const { at, lane, found } = pointAt(event);
    if (view.has(at)) events.choose(found?.index ?? events.nearest(found?.at ?? at, lane?.place));
  }

  // Moving about.

  function show(from, to) {
    const wide = Math.min(Math.max(to - from, shownMin), RUN.end_us);
    view.from = Math.min(Math.max((from + to - wide) / 2, 0), RUN.end_us - wide);
    view.to = view.from + wide;
    redraw();
  }

  function zoom(factor, at = (view.from + view.to) / 2) {
    const wide = Math.min(Math.max(view.span() * factor, shownMin), RUN.end_us);
    const share = (at - view.from) / view.span();
    show(at - share * wide, at + (1 - share) * wide);
  }

  const pan = px => show(view.from - view.near(px), view.to - view.near(px));

  /// Over the names it scrolls the page, as everywhere.
  function onWheel(event) {
    if (event.offsetX < view.gutter) return;
    event.preventDefault();
    const isSideways = Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey;
    if (isSideways) pan(-(event.deltaX || event.deltaY));
    else zoom(Math.exp(Math.max(-120, Math.min(120, event.deltaY)) / 400), atOf(event.offsetX));
  }

  function dragging(on, moved, clicked) {
    const held = new Map();
    let far = 0;
    on.addEventListener("pointerdown", event => {
      held.set(event.pointerId, event);
      on.setPointerCapture(event.pointerId);
      far = 0;
    });
    on.addEventListener("pointermove", event => {
      const before = held.get(event.pointerId);
      if (!before) return;
      far += Math.abs(event.clientX - before.clientX);
      if (held.size === 2) pinch(held, event);
      else if (far > 3) moved(event.clientX - before.clientX, event);
      held.set(event.pointerId, event);
      on.classList.toggle("moving", far > 3);
    });
    for (const end of ["pointerup", "pointercancel"])
      on.addEventListener(end, event => {
        if (end === "pointerup" && held.size === 1 && far <= 3) clicked(event);
        held.delete(event.pointerId);
        on.classList.remove("moving");
      });
  }

  function pinch(held, event) {
    const other = [...held.values()].find(one => one.pointerId !== event.pointerId);
    const apart = one => Math.max(20, Math.abs(one.clientX - other.clientX));
    const middle = (event.clientX + other.clientX) / 2 - canvas.getBoundingClientRect().left;
    zoom(apart(held.get(event.pointerId)) / apart(event), atOf(middle));
  }

  function jump(event) {
    const at = (event.offsetX - view.gutter) / view.room() * RUN.end_us;
    show(at - view.span() / 2, at + view.span() / 2);
  }

  const last = RUN.violation_us ?? RUN.end_us;
  const acts = {
    in: () => zoom(0.5),
    out: () => zoom(2),
    all: () => show(0, RUN.end_us),
    end: () => show(last - 95e4, last + 5e4),
  };
  const keys = { "+": "in", "=": "in", "-": "out", 0: "all", e: "end" };

  function begin() {
    document.getElementById("buttons").addEventListener("click", event => acts[event.target.dataset.do]?.());
    canvas.addEventListener("keydown", event => {
      const step = { ArrowLeft: 80, ArrowRight: -80 }[event.key];
      if (step) pan(step);
      else acts[keys[event.key]]?.();
    });
    for (const one of [canvas, axis, map]) one.addEventListener("wheel", onWheel, { passive: false });
    dragging(canvas, pan, choose);
    dragging(axis, pan, () => {});
    dragging(map, (_, event) => jump(event), jump);
    canvas.addEventListener("pointermove", showTip);
    canvas.addEventListener("pointerleave", () => {
      [hover, tip.hidden] = [null, true];
      redraw();
    });
    new ResizeObserver(again).observe(canvas.parentElement);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
    again();
  }

  function again() {
    layOut();
    draw();
  }

  /// Marks a moment, and moves there when it is out of sight.
  function point(at) {
    chosen = at;
    if (!view.has(at)) show(at - view.span() / 2, at + view.span() / 2);
    redraw();
  }

  return { begin, point, again };
})();
