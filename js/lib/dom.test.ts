import { expect, it, vi } from "vitest";
import { onFrame } from "./dom";

it("paints once a frame, and once more where nothing was in sight", () => {
  const frames: (() => void)[] = [];
  vi.stubGlobal("requestAnimationFrame", (run: () => void) => frames.push(run));
  const frame = () => {
    for (const run of frames.splice(0)) run();
  };
  let seen = true;
  let painted = 0;
  const ask = onFrame((later) => {
    if (!seen) return later();
    painted += 1;
  });
  ask();
  ask();
  frame();
  frame();
  expect([painted, frames.length]).toEqual([1, 0]);
  seen = false;
  ask();
  frame();
  seen = true;
  frame();
  expect([painted, frames.length]).toEqual([2, 0]);
  // What stays out of sight is not looked at for ever.
  seen = false;
  ask();
  frame();
  frame();
  expect([painted, frames.length]).toEqual([2, 0]);
  // And is painted again when that is asked for.
  seen = true;
  ask();
  frame();
  expect(painted).toBe(3);
  vi.unstubAllGlobals();
});
