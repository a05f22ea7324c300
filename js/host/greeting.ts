/**
 * A way to the kernel beside a busy cell.
 *
 * JupyterLab opens one for a widget's messages when it learns of the widget; what was sent before waits in the queue
 * behind the cell. When an answer is late, this finds out whether the way is open by now, and sends again what waits.
 */
import { type KernelLine, SLOW_MS } from "./kernel";

/** Greet the kernel; the result is to be called when an answer is late. */
export function greet(kernel: KernelLine, signal: AbortSignal): () => void {
  let beside = false;
  let urging = false;
  /** Ask at longer and longer intervals: a front end without such a way answers late for ever. */
  const urge = (pause: number) => {
    if (beside || urging || signal.aborted || !kernel.awaiting) return;
    urging = true;
    kernel.tell("hello");
    setTimeout(() => {
      urging = false;
      urge(2 * pause);
    }, pause);
  };
  kernel.hears("hello", ({ main }) => {
    if (main === true || beside) return;
    beside = true;
    kernel.repeat();
  });
  kernel.tell("hello");
  return () => urge(SLOW_MS);
}
