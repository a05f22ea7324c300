import { expect, it, vi } from "vitest";
import { el } from "../lib/dom";
import { HELD_MS, keepWheel } from "./wheel";

/** A root with a list that scrolls from 0 to 100 px; what the host around it hears. */
function setup() {
  const list = el("div.list", el("p", "row"));
  list.style.overflowY = "auto";
  Object.defineProperties(list, { scrollHeight: { value: 300 }, clientHeight: { value: 200 } });
  const root = el("div", list, el("p.other"));
  document.body.append(root);
  const ending = new AbortController();
  keepWheel(root, ending.signal);
  const host = vi.fn();
  document.body.addEventListener("wheel", host, { signal: ending.signal });
  const turn = (on: string, deltaY: number, at: number, options: WheelEventInit = {}) => {
    host.mockClear();
    const event = new WheelEvent("wheel", {
      deltaY,
      bubbles: true,
      composed: true,
      cancelable: true,
      ...options,
    });
    // happy-dom takes neither the time nor keys of a wheel.
    Object.defineProperties(event, {
      timeStamp: { value: at },
      ctrlKey: { value: options.ctrlKey ?? false },
    });
    root.querySelector(on)?.dispatchEvent(event);
    expect(event.defaultPrevented).toBe(false);
    return host.mock.calls.length === 0;
  };
  return { list, turn, ending };
}

it("is not told to the host while it scrolls something inside, or turns on after that", () => {
  const { list, turn } = setup();
  expect(turn("p", 10, 0)).toBe(true);
  list.scrollTop = 100;
  expect(turn("p", 10, HELD_MS - 1)).toBe(true);
  expect(turn("p", 10, 2 * HELD_MS - 2)).toBe(true);
  expect(turn(".other", 10, 2 * HELD_MS - 1)).toBe(false);
  expect(turn("p", 10, 4 * HELD_MS)).toBe(false);
  expect(turn("p", -10, 5 * HELD_MS)).toBe(true);
});

it("is the host's where nothing scrolls, sideways of a list, and with a key that enlarges the page", () => {
  const { turn, ending } = setup();
  expect(turn(".other", 10, 0)).toBe(false);
  expect(turn("p", 0, 1000, { deltaX: 10 })).toBe(false);
  expect(turn("p", 10, 2000, { ctrlKey: true })).toBe(false);
  expect(turn("p", 10, 3000)).toBe(true);
  ending.abort();
});
