// What test_browser.py asks of a page. Each check gives a list of what is wrong.
({
  // Numbers all visible controls in page order; how many there are.
  listControls(selector) {
    const all = [...document.querySelectorAll(selector)].filter(
      (e) => e.checkVisibility({ visibilityProperty: true }) && !e.disabled);
    all.forEach((e, i) => { e.dataset.stop = i; });
    return all.length;
  },

  // Number of the control with the focus, and whether a ring around it is in sight.
  focused() {
    const e = document.activeElement;
    if (!e || e === document.body) return null;
    const style = getComputedStyle(e);
    const box = e.getBoundingClientRect();
    const ring = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
    const inside = box.bottom > 0 && box.top < innerHeight && box.width > 0;
    return [Number(e.dataset.stop), ring && inside];
  },

  // What lies outside the window and cannot be scrolled in a box of its own.
  overflowing() {
    const wide = document.documentElement.clientWidth;
    const boxed = (e) => {
      for (let p = e.parentElement; p; p = p.parentElement)
        if (["auto", "scroll", "hidden"].includes(getComputedStyle(p).overflowX)) return true;
      return false;
    };
    const out = [...document.body.querySelectorAll("*")].filter((e) => {
      const box = e.getBoundingClientRect();
      return box.width && (box.right > wide + 1 || box.left < -1)
        && !e.closest(".skip, .sr, .sprites") && (!e.closest("svg svg, svg *") || e.matches("text")) && e.checkVisibility() && !boxed(e);
    }).map((e) => e.tagName + "." + e.getAttribute("class"));
    if (document.documentElement.scrollWidth > innerWidth) out.push("page scrolls");
    return out;
  },

  // Controls that a finger cannot hit; links within sentences may be small.
  small(selector) {
    return [...document.querySelectorAll(selector)].filter((e) => {
    const box = e.getBoundingClientRect();
    return e.checkVisibility() && !e.matches("p a, .skip, [role=region]")
      && (box.height < 43.9 || box.width < 43.9);
  }).map((e) => e.outerHTML.slice(0, 80));
  },

  // Size of the smallest text in charts, in CSS pixels.
  chartText() {
    return Math.min(...[...document.querySelectorAll(".chart > svg text")]
    .map((e) => Math.hypot(e.getScreenCTM().a, e.getScreenCTM().b)
      * parseFloat(getComputedStyle(e).fontSize)));
  },

  // Pictures without a name, or without a long text that has the numbers.
  nameless() {
    const told = (e, attribute) => (e.getAttribute(attribute) || "").split(" ")
      .map((id) => document.getElementById(id)?.textContent || "").join(" ").trim();
    const wrong = [];
    for (const e of document.querySelectorAll("svg, canvas")) {
      if (e.closest("[aria-hidden=true]")) continue;
      const name = e.getAttribute("aria-label") || told(e, "aria-labelledby");
      const long = told(e, "aria-describedby");
      const picture = e.getAttribute("role") === "img";
      if (!picture || name.length < 5) wrong.push("no name: " + name);
      if (long.length < 60 || (long.match(/[0-9]+/g) || []).length < 4)
        wrong.push("no long text: " + name);
    }
    return wrong;
  },

  // Ids, labels, headings, language, table heads; nothing told only by hovering.
  basics() {
    const wrong = [];
    const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
    for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) wrong.push("twice: " + id);
    for (const e of document.querySelectorAll("input, select, textarea"))
      if (!e.labels.length && !e.getAttribute("aria-label")) wrong.push("no label: " + e.id);
    for (const e of document.querySelectorAll("a[href], button, summary"))
      if (!(e.getAttribute("aria-label") || e.textContent.trim())) wrong.push("no text: " + e.id);
    let level = 0;
    for (const e of document.querySelectorAll("h1, h2, h3, h4, h5, h6")) {
      const next = Number(e.tagName[1]);
      if (next > level + 1 || (next === 1 && level)) wrong.push("heading: " + e.textContent);
      level = next;
    }
    if (!document.documentElement.lang) wrong.push("no language");
    if (!document.title) wrong.push("no title");
    if (document.querySelectorAll("main").length !== 1) wrong.push("no main");
    for (const e of document.querySelectorAll("table"))
      if (!e.querySelector("th[scope=col]") || !e.querySelector("th[scope=row]"))
        wrong.push("table without heads");
    for (const e of document.querySelectorAll("[title]")) wrong.push("only by hover: " + e.title);
    for (const e of document.querySelectorAll("[role=region]"))
      if (!e.getAttribute("aria-label") && !e.getAttribute("aria-labelledby"))
        wrong.push("region without a name");
    return wrong;
  },

  // Text with less than 4.5 times the contrast to what is behind it (WCAG 2.2, 1.4.3).
  faint() {
    const canvas = document.createElement("canvas");
    const ink = canvas.getContext("2d", { willReadFrequently: true });
    const known = {};
    const rgba = (color) => known[color] ??= (() => {
      ink.clearRect(0, 0, 1, 1);
      ink.fillStyle = color;
      ink.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = ink.getImageData(0, 0, 1, 1).data;
      return [r, g, b, a / 255];
    })();
    const over = (top, under) => [0, 1, 2].map((i) => top[3] * top[i] + (1 - top[3]) * under[i]).concat(1);
    const ground = (e) => {
      const layers = [];
      for (let p = e; p; p = p.parentElement) {
        const color = rgba(getComputedStyle(p).backgroundColor);
        if (color[3]) layers.push(color);
        if (color[3] === 1) break;
      }
      return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255, 1]);
    };
    const light = (c) => {
      const [r, g, b] = c.map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const wrong = new Set();
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
      const e = walk.currentNode.parentElement;
      if (!walk.currentNode.data.trim() || e.closest("script, style, noscript, title, desc, option, .sr, .skip")) continue;
      if (!e.checkVisibility({ visibilityProperty: true })) continue;
      const style = getComputedStyle(e);
      const under = ground(e);
      const text = [...rgba(e.closest("svg") ? style.fill : style.color)];
      for (let p = e; p; p = p.parentElement) text[3] *= Number(getComputedStyle(p).opacity);
      const [a, b] = [light(over(text, under)), light(under)];
      const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      if (ratio < 4.5) wrong.add(`${ratio.toFixed(2)} ${e.tagName}.${e.getAttribute("class")} ${walk.currentNode.data.trim().slice(0, 30)}`);
    }
    return [...wrong];
  },

  // What paper would not show, or should not.
  unprinted() {
    const wrong = [];
    const seen = (e) => e.checkVisibility({ visibilityProperty: true })
      && e.getBoundingClientRect().height > 0;
    for (const e of document.querySelectorAll("details > :not(summary)"))
      if (!seen(e)) wrong.push("folded: " + e.textContent.trim().slice(0, 40));
    for (const e of document.querySelectorAll("button, input, select"))
      if (seen(e)) wrong.push("control: " + e.id);
    for (const e of document.querySelectorAll(".chart > svg, .still-stages .still"))
      if (!seen(e)) wrong.push("no picture");
    for (const e of document.querySelectorAll(".scroll"))
      if (e.scrollWidth > e.clientWidth + 1) wrong.push("cut: " + e.textContent.trim().slice(0, 40));
    if (getComputedStyle(document.body).backgroundColor !== "rgb(255, 255, 255)")
      wrong.push("not on white");
    return wrong;
  },
})
