// What a lane shows, and what is under the pointer in it. Times are microseconds of the run.

/// The part of the run that is shown, and where.
const view = {
  from: 0,
  to: RUN.end_us,
  width: 0,
  /// Where names stand; on a narrow screen they stand above their lanes.
  gutter: 0,
  span: () => view.to - view.from,
  room: () => view.width - view.gutter - 8,
  isNarrow: () => view.width < 640,
  xOf: at => view.gutter + (at - view.from) / view.span() * view.room(),
  atOf: x => view.from + (x - view.gutter) / view.room() * view.span(),
  /// So many pixels, in time.
  near: px => px / view.room() * view.span(),
  has: (from, to = from) => to >= view.from && from <= view.to,
};

const lanes = (() => {
  const { xOf, near } = view;
  const rowTall = 8, faultTall = 11, logTall = 42;

  // Which events happened where, so that a lane need not look at all of them.
  const eventsAt = RUN.places.map(() => []);
  RUN.events.place.forEach((place, index) => eventsAt[place].push(index));

  /// Puts bars that overlap below each other, in so many rows at most.
  function stack(bars, rowsMax) {
    const ends = [];
    const rows = bars.map(([from, to]) => {
      let row = ends.findIndex(end => end <= from);
      if (row < 0) row = ends.length < rowsMax ? ends.length : rowsMax - 1;
      ends[row] = Math.max(ends[row] ?? 0, to);
      return row;
    });
    return { rows, count: ends.length };
  }

  /// All lanes from top to bottom: those of a node, of the logs it holds, and of the clients on it.
  function all() {
    const found = [];
    for (const node of RUN.nodes) {
      found.push(nodeLane(node));
      found.push(...RUN.series.filter(series => series.node === node.name).map(seriesLane));
      found.push(...RUN.clients.filter(client => client.node === node.name).map(clientLane));
    }
    found.push(...RUN.clients.filter(client => client.node === null).map(clientLane));
    const shown = new Set(found.map(lane => lane.place));
    RUN.places.forEach((name, place) => {
      if (kindsAt(place).length && !shown.has(place)) found.push(placeLane(name, place));
    });
    return found;
  }

  function nodeLane(node) {
    // Its processes are drawn as bars above.
    const faults = stack(node.faults, 5), kinds = kindsAt(node.place).filter(kind => kind > 0);
    const strip = 12 + faults.count * faultTall + (faults.count ? 4 : 2);
    return { name: node.name, node, place: node.place, faults, kinds, strip, tall: strip + kinds.length * rowTall, draw: drawNode, hit: hitNode };
  }

  function placeLane(name, place) {
    const kinds = kindsAt(place);
    return { name, place, kinds, strip: 0, tall: Math.max(10, kinds.length * rowTall), draw: drawStrip, hit: hitStrip };
  }

  function seriesLane(series) {
    const place = RUN.places.indexOf(series.node);
    return { name: series.name, series, place, isMinor: true, tall: logTall + 2, draw: drawSeries, hit: hitSeries };
  }

  function clientLane(client) {
    const stacked = stack(client.operations, 6), isMinor = client.node !== null;
    // What a client says of itself stands below what it does, unless its node's lane has that.
    const isNode = client.node === client.name, place = RUN.places.indexOf(client.name);
    const kinds = isNode ? [] : kindsAt(place), strip = Math.max(1, stacked.count) * rowTall + 2;
    const tall = strip + kinds.length * rowTall;
    return { name: isNode ? "" : client.name, client, stacked, place, isMinor, kinds, strip, tall, draw: drawClient, hit: hitClient };
  }

  function kindsAt(place) {
    const seen = new Set((eventsAt[place] ?? []).map(index => RUN.events.kind[index]));
    return [...seen].sort((a, b) => a - b).filter(kind => events.shows(kind));
  }

  /// A bar that is seen however short it is; the text stands in it when there is room.
  function bar(to, from, until, y, tall, style, words) {
    const x = Math.max(xOf(from), view.gutter - 4), right = Math.min(xOf(until), view.width + 4);
    const wide = Math.max(right - x, 2);
    to.fillStyle = style;
    to.beginPath();
    to.roundRect(x, y, wide, tall, Math.min(2, wide / 2));
    to.fill();
    if (!words || tall < 10) return;
    to.font = `10px ${font()}`;
    if (to.measureText(words).width > wide - 8) return;
    to.fillStyle = color("paper");
    to.textAlign = "left";
    to.textBaseline = "middle";
    to.fillText(words, Math.max(x, view.gutter) + 4, y + tall / 2 + 0.5);
  }

  function drawNode(to, lane) {
    const { node, top } = lane;
    for (const [from, until] of node.lives) if (view.has(from, until)) bar(to, from, until, top, 8, color("life"));
    for (const [from, until] of node.pauses) if (view.has(from, until)) hatch(to, from, until, top, 8);
    for (const [at] of node.marks) if (view.has(at)) notch(to, xOf(at), top);
    node.faults.forEach(([from, until, kind, words], index) => {
      if (view.has(from, until)) bar(to, from, until, top + 12 + lane.faults.rows[index] * faultTall, 10, classColor(kind), words.split(",")[0]);
    });
    drawStrip(to, lane);
  }

  function hatch(to, from, until, y, tall) {
    const x = Math.max(xOf(from), view.gutter), right = Math.max(Math.min(xOf(until), view.width), x + 2);
    to.save();
    to.beginPath();
    to.rect(x, y, right - x, tall);
    to.clip();
    to.fillStyle = color("paper");
    to.fillRect(x, y, right - x, tall);
    to.strokeStyle = color("pause");
    to.beginPath();
    for (let at = x - tall - (x % 4); at < right; at += 4) {
      to.moveTo(at, y + tall);
      to.lineTo(at + tall, y);
    }
    to.stroke();
    to.restore();
  }

  /// A recovery: a wedge that stands on the life of its process.
  function notch(to, x, y) {
    to.fillStyle = color("ink");
    to.beginPath();
    to.moveTo(x, y + 8);
    to.lineTo(x - 3.5, y);
    to.lineTo(x + 3.5, y);
    to.fill();
  }

  /// One thin row for each kind of event, the darker the more of them there are in a pixel.
  function drawStrip(to, lane) {
    const counts = new Map(lane.kinds.map(kind => [kind, new Uint32Array(Math.ceil(view.width) + 2)]));
    eachEvent(lane.place, index => {
      const row = counts.get(RUN.events.kind[index]);
      if (row) row[Math.max(0, Math.round(xOf(RUN.events.at[index])))] += 1;
    });
    lane.kinds.forEach((kind, row) => {
      to.fillStyle = kindColor(kind);
      counts.get(kind).forEach((count, x) => {
        if (!count) return;
        to.globalAlpha = Math.min(1, 0.4 + Math.log2(count) / 8);
        to.fillRect(x - 0.5, lane.top + lane.strip + row * rowTall, 1.5, 6);
      });
    });
    to.globalAlpha = 1;
    to.fillStyle = color("bad");
    eachEvent(lane.place, index => {
      const row = lane.kinds.indexOf(RUN.events.kind[index]);
      if (!events.isMarked(index) || row < 0) return;
      to.beginPath();
      to.arc(xOf(RUN.events.at[index]), lane.top + lane.strip + row * rowTall + 3, 4, 0, 7);
      to.fill();
    });
  }

  function eachEvent(place, visit) {
    const here = eventsAt[place] ?? [];
    let from = lowerBound(here.length, i => RUN.events.at[here[i]] >= view.from);
    for (; from < here.length && RUN.events.at[here[from]] <= view.to; from++) visit(here[from]);
  }

  function drawSeries(to, lane) {
    const lines = lane.series.lines.map(line => {
      const first = Math.max(0, lowerBound(line.at.length, i => line.at[i] > view.from) - 1);
      const last = lowerBound(line.at.length, i => line.at[i] > view.to);
      return { ...line, first, last };
    });
    let low = Infinity, high = -Infinity;
    for (const { value, first, last } of lines)
      for (let i = first; i < last; i++)
        if (value[i] !== null) [low, high] = [Math.min(low, value[i]), Math.max(high, value[i])];
    lane.range = low > high ? "" : low === high ? number(low) : `${number(low)} to ${number(high)}`;
    const room = Math.max(high - low, 1);
    const yOf = value => lane.top + logTall - 1 - (value - low) / room * (logTall - 4);
    for (const { name, at, value, first, last } of lines) {
      to.strokeStyle = color(name.replaceAll(" ", "-"));
      to.lineWidth = name === "log end" ? 4 : name === "durable" ? 2.5 : 1.25;
      to.beginPath();
      let y = 0, begun = false;
      for (let i = first; i < last; i++) {
        const x = Math.max(xOf(at[i]), view.gutter - 4);
        if (begun) to.lineTo(x, y);
        if (value[i] !== null) {
          y = yOf(value[i]);
          if (begun) to.lineTo(x, y);
          else to.moveTo(x, y);
        }
        begun = value[i] !== null;
      }
      if (begun) to.lineTo(Math.min(xOf(RUN.end_us), view.width), y);
      to.stroke();
    }
    to.lineWidth = 1;
  }

  function drawClient(to, lane) {
    const { rows } = lane.stacked, drawn = [];
    lane.client.operations.forEach(([from, until, kind, , marked], index) => {
      if (!view.has(from, until)) return;
      const row = rows[index], x = Math.round(xOf(from)), right = Math.max(xOf(until), x + 1.5);
      // What falls on the same pixel is drawn once, the worst of it on top.
      if (drawn[row] && right <= drawn[row].right && kind <= drawn[row].kind && !marked) return;
      drawn[row] = { right, kind };
      const y = lane.top + row * rowTall;
      to.fillStyle = color(RUN.operations[kind]);
      to.fillRect(x, y, right - x, 6);
      if (marked) {
        to.strokeStyle = color("bad");
        to.strokeRect(x - 2.5, y - 2.5, Math.max(right - x, 2) + 5, 11);
      }
    });
    drawStrip(to, lane);
  }

  // What is under the pointer: words, and the events it belongs to.

  function hitNode(lane, at, y) {
    const { node, top } = lane, slack = near(3);
    const under = bars => bars.find(([from, until]) => from - slack <= at && at <= Math.max(until, from) + slack);
    if (y < top + 11) {
      const recovery = node.marks.find(([mark]) => Math.abs(mark - at) < slack);
      if (recovery) return { at: recovery[0], words: recovery[1] };
      const pause = under(node.pauses);
      if (pause) return { at: pause[0], words: `paused for ${seconds(pause[1] - pause[0], 1e4)}` };
      const life = under(node.lives);
      return { at: life?.[0], words: life?.[2] ?? `${node.name} is down` };
    }
    const row = Math.floor((y - top - 12) / faultTall);
    const fault = under(node.faults.filter((_, index) => lane.faults.rows[index] === row));
    if (fault && y < top + lane.strip - 2) return { at: fault[0], title: RUN.classes[fault[2]].name, words: fault[3] };
    return hitStrip(lane, at, y);
  }

  function hitStrip(lane, at, y) {
    const kind = lane.kinds[Math.floor((y - lane.top - lane.strip) / rowTall)];
    if (kind === undefined) return null;
    const found = [];
    eachEvent(lane.place, index => {
      if (RUN.events.kind[index] === kind && Math.abs(RUN.events.at[index] - at) <= near(3)) found.push(index);
    });
    if (!found.length) return { title: RUN.kinds[kind], words: "" };
    const shown = found.slice(0, 6).map(index => RUN.events.words[index]);
    if (found.length > 6) shown.push(`and ${found.length - 6} more`);
    return { at: RUN.events.at[found[0]], index: found[0], title: RUN.kinds[kind], words: shown.join("\n") };
  }

  function hitSeries(lane, at) {
    const words = lane.series.lines.map(line => {
      const index = lowerBound(line.at.length, i => line.at[i] > at) - 1;
      return `${line.name} ${number(line.value[index] ?? "unknown")}`;
    });
    return { title: lane.name, words: words.join("\n") };
  }

  function hitClient(lane, at, y) {
    if (y > lane.top + lane.strip) return hitStrip(lane, at, y);
    const row = Math.floor((y - lane.top) / rowTall);
    let best = null;
    lane.client.operations.forEach(([from, until, kind, words], index) => {
      if (lane.stacked.rows[index] !== row) return;
      const off = Math.max(from - at, at - until, 0);
      if (off <= near(3) && (!best || off < best.off)) best = { off, at: from, title: lane.client.name, words };
    });
    return best;
  }

  return { all };
})();
