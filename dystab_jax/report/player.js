// Plays the frames that the page holds as JSON; needs nothing else.
(() => {
  "use strict";
  const LONGEST = 960; // pixels of the large canvas
  const SMALL = 300;
  const THUMB = 18; // pixels, --thumb of player.css
  const FADE = 0.6; // how far the background loses its colours and half of its light
  const TINT = 0.35; // strength of a mask's colour
  const REMEMBERED = 16; // frames whose pictures stay decoded
  const at = (id) => document.getElementById(id);
  const data = JSON.parse(at("data").textContent);
  const { frames, colors } = data;
  const last = frames.length - 1;
  const panels = [...at("panels").children];
  const scratch = document.createElement("canvas");
  let shown = 0; // number of the frame
  let view = null; // key of the panel that is large; null: the mask that the frame is about
  let timer = 0;
  let playing = false;

  // ---- pictures ----

  const decoded = new Map();

  function load(number) {
    let pictures = decoded.get(number);
    if (!pictures) {
      const loads = Object.entries(frames[number].pictures).map(async ([key, text]) => {
        const image = new Image();
        image.src = "data:image/jpeg;base64," + text;
        await image.decode();
        return [key, image];
      });
      pictures = Promise.all(loads).then(Object.fromEntries);
    } else {
      decoded.delete(number);
    }
    decoded.set(number, pictures); // the latest at the end
    if (decoded.size > REMEMBERED) decoded.delete(decoded.keys().next().value);
    return pictures;
  }

  function sized(canvas, longest, [width, height]) {
    const factor = longest / Math.max(width, height);
    const size = [width, height].map((side) => Math.max(1, Math.round(side * factor)));
    if (canvas.width !== size[0] || canvas.height !== size[1]) {
      [canvas.width, canvas.height] = size;
    }
    return size;
  }

  function pixels(context, image, width, height) {
    context.drawImage(image, 0, 0, width, height);
    return context.getImageData(0, 0, width, height);
  }

  function draw(canvas, longest, pictures, key, size) {
    const [width, height] = sized(canvas, longest, size);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.imageSmoothingQuality = "high";
    if (!colors[key]) {
      context.drawImage(pictures[key], 0, 0, width, height);
      return;
    }
    const picture = pixels(context, pictures.image, width, height);
    [scratch.width, scratch.height] = [width, height];
    const aside = scratch.getContext("2d", { willReadFrequently: true });
    const map = pixels(aside, pictures[key], width, height).data;
    if (at("soft").checked) {
      picture.data.set(map);
    } else {
      lay(picture.data, map, colors[key]);
    }
    outline(picture.data, map, width, height, colors[key], Math.max(1, Math.round(longest / 420)));
    context.putImageData(picture, 0, 0);
  }

  // Tints what the map says is object and fades what it says is not.
  function lay(picture, map, color) {
    for (let p = 0; p < picture.length; p += 4) {
      const share = map[p] / 255;
      const grey = (0.299 * picture[p] + 0.587 * picture[p + 1] + 0.114 * picture[p + 2]) / 2;
      for (let c = 0; c < 3; c++) {
        const value = picture[p + c];
        const outside = value + (grey - value) * FADE;
        const inside = value + (color[c] - value) * TINT;
        picture[p + c] = outside + (inside - outside) * share;
      }
    }
  }

  // Draws the edge of the mask inside it; the edge of the image is an edge of the mask.
  function outline(picture, map, width, height, color, thick) {
    const inside = (x, y) =>
      x >= 0 && y >= 0 && x < width && y < height && map[4 * (y * width + x)] > 127;
    const near = Math.max(1, Math.round(thick * 0.7));
    const offsets = [[thick, 0], [-thick, 0], [0, thick], [0, -thick],
      [near, near], [near, -near], [-near, near], [-near, -near]];
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const p = 4 * (y * width + x);
        if (map[p] > 127 && !offsets.every(([dx, dy]) => inside(x + dx, y + dy))) {
          picture[p] = color[0];
          picture[p + 1] = color[1];
          picture[p + 2] = color[2];
        }
      }
    }
  }

  // ---- what is shown ----

  function clock(seconds) {
    const minutes = Math.floor(seconds / 60);
    const two = (number) => String(number).padStart(2, "0");
    // Cut, not rounded, so that no minute has 60 seconds.
    const rest = (Math.floor((seconds % 60) * 100 + 1e-6) / 100).toFixed(2).padStart(5, "0");
    const hours = minutes < 60 ? minutes : `${Math.floor(minutes / 60)}:${two(minutes % 60)}`;
    return `${hours}:${rest}`;
  }

  function verdict(frame) {
    const { worst } = frame;
    if (frame.reasons.length) return "unsure: " + frame.reasons.join(", ");
    if (worst && worst.reasons.length) {
      return `unsure at ${worst.name}, not in this page: ${worst.reasons.join(", ")}`;
    }
    return "no doubt found";
  }

  const isUnsure = ({ reasons, worst }) =>
    reasons.length > 0 || Boolean(worst && worst.reasons.length);
  const doubt = (frame) => Math.max(frame.doubt, frame.worst ? frame.worst.doubt : 0);

  function element(tag, text) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function large(frame) {
    return view && view in frame.pictures ? view : frame.main;
  }

  function tell(number) {
    const frame = frames[number];
    const key = large(frame);
    const parts = [element("b", frame.name)];
    if (last) {
      if (frame.timed) parts.push(element("span", clock(frame.time)));
      parts.push(element("span", `frame ${frame.index + 1} of ${data.total}`));
    }
    at("place").replaceChildren(...parts);
    at("verdict").textContent = verdict(frame);
    at("verdict").className = isUnsure(frame) ? "unsure" : "";
    at("numbers").replaceChildren(...frame.numbers.map(([term, text]) => {
      const both = element("div");
      both.append(element("dt", term), element("dd", text));
      return both;
    }));
    for (const panel of panels) {
      panel.classList.toggle("absent", !(panel.dataset.key in frame.pictures));
      panel.setAttribute("aria-pressed", String(panel.dataset.key === key));
      if (panel.dataset.key === key) {
        at("large").setAttribute("aria-label", `${panel.textContent.trim()} of ${frame.name}`);
      }
    }
    if (last) {
      at("slider").value = number;
      const said = `${frame.name}, ${number + 1} of ${last + 1}, ${verdict(frame)}`;
      at("slider").setAttribute("aria-valuetext", said);
      cursor.style.left = place(number);
    }
  }

  async function show(number) {
    shown = Math.min(last, Math.max(0, number));
    const asked = shown;
    tell(asked);
    remember();
    const pictures = await load(asked);
    if (asked !== shown) return; // another frame has been asked for meanwhile
    const frame = frames[asked];
    draw(at("large"), LONGEST, pictures, large(frame), frame.size);
    for (const panel of panels) {
      if (panel.dataset.key in pictures) {
        draw(panel.firstElementChild, SMALL, pictures, panel.dataset.key, frame.size);
      }
    }
    at("player").dataset.painted = String(frame.index);
    for (let ahead = 1; ahead < 4; ahead++) load((asked + ahead) % (last + 1));
  }

  // ---- the address ----

  let remembering = 0;

  function remember() {
    clearTimeout(remembering);
    if (playing) return;
    remembering = setTimeout(() => {
      let address = `#frame=${frames[shown].index + 1}`;
      if (view) address += `&view=${view}`;
      if (location.hash !== address && (last || view)) history.replaceState(null, "", address);
    }, 250);
  }

  function follow() {
    const asked = new URLSearchParams(location.hash.slice(1));
    const number = parseInt(asked.get("frame"), 10);
    if (panels.some((panel) => panel.dataset.key === asked.get("view"))) view = asked.get("view");
    let found = 0;
    while (found < last && frames[found + 1].index < number) found++;
    show(found);
  }

  // ---- time ----

  // Seconds from one frame to the next; those of a thinned video may be long.
  const gaps = frames.slice(1).map(({ time }, number) => Math.max(0, time - frames[number].time));
  const usual = last ? Math.max(1e-3, (frames[last].time - frames[0].time) / last) : 1;

  function fillSpeeds() {
    const choices = [1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];
    const fit = choices.filter((speed) => usual / speed <= 1.01 && usual / speed >= 1 / 61);
    if (!fit.length) fit.push(choices.find((speed) => usual / speed <= 1) || 1024);
    // Slow videos, and videos of which few frames are here, go faster than they were.
    const first = fit.find((speed) => speed >= 1 && usual / speed <= 0.25) || fit[fit.length - 1];
    for (const speed of fit) {
      const choice = element("option", (speed < 1 ? `1/${1 / speed}` : `${speed}`) + "×");
      choice.value = speed;
      choice.selected = speed === first;
      at("speed").append(choice);
    }
  }

  let due = 0; // when the next frame is to be shown

  function play(wanted) {
    playing = wanted;
    clearTimeout(timer);
    at("play").classList.toggle("playing", playing);
    at("play").setAttribute("aria-label", playing ? "pause" : "play");
    at("verdict").setAttribute("aria-live", playing ? "off" : "polite");
    due = performance.now();
    if (playing) wait();
    else remember();
  }

  function wait() {
    const gap = shown < last ? gaps[shown] : 0.5; // a rest before it begins anew
    // What drawing takes is no delay, unless it takes longer than there is time.
    due = Math.max(performance.now(), due + Math.min(2000, (1000 * gap) / at("speed").value));
    timer = setTimeout(async () => {
      const next = (shown + 1) % (last + 1);
      await load(next);
      if (!playing) return;
      show(next);
      wait();
    }, due - performance.now());
  }

  function step(number) {
    play(false);
    show(number);
  }

  function seek(direction) {
    for (let away = 1; away <= last + 1; away++) {
      const number = (shown + direction * away + 2 * (last + 1)) % (last + 1);
      if (isUnsure(frames[number])) {
        step(number);
        return;
      }
    }
  }

  // ---- the strip ----

  // Below the middle of the slider's thumb.
  const place = (number) => `calc(var(--thumb) / 2 + (100% - var(--thumb)) * ${number / last})`;
  const cursor = element("u");

  function fillStrip() {
    frames.forEach((frame, number) => {
      const bar = element("i");
      bar.style.left = place(number);
      bar.style.width = `calc((100% - var(--thumb)) / ${last})`;
      bar.style.height = `${Math.round(100 * Math.max(0.06, doubt(frame)))}%`;
      bar.classList.toggle("unsure", isUnsure(frame));
      at("strip").append(bar);
      if (number && frame.shot !== frames[number - 1].shot) {
        const cut = element("b");
        cut.style.left = place(number - 0.5);
        at("strip").append(cut);
      }
    });
    at("strip").append(cursor);
    const go = (event) => {
      const box = at("strip").getBoundingClientRect();
      const share = (event.clientX - box.left - THUMB / 2) / (box.width - THUMB);
      step(Math.round(share * last));
    };
    at("strip").addEventListener("pointerdown", (event) => {
      at("strip").setPointerCapture(event.pointerId);
      go(event);
    });
    at("strip").addEventListener("pointermove", (event) => {
      if (at("strip").hasPointerCapture(event.pointerId)) go(event);
    });
  }

  // ---- keys and buttons ----

  function choose(key) {
    view = key;
    show(shown);
  }

  function pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const own = { range: ["Arrow", "Home", "End"], checkbox: [" "], submit: [" "], button: [" "],
      "select-one": [""] }[event.target.type] || [];
    if (own.some((key) => event.key.startsWith(key))) return; // these mean something there
    const keys = {
      m: () => at("soft").click(),
    };
    if (last) {
      Object.assign(keys, {
        " ": () => play(!playing),
        ArrowLeft: () => step(shown - 1),
        ArrowRight: () => step(shown + 1),
        Home: () => step(0),
        End: () => step(last),
        n: () => seek(1),
        p: () => seek(-1),
      });
    }
    panels.forEach((panel, number) => {
      keys[number + 1] = () => choose(panel.dataset.key);
    });
    if (Object.hasOwn(keys, event.key)) {
      event.preventDefault();
      keys[event.key]();
    }
  }

  const ratios = frames.map(({ size }) => size[0] / size[1]);
  document.documentElement.style.setProperty("--ratio", Math.max(0.4, Math.min(...ratios)));
  at("player").hidden = false;
  for (const panel of panels) panel.addEventListener("click", () => choose(panel.dataset.key));
  at("soft").checked = false;
  at("soft").addEventListener("change", () => show(shown));
  document.addEventListener("keydown", pressed);
  // After a click with a pointer the keys belong to the player again.
  document.addEventListener("click", (event) => {
    const button = event.detail && event.target.closest("button, [type=checkbox]");
    if (button) button.blur();
  });
  if (last) {
    fillSpeeds();
    fillStrip();
    at("slider").addEventListener("input", () => step(Number(at("slider").value)));
    at("play").addEventListener("click", () => play(!playing));
    at("view").addEventListener("click", () => play(!playing));
    at("back").addEventListener("click", () => step(shown - 1));
    at("forth").addEventListener("click", () => step(shown + 1));
    at("next").addEventListener("click", () => seek(1));
    at("next").disabled = !frames.some(isUnsure);
    window.addEventListener("hashchange", follow);
  }
  follow();
})();
