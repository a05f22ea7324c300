import { expect, it } from "vitest";
import { el } from "./dom";
import { keepFocus } from "./focus";

const chance = (seed: number) => () => {
  seed = (seed * 1664525 + 1013904223) >>> 0;
  return seed / 2 ** 32;
};

/** After a change the watcher is told in a microtask of its own. */
const settled = () => new Promise((go) => setTimeout(go));

function setup(...content: HTMLElement[]) {
  const ending = new AbortController();
  const root = el("div", { tabindex: -1 }, ...content);
  const whole = el("div", root);
  document.body.replaceChildren(whole);
  keepFocus(whole, ending.signal);
  return { root, whole, ending };
}

/** Whether an element can have the focus no longer. */
const off = (one: Element) => one.closest("[disabled], [hidden], [inert]") !== null;

const buttons = (...names: string[]) => names.map((name) => el("button", { "data-name": name }, name));
const now = () => document.activeElement?.textContent;

it("goes from one that is removed to the next, from the last to the one before, then out of the group", async () => {
  const group = el("div", ...buttons("a", "b", "c"));
  const { root, whole } = setup(...buttons("before"), group, ...buttons("after"));
  const take = async (name: string) => {
    group.querySelector(`[data-name=${name}]`)?.remove();
    await settled();
    return now();
  };
  group.querySelector<HTMLElement>("[data-name=b]")?.focus();
  expect([await take("b"), await take("c"), await take("a")]).toEqual(["c", "a", "after"]);
  root.replaceChildren();
  await settled();
  expect(document.activeElement).toBe(root);
  expect(whole.contains(document.activeElement)).toBe(true);
});

it("stays on one that is drawn anew, or moved, whatever else came and whatever its number is now", async () => {
  const list = el("div", ...buttons("a", "b", "c"));
  setup(list);
  list.querySelector<HTMLElement>("[data-name=b]")?.focus();
  const drawn = buttons("new", "a", "b");
  list.replaceChildren(...drawn);
  await settled();
  expect(document.activeElement).toBe(drawn[2]);
  list.prepend(drawn[2] as Node);
  await settled();
  expect(document.activeElement).toBe(drawn[2]);
});

it.each<[string, (one: HTMLButtonElement) => void]>([
  ["switched off", (one) => (one.disabled = true)],
  ["hidden", (one) => (one.hidden = true)],
  ["hidden with its group", (one) => one.parentElement?.setAttribute("hidden", "")],
  ["inert with its group", (one) => one.parentElement?.setAttribute("inert", "")],
])("goes on from one that is %s", async (_how, change) => {
  const [one, other] = buttons("one", "other");
  setup(el("div", one as HTMLElement), other as HTMLElement);
  one?.focus();
  change(one as HTMLButtonElement);
  await settled();
  expect(now()).toBe("other");
});

it("leaves it to who took it elsewhere", async () => {
  const [inside, outside] = buttons("inside", "outside") as [HTMLButtonElement, HTMLButtonElement];
  setup(inside);
  document.body.append(outside);
  inside.focus();
  outside.focus();
  await settled();
  inside.remove();
  await settled();
  expect(document.activeElement).toBe(outside);
  outside.blur();
  expect(document.activeElement).toBe(document.body);
});

it("is inside a shadow tree what it is outside", async () => {
  const tree = document.body.appendChild(el("div")).attachShadow({ mode: "open" });
  const [one, other] = buttons("one", "other") as [HTMLButtonElement, HTMLButtonElement];
  const whole = el("div", one, other);
  tree.append(whole);
  keepFocus(whole, new AbortController().signal);
  one.focus();
  one.disabled = true;
  await settled();
  expect(tree.activeElement).toBe(other);
});

it("stays inside whatever becomes of what has it", async () => {
  const random = chance(7);
  const below = (count: number) => Math.floor(random() * count);
  for (let round = 0; round < 12; round++) {
    const made = (depth: number): HTMLElement =>
      depth === 0 || random() < 0.4
        ? el("button", { "data-name": below(6) }, `${below(3)}`)
        : el("div", ...Array.from({ length: 1 + below(4) }, () => made(depth - 1)));
    const { root, whole, ending } = setup(made(3), made(3), made(3));
    const all = () => [...root.querySelectorAll("button")];
    all()[below(all().length)]?.focus();
    for (let step = 0; step < 8; step++) {
      const held = document.activeElement as HTMLElement;
      if (!root.contains(held) || held === root) break;
      const around = below(3) === 0 ? (held.parentElement ?? held) : held;
      const part = around === root ? held : around;
      const change = [
        () => part.remove(),
        () => part.replaceWith(made(2)),
        () => (part.hidden = true),
        () => part.toggleAttribute("inert", true),
        () => (held as HTMLButtonElement).toggleAttribute("disabled", true),
        () => part.parentElement?.replaceChildren(made(2), made(1)),
        () => part.before(made(1)),
      ][below(7)];
      change?.();
      await settled();
      const next = document.activeElement as HTMLElement;
      expect(whole.contains(next)).toBe(true);
      expect(off(next)).toBe(false);
      // The instrument itself has it only where there is nothing else.
      if (next === root) expect(all().filter((one) => !off(one))).toEqual([]);
    }
    ending.abort();
  }
});
