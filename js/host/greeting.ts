/**
 * A way to the kernel beside a busy cell.
 *
 * JupyterLab moves a widget's messages to a thread beside the cells' only after the first few: let these not be the
 * person's, who would wait for a busy cell. What still went the old way is sent again on the new one.
 */
import { type KernelLine, SLOW_MS } from "./kernel";

/** A front end without such a thread is not asked for ever. */
const GREETINGS = 6;

/** Greet the kernel until its messages come beside the cells; the result is to be called when an answer is late. */
export function greet(kernel: KernelLine, signal: AbortSignal): () => void {
  let greetings = 0;
  let beside = false;
  let urging = false;
  const hello = () => {
    greetings += 1;
    kernel.tell("hello");
  };
  /** Find out, at longer and longer intervals, whether there is another way by now. */
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
    if (main === true) {
      if (greetings < GREETINGS) hello();
    } else if (!beside) {
      beside = true;
      kernel.repeat();
    }
  });
  hello();
  return () => urge(SLOW_MS);
}
