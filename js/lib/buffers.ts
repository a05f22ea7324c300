/** Binary buffers of the kernel's answers as numbers. */

/** The bytes of a buffer, without copying. */
export function bytes(view: DataView | undefined): Uint8Array {
  if (!view) throw new Error("the kernel's answer lacks a binary buffer");
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

// Numbers of more than a byte are copied: the buffer may not be aligned.

export const floats = (view: DataView | undefined): Float32Array<ArrayBuffer> =>
  new Float32Array(bytes(view).slice().buffer);

export const int32s = (view: DataView | undefined): Int32Array<ArrayBuffer> =>
  new Int32Array(bytes(view).slice().buffer);

export const int16s = (view: DataView | undefined): Int16Array<ArrayBuffer> =>
  new Int16Array(bytes(view).slice().buffer);

export const int8s = (view: DataView | undefined): Int8Array<ArrayBuffer> =>
  new Int8Array(bytes(view).slice().buffer);
