import { afterEach, expect, it } from "vitest";
import { captioned, select } from "./controls";
import { el } from "./dom";
import { more } from "./menu";

afterEach(() => document.body.replaceChildren());

function opened() {
  const ending = new AbortController();
  const inside = el("button", "inside");
  const part = more(ending.signal, inside) as HTMLDetailsElement;
  const outside = el("button", "outside");
  document.body.append(el("div.cs-root", part, outside));
  part.open = true;
  return { part, inside, outside, ending };
}

const press = (target: Element) =>
  target.dispatchEvent(new Event("pointerdown", { bubbles: true, composed: true }));

it("is put away by a click elsewhere, not by one inside", () => {
  const { part, inside, outside } = opened();
  press(inside);
  expect(part.open).toBe(true);
  press(outside);
  expect(part.open).toBe(false);
});

it("is put away by Escape, which is then for nothing around it, and gives the focus back", () => {
  const { part, inside } = opened();
  const heard: string[] = [];
  document.body.addEventListener("keydown", ({ key }) => heard.push(key), { once: true });
  const leave = () => inside.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true }));
  leave();
  expect([part.open, document.activeElement, heard]).toEqual([false, part.querySelector("summary"), []]);
  leave();
  expect(heard).toEqual(["Escape"]);
});

it("listens as long as its view lasts", () => {
  const { part, outside, ending } = opened();
  ending.abort();
  press(outside);
  expect(part.open).toBe(true);
});

it("a click on a caption goes into its field; of several buttons it is for none", () => {
  const fields = [select("Order", { a: "a" }).element, el("input"), el("div", el("button", "one"))];
  expect(fields.map((one) => captioned("order", one).tagName)).toEqual(["LABEL", "LABEL", "SPAN"]);
});
