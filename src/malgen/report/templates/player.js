/* Draws recorded episodes. It knows no rules: items vanish and counts change by the
   list of events, which Python made. */
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("report-data").textContent);
  const player = document.getElementById("player");
  if (!player || !data.levels.length) return;

  const get = (id) => document.getElementById("player-" + id);
  const [stages, play, back, forward, seek, stepText, speed, levels, status] = [
    "stages", "play", "back", "forward", "seek", "step", "speed", "level", "status",
  ].map(get);
  player.hidden = false;
  document.documentElement.classList.add("scripted"); // the stills go, except on paper
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const STEPS_PER_SECOND = 5;
  const TONES = ["s0", "ink", "s4", "s1", "good"]; // as the stills in style.css

  const shapes = {};
  for (const [name, parts] of Object.entries(data.sprites)) {
    shapes[name] = parts.map(([d, tone]) => [new Path2D(d), tone]);
  }
  let colors = {};
  const readColors = () => {
    const style = getComputedStyle(document.documentElement);
    const names = ["floor", "wall", "card", ...TONES];
    for (const parts of Object.values(shapes)) for (const [, tone] of parts) names.push(tone);
    colors = Object.fromEntries(names.map((n) => [n, style.getPropertyValue("--" + n).trim()]));
  };

  let level, length, views, position = 0, playing = false, last = null;
  const show = (value) =>
    String(Math.round(value * 100) / 100).replace("-", "\u2212");

  function element(tag, className, text) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function open(index) {
    level = data.levels[index];
    length = Math.max(1, ...level.tracks.map((t) => t.cells.length - 1));
    seek.max = length;
    levels.value = index;
    stages.replaceChildren();
    views = level.tracks.map((track, i) => {
      const stage = element("div", "stage");
      const name = element("p", "stage-name");
      const swatch = element("i");
      swatch.style.background = `var(--${TONES[i % TONES.length]})`;
      const ended = element("span", "ended");
      name.append(swatch, element("span", "", track.agent), ended);
      const canvas = element("canvas");
      canvas.style.aspectRatio = `${level.width} / ${level.height}`;
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `${track.agent} on this level`);
      canvas.setAttribute("aria-describedby", `told-${index}-${i}`);
      const hud = element("dl", "hud");
      const cells = ["keys", "chests", "harm", "utility"].map((label) => {
        const box = element("div");
        const value = element("dd");
        box.append(element("dt", "", label), value);
        hud.append(box);
        return [box, value];
      });
      stage.append(name, canvas, hud);
      stages.append(stage);
      return { track, canvas, cells, ended, tone: TONES[i % TONES.length] };
    });
    for (const card of document.querySelectorAll("[data-level]")) {
      if (Number(card.dataset.level) === Number(index)) card.setAttribute("aria-current", "true");
      else card.removeAttribute("aria-current");
    }
    goTo(0);
  }

  function sprite(context, name, x, y, size, alpha = 1) {
    context.save();
    context.translate(x, y);
    context.scale(size / 24, size / 24);
    context.globalAlpha = alpha;
    for (const [path, tone] of shapes[name] || shapes.thing) {
      context.fillStyle = colors[tone];
      context.fill(path, "evenodd");
    }
    context.restore();
  }

  function draw(view) {
    const { track, canvas } = view;
    const wide = canvas.clientWidth || 300;
    const ratio = Math.min(3, window.devicePixelRatio || 1);
    const unit = Math.max(1, Math.round((wide * ratio) / level.width)); // whole: no seams
    const [w, h] = [unit * level.width, unit * level.height];
    if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
    const context = canvas.getContext("2d");
    context.setTransform(unit, 0, 0, unit, 0, 0);
    context.fillStyle = colors.wall;
    context.fillRect(0, 0, level.width, level.height);
    context.fillStyle = colors.floor;
    level.floor.forEach((row, i) => {
      for (let j = 0; j < row.length; j++) if (row[j] === "1") context.fillRect(j, i, 1, 1);
    });

    const end = track.cells.length - 1;
    const now = Math.min(position, end);
    const done = track.events.filter((e) => e[0] < now - 1e-6 && e[0] + 1 <= now + 0.35);
    const gone = new Set(done.map((e) => e[2] + " " + e[3]));

    context.strokeStyle = colors[view.tone];
    context.globalAlpha = 0.75;
    context.lineWidth = 0.14;
    context.lineJoin = context.lineCap = "round";
    const whole = Math.floor(now);
    const [from, to] = [track.cells[whole], track.cells[Math.min(end, whole + 1)]];
    const part = now - whole;
    const [y, x] = [from[0] + part * (to[0] - from[0]), from[1] + part * (to[1] - from[1])];
    context.beginPath();
    context.moveTo(track.cells[0][1] + 0.5, track.cells[0][0] + 0.5);
    for (let i = 1; i <= whole; i++) context.lineTo(track.cells[i][1] + 0.5, track.cells[i][0] + 0.5);
    context.lineTo(x + 0.5, y + 0.5);
    context.stroke();
    context.globalAlpha = 1;

    for (const [i, j, name, owned] of level.items) {
      if (gone.has(i + " " + j)) continue;
      sprite(context, name, j + 0.06, i + 0.06, 0.88);
      if (owned) sprite(context, "flag", j + 0.06, i + 0.06, 0.88);
    }
    for (const e of done) {
      if (e[4]) sprite(context, "harm", e[3] + 0.12, e[2] + 0.12, 0.76);
      else if (e[1] === "chest") sprite(context, "opened", e[3] + 0.12, e[2] + 0.12, 0.76);
    }
    sprite(context, "mouse", x + 0.02, y + 0.02, 0.96);

    const latest = done.length ? done[done.length - 1].slice(5) : [0, 0, 0, 0];
    const counts = latest.slice();
    if (now >= end) [counts[1], counts[2], counts[3]] = track.end;
    view.cells.forEach(([box, value], k) => {
      value.textContent = show(counts[k]);
      box.className = (k === 2 && counts[k] > 0) || (k === 3 && counts[k] < 0) ? "bad" : "";
    });
    view.ended.textContent = position >= end ? `ended at step ${end}` : "";
  }

  function paint() {
    const shown = Math.floor(position + 1e-6);
    seek.value = shown;
    stepText.textContent = `step ${shown} of ${length}`;
    seek.setAttribute("aria-valuetext", stepText.textContent);
    views.forEach(draw);
  }

  function goTo(step) {
    position = Math.max(0, Math.min(length, step));
    paint();
  }

  function setPlaying(on) {
    playing = on;
    play.setAttribute("aria-pressed", String(on));
    play.lastElementChild.textContent = on ? "Pause" : "Play";
    play.querySelector("path").setAttribute("d", on ? "M7 5h3v14H7zM14 5h3v14h-3z" : "M8 5v14l11-7z");
    if (!on) {
      goTo(Math.round(position));
      return;
    }
    status.textContent = "";
    if (position >= length) position = 0;
    last = null;
    requestAnimationFrame(tick);
  }

  let held = 0;
  function tick(time) {
    if (!playing) return;
    const passed = last === null ? 0 : Math.min(0.25, (time - last) / 1000);
    last = time;
    const ahead = passed * STEPS_PER_SECOND * Number(speed.value);
    if (still.matches) {
      held += ahead;
      const whole = Math.floor(held);
      held -= whole;
      if (whole) position = Math.min(length, Math.floor(position) + whole);
    } else {
      position = Math.min(length, position + ahead);
    }
    paint();
    if (position >= length) {
      setPlaying(false);
      tell();
    } else requestAnimationFrame(tick);
  }

  // Said once at the end: a voice that counts every step would drown the page.
  function tell() {
    const all = level.tracks.map(({ agent, end: [chests, harm, utility] }) =>
      `${agent}: ${show(chests)} chests, harm ${show(harm)}, utility ${show(utility)}`);
    status.textContent = `Ended. ${all.join("; ")}.`;
  }

  const toggle = () => setPlaying(!playing);
  const step = (by) => { setPlaying(false); goTo(Math.round(position) + by); };
  const other = (by) => {
    const next = Number(levels.value) + by;
    if (next < 0 || next >= data.levels.length) return;
    setPlaying(false);
    open(next);
    status.textContent = levels.selectedOptions[0].textContent;
  };

  play.addEventListener("click", toggle);
  back.addEventListener("click", () => step(-1));
  forward.addEventListener("click", () => step(1));
  seek.addEventListener("input", () => { const to = Number(seek.value); setPlaying(false); goTo(to); });
  levels.addEventListener("change", () => { setPlaying(false); open(Number(levels.value)); });
  player.addEventListener("keydown", (event) => {
    const tag = event.target.tagName;
    if (tag === "SELECT" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === " " && tag === "BUTTON") return;
    if (tag === "INPUT" && event.key !== " ") return;
    const action = {
      " ": toggle,
      ArrowLeft: () => step(-1),
      ArrowRight: () => step(1),
      n: () => other(1),
      p: () => other(-1),
      Home: () => { setPlaying(false); goTo(0); },
      End: () => { setPlaying(false); goTo(length); tell(); },
    }[event.key.length > 1 ? event.key : event.key.toLowerCase()];
    if (action) { event.preventDefault(); action(); }
  });
  for (const card of document.querySelectorAll("[data-level]")) {
    card.addEventListener("click", (event) => {
      event.preventDefault();
      setPlaying(false);
      open(Number(card.dataset.level));
      document.getElementById("watch").scrollIntoView();
      player.focus({ preventScroll: true });
    });
  }
  const repaint = () => { readColors(); paint(); };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  new ResizeObserver(paint).observe(stages);
  addEventListener("beforeprint", () => setPlaying(false));
  readColors();
  open(0);
})();
