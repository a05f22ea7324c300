/** All filters of a layer on one canvas. Only the rows in sight are painted; hovering and choosing never ask the kernel. */

import type { Scale } from "../lib/atlas";
import { type Layout, layout, paintTile, place, range, tileAt, visible } from "../lib/atlas";
import { COLORMAPS, type Colormap } from "../lib/colormaps";
import { el, on, onFrame, onResize, segmented, select, text } from "../lib/dom";
import { activation, share } from "../lib/format";
import type { Store } from "../lib/store";
import type { Lens, Order, Show, State } from "../state";
import { ailing, ordered, searched, shows } from "./order";

/** About how large a tile is, CSS px, at each step of the zoom. */
const ZOOM = [20, 30, 42, 60, 84, 120] as const;
/** The grid scrolls inside itself beyond this height, CSS px. */
const TALLEST = 760;

export function gridPane(store: Store<State>, root: HTMLElement, signal: AbortSignal): void {
  // ---- tools
  const lenses = segmented<Lens>(
    "Lens",
    [
      { value: "activation", text: "activation", title: "What each filter answers on this picture" },
      { value: "patch", text: "best patch", title: "The patch that excites each filter most" },
      {
        value: "projection",
        text: "projection",
        title: "What each filter picked out of the patch that excites it most",
      },
      { value: "weights", text: "weights", title: "The filters of the first layer themselves" },
    ],
    (lens) => store.set({ lens }),
    signal,
  );
  const orders = select<Order>(
    "Order",
    [
      { value: "strongest", text: "strongest here" },
      { value: "mean", text: "mean here" },
      { value: "index", text: "by index" },
      { value: "best", text: "in survey" },
      { value: "rare", text: "rarest first" },
      { value: "class", text: "for the class" },
    ],
    (order) => store.set({ order }),
    signal,
  );
  const scales = segmented<Scale>(
    "Scale",
    [
      { value: "unit", text: "unit", title: "Each tile uses the full range of colours" },
      { value: "layer", text: "layer", title: "One range for the layer: tiles can be compared" },
    ],
    (scale) => store.set({ scale }),
    signal,
  );
  const maps = select<Colormap>(
    "Colour map",
    COLORMAPS.map((value) => ({ value, text: value })),
    (colormap) => store.set({ colormap }),
    signal,
  );
  const search = el("input", {
    type: "search",
    class: "cs-search",
    placeholder: "unit or class",
    "aria-label": "Find units by number (244, or 12, 40-48) or by the class that they prefer",
    title: "Find units by number (244, or 12, 40-48), or by the class that they prefer",
  });
  const labels = el("datalist", { id: `cs-labels-${Math.random().toString(36).slice(2)}` });
  search.setAttribute("list", labels.id);
  const shown = select<Show>(
    "Which filters",
    [
      { value: "all", text: "all" },
      { value: "alive", text: "alive" },
      { value: "dead", text: "dead" },
      { value: "rare", text: "rarely active" },
      { value: "repeated", text: "repeated" },
    ],
    (show) => store.set({ show }),
    signal,
  );
  const units = el("div", { class: "cs-similar", role: "group" });
  const results = el("div", { class: "cs-found", hidden: true }, el("span", { class: "cs-dim" }), units);
  const smaller = el("button", { type: "button", class: "cs-button", title: "Smaller tiles (-)" }, "−");
  const larger = el("button", { type: "button", class: "cs-button", title: "Larger tiles (+)" }, "+");
  const tools = el(
    "div",
    { class: "cs-tools" },
    lenses.element,
    orders.element,
    shown.element,
    // What does not fit beside the lenses goes to the next line together.
    el(
      "div",
      { class: "cs-tools cs-tools__end" },
      scales.element,
      maps.element,
      el("span", { class: "cs-zoom", role: "group", "aria-label": "Tile size" }, smaller, larger),
      search,
      labels,
    ),
  );

  // ---- canvas in a scroller: the canvas stays put, a spacer gives the scroll bar its length
  const canvas = el("canvas", { class: "cs-grid__canvas", "aria-hidden": "true" });
  const spacer = el("div", { class: "cs-grid__spacer" });
  const cell = el("div", { role: "gridcell", id: `cs-cell-${Math.random().toString(36).slice(2)}` });
  const scroller = el(
    "div",
    {
      class: "cs-grid",
      role: "grid",
      tabindex: 0,
      "aria-label": "Filters",
      "aria-activedescendant": cell.id,
      "data-lm-suppress-shortcuts": "true",
    },
    canvas,
    spacer,
    el("div", { class: "cs-visually-hidden", role: "row" }, cell),
  );
  const tip = el("div", { class: "cs-tip", role: "tooltip", hidden: true });
  const empty = el("p", { class: "cs-empty" });
  const foot = el("div", { class: "cs-grid__foot" });
  const body = el("div", { class: "cs-grid__body" }, scroller, tip, empty);
  root.append(el("div", { class: "cs-filters" }, tools, results, body, foot));

  // ---- what is shown where
  let zoom = 2;
  let order: number[] = [];
  let grid: Layout = layout(0, 1, 42);
  let width = 0;

  /** What is said of a unit in a line. */
  const describe = (channel: number): string => {
    const answer = store.get("grid");
    const parts = [`unit ${channel}`];
    const here = answer?.max[channel];
    if (here !== undefined) parts.push(`max ${activation(here)} here`);
    const health = store.get("health");
    if (health && answer && health.layer === answer.layer) {
      parts.push(ailing(health, channel), `active in ${share(health.share[channel] ?? 0)} of pictures`);
    } else if (answer) parts.push(`active in ${share(answer.active[channel] ?? 0)} of places`);
    const found = store.get("found");
    if (found && found.layer === answer?.layer) {
      parts.push(`${(found.preference[channel] ?? 0).toFixed(1)} σ for ${found.label}`);
    }
    return parts.filter(Boolean).join(" · ");
  };
  const tellSelected = () => {
    const selected = store.get("selected");
    const index = selected === null ? -1 : order.indexOf(selected);
    cell.setAttribute("aria-selected", String(index >= 0));
    if (selected === null || index < 0) return text(cell, "no unit selected");
    const row = Math.floor(index / grid.columns) + 1;
    text(cell, `${describe(selected)}, row ${row} of ${grid.rows}`);
  };
  const arrange = () => {
    const answer = store.get("grid");
    const channels = answer?.planes.channels ?? 0;
    const asked = search.value.trim();
    const isClass = asked !== "" && store.get("_labels").some((label) => label.startsWith(asked));
    const wanted = isClass ? null : searched(asked, channels);
    search.classList.toggle("cs-is-wrong", wanted === null && !isClass);
    const health = store.get("health");
    order = answer ? ordered(answer, store.get("order"), health, store.get("found")) : [];
    if (wanted && wanted.size > 0) order = order.filter((channel) => wanted.has(channel));
    else if (wanted && asked) order = [];
    if (health && health.layer === answer?.layer) {
      order = order.filter((channel) => shows(store.get("show"), health, channel));
    }
    grid = layout(order.length, Math.max(1, width), ZOOM[zoom] ?? 42);
    const high = Math.min(TALLEST, grid.height);
    scroller.style.height = `${high}px`;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${high}px`;
    spacer.style.height = `${grid.height}px`;
    spacer.style.marginTop = `${-high}px`;
    text(
      empty,
      !answer || order.length > 0
        ? ""
        : asked && !isClass
          ? `No unit of this layer matches “${asked}”.`
          : `No unit of this layer is ${{ rare: "rarely active" }[store.get("show") as string] ?? store.get("show")}.`,
    );
    scroller.setAttribute("aria-rowcount", String(grid.rows));
    scroller.setAttribute("aria-colcount", String(grid.columns));
    tellSelected();
    paint();
  };

  const scratch = document.createElement("canvas");
  const paint = onFrame(() => {
    const answer = store.get("grid");
    const high = scroller.clientHeight;
    if (!answer || width === 0 || high === 0) return;
    const { planes } = answer;
    const density = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * density);
    canvas.height = Math.round(high * density);
    const [first, last] = visible(grid, order.length, scroller.scrollTop, high);
    const context = canvas.getContext("2d");
    const paper = scratch.getContext("2d");
    if (!context || !paper || last <= first) return;
    // Colour the tiles in sight at their own resolution, side by side, then let the canvas enlarge each.
    const rows = Math.ceil((last - first) / grid.columns);
    scratch.width = grid.columns * planes.width;
    scratch.height = rows * planes.height;
    const image = paper.createImageData(scratch.width, scratch.height);
    const words = new Uint32Array(image.data.buffer);
    const scale = store.get("scale");
    const together = range(planes, 0, "layer");
    const colormap = store.get("colormap");
    for (let index = first; index < last; index++) {
      const channel = order[index] ?? 0;
      const [row, column] = [Math.floor((index - first) / grid.columns), (index - first) % grid.columns];
      const bounds = scale === "layer" ? together : range(planes, channel, "unit");
      const offset = row * planes.height * scratch.width + column * planes.width;
      paintTile(planes, channel, bounds, colormap, words, offset, scratch.width);
    }
    paper.putImageData(image, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    // Pixels of a map stay pixels; photographs and large maps are drawn smoothly.
    context.imageSmoothingEnabled =
      planes.width > grid.tile * density || answer.lens === "patch" || answer.lens === "projection";
    context.imageSmoothingQuality = "high";
    const selected = store.get("selected");
    for (let index = first; index < last; index++) {
      const { x, y } = place(grid, index);
      const [row, column] = [Math.floor((index - first) / grid.columns), (index - first) % grid.columns];
      const left = Math.round(x * density);
      const top = Math.round((y - scroller.scrollTop) * density);
      const right = Math.round((x + grid.tile) * density);
      const bottom = Math.round((y + grid.tile - scroller.scrollTop) * density);
      context.drawImage(
        scratch,
        column * planes.width,
        row * planes.height,
        planes.width,
        planes.height,
        left,
        top,
        right - left,
        bottom - top,
      );
    }
    const style = getComputedStyle(scroller);
    // Dead: struck through. Repeated: a small double stroke in the corner.
    const health = store.get("health");
    if (health?.layer === answer.layer) {
      for (let index = first; index < last; index++) {
        const what = ailing(health, order[index] ?? 0);
        if (!what || what === "rarely active") continue;
        const { x, y } = place(grid, index);
        const [left, top, side] = [x * density, (y - scroller.scrollTop) * density, grid.tile * density];
        const stroke = (colour: string, width: number) => {
          context.strokeStyle = colour;
          context.lineWidth = width * density;
          context.beginPath();
          if (what === "dead") {
            context.moveTo(left + 0.25 * side, top + 0.75 * side);
            context.lineTo(left + 0.75 * side, top + 0.25 * side);
          } else {
            for (const height of [4, 7]) {
              context.moveTo(left + side - 10 * density, top + height * density);
              context.lineTo(left + side - 4 * density, top + height * density);
            }
          }
          context.stroke();
        };
        stroke("rgb(0 0 0 / 60%)", 2.5);
        stroke("#fff", 1);
      }
    }
    const frame = (channel: number | null, colour: string, line: number) => {
      const index = channel === null ? -1 : order.indexOf(channel);
      if (index < first || index >= last) return;
      const { x, y } = place(grid, index);
      // Inside the tile, so that the first row and column are not cut off; with a gap of the background around it.
      const ring = (inset: number, stroke: string, weight: number) => {
        context.strokeStyle = stroke;
        context.lineWidth = weight * density;
        context.strokeRect(
          (x + inset) * density,
          (y - scroller.scrollTop + inset) * density,
          (grid.tile - 2 * inset) * density,
          (grid.tile - 2 * inset) * density,
        );
      };
      ring(line + 0.5, style.getPropertyValue("--cs-bg"), 1);
      ring(line / 2, colour, line);
    };
    frame(store.get("hovered"), style.getPropertyValue("--cs-fg"), 1);
    frame(selected, style.getPropertyValue("--cs-accent"), 2);
    scroller.dataset.painted = `${answer.layer}/${answer.lens}/${store.get("colormap")}/${scale}`;
  }, signal);

  // ---- keep in step
  onResize(
    body,
    (now) => {
      if (now === width) return;
      const first = width === 0;
      width = now;
      arrange();
      if (first) reveal();
    },
    signal,
  );
  store.watch(["grid", "order", "health", "show", "found", "_labels"], arrange, signal);
  store.onChange(["colormap", "scale", "selected", "hovered", "tiled"], paint, signal);
  on(scroller, "scroll", paint, signal, { passive: true });
  on(search, "input", arrange, signal);
  on(search, "keydown", (event) => event.stopPropagation(), signal);
  on(
    search,
    "change",
    () => {
      const asked = search.value.trim();
      const label = store.get("_labels").includes(asked) ? asked : "";
      const before = store.get("label");
      if (label) return store.set({ label, order: "class" });
      if (before)
        store.set({ label: "", order: store.get("order") === "class" ? "strongest" : store.get("order") });
      if (order.length > 0 && asked) choose(order[0] ?? null);
    },
    signal,
  );
  store.watch(
    ["_labels"],
    () => labels.replaceChildren(...store.get("_labels").map((value) => el("option", { value }))),
    signal,
  );
  store.watch(
    ["label"],
    () => {
      if (store.get("label") && document.activeElement !== search) search.value = store.get("label");
    },
    signal,
  );
  store.watch(
    ["found"],
    () => {
      const found = store.get("found");
      results.hidden = !found;
      if (!found) return;
      text(results.firstChild as Node, `Units for ${found.label}, of all layers`);
      units.setAttribute("aria-label", `Units for ${found.label}`);
      units.replaceChildren(
        ...found.units.map(([layer, unit, preference]) =>
          el(
            "button",
            {
              type: "button",
              class: "cs-chip",
              "data-layer": layer,
              "data-unit": unit,
              title: `${layer}, unit ${unit}: ${preference.toFixed(1)} standard deviations more on this class`,
            },
            `${layer} · ${unit}`,
            el("span", { class: "cs-dim" }, `${preference.toFixed(1)} σ`),
          ),
        ),
      );
    },
    signal,
  );
  on(
    units,
    "click",
    (event) => {
      const chip = (event.target as HTMLElement).closest<HTMLElement>(".cs-chip");
      if (chip?.dataset.layer) {
        store.set({ layer: chip.dataset.layer, selected: Number(chip.dataset.unit), exemplar: null });
      }
    },
    signal,
  );
  // The colours of the frames change with the page's theme.
  const themed = new MutationObserver(paint);
  const themeRoot = root.closest<HTMLElement>(".cs-root") ?? root;
  themed.observe(themeRoot, { attributes: true, attributeFilter: ["data-theme"] });
  signal.addEventListener("abort", () => themed.disconnect());

  store.watch(["lens"], () => lenses.show(store.get("lens")), signal);
  store.watch(["order"], () => orders.show(store.get("order")), signal);
  store.watch(["show"], () => shown.show(store.get("show")), signal);
  store.watch(["scale"], () => scales.show(store.get("scale")), signal);
  store.watch(["colormap"], () => maps.show(store.get("colormap")), signal);
  store.watch(
    ["_survey", "layer", "_network", "label"],
    () => {
      const surveyed = store.get("_survey").revision > 0;
      shown.element.hidden = !surveyed;
      orders.offer([
        ...(["strongest", "mean", "index"] as const),
        ...(surveyed ? (["best", "rare"] as const) : []),
        ...(surveyed && store.get("label") ? (["class"] as const) : []),
      ]);
      const enable = (lens: Lens, possible: boolean) => {
        const option = lenses.element.querySelector<HTMLElement>(`[data-value="${lens}"]`);
        if (option) option.hidden = !possible;
      };
      const layers = store.get("_network").layers;
      const first = layers.find(({ kind }) => kind === "conv");
      enable("patch", surveyed);
      enable("projection", surveyed);
      enable("weights", first?.name === store.get("layer"));
      const lens = store.get("lens");
      // Without a kernel's word a lens that makes no sense here falls back, rather than showing another layer's tiles.
      if (lens === "weights" && layers.length > 0 && first?.name !== store.get("layer")) {
        store.set({ lens: "activation" });
      }
    },
    signal,
  );
  store.watch(
    ["lens", "grid"],
    () => {
      const coloured = (store.get("grid")?.planes.depth ?? 1) === 1;
      scales.element.hidden = !coloured;
      maps.element.hidden = !coloured;
    },
    signal,
  );
  store.watch(
    ["grid", "layer", "lens"],
    () => {
      const answer = store.get("grid");
      const stale = !answer || answer.layer !== store.get("layer") || answer.lens !== store.get("lens");
      scroller.classList.toggle("cs-is-stale", stale);
      scroller.setAttribute("aria-busy", String(stale));
    },
    signal,
  );
  store.watch(
    ["grid", "health", "selected", "_survey", "tiled"],
    () => {
      const answer = store.get("grid");
      if (!answer) return text(foot, " ");
      const silent = answer.max.reduce((count, value) => count + (value <= 0 ? 1 : 0), 0);
      const health = store.get("health");
      const known = health && health.layer === answer.layer ? health : null;
      const dead = known?.share.reduce((count, value) => count + (value <= 0 ? 1 : 0), 0);
      const parts = [`${answer.planes.channels} filters`, `${silent} silent on this picture`];
      if (dead !== undefined) parts.push(`${dead} never active in ${store.get("_survey").done} pictures`);
      const come = store.get("tiled");
      if (answer.lens === "projection" && come < answer.planes.channels) {
        parts.unshift(`projected ${come} of ${answer.planes.channels}`);
      }
      scroller.dataset.tiled = String(come);
      text(foot, parts.join(" · "));
    },
    signal,
  );

  // ---- said of the unit under the pointer, and of the selected one
  store.watch(
    ["hovered", "grid", "health"],
    () => {
      const channel = store.get("hovered");
      const index = channel === null ? -1 : order.indexOf(channel);
      tip.hidden = index < 0;
      if (channel === null || index < 0) return;
      text(tip, describe(channel));
      const { x, y } = place(grid, index);
      const beside = x + grid.tile + 6;
      const top = y - scroller.scrollTop;
      const flips = beside + tip.offsetWidth > width;
      tip.style.left = `${flips ? Math.max(0, x - tip.offsetWidth - 6) : beside}px`;
      tip.style.top = `${Math.max(0, Math.min(top, scroller.clientHeight - tip.offsetHeight))}px`;
    },
    signal,
  );
  store.watch(["selected"], tellSelected, signal);

  // ---- choose
  const choose = (channel: number | null) => {
    if (channel !== null) store.set({ selected: channel, exemplar: null });
  };
  /** Scroll as little as shows the selected tile, whoever selected it. */
  const reveal = () => {
    const selected = store.get("selected");
    const index = selected === null ? -1 : order.indexOf(selected);
    if (index < 0) return;
    const { y } = place(grid, index);
    if (y < scroller.scrollTop) scroller.scrollTop = y;
    else if (y + grid.tile > scroller.scrollTop + scroller.clientHeight) {
      scroller.scrollTop = y + grid.tile - scroller.clientHeight;
    }
  };
  store.watch(["selected", "grid", "order"], reveal, signal);
  const under = (event: MouseEvent): number | null => {
    const box = scroller.getBoundingClientRect();
    const at = tileAt(
      grid,
      order.length,
      event.clientX - box.left,
      event.clientY - box.top + scroller.scrollTop,
    );
    return at === null ? null : (order[at] ?? null);
  };
  on(scroller, "pointermove", (event) => store.set({ hovered: under(event) }), signal);
  on(scroller, "pointerleave", () => store.set({ hovered: null }), signal);
  on(scroller, "click", (event) => choose(under(event)), signal);
  const zoomBy = (by: number) => {
    zoom = Math.min(Math.max(zoom + by, 0), ZOOM.length - 1);
    smaller.disabled = zoom === 0;
    larger.disabled = zoom === ZOOM.length - 1;
    arrange();
  };
  on(smaller, "click", () => zoomBy(-1), signal);
  on(larger, "click", () => zoomBy(1), signal);
  on(
    scroller,
    "keydown",
    (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || order.length === 0) return;
      const page = Math.max(1, Math.floor(scroller.clientHeight / (grid.tile + grid.gap))) * grid.columns;
      const steps: Record<string, number> = {
        ArrowRight: 1,
        ArrowLeft: -1,
        ArrowDown: grid.columns,
        ArrowUp: -grid.columns,
        PageDown: page,
        PageUp: -page,
        Home: -Infinity,
        End: Infinity,
      };
      const step = steps[event.key];
      if (step !== undefined) {
        const selected = store.get("selected");
        const at = selected === null ? -1 : order.indexOf(selected);
        // From nowhere an arrow goes to the first; Home and End go where they say.
        const wanted = at < 0 && Number.isFinite(step) ? 0 : at + step;
        const next = Math.min(Math.max(wanted, 0), order.length - 1);
        choose(order[next] ?? null);
      } else if (event.key === "+" || event.key === "=") zoomBy(1);
      else if (event.key === "-") zoomBy(-1);
      else if (event.key === "/") search.focus();
      else return;
      event.preventDefault();
      event.stopPropagation();
    },
    signal,
  );
}
