/** A view for tests: a store of some slices, a line to a kernel that notes what is asked, a page without a host. */
import { vi } from "vitest";
import { Store } from "./lib/store";
import { type Answer, hostSlice, type Kernel, type Slices, type Sum, type View } from "./seam";

export interface NotedKernel extends Kernel {
  ask: Kernel["ask"] & ReturnType<typeof vi.fn>;
  tell: Kernel["tell"] & ReturnType<typeof vi.fn>;
  /** Let the kernel answer. */
  answer: (kind: string, answer: Answer, buffers?: DataView[]) => void;
}

const mounted = new Set<AbortController>();

/** Every view ends, as when its widget is taken off the page. */
export function unmount(): void {
  for (const one of mounted) one.abort();
  mounted.clear();
}

export function viewOf<const T extends Slices>(...slices: T): View<Sum<T>> & { kernel: NotedKernel } {
  const ending = new AbortController();
  mounted.add(ending);
  const handlers = new Map<string, (answer: Answer, buffers: DataView[]) => void>();
  const kernel = {
    answers: (kind: string, handler: (answer: Answer, buffers: DataView[]) => void) =>
      void handlers.set(kind, handler),
    ask: vi.fn(),
    awaits: () => false,
    tell: vi.fn(),
    hears: () => {},
    answer: (kind: string, answer: Answer, buffers: DataView[] = []) => handlers.get(kind)?.(answer, buffers),
  };
  return {
    store: new Store(Object.assign({}, hostSlice.initial, ...slices.map(({ initial }) => initial))),
    kernel,
    signal: ending.signal,
    page: {
      theme: () => "light",
      onTheme: () => {},
      keepMenu: () => {},
      file: { name: "copy path", act: async () => {} },
    },
  };
}
