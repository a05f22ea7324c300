/** One unit: the patches that excite it most, what it picked out of each, and the picture that each comes from. */
import { rgba, signedRgba } from "../lib/atlas";
import { el, on, onFrame, segmented, select, text } from "../lib/dom";
import { activation, share, side } from "../lib/format";
import type { Store } from "../lib/store";
import type { Contrast, Exemplar, Method, Photo, State, Unit } from "../state";
import { exemplarsOf } from "./requests";

function paint(
  canvas: HTMLCanvasElement,
  pixels: Uint8ClampedArray<ArrayBuffer>,
  width: number,
  height: number,
): void {
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d")?.putImageData(new ImageData(pixels, width, height), 0, 0);
}

function histogram(root: HTMLElement, unit: Unit): void {
  const most = Math.max(1, ...unit.counts);
  const least = unit.exemplars.at(-1)?.value ?? Infinity;
  root.replaceChildren(
    ...unit.counts.map((count, index) => {
      const [from = 0, to = 0] = [unit.edges[index], unit.edges[index + 1]];
      const bar = el("i", {
        class: to > least ? "cs-histogram__bar cs-histogram__bar--top" : "cs-histogram__bar",
        title: `${count} of ${unit.images} pictures peak at ${activation(from)} to ${activation(to)}`,
      });
      // The square root keeps single pictures visible beside hundreds.
      bar.style.height = `${100 * Math.sqrt(count / most)}%`;
      return bar;
    }),
  );
}

/** `charted`: a chart beneath shows the histogram while there is a kernel, so the pane need not. */
export function unitPane(store: Store<State>, root: HTMLElement, signal: AbortSignal, charted = false): void {
  const title = el("h2", { class: "cs-unit__title" });
  const facts = el("p", { class: "cs-unit__facts" });
  const bars = el("div", { class: "cs-histogram", role: "img" });
  const axis = el("div", { class: "cs-histogram__axis" });
  const count = el("span", { class: "cs-dim" });
  const patches = el("div", { class: "cs-patches", role: "listbox", "aria-label": "Top patches" });
  const canvas = el("canvas", { class: "cs-context__canvas" });
  const box = el("div", { class: "cs-context__box" });
  const spot = el("i", { class: "cs-mark", "aria-hidden": "true" });
  const caption = el("p", { class: "cs-context__caption" });
  const source = el("bdi", {});
  const file = el("button", { type: "button", class: "cs-link", hidden: true }, "copy path");
  const context = el(
    "figure",
    { class: "cs-context" },
    el("h3", { class: "cs-heading" }, "In its picture"),
    el("div", { class: "cs-context__frame" }, canvas, box, spot),
    el("figcaption", {}, caption, el("p", { class: "cs-context__source" }, source), file),
  );
  const methods = select<Method>(
    "Method of the projections",
    [
      { value: "deconvnet", text: "deconvnet" },
      { value: "guided_backprop", text: "guided" },
      { value: "gradient", text: "gradient" },
    ],
    (method) => store.set({ method }),
    signal,
  );
  const contrasts = segmented<Contrast>(
    "Contrast",
    [
      { value: "tile", text: "each", title: "Each projection uses the full range of shades" },
      { value: "group", text: "all", title: "One range for all: their strengths can be compared" },
    ],
    (contrast) => store.set({ contrast }),
    signal,
  );
  const projections = el("div", { class: "cs-patches", role: "listbox", "aria-label": "Projections" });
  const weaker = el("div", {
    class: "cs-patches cs-patches--weaker",
    role: "listbox",
    "aria-label": "Weaker examples",
  });
  const weakerHeading = el(
    "h3",
    { class: "cs-heading", title: "From a random sample of the pictures: what the top patches do not show" },
    "Weaker examples",
    el("span", { class: "cs-dim" }, "share of weaker pictures"),
  );
  const similar = el("p", { class: "cs-similar", role: "group", "aria-label": "Similar units" });
  const similarHeading = el(
    "h3",
    {
      class: "cs-heading",
      title: "Units of this layer whose maxima correlate over a random sample of the pictures",
    },
    "Similar units",
    el("span", { class: "cs-dim" }, "active on the same pictures"),
  );
  const classes = el("p", { class: "cs-unit__classes" });
  const hereCanvas = el("canvas", { class: "cs-context__canvas" });
  const hereCaption = el("p", { class: "cs-context__caption" });
  const here = el(
    "figure",
    { class: "cs-context", hidden: true },
    el("h3", { class: "cs-heading" }, "On this picture"),
    el("div", { class: "cs-context__frame" }, hereCanvas),
    el("figcaption", {}, hereCaption),
  );
  const empty = el("p", { class: "cs-empty" });
  const content = el(
    "div",
    { class: "cs-unit__content" },
    bars,
    axis,
    classes,
    el(
      "div",
      { class: "cs-unit__parts" },
      el("div", {}, el("h3", { class: "cs-heading" }, "Top patches", count), patches),
      el(
        "div",
        {},
        el(
          "h3",
          { class: "cs-heading cs-heading--tools" },
          "Projections",
          el("span", { class: "cs-heading__tools" }, methods.element, contrasts.element),
        ),
        projections,
      ),
      el("div", { class: "cs-contexts" }, context, here),
      el("div", {}, weakerHeading, weaker),
      el("div", {}, similarHeading, similar),
    ),
  );
  root.append(el("section", { class: "cs-unit", "aria-label": "Unit" }, title, facts, content, empty));

  const layer = () => store.get("_network").layers.find(({ name }) => name === store.get("layer"));

  store.watch(
    ["layer", "selected", "_network"],
    () => {
      const selected = store.get("selected");
      const info = layer();
      text(title, selected === null ? "No unit selected" : `unit ${selected}`);
      text(
        facts,
        info
          ? `${info.name} · ${info.channels} × ${side(info.size)} · receptive field ${info.field} px` +
              (info.gated ? " + gate" : "")
          : "",
      );
      facts.title = info?.gated
        ? "The receptive field of the local path; a squeeze-excite gate upstream depends on the whole picture, too."
        : "";
    },
    signal,
  );

  store.watch(
    ["selected", "unit", "_survey"],
    () => {
      const unit = store.get("unit");
      const survey = store.get("_survey");
      const current = unit && unit.channel === store.get("selected") && unit.layer === store.get("layer");
      content.hidden = !unit;
      content.classList.toggle("cs-is-stale", !!unit && !current);
      if (unit) text(empty, "");
      else if (store.get("offline")) text(empty, "This page was saved without this unit.");
      else if (store.get("selected") === null) text(empty, "Click a filter to see what excites it most.");
      else if (survey.state === "running") text(empty, "Looking through the pictures…");
      else if (survey.state === "failed") text(empty, "The survey failed; the error is shown below.");
      else text(empty, "Nothing has been surveyed yet.");
    },
    signal,
  );

  let tiles: HTMLElement[] = [];
  let projected: HTMLElement[] = [];
  let lesser: HTMLElement[] = [];
  // One listener for all tiles, now and later: a listener on each would keep every patch ever shown alive.
  const look = (event: Event) => {
    const tile = (event.target as HTMLElement).closest<HTMLElement>(".cs-patch");
    if (!tile) return;
    const further = lesser.indexOf(tile);
    const at = further < 0 ? Math.max(tiles.indexOf(tile), projected.indexOf(tile)) : tiles.length + further;
    store.set({ exemplar: at });
  };
  for (const list of [patches, projections, weaker]) {
    on(list, "pointerover", look, signal);
    on(list, "focusin", look, signal);
    on(list, "click", look, signal);
  }
  store.watch(
    ["unit"],
    () => {
      const unit = store.get("unit");
      if (!unit) return;
      const [most, times, labelled] = unit.purity ?? [];
      const pure = (times ?? 0) > 1 ? `${times} of ${labelled} ${most}` : `${labelled} different labels`;
      text(count, `of ${unit.images} pictures${(labelled ?? 0) > 1 ? ` · ${pure}` : ""}`);
      classes.hidden = unit.classes.length === 0;
      classes.replaceChildren(
        "prefers ",
        ...unit.classes.flatMap(([label, preference], index) => [
          index ? ", " : "",
          el("b", {}, label),
          ` ${preference.toFixed(1)} σ`,
        ]),
      );
      classes.title =
        "How much more it responds to pictures of a class than to others, in standard deviations between pictures";
      similarHeading.hidden = similar.hidden = unit.similar.length === 0;
      similar.replaceChildren(
        ...unit.similar.map(([channel, correlation]) =>
          el(
            "button",
            {
              type: "button",
              class: "cs-chip",
              "data-unit": channel,
              title: `Unit ${channel}: correlation ${correlation.toFixed(2)}`,
            },
            `${channel}`,
            el("span", { class: "cs-dim" }, correlation.toFixed(2)),
          ),
        ),
      );
      histogram(bars, unit);
      bars.setAttribute("aria-label", `Active in ${share(unit.share)} of ${unit.images} pictures`);
      axis.replaceChildren(
        el("span", {}, activation(unit.edges[0] ?? 0)),
        el("span", {}, `active in ${share(unit.share)} of pictures`),
        el("span", {}, activation(unit.edges.at(-1) ?? 0)),
      );
      const focused = tiles.indexOf(document.activeElement as HTMLElement);
      tiles = unit.exemplars.map((exemplar, index) =>
        tileOf(exemplar, unit.crops[index], unit.side, activation(exemplar.value)),
      );
      patches.replaceChildren(...tiles);
      if (focused >= 0) tiles[focused]?.focus({ preventScroll: true });
      if ((store.get("exemplar") ?? 0) >= unit.exemplars.length) store.set({ exemplar: null });
    },
    signal,
  );
  function tileOf(
    exemplar: Exemplar,
    crop: Uint8Array | undefined,
    size: number,
    value: string,
  ): HTMLElement {
    const patch = el("canvas", { class: "cs-patch__canvas", "aria-hidden": "true" });
    const silent = isSilent(exemplar);
    if (crop) paint(patch, rgba(crop), size, size);
    const tile = el(
      "button",
      {
        type: "button",
        class: silent ? "cs-patch cs-patch--silent" : "cs-patch",
        role: "option",
        "aria-label": describe(exemplar),
        title: `${describe(exemplar)}\n${exemplar.path ?? exemplar.name}`,
        "data-value": exemplar.value,
        "data-image": exemplar.image,
        "data-row": exemplar.row,
        "data-column": exemplar.column,
      },
      patch,
      el("span", { class: "cs-patch__value" }, silent ? "silent" : value),
    );
    if (exemplar.whole && !silent) {
      const spot = el("i", { class: "cs-mark", "aria-hidden": "true" });
      mark(spot, exemplar, store.get("_network").size);
      tile.append(spot);
    }
    return tile;
  }

  // ---- what is between the top and nothing, and who else responds
  store.watch(
    ["unit", "weaker"],
    () => {
      const [unit, found] = [store.get("unit"), store.get("weaker")];
      const mine = !!unit && found?.layer === unit.layer && found.channel === unit.channel;
      weaker.classList.toggle("cs-is-stale", !mine);
      if (mine) {
        lesser = found.exemplars.map((exemplar, index) =>
          tileOf(exemplar, found.crops[index], found.side, share(exemplar.quantile ?? 0)),
        );
        weaker.replaceChildren(...lesser);
      }
      weakerHeading.hidden = weaker.hidden = lesser.length === 0;
      chooseTiles();
    },
    signal,
  );
  on(
    similar,
    "click",
    (event) => {
      const unit = (event.target as HTMLElement).closest<HTMLElement>(".cs-chip")?.dataset.unit;
      if (unit !== undefined) store.set({ selected: Number(unit) });
    },
    signal,
  );
  store.watch(
    ["offline"],
    () => {
      for (const chip of similar.children) (chip as HTMLButtonElement).disabled = store.get("offline");
    },
    signal,
  );
  for (const list of [patches, projections, weaker]) {
    on(
      list,
      "keydown",
      (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 3, ArrowUp: -3 }[event.key];
        if (!step) return;
        const those = list === patches ? tiles : list === weaker ? lesser : projected;
        const at = those.indexOf(document.activeElement as HTMLElement);
        those[Math.min(Math.max(at + step, 0), those.length - 1)]?.focus();
        event.preventDefault();
        event.stopPropagation();
      },
      signal,
    );
  }

  store.watch(
    ["offline"],
    () => {
      bars.hidden = axis.hidden = charted && !store.get("offline");
    },
    signal,
  );

  // ---- what the unit picked out of the patches, in the same order
  store.watch(["method"], () => methods.show(store.get("method")), signal);
  store.watch(["contrast"], () => contrasts.show(store.get("contrast")), signal);
  store.watch(
    ["offline"],
    () => {
      methods.element.disabled = store.get("offline");
    },
    signal,
  );
  const current = () => {
    const [unit, made] = [store.get("unit"), store.get("projections")];
    return unit && made && made.layer === unit.layer && made.channel === unit.channel ? made : null;
  };
  store.watch(
    ["unit", "projections", "contrast", "method"],
    () => {
      const [unit, made] = [store.get("unit"), current()];
      projections.classList.toggle("cs-is-stale", !made || made.method !== store.get("method"));
      if (!unit) return;
      const focused = projected.indexOf(document.activeElement as HTMLElement);
      const strongest = Math.max(...(made?.peaks ?? []), 0);
      projected = unit.exemplars.map((exemplar, index) => {
        const shades = made?.tiles[index];
        const peak = made?.peaks[index] ?? 0;
        const drawn = el("canvas", { class: "cs-patch__canvas", "aria-hidden": "true" });
        if (made && shades) {
          const gain = store.get("contrast") === "group" && strongest > 0 ? peak / strongest : 1;
          paint(drawn, signedRgba(shades, gain), made.side, made.side);
        }
        return el(
          "button",
          {
            type: "button",
            class: "cs-patch cs-patch--projection",
            role: "option",
            "aria-label": `Projection of ${describe(exemplar)}`,
            title: `What unit ${unit.channel} picked out of ${describe(exemplar)}`,
            "data-peak": peak,
          },
          drawn,
        );
      });
      projections.replaceChildren(...projected);
      if (focused >= 0) projected[focused]?.focus({ preventScroll: true });
      chooseTiles();
    },
    signal,
  );
  function chooseTiles(): void {
    const at = store.get("exemplar") ?? 0;
    for (const [those, before] of [
      [tiles, 0],
      [projected, 0],
      [lesser, tiles.length],
    ] as const) {
      those.forEach((tile, index) => {
        tile.setAttribute("aria-selected", String(index + before === at));
        // One of each list can be reached with Tab.
        tile.tabIndex = index + before === at || (index === 0 && !those[at - before]) ? 0 : -1;
      });
    }
  }

  // ---- what it picks out of the current picture
  const paintHere = onFrame(() => {
    const [found, photo] = [store.get("here"), store.get("photo")];
    const context = hereCanvas.getContext("2d");
    if (!found || !photo || !context || found.picture !== photo.picture) return;
    hereCanvas.width = photo.width;
    hereCanvas.height = photo.height;
    const faint = new Uint8ClampedArray(photo.pixels);
    // Mid-grey, the projection's zero, with a trace of the picture: one sees where the field lies.
    for (let at = 0; at < faint.length; at++) {
      if (at % 4 !== 3) faint[at] = 128 + 0.3 * ((faint[at] ?? 0) - 128);
    }
    context.putImageData(new ImageData(faint, photo.width, photo.height), 0, 0);
    const [top, left, bottom, right] = found.box;
    if (bottom <= top || right <= left) return;
    const shades = signedRgba(found.shades, 1);
    context.putImageData(new ImageData(shades, right - left, bottom - top), left, top);
  }, signal);
  store.watch(
    ["here", "photo", "layer", "selected"],
    () => {
      const found = store.get("here");
      const mine = found && found.layer === store.get("layer") && found.channel === store.get("selected");
      here.hidden = !found;
      here.classList.toggle("cs-is-stale", !mine);
      if (!found) return;
      text(
        hereCaption,
        found.value > 0
          ? `${activation(found.value)} · row ${found.row}, column ${found.column}`
          : "silent on this picture",
      );
      paintHere();
    },
    signal,
  );

  store.watch(
    ["unit", "weaker", "exemplar", "context"],
    () => {
      const unit = store.get("unit");
      const exemplar = exemplarsOf(unit, store.get("weaker"))[store.get("exemplar") ?? 0];
      context.hidden = !exemplar;
      chooseTiles();
      if (!exemplar || !unit) return;
      text(caption, describe(exemplar));
      text(source, exemplar.path ?? exemplar.name);
      source.title = exemplar.path ?? exemplar.name;
      file.hidden = !exemplar.path;
      const photo = store.get("context");
      const shown = photo?.picture === exemplar.image;
      context.classList.toggle("cs-is-stale", !shown);
      if (photo && shown) showBox(photo, exemplar);
    },
    signal,
  );
  // A page that came over the network may not open files; a saved page may.
  on(
    file,
    "click",
    () => {
      const path = source.title;
      if (location.protocol === "file:") window.open(`file://${encodeURI(path)}`);
      else void navigator.clipboard?.writeText(path).then(() => text(file, "copied"));
    },
    signal,
  );
  store.watch(
    ["exemplar", "unit"],
    () => text(file, location.protocol === "file:" ? "open file" : "copy path"),
    signal,
  );
  function showBox(photo: Photo, exemplar: Exemplar): void {
    paint(canvas, photo.pixels, photo.width, photo.height);
    spot.hidden = !exemplar.whole;
    box.hidden = exemplar.whole;
    if (exemplar.whole) mark(spot, exemplar, [photo.height, photo.width]);
    const [top, left] = [Math.max(0, exemplar.box[0]), Math.max(0, exemplar.box[1])];
    const [bottom, right] = [Math.min(photo.height, exemplar.box[2]), Math.min(photo.width, exemplar.box[3])];
    // By its middle, so that a field of a few pixels can be drawn larger than it is and still point at the place.
    Object.assign(box.style, {
      top: `${(50 * (top + bottom)) / photo.height}%`,
      left: `${(50 * (left + right)) / photo.width}%`,
      height: `${(100 * (bottom - top)) / photo.height}%`,
      width: `${(100 * (right - left)) / photo.width}%`,
    });
  }
}

/** Where few pictures excite a unit, its top fills up with some that a rectifier made zero: their place means nothing. */
function isSilent(exemplar: Exemplar): boolean {
  return exemplar.value === 0;
}

function describe(exemplar: Exemplar): string {
  const what = exemplar.label ?? exemplar.name;
  if (isSilent(exemplar)) return `silent · ${what}`;
  return `${activation(exemplar.value)} · ${what} · row ${exemplar.row}, column ${exemplar.column}`;
}

/** Put a ring where a unit lies whose receptive field is larger than the picture: at the middle of the field. */
function mark(ring: HTMLElement, exemplar: Exemplar, [height, width]: readonly [number, number]): void {
  const [top, left, bottom, right] = exemplar.box;
  ring.style.top = `${Math.min(96, Math.max(4, (50 * (top + bottom)) / height))}%`;
  ring.style.left = `${Math.min(96, Math.max(4, (50 * (left + right)) / width))}%`;
}
