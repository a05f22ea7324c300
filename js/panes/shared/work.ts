/** Long work in the kernel, as the status line tells of it. */

export interface Progress {
  state: "none" | "running" | "done" | "cancelled" | "failed";
  revision: number;
  done: number;
  total: number;
  /** Seconds, or null while unknown. */
  left: number | null;
}

/** One kind of work: its words, and how it is gone on with. */
export interface Work {
  /** Name of the meter. */
  label: string;
  /** How a sentence about it begins, and that it begins. */
  noun: string;
  begins: string;
  progress: () => Progress;
  onChange: (run: () => void) => void;
  /** What there is when it is done. */
  whole: (done: number) => string;
  /** What else there is to say of it, with a comma before it. */
  note?: () => string;
  failure?: (progress: Progress) => string;
  /** Go on with what was stopped or failed, and what the button says after a failure. */
  resume?: () => void;
  retry?: string;
}

/** Beside the number of pictures that were read: how many were not. */
export const unreadable = (count: number): string => (count > 0 ? `, ${count} unreadable` : "");
