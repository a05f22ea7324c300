/** How the maps are shown: scale, opacity, colours, control; and beside the table, what this network has not. */
import { DIVERGING, divergingGradient } from "../lib/colormaps";
import { el, on, segmented, select, text } from "../lib/dom";
import type { Session } from "../session";
import type { State } from "../state";
import { onTheme, themeOf } from "./table";
import { type Refused, randomised, titleOf } from "./tiles";

/** Shares of the layers that the control is offered for. */
const SHARES = [0, 0.25, 0.5, 0.75, 1];

export function galleryToolsPane({ store }: Session, root: HTMLElement, signal: AbortSignal): void {
  const scale = segmented<State["scale_by"]>(
    "Scale of colours",
    [
      {
        value: "group",
        text: "per group",
        title: "The maps of a group in a row share a scale: compare how strong",
      },
      { value: "map", text: "per map", title: "Each map has a scale of its own: compare structure" },
    ],
    (value) => store.set({ scale_by: value }),
    signal,
  );
  const opacity = el("input", {
    type: "range",
    class: "cs-range",
    min: 0,
    max: 100,
    "aria-label": "Opacity of the maps over the picture",
    title: "Opacity of the maps over the picture",
  });
  const colours = select(
    "Colours of positive and negative values",
    DIVERGING.map((value) => ({ value, text: value.replace("-", " / ") })),
    (value) => store.set({ colours: value }),
    signal,
  );
  const control = el(
    "button",
    {
      type: "button",
      class: "cs-button cs-toggle",
      title: "Each map again with a part of the network randomised: what does not change was not learnt",
    },
    "control",
  );
  const top = el("select", {
    class: "cs-select cs-select--wide",
    "aria-label": "What the control randomises",
  });
  top.title = "What the control randomises, from the output down";
  const strip = el("span", { class: "cs-signed__strip" });
  const legend = el("span", { class: "cs-signed", "aria-hidden": "true" }, "−", strip, "+");
  const pane = el(
    "div",
    { class: "cs-tools" },
    el("span", { class: "cs-tools__field" }, "scale", scale.element),
    el("label", { class: "cs-tools__field" }, "opacity", opacity),
    el("span", { class: "cs-tools__field" }, control, top),
    el("span", { class: "cs-spring" }),
    el("span", { class: "cs-tools__field" }, colours.element, legend),
  );
  root.append(pane);

  // Written to the kernel when the slider is let go; drawn at once.
  on(opacity, "input", () => store.set({ dragging: true, opacity: Number(opacity.value) / 100 }), signal);
  on(opacity, "change", () => store.set({ dragging: false }), signal);
  on(opacity, "keydown", (event) => event.stopPropagation(), signal);
  on(control, "click", () => store.set({ control: !store.get("control") }), signal);
  on(top, "change", () => store.set({ top: Number(top.value) }), signal);

  store.watch(["scale_by"], () => scale.show(store.get("scale_by")), signal);
  store.watch(["opacity"], () => (opacity.value = String(Math.round(100 * store.get("opacity")))), signal);
  store.watch(
    ["control", "top", "offline"],
    () => {
      const share = store.get("top");
      control.setAttribute("aria-pressed", String(store.get("control")));
      top.hidden = !store.get("control");
      top.disabled = store.get("offline");
      const shares = [...new Set([...SHARES, share])].sort((a, b) => a - b);
      top.replaceChildren(
        ...shares.map((one) => el("option", { value: one }, `${randomised(one)} at random`)),
      );
      top.value = String(share);
    },
    signal,
  );
  const showColours = () => {
    colours.show(store.get("colours"));
    strip.style.background = divergingGradient(store.get("colours"), themeOf(root));
  };
  store.watch(["colours"], showColours, signal);
  onTheme(root, showColours, signal);
}

const HEADINGS = {
  network: "Not for this network",
  missing: "Not installed",
  more: "Not shown",
} as const;

/** Methods that are not among the columns, with the reason, and a button where an extension makes them possible. */
export function refusedPane({ store }: Session, root: HTMLElement, signal: AbortSignal): void {
  const item = (refused: Refused) => {
    const { name, reason, extension } = refused;
    const box = el(
      "div",
      { class: "cs-refused", "data-method": name },
      el("div", { class: "cs-refused__name", title: refused.summary }, titleOf(name)),
      el("div", { class: "cs-refused__reason", tabindex: 0 }, reason),
    );
    if (extension) {
      const extend = el(
        "button",
        {
          type: "button",
          class: "cs-button",
          disabled: store.get("offline"),
          title: `Compute it with extension="${extension}" where the published method says nothing; it is labelled`,
        },
        "compute it extended",
      );
      on(extend, "click", () => store.set({ extended: [...store.get("extended"), name] }), signal);
      box.append(extend);
    }
    return box;
  };
  store.watch(
    ["_refused", "offline"],
    () => {
      const refused = store.get("_refused");
      root.hidden = refused.length === 0;
      root.replaceChildren();
      for (const [kind, heading] of Object.entries(HEADINGS)) {
        const of = refused.filter((one) => one.kind === kind);
        if (of.length > 0) root.append(el("h3", { class: "cs-heading" }, heading), ...of.map(item));
      }
    },
    signal,
  );
}

/** What the maps can say, and what not. */
export function notesPane({ store }: Session, root: HTMLElement, signal: AbortSignal): void {
  const given = el("p");
  const notes = el(
    "div",
    { class: "cs-notes" },
    el(
      "p",
      {},
      el("b", {}, "Function"),
      " is how the score changes with the picture; ",
      el("b", {}, "signal"),
      " what the network picked out of it; ",
      el("b", {}, "attribution"),
      " how much each place contributed. Compare colours within a group, not between groups.",
    ),
    el(
      "p",
      {},
      "Deconvnet and guided backprop show what a unit sees, not why a class was chosen. In the pointing game the " +
        "strongest place of a deconvnet’s map lies on the object less often than the centre of the picture does " +
        "(67.5 % against 69.6 %, VOC 2007, VGG-16).",
    ),
    el(
      "p",
      {},
      "The small map beneath each is its control: the same class, with the top layers randomised. A map that hardly " +
        "changes (ρ above 0.7) hardly depends on what those layers learnt; one that changes may still be wrong.",
    ),
    given,
  );
  root.append(el("h3", { class: "cs-heading" }, "What this can and cannot say"), notes);
  store.watch(
    ["given", "rows"],
    () => {
      const [count, shown] = [store.get("given"), store.get("rows").length];
      given.hidden = count <= shown;
      text(given, `The first ${shown} of ${count} pictures are shown.`);
    },
    signal,
  );
}
