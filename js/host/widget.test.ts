import { expect, it, vi } from "vitest";
import { el } from "../lib/dom";
import type { Slice, View } from "../seam";
import type { Listener } from "./kernel";
import type { Model } from "./session";
import { instrument } from "./widget";

const colour: Slice<{ colour: string }> = { initial: { colour: "red" }, writes: ["colour"] };
const count: Slice<{ count: number }> = { initial: { count: 1 } };

const colourPane = ({ store }: View<{ colour: string }>, root: HTMLElement) => {
  const shown = root.appendChild(el("p.colour"));
  store.follow("colour", (value) => {
    shown.textContent = value;
  });
};
const countPane = ({ store }: View<{ count: number }>, _root: HTMLElement) => store.set({ count: 2 });

function modelOf(traits: Record<string, unknown>) {
  const told: string[] = [];
  const handlers = new Map<string, Listener>();
  const model: Model = {
    get: (name) => traits[name],
    set: (name, value) => {
      traits[name] = value;
    },
    save_changes: () => {},
    send: (message) => told.push((message as { kind: string }).kind),
    on: (event, handler) => handlers.set(event, handler),
    off: (event) => handlers.delete(event),
  };
  const change = (name: string, value: unknown) => {
    traits[name] = value;
    handlers.get(`change:${name}`)?.(undefined, []);
  };
  return { model, told, change };
}

it("is the sum of its panes: what a slice does not name, a pane cannot ask for", () => {
  const mount = (view: View<{ colour: string; count: number }>, root: HTMLElement) => {
    colourPane(view, root);
    countPane(view, root);
  };
  instrument({ name: "both", slices: [colour, count], link: () => {}, mount });
  // @ts-expect-error the slice of one of its panes is missing
  instrument({ name: "one", slices: [colour], link: () => {}, mount });
});

it("shares a session among the views of a model, and lets go with the last", () => {
  const link = vi.fn();
  const { widget } = instrument({ name: "test", slices: [colour], link, mount: colourPane });
  const { model, told, change } = modelOf({ colour: "blue" });
  const { render } = widget();
  const views = [0, 1].map(() => ({ host: document.createElement("div"), ending: new AbortController() }));
  for (const { host, ending } of views) render({ model, el: host, signal: ending.signal });
  const shown = () => views.map(({ host }) => host.querySelector(".colour")?.textContent);
  expect(link).toHaveBeenCalledTimes(1);
  expect(shown()).toEqual(["blue", "blue"]);
  views[0]?.ending.abort();
  change("colour", "green");
  expect(shown()).toEqual(["blue", "green"]);
  expect(told).not.toContain("release");
  views[1]?.ending.abort();
  expect(told).toContain("release");
});

it("shows why it could not be drawn", () => {
  const mount = () => {
    throw new TypeError("the lamp went out");
  };
  const { widget } = instrument({ name: "test", slices: [], link: () => {}, mount });
  const host = document.createElement("div");
  widget().render({ model: modelOf({}).model, el: host, signal: new AbortController().signal });
  expect(host.querySelector("[role=alert]")?.textContent).toContain("the lamp went out");
});
