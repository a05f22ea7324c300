/**
 * A way to the kernel beside a busy cell.
 *
 * JupyterLab opens one for the messages of widgets when it learns of the first; what was sent before waits in the queue
 * behind the cell. The kernel is greeted until a greeting has gone beside: then what waits is sent again. Of a front end
 * without such a way, or before it is open, it is said that a cell is waited for.
 */
import { onEnd } from "../lib/dom";
import type { Store } from "../lib/store";
import type { HostSlice } from "../seam";
import type { KernelLine } from "./kernel";

/** Milliseconds between greetings: the first, how they grow, the longest. */
const [FIRST, GROWTH, LONGEST] = [100, 1.5, 10_000];

/** How many greet an instrument that asks for nothing: a front end without such a way answers in the queue for ever. */
const UNASKED = 10;

/** After this long without an answer the kernel is taken to be busy, ms. */
export const QUEUED_MS = 3000;

/** Greet the kernel; the result is to be called when an answer is late. */
export function greet(kernel: KernelLine, store: Store<HostSlice>, signal: AbortSignal): () => void {
  // On a saved page there is nobody to greet; what is slow there is the page.
  if (store.get("offline")) return () => {};
  let pause = FIRST;
  let count = 0;
  let next: ReturnType<typeof setTimeout> | undefined;
  let silence: ReturnType<typeof setTimeout> | undefined;
  const rest = () => {
    clearTimeout(next);
    clearTimeout(silence);
    next = silence = undefined;
  };
  const queued = () => {
    // A saved page is only slow.
    if (kernel.awaiting && !store.get("offline")) store.set({ queued: true });
  };
  const say = () => {
    next = undefined;
    if (signal.aborted || (count >= UNASKED && !kernel.awaiting)) return;
    count += 1;
    kernel.tell("hello");
    silence ??= setTimeout(queued, QUEUED_MS);
    next = setTimeout(say, pause);
    pause = Math.min(GROWTH * pause, LONGEST);
  };
  kernel.hears("hello", ({ main }) => {
    clearTimeout(silence);
    silence = undefined;
    store.set({ queued: false });
    if (main === true || store.get("beside")) return;
    rest();
    store.set({ beside: true });
    kernel.repeat();
  });
  onEnd(signal, rest);
  say();
  return () => {
    if (!store.get("beside") && next === undefined) say();
  };
}
