/**
 * What the host gives to the panes, and all that they know of it.
 *
 * The host is where an instrument stands: a notebook's page with a kernel behind it, or a saved page without one.
 * `host/` makes what is described here; panes import this file and never that folder.
 */
import type { Store } from "./lib/store";

export interface KernelError {
  kind: string;
  name: string;
  message: string;
  details: string;
  /** It was read and put away: while the same goes on failing for the same reason it is not said again. */
  dismissed?: boolean;
}

/** The fields of a message from the kernel. */
export interface Answer {
  [field: string]: unknown;
}

/** The line to the kernel. */
export interface Kernel {
  /** Say what to do with the answers of a kind, of which `inFlight` (1) may be awaited. None follows a newer one. */
  answers(kind: string, handler: (answer: Answer, buffers: DataView[]) => void, inFlight?: number): void;
  /**
   * Ask. While as many requests of the kind are under way as may be, only the newest is kept. A request that says that it
   * is `dragging` is a hand's at work; while such come, others wait until the hand rests: of each kind the newest.
   */
  ask(kind: string, request: Record<string, unknown>): void;
  /** Whether what was sent of a kind is still to be answered. */
  awaits(kind: string): boolean;
  /** Tell, without an answer (`cancel`, `release`, files to add). */
  tell(kind: string, content?: Record<string, unknown>, buffers?: ArrayBuffer[]): void;
  /** Say what to do with news that nobody asked for. */
  hears(event: string, handler: (content: Answer) => void): void;
}

/** A part of an instrument's state: its first values, and which of its keys are traits of the model in the kernel. */
export interface Slice<S extends object> {
  initial: S;
  /** Traits that are kept in step both ways. */
  writes?: readonly (keyof S)[];
  /** Those of them that are written only when the pointer is up: while it is down, requests carry them. */
  held?: readonly (keyof S)[];
  /** Traits that only the kernel changes. */
  given?: readonly (keyof S)[];
  /** Keys that nothing but the kernel can follow: a saved page keeps them, so that what it shows is what it says. */
  asks?: readonly (keyof S)[];
}

// biome-ignore lint/suspicious/noExplicitAny: a slice of whatever keys
export type Slices = readonly Slice<any>[];

/** The state that some slices make together. */
export type Sum<T extends Slices> = T extends readonly [Slice<infer S>, ...infer Rest extends Slices]
  ? S & Sum<Rest>
  : object;

/** What every instrument's state has: how it stands with the kernel. */
export interface HostSlice {
  /** The last error of each kind of request, until it is taken off or the next answer comes. */
  errors: Record<string, KernelError>;
  /** Kinds of request that have been under way for more than 300 ms. */
  slow: readonly string[];
  /** Milliseconds from asking to having what the pointer moves; null before it was measured. */
  latency: number | null;
  /** The pointer is down: traits that follow it are written when it is up. */
  dragging: boolean;
  /** This is a saved page: there is no kernel, and controls that need it are off. */
  offline: boolean;
  /** What to say where the kernel is gone, or was never there; null while it is, and on a saved page. */
  absent: string | null;
  /** Nothing has come from a kernel that would have answered by now: what is shown until it does is the still picture. */
  unheard: boolean;
  /** What is asked passes the cells that run; in a queue with them it would wait for their end. */
  beside: boolean;
  /** How often something was asked for that a saved page cannot do. */
  refused: number;
  /** What is asked waits: the kernel is busy. */
  queued: boolean;
  /** The host says when its kernel ends; where it does not, one that is gone and one that is busy are alike. */
  told: boolean;
  /** The instrument stands here alone: the charts that bqplot draws beneath it elsewhere are drawn within. */
  uncharted: boolean;
  /** The instrument as it stood when it was last displayed: a PNG in base64, or nothing. */
  _still: string;
}

export const hostSlice: Slice<HostSlice> = {
  initial: {
    errors: {},
    slow: [],
    latency: null,
    dragging: false,
    offline: false,
    absent: null,
    unheard: false,
    beside: false,
    refused: 0,
    queued: false,
    told: false,
    uncharted: false,
    _still: "",
  },
  given: ["_still"],
};

/** What all views of one model share. */
export interface Session<S extends object> {
  /** What listens to it does so as long as the session lasts. */
  store: Store<S & HostSlice>;
  kernel: Kernel;
  /** Ends with the session: with the model, not with a view. */
  signal: AbortSignal;
}

/** What a pane is given: a session for as long as one view of the model lasts, and the page on which that is. */
export interface View<S extends object> extends Session<S> {
  page: Page;
}

export type Theme = "light" | "dark";

/** The page on which a view is shown. */
export interface Page {
  theme(): Theme;
  /** Call `run` whenever the theme may have changed, as long as the view lasts. */
  onTheme(run: () => void): void;
  /** Leave the browser's own context menu to an element. */
  keepMenu(element: HTMLElement): void;
  /** What a person can do here with the path of a file; a promise where that is to have it copied. */
  file: { name: "open file" | "copy path"; act: (path: string) => Promise<void> | undefined };
}
