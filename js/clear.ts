/** Tests share one page: after each of them nothing of it is mounted, listens or waits. */
import { afterEach, vi } from "vitest";
import { unmount } from "./testing";

afterEach(() => {
  unmount();
  document.body.replaceChildren();
  vi.useRealTimers();
});
