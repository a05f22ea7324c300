import { expect, it, vi } from "vitest";
import { viewOf } from "./testing";

/** Of each test the view that it made, whatever came of the test. */
const views: ReturnType<typeof viewOf>[] = [];

it.each([1, 2])("nothing of a test is there in the next: %i", (number) => {
  expect(document.body.childElementCount).toBe(0);
  expect(vi.isFakeTimers()).toBe(false);
  expect(views.map(({ signal }) => signal.aborted)).toEqual(number === 1 ? [] : [true]);
  views.push(viewOf());
  expect(views.at(-1)?.signal.aborted).toBe(false);
  document.body.append(document.createElement("div"));
  vi.useFakeTimers();
});
